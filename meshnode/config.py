"""The configuration of one data directory: DIR/meshnode.toml, then the environment, then flags (later ones win).

What is decided here: every key, its type, its bounds and its default. What is not: nothing is opened, bound or started.

- A key, a type or a value that is not understood is `MeshError("bad_config")` with the place it came from and the
  nearest valid name. Nothing is ever ignored in silence, so that a misspelt limit never passes for a limit.
- `Config` is frozen and whole: paths are absolute, a port that was chosen before is filled in, every bound is checked.
- tomllib and msgspec instead of pydantic-settings: measured in a process that already has trio, ssl, sqlite3 and
  msgspec, the latter adds 12.3 MiB resident and these 0.1 MiB; a daemon has 60 MB in total.

Keys of meshnode.toml are written out in `DEFAULT_CONFIG`. The environment has MESHNODE_ and a key of the top level in
capitals (MESHNODE_SEEDS and MESHNODE_TAGS are comma-separated); handlers and MCP servers are named in the file alone.
"""

from __future__ import annotations

import os
import re
import socket
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from meshnode.datadir import CONFIG_NAME, default_directory, read_note, write_note
from meshnode.errors import MeshError
from meshnode.handler_config import (
    ExecHandler,
    HandlerConfig,
    McpServerConfig,
    PythonHandler,
    expectation,
    read_handler,
    read_membership,
    read_server,
    refuse,
    unknown_key,
)
from protocols.config import HandlerSpec, SwimConfig
from protocols.limits import (
    ADDRESS_CHARS_MAX,
    HANDLER_CHARS_MAX,
    NAME_CHARS_MAX,
    WEIGHT_MAX,
)
from protocols.membership.profile import TooLarge, check_size
from protocols.membership.tags import BadTags, Tags, own_tags, parse_tag
from protocols.tasks.task import MCP_PREFIX

__all__ = [
    "Config",
    "ExecHandler",
    "HandlerConfig",
    "McpServerConfig",
    "PythonHandler",
    "default_name",
    "format_address",
    "load_config",
    "parse_address",
    "remember_listen",
    "remembered_listen",
    "write_default_config",
]

CONFIG_BYTES_MAX = 1 << 20
SEEDS_MAX = 64
LISTEN_NOTE = "listen"
"""DIR/listen holds the address of the last start, and behind it what others were told where that was given."""
ENV_PREFIX = "MESHNODE_"
ENV_NOT_SETTINGS = frozenset({"MESHNODE_DIR", "MESHNODE_TOKEN", "MESHNODE_TASK_ID", "MESHNODE_ATTEMPT"})
"""Read by the command line, or set for bodies."""

_NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{NAME_CHARS_MAX}}}")
_ZONE = re.compile(rf"[A-Za-z0-9._-]{{0,{NAME_CHARS_MAX}}}")
_HANDLER = re.compile(rf"[a-z0-9_.-]{{1,{HANDLER_CHARS_MAX}}}")


