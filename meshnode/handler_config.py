"""The tables of meshnode.toml, those of handlers and of attached MCP servers above all: types, bounds, argv.

Decides what one table may say and turns it into a frozen value with an absolute `cwd`. Never looks whether a program or
module exists: that is found out when it is first needed, and again each time after, so that it may be installed later.
Every complaint is `MeshError("bad_config")` with file, key path and the nearest valid name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, NoReturn, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

from meshnode.errors import ExitCode, MeshError
from protocols.config import SwimConfig
from protocols.limits import OUTPUT_BYTES_MAX
from protocols.membership.settings import MembershipSettings

_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_ENV_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BRACES = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}|[{}]")

QUOTED_CHARS_MAX = 2000
"""Of a complaint: the longest path, and enough of what is wrong to find it."""

_Table = TypeVar("_Table", bound=Struct)

Concurrency = Annotated[int, Meta(ge=1, le=256)]
Seconds = Annotated[float, Meta(gt=0, le=7 * 24 * 3600)]
OutputLimit = Annotated[int, Meta(ge=1, le=OUTPUT_BYTES_MAX)]


class _Body(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="executor"):
    """What every kind of handler may say."""

    concurrency: Concurrency = 1
    """Bodies at once; announced to the mesh."""
    timeout_s: Seconds | None = None
    """Cap on one run, where the task itself allows more."""
    output_bytes_max: OutputLimit = OUTPUT_BYTES_MAX
    cwd: str = ""
    """Working directory; relative to `workdir`, which is also the default. Absolute once loaded."""
    env: dict[str, str] = {}
    """Added to the closed environment of the body."""


class PythonHandler(_Body, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="python"):
    """`target` is `module:function`, imported in a worker process with `cwd`, then `workdir`, on its path."""

    target: str


class ExecHandler(_Body, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="exec"):
    """`argv` with `{name}` placeholders, filled from the payload; never a shell. `{{` and `}}` are braces."""

    argv: tuple[str, ...]
    allow_dashes: bool = False
    """Whether a value from the payload may be the beginning of an argument that starts with a dash (an option)."""


HandlerConfig: TypeAlias = PythonHandler | ExecHandler
"""One table of `[handlers.NAME]`; `executor` is "python" or "exec"."""


class McpServerConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table of `[mcp_servers.NAME]`: an MCP server over stdio, started with the node and kept."""

    command: str
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    cwd: str = ""
    """Relative to `workdir`, which is also the default. Absolute once loaded."""
    concurrency: Concurrency = 4
    """Calls at once; announced to the mesh."""


def placeholders(element: str) -> list[str]:
    """Names of the `{name}` placeholders in one element of argv. Raises `ValueError` for a brace that is neither."""
    names = []
    for match in _BRACES.finditer(element):
        if match.group() in "{}":
            raise ValueError(
                f"has a lone {match.group()!r} in {element!r}: write it twice to mean the character itself"
            )
        if match.group(1):
            names.append(match.group(1))
    return names


def fill(element: str, values: Mapping[str, str]) -> str:
    """One element of argv with its placeholders replaced; every name must be in `values`."""
    return _BRACES.sub(lambda match: values[match.group(1)] if match.group(1) else match.group()[0], element)


def read_handler(table: dict[str, object], where: str, file: Path, workdir: Path) -> HandlerConfig:
    kinds: dict[object, type[PythonHandler] | type[ExecHandler]] = {"python": PythonHandler, "exec": ExecHandler}
    executor = table.get("executor")
    if not isinstance(executor, str) or executor not in kinds:
        near = get_close_matches(str(executor), ("python", "exec"), n=1, cutoff=0.5)
        said = f"It is {executor!r}." if "executor" in table else "It is missing."
        hint = f"{said} Did you mean {near[0]!r}?" if near else said
        refuse(f"{file}: `{where}.executor`", 'must be "python" or "exec"', hint)
    kind = kinds[executor]
    handler: HandlerConfig = _table(table, kind, where, file, also=("executor",))
    if isinstance(handler, PythonHandler):
        if not _TARGET.fullmatch(handler.target):
            hint = f"It is {handler.target!r}; as in examples.wordcount:count."
            refuse(f"{file}: `{where}.target`", "must be module:function", hint)
    else:
        _check_argv(handler.argv, f"{file}: `{where}.argv`")
    _check_env(handler.env, f"{file}: `{where}.env`")
    return msgspec.structs.replace(handler, cwd=os.path.normpath(workdir / handler.cwd))


