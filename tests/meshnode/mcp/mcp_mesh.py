"""A small mesh in one process: real node cores, an in-memory store, bodies that are functions. For the tests of MCP.

What is real: everything that `protocols.node.Node` does, and the bytes between nodes. What is not: sockets, disks and
worker processes, which have tests of their own.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

import trio

from meshnode.calls import CallerCommand, CallerOutcome, CreateToken, Inspect
from protocols.config import HandlerSpec, NodeConfig
from protocols.core import (
    Endpoint,
    Event,
    Notify,
    Perform,
    Performed,
    Pledge,
    Received,
    Refused,
    Reply,
    Request,
    Save,
    Saved,
    SaveFailed,
    Send,
    Woke,
)
from protocols.membership.views import ListMembers, MemberList
from protocols.node import Node
from protocols.tasks.task import BodyEnded, BodyStatus, GetTask, RunBody, StopBody, Stopped
from protocols.tools import ListLocalTools, LocalTools, ToolInfo
from protocols.wire import decode_message, encode_message

Body = Callable[[object], Awaitable[object]]

ECHO_SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
}


class BodyFailed(Exception):
    """What a body raises to fail with exactly this detail."""


class InProcessNode:
    """A node core and its driver; a `meshnode.calls.Caller`."""

    def __init__(self, mesh: InProcessMesh, name: str, bodies: dict[str, Body], tools: tuple[ToolInfo, ...]) -> None:
        self.node_id = (name + "a" * 26)[:26]
        self.address = f"{name}:7000"
        self.bodies = bodies
        self.tools = tools
        self.disk_error = ""
        self.commands: list[CallerCommand] = []
        self.mesh = mesh
        seeds = tuple(node.address for node in mesh.nodes.values())
        handlers = tuple(HandlerSpec(handler, concurrency=64) for handler in bodies)
        config = NodeConfig(self.node_id, name, "test", self.address, seeds=seeds, handlers=handlers)
        self._core = Node(config, (), Random(name))
        self._replies: dict[int, tuple[trio.Event, list[CallerOutcome]]] = {}
        self._runs: dict[int, trio.CancelScope] = {}
        self._next_request = 0
        self._wake_at: int | None = None
        self._rearmed = trio.Event()

    async def call(self, command: CallerCommand) -> CallerOutcome:
        self.commands.append(command)
        if isinstance(command, CreateToken | Inspect):
            return Refused("not_here", "This is no daemon.")
        self._next_request += 1
        request_id = self._next_request
        answered = trio.Event()
        outcomes: list[CallerOutcome] = []
        self._replies[request_id] = (answered, outcomes)
        self.step(Request(request_id, command))
        await answered.wait()
        return outcomes[0]

    def step(self, event: Event) -> None:
        effects, self._wake_at = self._core.step(_now(), event)
        for effect in effects:
            if isinstance(effect, Save):
                if self.disk_error:
                    self.mesh.later(self.step, SaveFailed(effect.seq, self.disk_error))
                    continue
                for then in effect.then:
                    self._carry_out(then)
                self.mesh.later(self.step, Saved(effect.seq))
            else:
                self._carry_out(effect)
        self._core.check()
        self._rearmed.set()

    def _carry_out(self, effect: Send | Pledge | Perform | Reply | Notify) -> None:
        match effect:
            case Send() | Pledge():
                self.mesh.deliver(self, effect.to, encode_message(effect.message))
            case Reply():
                answered, outcomes = self._replies.pop(effect.request_id)
                outcomes.append(effect.outcome)  # type: ignore[arg-type]  # the core answers callers' commands only
                answered.set()
            case Perform():
                self.mesh.spawn(self._perform, effect)
            case Notify():
                pass

    async def _perform(self, perform: Perform) -> None:
        action = perform.action
        match action:
            case RunBody():
                with trio.CancelScope() as self._runs[perform.id]:
                    ended = await self._run(action)
                if self._runs.pop(perform.id).cancelled_caught:
                    ended = BodyEnded(BodyStatus.CANCELLED)
                self.step(Performed(perform.id, ended))
            case StopBody():
                if action.run in self._runs:
                    self._runs[action.run].cancel()
                self.step(Performed(perform.id, Stopped()))
            case ListLocalTools():
                query = action.query
                words = query.query.lower().split()
                found = tuple(
                    tool
                    for tool in self.tools
                    if query.server in ("", tool.server)
                    and query.tool in ("", tool.tool)
                    and all(word in f"{tool.tool} {tool.description}".lower() for word in words)
                )
                self.step(Performed(perform.id, LocalTools(found[: query.limit], len(found))))

    async def _run(self, action: RunBody) -> BodyEnded:
        try:
            with trio.fail_after(action.timeout_ms / 1000):
                output = await self.bodies[action.handler](json.loads(action.payload))
        except trio.TooSlowError:
            return BodyEnded(BodyStatus.TIMED_OUT, detail=f"it took longer than {action.timeout_ms} ms")
        except BodyFailed as error:
            return BodyEnded(BodyStatus.ERROR, detail=str(error))
        text = str(output) if isinstance(output, RawText) else json.dumps(output)
        return BodyEnded(BodyStatus.OK, text, run_ms=1)

    async def sees(self, count: int) -> None:
        """Return once this node has so many live members in its table."""
        while True:
            members = await self.call(ListMembers())
            if isinstance(members, MemberList) and sum(row.state == "alive" for row in members.members) == count:
                return
            await self._rearmed.wait()

    async def shows(self, name: str, tags: dict[str, str]) -> None:
        """Return once this node shows these tags of that member."""
        while True:
            members = await self.call(ListMembers())
            if isinstance(members, MemberList) and any((row.name, row.tags) == (name, tags) for row in members.members):
                return
            await self._rearmed.wait()

    async def waited_on(self) -> None:
        """Return once a caller waits for a task."""
        while not any(isinstance(command, GetTask) and command.wait_ms for command in self.commands):
            await self._rearmed.wait()

    async def run(self) -> None:
        """Wake the core when it wants to be."""
        self.step(Woke())
        while True:
            self._rearmed = trio.Event()
            delay_s = 3600.0 if self._wake_at is None else max(0.0, (self._wake_at - _now()) / 1e9)
            with trio.move_on_after(delay_s):
                await self._rearmed.wait()
                continue
            self.step(Woke())


class RawText(str):
    """Output of a body that is no JSON value to encode but the text itself."""


class InProcessMesh:
    """Nodes that reach each other at once and in order."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nodes: dict[str, InProcessNode] = {}
        self._nursery = nursery

    def spawn(self, work: Callable[[Perform], Awaitable[None]], perform: Perform) -> None:
        self._nursery.start_soon(work, perform)

    def spawn_call(self, node: InProcessNode, command: CallerCommand) -> None:
        """Let a caller of `node` wait for the outcome of `command`, which nobody looks at."""
        self._nursery.start_soon(node.call, command)

    def later(self, step: Callable[[Event], None], event: Event) -> None:
        trio.lowlevel.current_trio_token().run_sync_soon(step, event)

    def deliver(self, source: InProcessNode, to: Endpoint, data: bytes) -> None:
        for node in self.nodes.values():
            if node.address == to.address:
                received = Received(Endpoint(source.node_id, source.address), decode_message(data))
                self.later(node.step, received)

    async def start(self, name: str, bodies: dict[str, Body], tools: tuple[ToolInfo, ...] = ()) -> InProcessNode:
        node = InProcessNode(self, name, bodies, tools)
        self.nodes[name] = node
        self._nursery.start_soon(node.run)
        return node


