"""What `meshnode doctor` looks at of the node: configuration, identity, daemon, network, handlers, database.

Changes nothing: connects to ports, asks the daemon, opens the database for reading.
"""

from __future__ import annotations

import ast
import errno
import os
import shutil
import socket
import sqlite3
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.machinery import PathFinder
from pathlib import Path

from meshnode.cli.findings import Case, Finding, Status
from meshnode.cli.status_text import memory_text
from meshnode.config import ExecHandler, PythonHandler, load_config, parse_address
from meshnode.datadir import DataDir, read_note
from meshnode.errors import MeshError

CERTIFICATE_DAYS_WARN = 30
CONNECT_S_MAX = 2.0
PROBES_AT_ONCE = 16
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""What to connect to where a node listens on every address."""


def check_config(case: Case) -> Iterator[Finding]:
    if not case.directory_usable:
        yield Finding("configuration", Status.SKIP, "There is no data directory to read it from.")
        return
    file = DataDir(case.directory).config
    try:
        config = load_config(case.directory)
        case.workdir_chosen = "MESHNODE_WORKDIR" in os.environ or _names_workdir(file)
        started_in = None if case.workdir_chosen else _directory_of(DataDir(case.directory).holder())
        if started_in is not None:
            config = load_config(case.directory, workdir=started_in)
            case.workdir_chosen = True
    except MeshError as error:
        yield Finding.of("configuration", error)
        return
    case.config = config
    if not file.exists():
        detail = f"no {file.name}: every setting is at its default, and the node does no work."
        hint = f"`meshnode init` writes one with examples; or write {file} by hand."
        yield Finding("configuration", Status.OK, detail, hint)
    else:
        detail = f"{file}: {len(config.handlers)} handlers, {len(config.mcp_servers)} MCP servers"
        yield Finding("configuration", Status.OK, detail)


def _names_workdir(file: Path) -> bool:
    try:
        return "workdir" in tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False


def _directory_of(pid: int | None) -> str | None:
    """Where the daemon was started; None where none runs, or where that cannot be seen."""
    import psutil

    try:
        return str(psutil.Process(pid).cwd()) if pid else None
    except psutil.Error:
        return None


def check_identity(case: Case) -> Iterator[Finding]:
    from cryptography import x509

    from meshnode.identity import has_identity, load_identity

    if not case.directory_usable:
        yield Finding("identity", Status.SKIP, "There is no data directory to read it from.")
        return
    if not has_identity(case.directory):
        detail = f"{case.directory} has no node yet."
        hint = f"Make one: `meshnode init --dir {case.directory}`; or join: `meshnode up --join TOKEN`."
        yield Finding("identity", Status.WARN, detail, hint)
        return
    try:
        identity, secrets = load_identity(case.directory)
    except MeshError as error:
        yield Finding.of("identity", error)
        return
    certificate = x509.load_pem_x509_certificate(identity.certificate_pem)
    days = (certificate.not_valid_after_utc.timestamp() - time.time()) / 86400
    role = ", founder" if secrets.ca_private_key_pem else ""
    detail = f"{identity.name} ({identity.node_id}) of mesh {secrets.mesh}{role}; certificate good for {days:.0f} days"
    if days < CERTIFICATE_DAYS_WARN:
        hint = "Join again with a new token, in an empty data directory, before it runs out."
        yield Finding("identity", Status.WARN, detail, hint)
    else:
        yield Finding("identity", Status.OK, detail)


def check_daemon(case: Case) -> Iterator[Finding]:
    from meshnode.calls import Inspect, Inspection
    from meshnode.cli.session import converse, expect
    from meshnode.control.client import ControlClient
    from protocols.membership.views import GetStatus, NodeStatus
    from protocols.node import VERSION

    async def talk(client: ControlClient) -> tuple[NodeStatus, Inspection]:
        return expect(await client.call(GetStatus()), NodeStatus), expect(await client.call(Inspect()), Inspection)

    case.daemon_pid = DataDir(case.directory).holder()
    try:
        status, inspection = converse(case.directory, talk)
    except MeshError as error:
        stopped = error.code == "not_running" and case.daemon_pid is None
        yield Finding.of("daemon", error, Status.WARN if stopped else Status.FAIL)
        return
    case.status, case.inspection = status, inspection
    detail = (
        f"pid {inspection.pid}, {status.phase}, {status.members_alive} members alive, "
        f"{memory_text(inspection.rss_bytes)}"
    )
    if status.storage_error:
        hint = "Free or repair the disk; the node goes on by itself."
        yield Finding("daemon", Status.FAIL, f"{detail}; its disk fails: {status.storage_error}", hint)
    elif inspection.version != VERSION:
        hint = "Restart it: `meshnode leave`, then `meshnode up`."
        yield Finding("daemon", Status.WARN, f"{detail}; it is meshnode {inspection.version}, this {VERSION}", hint)
    elif status.phase == "joining":
        hint = "See the seeds below; a firewall must let TCP and UDP through to their ports."
        yield Finding("daemon", Status.WARN, f"{detail}; no seed has answered yet", hint)
    else:
        yield Finding("daemon", Status.OK, detail)


def check_port(case: Case) -> Iterator[Finding]:
    """The node's own address: reachable while it runs, free while it does not."""
    if case.status is not None:
        yield _own_port(case.status.address)
    elif case.config is None:
        yield Finding("own port", Status.SKIP, "The configuration that names it cannot be read.")
    elif case.daemon_pid is not None:
        yield Finding("own port", Status.SKIP, "The daemon does not say which it is.")
    else:
        yield _free_port(case.config.listen, remembered=case.config.listen_remembered)


