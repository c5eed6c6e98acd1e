"""A daemon in memory behind a real control socket, for the tests of commands: every kind of answer to be shown."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from msgspec.structs import replace

from meshnode.calls import CallerCommand, CallerOutcome, CreateToken, Inspect, Inspection, Reload, TokenCreated
from meshnode.control.server import serve_control
from meshnode.transport.traffic import Flow
from protocols.core import Refused, Unknown
from protocols.detector.why import Explanation, Finding, OwnFindings, SuspicionView, Teller, Why
from protocols.keyring.views import AddKey, KeysReport, ListKeys, RemoveKey, UseKey
from protocols.membership.event_views import (
    AnswerQuery,
    AnswerView,
    AskQuery,
    EventList,
    EventSent,
    EventView,
    QueryAnswered,
    QueryAnswers,
    ReadEvents,
    SendEvent,
)
from protocols.membership.rtt import COORDINATES, PROBES, EstimateRtt, RttEstimate, RttSummary, RttView
from protocols.membership.tagging import GetTags, NodeTags, SetTags
from protocols.membership.views import (
    GetStatus,
    Leave,
    Left,
    ListMembers,
    MemberList,
    MembershipStatus,
    MemberView,
    NodeStatus,
)
from protocols.membership.vitals import VitalsView
from protocols.tasks.task import Accepted, CancelTask, GetTask, ListTasks, Submit, TaskList, TaskState, TaskView
from protocols.tools import FindTools, ToolInfo, ToolsFound
from tests.meshnode.cli_runner import TIMEOUT_S, Run, command, environment

EVIL_NAME = "evil\x1b[31m\x07name"
NODE_ID = "a" * 26
CONFIGURED = {"cuda": "11"}
"""Tags of the small daemon's configuration."""
VITALS = VitalsView(2, 3, 4, 0.355, None, 1.5)


class Desk:
    """A daemon in memory. Handlers by name: `ok` succeeds, `bad` fails, `slow` never ends, `full` is refused."""

    def __init__(self) -> None:
        self.commands: list[CallerCommand] = []
        self.submitted: dict[str, Submit] = {}
        self.members: tuple[MemberView, ...] = (
            member("desk", "alive", is_self=True),
            replace(member(EVIL_NAME, "dead"), node_id=EVIL_ID),
        )
        self.tags: dict[str, str] = {}
        answers = (AnswerView(NODE_ID, EVIL_NAME, '{"open": 2}', 40), AnswerView(NODE_ID, "desk", "pong", 3))
        self.answers = QueryAnswers(answers, 2, 4, ("box", "shelf"))
        self.reloads: list[CallerOutcome] = []
        """What the next reloads come to."""
        self.waiting = trio.Event()
        """Set once a caller waits for a task that does not end."""

    async def call(self, command: CallerCommand) -> CallerOutcome:
        self.commands.append(command)
        match command:
            case Submit():
                return await self._submit(command)
            case GetTask():
                return await self._get(command)
            case CancelTask():
                return view(command.task_id, "slow", TaskState.CANCELLED, detail="cancelled by a caller")
            case ListTasks():
                rows = [view(task_id, submit.handler, TaskState.RUNNING) for task_id, submit in self.submitted.items()]
                return TaskList(tuple(rows[: command.limit]), len(rows))
            case ListMembers():
                return MemberList(self.members)
            case GetStatus():
                return NodeStatus(
                    NODE_ID, "desk", "home", "127.0.0.1:1", "0.1.0", 1, 2, 3.5, "serving", 1, 0, 1, 0, 2, 3,
                    {"running": 2, "succeeded": 3}, 1, 0, ("ok", "mcp:files"), "", 4,
                    MembershipStatus(3, 8, 2, 1, 400, 5, 390, 0.5, 0.00042, 0.0123, 256, 14, 13, 21, 6),
                    VITALS, RttSummary(4, 0.21, 1.5, 84.26, 0.4),
                )  # fmt: skip
            case Why(member="evil"):
                return EXPLANATION
            case Why():
                return Refused("unknown_member", "This node knows no such member.", "It knows: desk.")
            case EstimateRtt():
                return self._rtt(command)
            case Inspect():
                traffic = {"ack": Flow(395, 31_600, 5, 400), "ping": Flow(9, 720, 400, 1_234_567)}
                return Inspection(7, "0.1.0", 50_000_000, "", {"replay": 2}, 9, 4, 1, traffic, 0.25, 1.5, 2e9)
            case FindTools():
                found = ToolInfo(
                    NODE_ID, "desk", "files", "read_text", "Read a file.\nAll of it.", '{"type": "object"}'
                )
                return ToolsFound((found,), 1, ("shelf",))
            case ListKeys() | AddKey() | UseKey() | RemoveKey():
                return KeysReport("list", "", True, (), ())
            case SendEvent(name="lost"):
                return Unknown("Nobody answered.", "Ask again.")
            case SendEvent():
                return EventSent(8, 1, 3)
            case ReadEvents():
                return await self._events(command)
            case AskQuery():
                return self.answers
            case AnswerQuery():
                return QueryAnswered(command.query_id)
            case CreateToken():
                return TokenCreated("mesh1.secret", 2e9, command.uses)
            case Leave():
                return Left(3)
            case Reload():
                return self.reloads.pop(0)
            case SetTags(set={"full": _}):
                return Refused("too_many_tags", "That would be 25 tags.", "Unset some.")
            case SetTags():
                self.tags = {key: value for key, value in self.tags.items() if key not in command.unset} | command.set
                return NodeTags(dict(sorted({**CONFIGURED, **self.tags}.items())), tuple(sorted(self.tags)), 1, 2)
            case GetTags():
                return NodeTags(dict(sorted({**CONFIGURED, **self.tags}.items())), tuple(sorted(self.tags)), 1, 2)

    async def _events(self, command: ReadEvents) -> EventList:
        """Two at first, one more to who reads on, and then nothing any more."""
        event = EventView("event", "deployed", "v7\x1b[31m", NODE_ID, "desk", 8, 1, 61.0)
        query = EventView("query", "lunch?", "", NODE_ID, EVIL_NAME, 0, 1, 0.5, f"{NODE_ID}.1.1", 3.5)
        match command.after:
            case "":
                return EventList((event, query), "1-2", more=True, missed=False)
            case "1-2":
                return EventList((event,), "1-3", more=False, missed=True)
        self.waiting.set()
        await trio.sleep(command.wait_ms / 1000)
        return EventList((), command.after, more=False, missed=False)

    def _rtt(self, command: EstimateRtt) -> CallerOutcome:
        match command.a, command.b:
            case "near", "":
                rtt = RttView(0.2134, 0.015, PROBES, 3, 4.2)
            case "near", "far":
                rtt = RttView(184.4, 12.34, COORDINATES, 0, 61.0)
            case "near", "new":
                rtt = RttView(3.456, 9.5, COORDINATES, 0, 2.0)
            case _:
                return Refused("rtt_unknown", "Not heard yet.", "Ask again in a moment.", 20.0)
        return RttEstimate("desk" if not command.b else command.a, NODE_ID, command.b or "near", NODE_ID, rtt)

    async def _submit(self, command: Submit) -> CallerOutcome:
        match command.handler:
            case "full":
                return Refused("busy", "There is no room.", "Try again in a second.", 1.5)
            case "lost":
                return Unknown("Nobody answered.", "Ask again.")
            case "silent":
                self.waiting.set()
                await trio.sleep_forever()
        task_id = f"task-{len(self.submitted)}"
        self.submitted[task_id] = command
        return Accepted(task_id, NODE_ID)

    async def _get(self, command: GetTask) -> CallerOutcome:
        submitted = self.submitted.get(command.task_id)
        match submitted and submitted.handler:
            case None:
                return Refused("unknown_task", f"No node has a task {command.task_id!r}.", "Check the id.")
            case "ok":
                return view(command.task_id, "ok", TaskState.SUCCEEDED, output='{"big":12345678901234567890,"t":"ü"}')
            case "mcp:files":
                output = json.dumps({"content": [{"type": "text", "text": "hello\nworld"}], "isError": False})
                return view(command.task_id, "mcp:files", TaskState.SUCCEEDED, output=output)
            case "bad":
                return view(command.task_id, "bad", TaskState.FAILED, detail="it broke")
            case _:
                if command.wait_ms:
                    self.waiting.set()
                    await trio.sleep(command.wait_ms / 1000)
                return view(command.task_id, "slow", TaskState.RUNNING)