class _Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The keys of the top level that the environment and flags may set too."""

    name: str = ""
    listen: str = "127.0.0.1:0"
    advertise: str = ""
    seeds: tuple[str, ...] = ()
    zone: str = ""
    tags: tuple[str, ...] = ()
    weight: Annotated[int, Meta(ge=1, le=WEIGHT_MAX)] = 1
    mcp: Literal["off"] | Annotated[int, Meta(ge=0, le=65535)] = "off"
    metrics: Literal["off"] | Annotated[int, Meta(ge=0, le=65535)] = "off"
    zeroconf: bool = False
    workdir: str = ""


_TABLES = ("handlers", "mcp_servers", "membership")
_SETTINGS = _Settings.__struct_fields__


class Config(Struct, frozen=True, kw_only=True):
    """Everything that a daemon is told before it starts."""

    directory: Path
    name: str
    listen: str
    """`host:port`. Where the setting says port 0, the port of the last start, if there was one."""
    listen_remembered: bool = False
    """The port of `listen` is the one of the last start: should it be taken, any other free one will do."""
    advertise: str = ""
    """`host:port` that peers are told; empty: `listen`."""
    seeds: tuple[str, ...] = ()
    zone: str = ""
    tags: Tags = ()
    weight: int = 1
    mcp: Literal["off"] | int = "off"
    """TCP port on 127.0.0.1 for MCP over HTTP, with /metrics and health beside it; 0: any free one."""
    metrics: Literal["off"] | int = "off"
    """TCP port on 127.0.0.1 for /metrics and health alone; 0: any free one."""
    zeroconf: bool = False
    """Announce this node on the LAN, and look for others of its mesh there."""
    workdir: Path
    """Where relative `cwd`s start and where modules of python handlers are looked for."""
    handlers: dict[str, HandlerConfig] = {}
    mcp_servers: dict[str, McpServerConfig] = {}
    swim: SwimConfig = SwimConfig()

    @property
    def capabilities(self) -> tuple[HandlerSpec, ...]:
        """What the node announces: its handlers, then `mcp:NAME` for every attached MCP server."""
        bodies = [HandlerSpec(name, handler.concurrency) for name, handler in self.handlers.items()]
        servers = [HandlerSpec(MCP_PREFIX + name, server.concurrency) for name, server in self.mcp_servers.items()]
        return (*bodies, *servers)


DEFAULT_CONFIG = """\
# Configuration of one meshnode data directory. Every key is optional; what is commented out shows the default or an
# example. Environment variables (MESHNODE_NAME, MESHNODE_LISTEN, ...) and flags of `meshnode up` win over this file.
# `meshnode reload` applies zone, tags, weight, handlers and MCP servers to a node that runs; the rest needs a restart.

# name = "{name}"               # how people see this node; letters, digits, dot, underscore, dash
# listen = "127.0.0.1:0"        # TCP and UDP; port 0 takes any free one and keeps it; unset: as at the last start
# advertise = "192.0.2.7:7400"  # what peers are told, where it differs from `listen`
# seeds = ["192.0.2.1:7400"]    # peers to meet at the start
# zone = ""                     # copies are spread over zones
# tags = ["gpu", "cuda=12"]     # what this node is or can do, KEY or KEY=VALUE; `meshnode tags set` wins over these
# weight = 1                    # share of the work, relative to other nodes
# mcp = "off"                   # or a port on 127.0.0.1 for MCP over HTTP, /metrics and health; 0 takes any free one
# metrics = "off"               # or a port on 127.0.0.1 for /metrics and health alone
# zeroconf = false              # announce this node on the LAN, and look for others of its mesh there
# workdir = "."                 # relative to this file; default: the directory in which `meshnode up` was started

# How members watch each other; the same at all nodes of a mesh. What is not set is as in the profile.

# [membership]
# profile = "lan"              # or "wan": far apart, slow links; or "local": one machine
# probe_interval_s = 1.0       # one member is probed in each; a dead one is declared so within some of them
# probe_timeout_s = 0.5        # after which others are asked to probe it too
# stream_probe = true          # who does not ack over UDP is asked over TCP as well
# suspicion_mult = 4           # how long a suspect has to refute: more means slower and surer
# remember_dead_s = 86400      # how long a dead member is remembered, and tried again
# views_per_minute = 20        # how often it is told at most who is there; what comes in bursts is told together
# flap_cost_s = 60             # a member that goes more often than once in this is left out until it stays

# Work that this node can do. A handler's name is what tasks ask for.

# [handlers.wordcount]
# executor = "python"
# target = "examples.wordcount:count"  # module:function, called with the payload in a worker process
# concurrency = 2                      # bodies at once (default 1)
# timeout_s = 60.0                     # cap on one run (default: the task's own)
# output_bytes_max = 262144
# cwd = "."                            # relative to workdir
# env = {{ LANG = "C.UTF-8" }}

# [handlers.checksum]
# executor = "exec"
# argv = ["sha256sum", "{{path}}"]       # never a shell; {{path}} comes from the payload {{"path": ...}}
# allow_dashes = false                 # whether a value may turn an argument into an option