def read_server(table: dict[str, object], where: str, file: Path, workdir: Path) -> McpServerConfig:
    server = _table(table, McpServerConfig, where, file)
    if not server.command or "\0" in server.command + "".join(server.args):
        refuse(f"{file}: `{where}.command`", "must name a program, without NUL characters", "")
    _check_env(server.env, f"{file}: `{where}.env`")
    return msgspec.structs.replace(server, cwd=os.path.normpath(workdir / server.cwd))


def read_membership(table: object, file: Path) -> SwimConfig:
    """The table `[membership]`; an empty one is the default."""
    if not isinstance(table, dict):
        refuse(f"{file}: `membership`", "must be a table", "Write [membership].")
    settings = _table(table, MembershipSettings, "membership", file)
    try:
        return settings.swim()
    except ValueError as error:
        refuse(f"{file}: `membership`", f"cannot be used: {error}", "")


def _table(table: dict[str, object], kind: type[_Table], where: str, file: Path, also: tuple[str, ...] = ()) -> _Table:
    """`table` as a `kind`, its keys checked first: msgspec would name neither the table nor the nearest key."""
    for key in table:
        if key not in kind.__struct_fields__ and key not in also:
            unknown_key(f"{file}: `{where}`", key, (*also, *kind.__struct_fields__))
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        text = str(error)
        path = re.search(r"`\$\.?([^`]*)`$", text)
        place = f"{where}.{path.group(1)}" if path else where
        refuse(f"{file}: `{place}`", expectation(text), "")


def _check_argv(argv: tuple[str, ...], origin: str) -> None:
    if not argv or not argv[0]:
        refuse(origin, "must name a program first", 'As in ["sha256sum", "{path}"].')
    try:
        if placeholders(argv[0]):
            raise ValueError("must not take the program's name from the payload")
        for element in argv:
            if "\0" in element:
                raise ValueError("holds a NUL character")
            placeholders(element)
    except ValueError as error:
        refuse(origin, str(error), "")


def _check_env(env: Mapping[str, str], origin: str) -> None:
    for key, value in env.items():
        if not _ENV_KEY.fullmatch(key) or "\0" in value:
            refuse(origin, f"has an unusable variable {key!r}", "Names are letters, digits and _; values have no NUL.")


def expectation(text: str) -> str:
    """msgspec's words without its path: "Expected `int`, got `str` - at `$.weight`"."""
    text = text.split(" - at ")[0]
    return text[:1].lower() + text[1:]


def unknown_key(origin: str, key: str, valid: Iterable[str]) -> NoReturn:
    valid = tuple(valid)
    near = get_close_matches(key, valid, n=1, cutoff=0.5)
    hint = f"Did you mean `{near[0]}`?" if near else f"Valid here: {', '.join(valid)}."
    refuse(origin, f"has no setting `{key}`", hint)


def refuse(origin: str, what: str, hint: str) -> NoReturn:
    text = _shortened(f"{origin}: {what}").removesuffix(".")
    raise MeshError("bad_config", f"{text}.", _shortened(hint), ExitCode.USAGE)


def _shortened(text: str) -> str:
    """What is quoted from a file may be all of it."""
    half = QUOTED_CHARS_MAX // 2
    return text if len(text) <= QUOTED_CHARS_MAX else f"{text[:half]} … {text[-half:]}"