def view(task_id: str, handler: str, state: TaskState, *, output: str = "", detail: str = "") -> TaskView:
    return TaskView(task_id, handler, "", state, 1, NODE_ID, NODE_ID, "desk", output, detail, 12, 1_700_000_000_000)


def member(name: str, state: str, *, is_self: bool = False) -> MemberView:
    rtt = None if is_self else RttView(1.5, 0.1, PROBES, 2, 3.0)
    vitals = VITALS if is_self else None
    tags = {} if is_self else {".later": "1", "cuda": "12", "evil": "\x1b[31m\u202e", "gpu": ""}
    return MemberView(NODE_ID, name, "127.0.0.1:1", state, 1, 2, ("ok",), "", 1, 61.0, is_self, vitals, rtt, tags)


EVIL_ID, SHELF_ID = "e" * 26, "s" * 26
EVIL, SHELF, DESK = Teller(EVIL_ID, EVIL_NAME), Teller(SHELF_ID, "shelf"), Teller(NODE_ID, "desk")
EXPLANATION = Explanation(
    member=MemberView(EVIL_ID, EVIL_NAME, "h:1", "suspect", 1, 2, (), "", 1, 3.2),
    said_by=SHELF,
    own=OwnFindings(61.0, 4.2, 1.5, 2, (Teller("q" * 26, ""),), (SHELF,)),
    findings=(
        Finding(DESK, "silent", "suspect", 2, 61.0, 4.2, (SHELF, DESK), signed=True),
        Finding(SHELF, "silent", "dead", 2, -1.0, 9.0, ()),
    ),
    unheard=(EVIL,),
    suspicion=SuspicionView(True, (SHELF, DESK), 3.2, 11.0, 1),
    refused=(Teller("r" * 26, "rack\x1b[31m"),),
)


@asynccontextmanager
async def serving(root: Path, desk: Desk) -> AsyncIterator[trio.CancelScope]:
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, root / "control.sock", desk)
        yield nursery.cancel_scope
        nursery.cancel_scope.cancel()


async def meshnode(root: Path, *arguments: str, stdin: bytes = b"") -> Run:
    with trio.fail_after(TIMEOUT_S):
        done = await trio.run_process(
            command(*arguments, "--dir", root),
            stdin=stdin,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=environment(root),
        )
    return Run(done.returncode, done.stdout.decode(), done.stderr.decode())


async def interrupt(root: Path, desk: Desk, *arguments: str) -> Run:
    """Ctrl-C once the daemon has the command's question."""
    started = await trio.lowlevel.open_process(
        command(*arguments, "--dir", root), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(root)
    )
    assert started.stdout is not None
    assert started.stderr is not None
    with trio.fail_after(TIMEOUT_S):
        await desk.waiting.wait()
        started.send_signal(signal.SIGINT)
        out = b"".join([chunk async for chunk in started.stdout])
        err = b"".join([chunk async for chunk in started.stderr])
        return Run(await started.wait(), out.decode(), err.decode())