@asynccontextmanager
async def two_nodes() -> AsyncIterator[tuple[InProcessNode, InProcessNode]]:
    """`alpha`, to which the agent talks, and `beta`, to which MCP server `files` is attached; they know each other."""
    async with trio.open_nursery() as nursery:
        mesh = InProcessMesh(nursery)
        alpha = await mesh.start("alpha", {"double": double, "keep": keep, "sleep": sleep, "fail": fail, "raw": raw})
        beta = await mesh.start("beta", {"mcp:files": call_files_tool}, FILES_TOOLS)
        with trio.fail_after(30):
            for node in (alpha, beta):
                await node.sees(len(mesh.nodes))
        alpha.commands.clear()
        yield alpha, beta
        nursery.cancel_scope.cancel()


async def keep(payload: object) -> object:
    return payload


async def double(payload: object) -> object:
    return payload * 2  # type: ignore[operator]  # whatever it is, as the handler's author would find out


async def sleep(payload: object) -> object:
    assert isinstance(payload, int | float)
    await trio.sleep(payload)
    return "rested"


async def fail(payload: object) -> object:
    raise BodyFailed(f"no luck with {payload}")


async def raw(payload: object) -> object:
    return RawText(payload)


async def call_files_tool(payload: object) -> object:
    """What `meshnode.executors.mcp` records of a call."""
    assert isinstance(payload, dict)
    arguments = payload["arguments"]
    match payload["tool"]:
        case "echo":
            return {
                "content": [
                    {"type": "text", "text": arguments["text"]},
                    {"type": "image", "data": "aGk=", "mimeType": "image/png"},
                ],
                "structured": {"echoed": arguments["text"]},
            }
        case "slow":
            await trio.sleep(arguments["seconds"])
            return {"content": [{"type": "text", "text": "at last"}], "structured": None}
        case _:
            raise BodyFailed("disk on fire")


FILES_TOOLS = (
    ToolInfo("", "", "files", "echo", "Say a text again.", json.dumps(ECHO_SCHEMA)),
    ToolInfo("", "", "files", "slow", "Answer after some seconds.", '{"type": "object"}'),
    ToolInfo("", "", "files", "burn", "Always fails.", "this is no schema"),
)


def _now() -> int:
    return int(trio.current_time() * 1e9)
