"""From the mesh's answers to the agent's: pure functions from outcomes to the models of `schemas`.

They decide only how a thing is shown and what an agent is advised to do next about it; they ask nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from mcp_types import ContentBlock, TextContent
from pydantic import TypeAdapter, ValidationError

from meshnode.mcp import schemas
from meshnode.mcp.bounds import decode_json
from protocols.membership.tagging import NodeTags
from protocols.membership.tags import is_reserved
from protocols.membership.views import MemberView, NodeStatus
from protocols.tasks.task import MCP_PREFIX, TaskState, TaskView
from protocols.tools import ToolInfo, ToolsFound

_CONTENT_BLOCKS: TypeAdapter[list[ContentBlock]] = TypeAdapter(list[ContentBlock])

DESCRIPTION_SHOWN_CHARS = 400
"""Of a tool's description in a list; many tools with long ones would fill an agent's context."""

_STATES: dict[TaskState, schemas.TaskStateName] = {
    TaskState.QUEUED: "queued",
    TaskState.RUNNING: "running",
    TaskState.SUCCEEDED: "succeeded",
    TaskState.FAILED: "failed",
    TaskState.CANCELLED: "cancelled",
    TaskState.DEAD: "dead",
}
STATES_BY_NAME: dict[schemas.TaskStateName, TaskState] = {name: state for state, name in _STATES.items()}
assert len(_STATES) == len(TaskState)


def split_handlers(handlers: Iterable[str]) -> tuple[list[str], list[str]]:
    """Announced capabilities as (task handlers, MCP servers), each in the order announced."""
    plain: list[str] = []
    servers: list[str] = []
    for handler in handlers:
        if handler.startswith(MCP_PREFIX):
            servers.append(handler.removeprefix(MCP_PREFIX))
        else:
            plain.append(handler)
    return plain, servers


def show_status(status: NodeStatus) -> schemas.Status:
    handlers, servers = split_handlers(status.handlers)
    return schemas.Status(
        node_id=status.node_id,
        name=status.name,
        mesh=status.mesh,
        address=status.address,
        version=status.version,
        phase=status.phase,
        uptime_s=round(status.uptime_s, 3),
        members_alive=status.members_alive,
        members_suspect=status.members_suspect,
        members_dead=status.members_dead,
        tasks_queued=status.tasks_queued,
        tasks_running=status.tasks_running,
        tasks_finished=status.tasks_finished,
        tasks_by_state=status.tasks_by_state,
        runs_active=status.runs_active,
        runs_waiting=status.runs_waiting,
        handlers=handlers,
        mcp_servers=servers,
        storage_error=status.storage_error,
    )


def show_member(member: MemberView) -> schemas.Member:
    handlers, servers = split_handlers(member.handlers)
    vitals = member.vitals
    return schemas.Member(
        name=member.name,
        node_id=member.node_id,
        state=member.state,
        state_age_s=round(member.state_age_s, 3),
        is_self=member.is_self,
        address=member.address,
        zone=member.zone,
        handlers=handlers,
        mcp_servers=servers,
        load=None
        if vitals is None
        else schemas.Load(**{name: getattr(vitals, name) for name in schemas.Load.model_fields}),
        rtt_ms=None if member.rtt is None else member.rtt.ms,
        tags={key: value for key, value in member.tags.items() if not is_reserved(key)},
    )


def show_tags(tags: NodeTags) -> schemas.NodeTags:
    return schemas.NodeTags(tags=tags.tags, changed=list(tags.changed))


def show_row(task: TaskView) -> schemas.TaskRow:
    return schemas.TaskRow(
        task_id=task.task_id,
        handler=task.handler,
        key=task.key,
        state=_STATES[task.state],
        final=task.state.final,
        attempt=task.attempt,
        node=task.worker_name or task.worker,
        detail=task.detail,
        run_s=task.run_ms / 1000,
        submitted_at=_iso_time(task.submitted_unix_ms),
    )


def show_task(task: TaskView) -> schemas.Task:
    return schemas.Task(
        **show_row(task).model_dump(),
        result=decode_json(task.output) if task.output else None,
        next_step=advice(task),
    )


def advice(task: TaskView) -> str:
    """What an agent does about a task in this state; empty when it has what it wanted."""
    match task.state:
        case TaskState.QUEUED | TaskState.RUNNING:
            return f"Not finished: call mesh_wait_task with task_id {task.task_id}, or do something else meanwhile."
        case TaskState.SUCCEEDED:
            return ""
        case TaskState.FAILED:
            return (
                "It ended without a result: read `detail`. To try again, submit it anew with another idempotency_key."
            )
        case TaskState.CANCELLED:
            return "It was cancelled and runs no more. Submit it anew if it is still wanted."
        case TaskState.DEAD:
            return "Every node that ran it died under it: read `detail` and check the handler before you submit again."


def show_found(found: ToolsFound) -> schemas.FoundTools:
    steps = []
    if not found.tools:
        steps.append("Nothing matched: try fewer words, or none at all to see every tool.")
    elif found.total > len(found.tools):
        steps.append("There are more: ask with more words, a server, or a higher limit.")
    if found.silent:
        steps.append(f"{', '.join(found.silent)} did not answer in time: ask again for their tools.")
    return schemas.FoundTools(
        tools=[show_tool(tool) for tool in found.tools],
        total=found.total,
        silent=list(found.silent),
        next_step=" ".join(steps),
    )


def show_tool(tool: ToolInfo) -> schemas.ToolRow:
    description = tool.description
    if len(description) > DESCRIPTION_SHOWN_CHARS:
        description = description[: DESCRIPTION_SHOWN_CHARS - 1].rstrip() + "…"
    return schemas.ToolRow(
        server=tool.server, tool=tool.tool, description=description, node=tool.node_name or tool.node_id
    )


def show_description(offers: list[ToolInfo]) -> schemas.ToolDescription:
    """`offers`: the same tool on one node or more, not empty. The first one's words stand for all."""
    first = offers[0]
    schema = decode_json(first.input_schema) if first.input_schema else {}
    return schemas.ToolDescription(
        server=first.server,
        tool=first.tool,
        description=first.description,
        # A server that shows no usable schema is called at the agent's own risk; an object is all that is certain.
        input_schema=schema if isinstance(schema, dict) else {"type": "object"},
        nodes=[offer.node_name or offer.node_id for offer in offers],
    )