# MCP servers on this machine whose tools the whole mesh may call.

# [mcp_servers.files]
# command = "python"
# args = ["-m", "examples.files_server"]
# concurrency = 4
# cwd = "."
# env = {{}}
"""


def load_config(directory: Path, *, environ: Mapping[str, str] | None = None, **flags: object) -> Config:
    """The configuration of `directory`; a missing file means defaults.

    `flags` are keys of the top level (name, listen, advertise, seeds, zone, tags, weight, mcp, metrics, zeroconf,
    workdir) with `None` for "not given"; texts are read as in the environment. Raises `MeshError("bad_config", exit
    USAGE)`.
    """
    directory = directory.absolute()
    file = directory / CONFIG_NAME
    document = _read_toml(file)
    for key in document:
        if key not in _SETTINGS and key not in _TABLES:
            unknown_key(str(file), key, (*_SETTINGS, *_TABLES))
    values: dict[str, object] = {key: value for key, value in document.items() if key in _SETTINGS}
    origins = {key: f"{file}: `{key}`" for key in values}
    if isinstance(values.get("workdir"), str):
        values["workdir"] = os.path.join(directory, document["workdir"])
    for key, text in _environment(os.environ if environ is None else environ).items():
        values[key], origins[key] = _from_text(key, text), f"environment variable {ENV_PREFIX}{key.upper()}"
    for key, flag in flags.items():
        if key not in _SETTINGS:
            unknown_key("the command line", key, _SETTINGS)
        if flag is not None:
            values[key] = _from_text(key, flag) if isinstance(flag, str) else flag
            origins[key] = f"--{key}"
    settings = _settings(values, origins)
    try:
        workdir = Path(os.path.abspath(settings.workdir or Path.cwd()))
    except OSError as error:
        hint = "Set `workdir` to the whole path of one that exists."
        refuse("workdir", f"the present directory cannot be told: {error.strerror}", hint)
    config = _whole(directory, settings, origins, workdir, document, file)
    _check_profile(config, file)
    return config


def write_default_config(directory: Path, *, name: str = "") -> bool:
    """Write a commented meshnode.toml, with `name` set where one is given; False (and untouched) if there is one."""
    text = DEFAULT_CONFIG.format(name=name or default_name(directory))
    if name:
        text = text.replace(f'# name = "{name}" ', f'name = "{name}" ', 1)
    path = directory / CONFIG_NAME
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        raise MeshError(
            "unwritable",
            f"{path} cannot be written: {error.strerror}.",
            "Make the directory writable, or name another.",
        ) from error
    return True


def remember_listen(directory: Path, address: str, advertise: str = "") -> None:
    """Keep the address that was bound, and the one that others were told where that was given, so that a start without
    them is at the same place. Raises `MeshError`."""
    parse_address(address)
    write_note(directory / LISTEN_NOTE, f"{address} {advertise}".rstrip())


def remembered_listen(directory: Path) -> tuple[str, str] | None:
    """The address of the last start, and what others were told ("" where nothing was given); None if there was none, or
    if the note is not of addresses (it is only a hint)."""
    note = read_note(directory / LISTEN_NOTE)
    if not note:
        return None
    address, _, advertise = note.partition(" ")
    try:
        parse_address(address)
        if advertise:
            parse_address(advertise)
    except ValueError:
        return None
    return address, advertise


def parse_address(address: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port` as a pair, the host without brackets. Raises `ValueError` that says what is wrong."""
    host, colon, port_text = address.rpartition(":")
    if len(address) > ADDRESS_CHARS_MAX:
        raise ValueError(f"is longer than {ADDRESS_CHARS_MAX} characters")
    if not colon:
        raise ValueError(f"{address!r} is not host:port")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{address!r} needs brackets around the IPv6 address, as in [::1]:7400")
    if not host or any(character.isspace() or character in "[]/@" for character in host):
        raise ValueError(f"{address!r} has no usable host in front of the port")
    if not (port_text.isascii() and port_text.isdigit() and int(port_text) <= 65535):
        raise ValueError(f"{address!r} does not end in a port from 0 to 65535")
    return host, int(port_text)


