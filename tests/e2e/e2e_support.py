"""Real daemons, real commands, and patience: what the end-to-end tests share.

- Nodes are processes (`scripts.localmesh`) below one short temporary directory; they are ended by process id when a
  mesh is given back, and a log with a traceback fails whoever used the mesh.
- Nothing waits by sleeping: `eventually` asks again until a deadline, bodies report by files (`e2e_bodies`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import trio

from meshnode.calls import CallerCommand, CreateToken, Inspect, Inspection, TokenCreated
from meshnode.errors import MeshError
from protocols.core import Outcome
from protocols.membership.views import GetStatus, ListMembers, MemberList, NodeStatus
from protocols.tasks.task import Accepted, GetTask, Submit, TaskView
from scripts.localmesh import LocalNode, form_mesh

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
DEADLINE_S = 120.0
COMMAND_S = 120.0
POLL_S = 0.02
LISTEN = ("--listen", "127.0.0.1:0")

T = TypeVar("T")
OutcomeT = TypeVar("OutcomeT", bound=Outcome)


def python_handler(name: str, function: str = "", *, concurrency: int = 4, **more: str) -> str:
    """TOML of a handler whose body is a function of `e2e_bodies` (or `module:function`)."""
    target = function if ":" in function else f"e2e_bodies:{function or name}"
    lines = [f"[handlers.{name}]", 'executor = "python"', f'target = "{target}"', f'cwd = "{HERE}"']
    lines += [f"concurrency = {concurrency}", *(f"{key} = {value}" for key, value in more.items())]
    return "\n".join(lines) + "\n"


def exec_handler(name: str, *argv: str) -> str:
    """TOML of a handler that runs a program."""
    return f'[handlers.{name}]\nexecutor = "exec"\nargv = {json.dumps(argv)}\n'


GATES = python_handler("gate", concurrency=16) + python_handler("echo")
FILES_SERVER = f"""\
[mcp_servers.files]
command = {json.dumps(sys.executable)}
args = ["-m", "examples.files_server", "--root", "examples"]
cwd = {json.dumps(str(REPOSITORY))}
concurrency = 4
"""


# Processes.


@contextmanager
def short_directory() -> Iterator[Path]:
    """A directory whose path is short enough for sockets, however long the name of the test is."""
    with tempfile.TemporaryDirectory(prefix="e2e-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@contextmanager
def nodes_in(root: Path, *names: str, toml: str = GATES, clean: bool = True) -> Iterator[list[LocalNode]]:
    """Configured nodes that have not been started. On the way out they are killed, and (`clean`) their logs looked at.

    A mesh whose test failed shows the ends of its logs.
    """
    nodes = [LocalNode(root / name, name, REPOSITORY) for name in names]
    for node in nodes:
        node.configure(toml)
    try:
        yield nodes
    except BaseException as error:
        for node in nodes:
            if node.log_path.exists():
                error.add_note(f"--- log of {node.name}\n{node.log_path.read_text(errors='replace')[-3000:]}")
        raise
    finally:
        for node in nodes:
            node.kill()
    if clean:
        for node in nodes:
            assert_clean_log(node)


@contextmanager
def mesh_of(*names: str, toml: str = GATES, flags: tuple[str, ...] = LISTEN) -> Iterator[list[LocalNode]]:
    """A running mesh that its members agree upon; for fixtures and tests that are not async themselves."""
    with short_directory() as root, nodes_in(root, *names, toml=toml) as nodes:
        trio.run(start_mesh, nodes, *flags)
        yield nodes


async def start_mesh(nodes: list[LocalNode], *flags: str) -> None:
    """Start founder and newcomers, and wait until all of them see each other."""
    await form_mesh(nodes, *(flags or LISTEN))
    await all_see(nodes, len(nodes))


def assert_clean_log(node: LocalNode) -> None:
    """The daemon met nothing that nobody foresaw."""
    if node.log_path.exists():
        text = node.log_path.read_text(errors="replace")
        for word in ("Traceback", "unforeseen", "Warning:", "InvariantViolation"):
            assert word not in text, f"log of {node.name}:\n{text[-3000:]}"


# Commands.


@dataclass(frozen=True)
class Run:
    """What a finished command has left."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document that is all of stdout."""
        assert self.out.count("\n") == 1, f"not one line on stdout: {self.out!r} (stderr: {self.err!r})"
        document = json.loads(self.out)
        assert isinstance(document, dict)
        return document

    def assert_told(self, status: int, *words: str) -> None:
        """It failed with `status`; stderr says what happened and what to do next, without a traceback."""
        told = f"status {self.status}\nstdout: {self.out}\nstderr: {self.err}"
        assert self.status == status, told
        error, _, next_step = self.err[self.err.find("error: ") :].partition("\nnext: ")
        assert error.startswith("error: "), told
        assert len(next_step.strip()) > 10, told
        assert "Traceback" not in self.err, told
        for word in words:
            assert word in self.err, f"{word!r} is missing: {told}"


