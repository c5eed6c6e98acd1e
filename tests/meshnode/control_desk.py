"""A small daemon in memory, and clients that say anything: what the tests of the control socket share."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio
import trio.testing

from meshnode.calls import CallerCommand, CallerOutcome, CreateToken, Inspect, Inspection, Reload, Reloaded
from meshnode.control.server import serve_control
from meshnode.datadir import DataDir
from meshnode.errors import ExitCode, MeshError
from protocols.core import Refused
from protocols.detector.why import Why
from protocols.keyring.views import AddKey, KeysReport, ListKeys, RemoveKey, UseKey
from protocols.membership.event_views import AnswerQuery, AskQuery, ReadEvents, SendEvent
from protocols.membership.rtt import EstimateRtt
from protocols.membership.tagging import GetTags, NodeTags, SetTags
from protocols.membership.views import GetStatus, Leave, Left, ListMembers, MemberList
from protocols.tasks.task import Accepted, CancelTask, GetTask, ListTasks, Submit, TaskList, TaskState, TaskView
from protocols.tools import FindTools, ToolsFound

DEADLINE_S = 60.0


class Desk:
    """A small daemon in memory: takes tasks in, finishes them when told to, and lets callers wait."""

    def __init__(self) -> None:
        self.payloads: dict[str, str] = {}
        self.outputs: dict[str, str] = {}
        self.waiting = 0
        self.waits_cancelled = 0
        self.calls = 0
        self.submit_gate: trio.Event | None = None
        """Where set, submissions are durable only after it."""
        self._changed = trio.Event()

    def finish(self, task_id: str, output: str) -> None:
        self.outputs[task_id] = output
        self._announce()

    def _announce(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def until(self, attribute: str, value: int) -> None:
        with trio.fail_after(DEADLINE_S):
            while getattr(self, attribute) < value:
                await self._changed.wait()

    async def call(self, command: CallerCommand) -> CallerOutcome:
        self.calls += 1
        self._announce()
        match command:
            case Submit():
                if self.submit_gate is not None:
                    await self.submit_gate.wait()
                task_id = f"t{len(self.payloads)}"
                self.payloads[task_id] = command.payload
                self._announce()
                return Accepted(task_id, "n")
            case GetTask():
                return await self._get(command)
            case CancelTask():
                raise MeshError("already_final", "It has ended.", "Look at it.", retry_after_s=2.5)
            case CreateToken():
                raise MeshError("unknown", "The disk did not answer.", "Ask again.", ExitCode.UNKNOWN)
            case Leave():
                return Left(len(self.payloads))
            case ListMembers():
                return MemberList(())
            case ListTasks():
                return TaskList((), 0)
            case FindTools():
                return ToolsFound((), 0)
            case ListKeys() | AddKey() | UseKey() | RemoveKey():
                return KeysReport("list", "", True, (), ())
            case Inspect():
                return Inspection(1, "0", 0, "", {}, 0, 0, 0)
            case EstimateRtt():
                return Refused("rtt_unknown", "Not heard yet.", "Ask again.")
            case SendEvent() | ReadEvents() | AskQuery() | AnswerQuery():
                return Refused("starting", "Not yet.", "Wait.")
            case GetStatus() | Why():
                return Refused("starting", "Not yet.", "Wait.")
            case Reload():
                return Reloaded()
            case GetTags() | SetTags():
                return NodeTags({}, (), 1, 0)

    async def _get(self, command: GetTask) -> CallerOutcome:
        self.waiting += 1
        self._announce()
        try:
            with trio.move_on_after(command.wait_ms / 1000):
                while command.task_id not in self.outputs:
                    await self._changed.wait()
        except trio.Cancelled:
            self.waits_cancelled += 1
            raise
        finally:
            self.waiting -= 1
            self._announce()
        state = TaskState.SUCCEEDED if command.task_id in self.outputs else TaskState.RUNNING
        output = self.outputs.get(command.task_id, "")
        return TaskView(command.task_id, "h", "", state, 1, "n", "n", "n", output, "", 0, 0)


@contextmanager
def short_directory() -> Iterator[Path]:
    """A data directory whose path is short enough for a socket, however long the name of the test is."""
    with tempfile.TemporaryDirectory(prefix="mesh-") as directory:
        yield Path(directory)


@asynccontextmanager
async def serving(root: Path, desk: Desk) -> AsyncIterator[trio.CancelScope]:
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, DataDir(root).control_socket(serving=True), desk)
        yield nursery.cancel_scope
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def raw(root: Path) -> AsyncIterator[trio.SocketStream]:
    """A client that may say anything."""
    async with await trio.open_unix_socket(str(root / "control.sock")) as stream:
        with trio.fail_after(DEADLINE_S):
            yield stream


async def answer_line(stream: trio.SocketStream) -> dict[str, object]:
    """The next answer, read byte by byte so that none of the one behind it is lost."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = await stream.receive_some(1)
        assert byte, "the daemon closed the connection"
        line += byte
    document = json.loads(line)
    assert isinstance(document, dict)
    return document


def refusal_of(document: dict[str, object]) -> dict[str, object]:
    outcome = document["outcome"]
    assert isinstance(outcome, dict)
    assert outcome["type"] == "refused"
    return outcome