def show_call(task: TaskView) -> schemas.CalledTool:
    """A call of a remote tool: still under way, or succeeded."""
    blocks, structured = _remote_answer(task)
    return schemas.CalledTool(
        task_id=task.task_id,
        final=task.state.final,
        state=_STATES[task.state],
        node=task.worker_name or task.worker,
        content=[block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in blocks],
        structured=structured,
        detail=task.detail,
        next_step="" if task.state.final else f"{advice(task)} The tool's answer will be in its `result`.",
    )


def call_content(answer: schemas.CalledTool) -> list[ContentBlock]:
    """The remote tool's own content, or where there is none the answer as JSON text."""
    if answer.final and answer.content:
        return _CONTENT_BLOCKS.validate_python(answer.content)
    return [TextContent(type="text", text=answer.model_dump_json())]


def _remote_answer(task: TaskView) -> tuple[list[ContentBlock], object]:
    """The remote tool's content and structured content, as the MCP executor records them (`executors.mcp`).

    Any other output is shown as one text block.
    """
    if not task.output:
        return [], None
    value = decode_json(task.output)
    if isinstance(value, dict) and isinstance(value.get("content"), list):
        try:
            return _CONTENT_BLOCKS.validate_python(value["content"]), value.get("structured")
        except ValidationError:
            pass  # a newer kind of block: the text below has all of it
    return [TextContent(type="text", text=value if isinstance(value, str) else task.output)], None


def _iso_time(unix_ms: int) -> str:
    if unix_ms <= 0:
        return ""
    try:
        return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return ""  # another node's clock may say anything