def format_address(host: str, port: int) -> str:
    """The text that `parse_address` reads back."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def default_name(directory: Path) -> str:
    """The host's name; with the directory's behind it unless that is the default one, so that two nodes differ."""
    host = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname().split(".")[0]).strip("-") or "node"
    directory = directory.absolute()
    if directory == default_directory():
        return host[:NAME_CHARS_MAX]
    suffix = re.sub(r"[^A-Za-z0-9._-]+", "-", directory.name).strip("-.")
    return f"{host[: NAME_CHARS_MAX // 2]}-{suffix}"[:NAME_CHARS_MAX].rstrip("-")


def _read_toml(file: Path) -> dict[str, Any]:
    """The document as tomllib gives it (typed `Any` there); an absent file is empty."""
    try:
        with open(file, "rb") as stream:
            raw = stream.read(CONFIG_BYTES_MAX + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        refuse(str(file), f"cannot be read: {error.strerror}", "Make it readable to this user.")
    if len(raw) > CONFIG_BYTES_MAX:
        refuse(str(file), f"is larger than {CONFIG_BYTES_MAX} bytes", "Is it the right file?")
    try:
        return tomllib.loads(raw.decode())
    except UnicodeDecodeError as error:
        refuse(str(file), f"is not UTF-8 text (byte {error.start})", "Save it as UTF-8.")
    except (ValueError, RecursionError) as error:  # ValueError: TOMLDecodeError, and integers of absurd length
        refuse(str(file), f"is not TOML: {error or 'nested too deeply'}", "Correct that line.")


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Settings from the environment. Foreign MESHNODE_ variables pass, unless one looks like a misspelt setting."""
    known = {ENV_PREFIX + key.upper(): key for key in _SETTINGS}
    found: dict[str, str] = {}
    for variable in sorted(environ):
        if variable in known:
            found[known[variable]] = environ[variable]
        elif variable.startswith(ENV_PREFIX) and variable not in ENV_NOT_SETTINGS:
            near = get_close_matches(variable, known, n=1, cutoff=0.88)
            if near:
                refuse(f"environment variable {variable}", "is not a setting", f"Did you mean {near[0]}?")
    return found


def _from_text(key: str, text: str) -> object:
    """A setting given as text; what does not convert is left as it is, for the type check to name."""
    match key:
        case "seeds" | "tags":
            return tuple(part.strip() for part in text.split(",") if part.strip())
        case "weight" | "mcp" | "metrics":
            return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text
        case "zeroconf":
            return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
        case _:
            return text


def _settings(values: Mapping[str, object], origins: Mapping[str, str]) -> _Settings:
    try:
        settings = msgspec.convert(values, _Settings)
    except msgspec.ValidationError as error:
        text = str(error)
        key = next((key for key in values if f"`$.{key}" in text), "")
        if key in ("mcp", "metrics"):
            refuse(origins[key], 'must be "off" or a port from 0 to 65535', f"It is {values[key]!r}.")
        refuse(origins.get(key, "configuration"), expectation(text), f"It is {values.get(key)!r}.")
    _match(
        _NAME, settings.name or "default", origins, "name", f"1 to {NAME_CHARS_MAX} of letters, digits, dot, _ and -"
    )
    _match(_ZONE, settings.zone, origins, "zone", f"at most {NAME_CHARS_MAX} of letters, digits, dot, _ and -")
    _check_address(settings.listen, origins, "listen", port_min=0)
    if settings.advertise:
        _check_address(settings.advertise, origins, "advertise", port_min=1)
    if len(settings.seeds) > SEEDS_MAX:
        refuse(origins["seeds"], f"has more than {SEEDS_MAX} addresses", "A few seeds are enough.")
    for seed in settings.seeds:
        _check_address(seed, origins, "seeds", port_min=1)
    _read_tags(settings.tags, origins)
    return settings


