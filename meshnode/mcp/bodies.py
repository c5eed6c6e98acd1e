"""What each tool of the mesh does: arguments in, commands to the node, an answer of `schemas` out (DESIGN 9).

Rules:

- A submission that the mesh has accepted is always answered with its task id, whatever fails after that.
- A remote tool that fails is a failure here; one that takes longer than the wait is a success that says where to wait.
- Whoever names a server or a tool that is not there is told which ones are; for handlers the mesh itself says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import anyio

from meshnode.calls import Caller
from meshnode.mcp import schemas, views
from meshnode.mcp.bounds import ANSWER_SECONDS, CALL_SECONDS_MAX, UnfitJson, encode_json
from meshnode.mcp.toolset import Mesh, NoAnswer, ToolFailure
from protocols.membership.tagging import NodeTags, SetTags
from protocols.membership.tags import BadTags, has_tag, parse_wanted
from protocols.membership.views import GetStatus, ListMembers, MemberList, MemberView, NodeStatus
from protocols.tasks.task import (
    MCP_PREFIX,
    Accepted,
    CancelTask,
    GetTask,
    ListTasks,
    Submit,
    TaskList,
    TaskState,
    TaskView,
)
from protocols.tools import FindTools, ToolsFound

NAMES_SHOWN_MAX = 40
"""Names that an error lists before it says how many more there are."""


class Patience:
    """How long one call waits for a task, and until when the answer of that wait must be here."""

    def __init__(self, wait_s: float) -> None:
        start = anyio.current_time()
        self._until = start + min(wait_s, CALL_SECONDS_MAX - 2 * ANSWER_SECONDS)
        self._end = start + CALL_SECONDS_MAX - ANSWER_SECONDS / 4

    @property
    def wait_ms(self) -> int:
        """What is left of the wait, in milliseconds."""
        return max(0, int((self._until - anyio.current_time()) * 1000))

    @property
    def answer_by(self) -> float:
        """When to give the answer up, on the clock of the event loop."""
        return min(max(anyio.current_time(), self._until) + ANSWER_SECONDS, self._end)


class MeshTools:
    """The bodies of the tools. Every method raises `ToolFailure` where it cannot do what it says."""

    def __init__(self, caller: Caller) -> None:
        self._mesh = Mesh(caller)

    async def get_status(self, _: schemas.NoArguments) -> schemas.Status:
        return views.show_status(await self._mesh.ask(GetStatus(), NodeStatus))

    async def list_members(self, arguments: schemas.ListMembersArguments) -> schemas.Members:
        wanted = _wanted_tag(arguments.tag)
        members = [
            member
            for member in await self._members()
            if arguments.state in ("any", member.state)
            and (not arguments.handler or arguments.handler in member.handlers)
            and (wanted is None or has_tag(member.tags, wanted))
        ]
        return schemas.Members(
            members=[views.show_member(member) for member in members[: arguments.limit]], total=len(members)
        )

    async def set_tags(self, arguments: schemas.SetTagsArguments) -> schemas.NodeTags:
        return views.show_tags(await self._mesh.ask(SetTags(arguments.set, tuple(arguments.unset)), NodeTags))

    async def submit_task(self, arguments: schemas.SubmitTaskArguments) -> schemas.SubmittedTask:
        patience = Patience(arguments.wait_s)
        accepted = await self._submit(
            Submit(
                handler=arguments.handler,
                payload=_fit(lambda: encode_json(arguments.payload, what="payload")),
                key=arguments.key,
                idempotency_key=arguments.idempotency_key,
                timeout_ms=_milliseconds(arguments.timeout_s),
                submitted_unix_ms=_unix_ms(),
            )
        )
        task = views.show_task(await self._follow(accepted, arguments.handler, arguments.key, patience))
        return schemas.SubmittedTask(**task.model_dump(), existing=accepted.existing)

    async def get_task(self, arguments: schemas.TaskArguments) -> schemas.Task:
        return views.show_task(await self._mesh.ask(GetTask(task_id=arguments.task_id), TaskView))

    async def wait_task(self, arguments: schemas.WaitTaskArguments) -> schemas.Task:
        command = GetTask(task_id=arguments.task_id, wait_ms=Patience(arguments.wait_s).wait_ms)
        return views.show_task(await self._mesh.ask(command, TaskView))

    async def cancel_task(self, arguments: schemas.TaskArguments) -> schemas.Task:
        return views.show_task(await self._mesh.ask(CancelTask(task_id=arguments.task_id), TaskView))

    async def list_tasks(self, arguments: schemas.ListTasksArguments) -> schemas.Tasks:
        states = tuple(views.STATES_BY_NAME[name] for name in dict.fromkeys(arguments.states))
        found = await self._mesh.ask(ListTasks(states=states, limit=arguments.limit), TaskList)
        return schemas.Tasks(tasks=[views.show_row(task) for task in found.tasks], total=found.total)

    async def find_tools(self, arguments: schemas.FindToolsArguments) -> schemas.FoundTools:
        command = FindTools(query=arguments.query, server=arguments.server, limit=arguments.limit)
        return views.show_found(await self._mesh.ask(command, ToolsFound))

    async def describe_tool(self, arguments: schemas.DescribeToolArguments) -> schemas.ToolDescription:
        found = await self._mesh.ask(FindTools(server=arguments.server, tool=arguments.tool), ToolsFound)
        offers = [tool for tool in found.tools if (tool.server, tool.tool) == (arguments.server, arguments.tool)]
        if offers:
            return views.show_description(offers)
        await self._holders(arguments.server)
        others = await self._mesh.ask(FindTools(server=arguments.server), ToolsFound)
        silent = f" {', '.join(found.silent)} did not answer in time." if found.silent else ""
        raise ToolFailure(
            "no_such_tool",
            f"MCP server {arguments.server!r} shows no tool named {arguments.tool!r}.{silent} "
            f"It has: {_names(tool.tool for tool in others.tools)}",
            "Use one of those names, or look for a tool with mesh_find_tools",
        )

    async def call_tool(self, arguments: schemas.CallToolArguments) -> schemas.CalledTool:
        patience = Patience(arguments.wait_s)
        payload = _fit(
            lambda: encode_json({"tool": arguments.tool, "arguments": arguments.arguments}, what="arguments")
        )
        if arguments.node:
            _require_only(arguments.node, arguments.server, await self._holders(arguments.server))
        handler = MCP_PREFIX + arguments.server
        accepted = await self._submit(
            Submit(
                handler=handler,
                payload=payload,
                idempotency_key=arguments.idempotency_key,
                timeout_ms=_milliseconds(arguments.timeout_s),
                submitted_unix_ms=_unix_ms(),
            )
        )
        task = await self._follow(accepted, handler, "", patience)
        if not task.state.final or task.state is TaskState.SUCCEEDED:
            return views.show_call(task)
        node = task.worker_name or task.worker or "no node"
        raise ToolFailure(
            f"tool_{task.state.name.lower()}",
            f"Tool {arguments.tool!r} of MCP server {arguments.server!r} gave no result (task {task.task_id}, "
            f"on {node}): {task.detail or task.state.name.lower()}",
            "mesh_find_tools shows which tools there are, mesh_describe_tool what this one takes; then call it again"
            + (" with another idempotency_key" if arguments.idempotency_key else ""),
        )

    async def _members(self) -> tuple[MemberView, ...]:
        return (await self._mesh.ask(ListMembers(), MemberList)).members

    async def _submit(self, command: Submit) -> Accepted:
        """Hand the task in. The mesh refuses a handler or server that it does not know, and says which ones it has."""
        try:
            return await self._mesh.ask(command, Accepted)
        except NoAnswer as failure:
            if not command.idempotency_key:
                failure.next_step = (
                    "Look with mesh_list_tasks whether it was taken in before you submit it again; with an "
                    "idempotency_key, asking again would be safe"
                )
            raise

    async def _follow(self, accepted: Accepted, handler: str, key: str, patience: Patience) -> TaskView:
        """The accepted task, as soon as it is final or when patience has run out. Never loses the task id."""
        try:
            with anyio.fail_after(patience.answer_by - anyio.current_time()):
                return await self._mesh.ask(GetTask(task_id=accepted.task_id, wait_ms=patience.wait_ms), TaskView)
        except (ToolFailure, TimeoutError) as error:
            why = error.message if isinstance(error, ToolFailure) else "no answer in time"
            return TaskView(
                task_id=accepted.task_id,
                handler=handler,
                key=key,
                state=TaskState.QUEUED,
                attempt=0,
                coordinator=accepted.coordinator,
                worker="",
                worker_name="",
                output="",
                detail=f"The task is accepted. How it stands now could not be read: {why}",
                run_ms=0,
                submitted_unix_ms=0,
            )

    async def _holders(self, server: str) -> list[MemberView]:
        """Live members to which MCP server `server` is attached. Raises `ToolFailure` where there is none."""
        live = [member for member in await self._members() if _is_live(member)]
        holders = [member for member in live if MCP_PREFIX + server in member.handlers]
        if holders:
            return holders
        servers = {name for member in live for name in views.split_handlers(member.handlers)[1]}
        raise ToolFailure(
            "no_such_server",
            f"No live node has an MCP server named {server!r}. There are: {_names(sorted(servers))}",
            "Use one of those names, or see with mesh_list_members whether the node that has it is down",
        )


def _wanted_tag(text: str) -> tuple[str, str | None] | None:
    try:
        return parse_wanted(text) if text else None
    except BadTags as bad:
        raise ToolFailure(bad.code, f"Nothing was looked for. {bad.message}", bad.next_step) from None


def _is_live(member: MemberView) -> bool:
    return member.state in ("alive", "suspect")


def _require_only(node: str, server: str, holders: list[MemberView]) -> None:
    """Refuse unless the node called `node` is the one that would run a tool of `server`."""
    names = _names(member.name for member in holders)
    if not any(node in (member.name, member.node_id) for member in holders):
        raise ToolFailure(
            "not_on_node",
            f"Nothing was run: MCP server {server!r} is not attached to {node!r}. It is attached to {names}",
            "Name one of those nodes, or leave `node` out",
        )
    if len(holders) > 1:
        raise ToolFailure(
            "cannot_pin",
            f"Nothing was run: MCP server {server!r} is attached to {names}, and the mesh chooses among them itself",
            "Leave `node` out, or have the servers given different names in the nodes' meshnode.toml",
        )


def _fit(encode: Callable[[], str]) -> str:
    try:
        return encode()
    except UnfitJson as error:
        raise ToolFailure(
            "unfit_payload", f"Nothing was done: {error}", "Send less, or a path or URL that the other side can read"
        ) from error


def _names(names: Iterable[str]) -> str:
    listed = list(dict.fromkeys(names))
    if not listed:
        return "none"
    more = len(listed) - NAMES_SHOWN_MAX
    return ", ".join(listed[:NAMES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000