def environment() -> dict[str, str]:
    """This process's, without what would lead a command to a node of its user's."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MESHNODE_", "XDG_"))}


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "meshnode", *map(str, arguments)]


async def meshnode(*arguments: str | Path, stdin: bytes = b"", argv: list[str] | None = None) -> Run:
    """Run one `meshnode` command to its end."""
    with trio.fail_after(COMMAND_S):
        done = await trio.run_process(
            argv or command(*arguments),
            stdin=stdin,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=environment(),
            cwd=REPOSITORY,
        )
    return Run(done.returncode, done.stdout.decode(), done.stderr.decode())


async def at(node: LocalNode, name: str, *arguments: str | Path, stdin: bytes = b"") -> Run:
    """A `meshnode` command at `node`, with --json."""
    return await meshnode(name, "--dir", node.directory, "--json", *arguments, stdin=stdin)


async def up(directory: Path, *arguments: str | Path, argv: list[str] | None = None) -> Run:
    """`meshnode up` that is expected to fail; it would be killed at the deadline otherwise."""
    return await meshnode("up", "--dir", directory, *LISTEN, *arguments, argv=argv)


# Asking nodes.


async def eventually(condition: Callable[[], Awaitable[T]], seconds: float = DEADLINE_S) -> T:
    """The first true answer of `condition`, asked again and again. A node that is away at the moment is no answer."""
    last: object = None
    with trio.move_on_after(seconds):
        while True:
            try:
                last = answer = await condition()
                if answer:
                    return answer
            except MeshError as error:
                last = error
            await trio.sleep(POLL_S)
    raise AssertionError(f"not within {seconds:g} s; the last answer was: {last!r}")


async def ask(node: LocalNode, wanted: type[OutcomeT], request: CallerCommand) -> OutcomeT:
    """The outcome of `request`, which must be a `wanted`."""
    with trio.fail_after(DEADLINE_S):
        outcome = await node.call(request)
    assert isinstance(outcome, wanted), outcome
    return outcome


async def status_of(node: LocalNode) -> NodeStatus:
    return await ask(node, NodeStatus, GetStatus())


async def drops_of(node: LocalNode) -> dict[str, int]:
    return (await ask(node, Inspection, Inspect())).drops


async def token_of(node: LocalNode, *, lifetime_s: float = 3600.0, uses: int = 1) -> str:
    return (await ask(node, TokenCreated, CreateToken(lifetime_s, uses))).token


async def states_seen(node: LocalNode) -> dict[str, str]:
    """Name to state, as `node` sees its mesh."""
    listed = await ask(node, MemberList, ListMembers())
    return {member.name: member.state for member in listed.members}


async def all_see(nodes: Iterable[LocalNode], alive: int) -> None:
    """Wait until every one of `nodes` sees so many live members."""
    for node in nodes:

        async def agreed(node: LocalNode = node) -> bool:
            return list((await states_seen(node)).values()).count("alive") == alive

        await eventually(agreed)


async def sees(node: LocalNode, other: str, state: str, seconds: float = DEADLINE_S) -> None:
    """Wait until `node` sees the member named `other` in `state`."""

    async def seen() -> bool:
        return (await states_seen(node)).get(other) == state

    await eventually(seen, seconds)


async def submit(node: LocalNode, handler: str, payload: object = None, **more: Any) -> str:
    """The id of a task that `node` has taken in."""
    return (await ask(node, Accepted, Submit(handler, json.dumps(payload), **more))).task_id


async def finished(node: LocalNode, task_id: str, seconds: float = DEADLINE_S) -> TaskView:
    """The task once it is final, however often `node` goes away meanwhile."""

    async def final() -> TaskView | None:
        outcome = await node.call(GetTask(task_id, wait_ms=2000))
        return outcome if isinstance(outcome, TaskView) and outcome.state.final else None

    task = await eventually(final, seconds)
    assert task is not None
    return task


async def on_node(nodes: list[LocalNode], worker: LocalNode, room: Room, via: LocalNode) -> str:
    """A gate task, taken in by `via`, whose body runs on `worker` right now."""
    for number in range(200):
        # A key of its own for each try: where the task goes is the ring's choice.
        task_id = await submit(via, "gate", room.payload, key=f"{room.path.name}-{number}")
        await room.started(1)
        view = await ask(via, TaskView, GetTask(task_id))
        if view.worker_name == worker.name:
            return task_id
        room.open()
        await finished(via, task_id)
        room.shut()
    raise AssertionError(f"the ring gives nothing to {worker.name}, of {[node.name for node in nodes]}")


class Room:
    """Where a `gate` body waits: see `e2e_bodies.gate`."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        self.payload = {"room": str(path)}

    @property
    def starts(self) -> list[int]:
        """The attempts with which the body was started, in order."""
        file = self.path / "starts"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    async def started(self, times: int, seconds: float = DEADLINE_S) -> None:
        async def enough() -> bool:
            return len(self.starts) >= times

        await eventually(enough, seconds)

    def open(self) -> None:
        (self.path / "open").touch()

    def shut(self) -> None:
        (self.path / "open").unlink()
        (self.path / "starts").unlink()


def living_children(pid: int) -> list[int]:
    """Processes below `pid`, by pid."""
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def is_alive(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def popen(*arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
    """A `meshnode` command that the test ends itself."""
    return subprocess.Popen(command(*arguments), env=environment(), cwd=REPOSITORY, **options)