def _read_tags(texts: Iterable[str], origins: Mapping[str, str]) -> Tags:
    tags: dict[str, str] = {}
    try:
        for text in texts:
            key, value = parse_tag(text)
            if key in tags:
                refuse(origins["tags"], f"names the tag {key!r} twice", "Leave out one of them.")
            tags[key] = value
        return own_tags(tags)
    except BadTags as bad:
        refuse(origins["tags"], f"cannot be used: {bad.message}", bad.next_step)


def _match(pattern: re.Pattern[str], value: str, origins: Mapping[str, str], key: str, words: str) -> None:
    if not pattern.fullmatch(value):
        refuse(origins[key], f"must be {words}", f"It is {value!r}.")


def _check_address(address: str, origins: Mapping[str, str], key: str, *, port_min: int) -> None:
    try:
        if parse_address(address)[1] < port_min:
            raise ValueError(f"{address!r} needs a port from {port_min} to 65535")
    except ValueError as error:
        refuse(origins[key], str(error), "Write host:port, as in 192.0.2.7:7400.")


def _whole(
    directory: Path,
    settings: _Settings,
    origins: Mapping[str, str],
    workdir: Path,
    document: Mapping[str, Any],
    file: Path,
) -> Config:
    swim = read_membership(document.get("membership", {}), file)
    if not os.path.isdir(workdir):  # Path.is_dir raises where a name is too long, or a directory closed
        refuse(origins.get("workdir", "workdir"), f"{workdir} is not a directory", "Name one that exists.")
    listen, advertise, use_remembered = settings.listen, settings.advertise, False
    remembered = remembered_listen(directory)
    if remembered is not None:
        # Who says nothing is where it was: others know that address, and on another one they would lose this node.
        host, port = parse_address(listen)
        use_remembered = "listen" not in origins or (port == 0 and parse_address(remembered[0])[0] == host)
        listen = remembered[0] if use_remembered else listen
        if "listen" not in origins and "advertise" not in origins:
            advertise = remembered[1]
    handlers = {
        name: read_handler(table, f"handlers.{name}", file, workdir)
        for name, table in _tables(document, "handlers", file)
    }
    servers = {
        name: read_server(table, f"mcp_servers.{name}", file, workdir)
        for name, table in _tables(document, "mcp_servers", file)
    }
    return Config(
        directory=directory,
        name=settings.name or default_name(directory),
        listen=listen,
        listen_remembered=use_remembered,
        advertise=advertise,
        seeds=settings.seeds,
        zone=settings.zone,
        tags=_read_tags(settings.tags, origins),
        weight=settings.weight,
        mcp=settings.mcp,
        metrics=settings.metrics,
        zeroconf=settings.zeroconf,
        workdir=workdir,
        handlers=handlers,
        mcp_servers=servers,
        swim=swim,
    )


def _tables(document: Mapping[str, Any], key: str, file: Path) -> Iterable[tuple[str, dict[str, object]]]:
    """The named tables below `key`, their names checked."""
    tables = document.get(key, {})
    if not isinstance(tables, dict):
        refuse(f"{file}: `{key}`", "must hold tables", f"Write [{key}.NAME].")
    chars_max = HANDLER_CHARS_MAX - (len(MCP_PREFIX) if key == "mcp_servers" else 0)
    for name, table in tables.items():
        if not _HANDLER.fullmatch(name) or len(name) > chars_max:
            refuse(f"{file}: `{key}.{name}`", f"needs a name of 1 to {chars_max} of a-z, 0-9, dot, _ and -", "")
        if not isinstance(table, dict):
            refuse(f"{file}: `{key}.{name}`", "must be a table", f"Write [{key}.{name}].")
        yield name, table


def _check_profile(config: Config, file: Path) -> None:
    try:
        check_size(config.zone, [spec.name for spec in config.capabilities])
    except TooLarge as too_large:
        refuse(str(file), str(too_large), too_large.next_step)