def _own_port(address: str) -> Finding:
    why = _connect(address)
    if not why:
        return Finding("own port", Status.OK, f"{address} takes connections")
    hint = "See that --advertise names an address that leads here, and that no firewall is in between."
    return Finding("own port", Status.FAIL, f"{address}, which other nodes are told, does not answer: {why}.", hint)


def _free_port(listen: str, *, remembered: bool) -> Finding:
    host, port = parse_address(listen)
    if port == 0:
        return Finding("own port", Status.OK, f"{listen}: any free port")
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        why = _bind(host, port, kind)
        if why and remembered:
            detail = f"{listen}, the address of the last start, is taken ({why}); the next start takes another port."
            return Finding("own port", Status.WARN, detail, "Nothing to do, unless other nodes name it as a seed.")
        if why:
            hint = "Stop what uses it, or name another with --listen HOST:PORT."
            return Finding("own port", Status.FAIL, f"{listen} cannot be used: {why}.", hint)
    return Finding("own port", Status.OK, f"{listen} is free")


def _bind(host: str, port: int, kind: socket.SocketKind) -> str:
    """Why a socket cannot be bound there; empty where it can."""
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=kind)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            if kind is socket.SOCK_STREAM:
                probe.listen(1)
    except OSError as error:
        return "another program uses it" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
    return ""


def check_seeds(case: Case) -> Iterator[Finding]:
    from meshnode.admission import SEEDS_NOTE

    if case.config is None:
        yield Finding("seeds", Status.SKIP, "The configuration that names them cannot be read.")
        return
    try:
        noted = (read_note(case.directory / SEEDS_NOTE) or "").split()
    except MeshError as error:
        yield Finding.of("seeds", error)
        return
    seeds = list(dict.fromkeys((*case.config.seeds, *noted)))
    if not seeds:
        yield Finding("seeds", Status.OK, "none named: the node waits for others to come")
        return
    with ThreadPoolExecutor(PROBES_AT_ONCE) as pool:
        silent = {seed: why for seed, why in zip(seeds, pool.map(_connect, seeds), strict=True) if why}
    if not silent:
        yield Finding("seeds", Status.OK, f"{', '.join(seeds)}: all take connections")
        return
    detail = "; ".join(f"{seed}: {why}" for seed, why in silent.items())
    meets_others = case.status is not None and case.status.members_alive > 1
    alone = len(silent) == len(seeds) and not meets_others
    hint = "Check the addresses, that those nodes run, and that TCP and UDP get through to them."
    yield Finding(
        "seeds", Status.FAIL if alone else Status.WARN, f"{len(silent)} of {len(seeds)} silent: {detail}", hint
    )


def _connect(address: str) -> str:
    """Why no TCP connection can be made to `host:port`; empty where one can."""
    try:
        host, port = parse_address(address)
        with socket.create_connection((ANY_ADDRESS.get(host, host), port), timeout=CONNECT_S_MAX):
            return ""
    except TimeoutError:
        return f"no answer within {CONNECT_S_MAX:g} s"
    except (OSError, ValueError) as error:
        return (error.strerror if isinstance(error, OSError) else None) or str(error)


def check_handlers(case: Case) -> Iterator[Finding]:
    """The program or module behind every handler and MCP server. Nothing of theirs is run."""
    if case.config is None:
        yield Finding("handlers", Status.SKIP, "The configuration that names them cannot be read.")
        return
    good = 0
    for finding in _handler_findings(case):
        good += finding.status is Status.OK
        if finding.status is not Status.OK:
            yield finding
    if good:
        yield Finding("handlers", Status.OK, f"{good} of {len(case.config.capabilities)} found where they should be")
    elif not case.config.capabilities:
        yield Finding("handlers", Status.OK, "none: this node does no work for the mesh")


def _handler_findings(case: Case) -> Iterator[Finding]:
    from meshnode.executors.process import closed_environment

    assert case.config is not None
    for name, handler in case.config.handlers.items():
        match handler:
            case ExecHandler():
                why, certain = _missing_program(handler.argv[0], handler.cwd, closed_environment(handler.env))
            case PythonHandler():
                roots = (handler.cwd, str(case.config.workdir), *_python_path(handler.env))
                why, certain = _missing_function(handler.target, roots), False
        yield _handler_finding(f"handler {name}", f"[handlers.{name}]", why, certain or case.workdir_chosen)
    for name, server in case.config.mcp_servers.items():
        why, certain = _missing_program(server.command, server.cwd, closed_environment(server.env))
        yield _handler_finding(f"MCP server {name}", f"[mcp_servers.{name}]", why, certain or case.workdir_chosen)


def _handler_finding(what: str, table: str, why: str, certain: bool) -> Finding:
    if not why:
        return Finding("handlers", Status.OK, what)
    hint = f"Correct {table}, or install what it names."
    if certain:
        return Finding("handlers", Status.FAIL, f"{what}: {why}", hint)
    hint += " Or set `workdir` in meshnode.toml: without it, the directory in which the node is started decides."
    return Finding("handlers", Status.WARN, f"{what}: {why}", hint)


def _missing_program(program: str, cwd: str, environment: dict[str, str]) -> tuple[str, bool]:
    """Why the program could not be started, empty where it could; and whether that is so in every directory."""
    if not os.path.isdir(cwd):
        return f"its working directory {cwd} does not exist.", False
    if os.sep in program:
        found = shutil.which(os.path.join(cwd, program))
    else:
        found = shutil.which(program, path=environment.get("PATH"))
    return ("" if found else f"there is no program {program}."), os.sep not in program


def _python_path(environment: dict[str, str]) -> Iterator[str]:
    """Where a worker's interpreter looks beyond the handler's own directories."""
    yield from filter(None, environment.get("PYTHONPATH", os.environ.get("PYTHONPATH", "")).split(os.pathsep))
    yield from (entry for entry in sys.path[1:] if entry)


def _missing_function(target: str, roots: Sequence[str]) -> str:
    """Why `module:function` would not be found below `roots`; empty where it would. Imports nothing."""
    module, _, function = target.partition(":")
    search: Sequence[str] | None = list(dict.fromkeys(roots))
    origin = None
    for part in module.split("."):
        spec = PathFinder.find_spec(part, search) if search is not None else None
        if spec is None:
            return f"there is no module {module} in {roots[0]} or {roots[1]}, nor among the installed ones."
        search = list(spec.submodule_search_locations) if spec.submodule_search_locations is not None else None
        origin = spec.origin
    if origin is None or not origin.endswith(".py") or _defines(Path(origin), function.partition(".")[0]):
        return ""
    return f"{origin} does not define {function}."


def _defines(path: Path, name: str) -> bool:
    """Whether a source file binds `name` at its top level, as far as reading it can tell."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return True  # the worker will say what is wrong with it, better than this could
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                if node.name == name:
                    return True
            case ast.Import() | ast.ImportFrom():
                if any(
                    alias.name == "*" or (alias.asname or alias.name).partition(".")[0] == name for alias in node.names
                ):
                    return True
            case ast.Expr():
                continue
            case _:
                if any(isinstance(inner, ast.Name) and inner.id == name for inner in ast.walk(node)):
                    return True
    return False


def check_database(case: Case) -> Iterator[Finding]:
    """The node's memory: a quick check of the file by SQLite itself, beside a daemon or without one."""
    from meshnode.storage import APPLICATION_ID, SCHEMA_VERSION

    path = DataDir(case.directory).database
    if not case.directory_usable or not path.exists():
        yield Finding("database", Status.OK, "none yet; the first start makes it")
        return
    restore = f"Restore {path} from a backup, or save what is left with `sqlite3 {path.name} .recover`."
    try:
        with closing(sqlite3.connect(_read_only(path), uri=True, timeout=CONNECT_S_MAX)) as connection:
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            faults = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
            rows = connection.execute("SELECT count(*) FROM records").fetchone()[0] if faults == ["ok"] else 0
    except sqlite3.Error as error:
        yield Finding("database", Status.FAIL, f"{path} cannot be read: {error}.", restore)
        return
    if application != APPLICATION_ID:
        hint = "Move it away, or name another data directory with --dir."
        yield Finding("database", Status.FAIL, f"{path} is a database of another program.", hint)
    elif version > SCHEMA_VERSION:
        hint = "Use the newer version; the file was left as it is."
        yield Finding("database", Status.FAIL, f"{path} was written by a newer meshnode (schema {version}).", hint)
    elif faults != ["ok"]:
        yield Finding("database", Status.FAIL, f"{path} is damaged: {'; '.join(faults)}.", restore)
    else:
        yield Finding("database", Status.OK, f"{path.name}: sound, {rows} records, {path.stat().st_size / 1e6:.1f} MB")


def _read_only(path: Path) -> str:
    """How to open the database without leaving a trace (sqlite.org/uri.html).

    Read-only, SQLite still makes files beside a database in WAL mode; told that nobody changes it, it makes none. That
    is so while no daemon runs and no WAL waits to be written back.
    """
    wal = path.with_name(path.name + "-wal")
    waiting = wal.exists() and wal.stat().st_size > 0
    still = not waiting and DataDir(path.parent).holder() is None
    return f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if still else ''}"
