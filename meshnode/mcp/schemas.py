"""What the tools take and give: the words of the MCP face, each described for the agent that reads them (DESIGN 9).

Arguments are bounded here and unknown ones are refused, so that a misspelt option is never silently dropped. Results
carry every field always: an agent may rely on the shape. Both become the JSON Schemas of `tools/list`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from meshnode.mcp.bounds import WAIT_SECONDS_MAX
from protocols.limits import (
    HANDLER_CHARS_MAX,
    KEY_CHARS_MAX,
    TAG_KEY_CHARS_MAX,
    TAG_VALUE_BYTES_MAX,
    TASK_ID_CHARS_MAX,
    TOOLS_PER_FRAME_MAX,
)
from protocols.membership.tagging import CHANGES_MAX
from protocols.tasks.task import MCP_PREFIX

TaskStateName = Literal["queued", "running", "succeeded", "failed", "cancelled", "dead"]
MemberStateName = Literal["alive", "suspect", "dead", "left"]

NAME_CHARS_MAX = 128
"""Names of nodes and tools in arguments (`protocols.tools.Short`)."""
SERVER_CHARS_MAX = HANDLER_CHARS_MAX - len(MCP_PREFIX)
QUERY_CHARS_MAX = 256
TIMEOUT_SECONDS_MAX = 7 * 24 * 3600
CALL_TIMEOUT_SECONDS_MAX = 24 * 3600
LIST_MAX = 500
TAG_CHARS_MAX = TAG_KEY_CHARS_MAX + 1 + TAG_VALUE_BYTES_MAX

_ANY_JSON: dict[str, Any] = {
    # Spelt out: agents that see an empty schema tend to send objects as strings of JSON.
    "anyOf": [{"type": kind} for kind in ("object", "array", "string", "number", "boolean", "null")]
}


def _object_from_text(value: Any) -> Any:
    """Some agents send a nested object as a string of JSON; where only an object is legal that is unambiguous."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


class Arguments(BaseModel):
    """Arguments of a tool."""

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    """Structured result of a tool."""


TaskIdArgument = Annotated[
    str,
    Field(min_length=1, max_length=TASK_ID_CHARS_MAX, description="Id of the task, as mesh_submit_task gave it."),
]
IdempotencyArgument = Annotated[
    str,
    Field(
        max_length=KEY_CHARS_MAX,
        description="Any text that is unique to this piece of work. Asking again with the same text gives the same "
        "task and runs nothing twice, so a retry after a lost answer is safe. Empty: every call is new work.",
    ),
]
ServerArgument = Annotated[
    str,
    Field(min_length=1, max_length=SERVER_CHARS_MAX, description="Name of the MCP server (see mesh_find_tools)."),
]
ToolArgument = Annotated[
    str, Field(min_length=1, max_length=NAME_CHARS_MAX, description="Name of the tool (see mesh_find_tools).")
]


class NoArguments(Arguments):
    """A tool that takes nothing."""


class ListMembersArguments(Arguments):
    handler: Annotated[
        str,
        Field(max_length=HANDLER_CHARS_MAX, description="Only members that can run this handler. Empty: all."),
    ] = ""
    state: Annotated[
        Literal["any", "alive", "suspect", "dead", "left"], Field(description="Only members in this state.")
    ] = "any"
    tag: Annotated[
        str,
        Field(
            max_length=TAG_CHARS_MAX,
            description="Only members with this tag: KEY (with any value) or KEY=VALUE. Empty: all.",
        ),
    ] = ""
    limit: Annotated[int, Field(ge=1, le=LIST_MAX, description="At most so many rows, alive members first.")] = 100


class SetTagsArguments(Arguments):
    set: Annotated[
        dict[str, str],
        BeforeValidator(_object_from_text),
        Field(
            max_length=CHANGES_MAX,
            description="Tags to set, as an object of keys and values; the value may be empty. A key is 1 to "
            f"{TAG_KEY_CHARS_MAX} of a-z, 0-9, - _ and dot.",
        ),
    ] = {}
    unset: Annotated[
        list[str], Field(max_length=CHANGES_MAX, description="Keys of tags to unset; what is not set is no error.")
    ] = []


class SubmitTaskArguments(Arguments):
    handler: Annotated[
        str,
        Field(
            min_length=1,
            max_length=HANDLER_CHARS_MAX,
            description="Which handler is to run: one of the names under `handlers` in mesh_list_members.",
        ),
    ]
    payload: Annotated[
        Any,
        WithJsonSchema(_ANY_JSON),
        Field(
            description="Input of the handler: any JSON value, given as itself and not as a string of JSON. "
            "At most 256 KiB and 32 levels deep."
        ),
    ] = None
    key: Annotated[
        str,
        Field(
            max_length=KEY_CHARS_MAX,
            description="Tasks with the same key go to the same node while the mesh stands. Empty: spread freely.",
        ),
    ] = ""
    idempotency_key: IdempotencyArgument = ""
    timeout_s: Annotated[
        float, Field(ge=0.001, le=TIMEOUT_SECONDS_MAX, description="Seconds that one run of the handler may take.")
    ] = 600.0
    wait_s: Annotated[
        float,
        Field(ge=0, le=WAIT_SECONDS_MAX, description="Seconds to wait for the task to end. 0: answer at once."),
    ] = 0.0


class TaskArguments(Arguments):
    task_id: TaskIdArgument


class WaitTaskArguments(Arguments):
    task_id: TaskIdArgument
    wait_s: Annotated[
        float, Field(ge=0, le=WAIT_SECONDS_MAX, description="Seconds to wait at most; it answers sooner if it can.")
    ] = 30.0


class ListTasksArguments(Arguments):
    states: Annotated[
        list[TaskStateName], Field(max_length=6, description="Only tasks in one of these states. Empty: all.")
    ] = []
    limit: Annotated[int, Field(ge=1, le=LIST_MAX, description="At most so many rows, newest first.")] = 50


class FindToolsArguments(Arguments):
    query: Annotated[
        str,
        Field(max_length=QUERY_CHARS_MAX, description="Words to look for in names and descriptions. Empty: all."),
    ] = ""
    server: Annotated[
        str, Field(max_length=SERVER_CHARS_MAX, description="Only tools of the MCP server of this name. Empty: all.")
    ] = ""
    limit: Annotated[int, Field(ge=1, le=TOOLS_PER_FRAME_MAX, description="At most so many tools.")] = 50


class DescribeToolArguments(Arguments):
    server: ServerArgument
    tool: ToolArgument


class CallToolArguments(Arguments):
    server: ServerArgument
    tool: ToolArgument
    arguments: Annotated[
        dict[str, Any],
        BeforeValidator(_object_from_text),
        Field(
            description="Arguments of the tool, as its input schema asks (mesh_describe_tool shows it). At most 256 "
            "KiB and 31 levels deep."
        ),
    ] = {}
    node: Annotated[
        str,
        Field(
            max_length=NAME_CHARS_MAX,
            description="Name or id of the node that is to run it. Refused where another node has a server of the "
            "same name, because the mesh might then choose that one. Empty: any node that has the server.",
        ),
    ] = ""
    idempotency_key: IdempotencyArgument = ""
    timeout_s: Annotated[
        float, Field(ge=0.001, le=CALL_TIMEOUT_SECONDS_MAX, description="Seconds that the tool itself may take.")
    ] = 300.0
    wait_s: Annotated[
        float,
        Field(
            ge=0,
            le=WAIT_SECONDS_MAX,
            description="Seconds to wait for the result. When it takes longer you get a task_id to wait on.",
        ),
    ] = 30.0


class Status(Answer):
    """The node that this agent talks to, and the mesh as it sees it."""

    node_id: Annotated[str, Field(description="Id of this node.")]
    name: Annotated[str, Field(description="Name of this node.")]
    mesh: Annotated[str, Field(description="Label of the mesh.")]
    address: Annotated[str, Field(description="host:port at which other nodes reach it.")]
    version: Annotated[str, Field(description="Version of meshnode.")]
    phase: Annotated[
        str, Field(description="starting, joining (no seed has answered yet), serving, or leaving the mesh.")
    ]
    uptime_s: Annotated[float, Field(description="Seconds since the node started.")]
    members_alive: Annotated[int, Field(description="Members that answer, this node included.")]
    members_suspect: Annotated[int, Field(description="Members that have stopped answering and may be down.")]
    members_dead: Annotated[int, Field(description="Members that are taken for dead.")]
    tasks_queued: Annotated[int, Field(description="Tasks taken in here that wait for a run.")]
    tasks_running: Annotated[int, Field(description="Tasks taken in here that run somewhere.")]
    tasks_finished: Annotated[int, Field(description="Tasks taken in here that have ended and are remembered.")]
    tasks_by_state: Annotated[dict[str, int], Field(description="The same tasks, counted by state.")]
    runs_active: Annotated[int, Field(description="Handlers that run on this node now, whoever asked.")]
    runs_waiting: Annotated[int, Field(description="Runs that wait for a free place on this node.")]
    handlers: Annotated[list[str], Field(description="Task handlers of this node.")]
    mcp_servers: Annotated[list[str], Field(description="MCP servers attached to this node.")]
    storage_error: Annotated[str, Field(description="Why this node cannot write to its disk; empty while all is well.")]


class Load(BaseModel):
    """How busy a member is, as it last said itself."""

    queued: Annotated[int, Field(description="Runs that wait for a free place on it.")]
    running: Annotated[int, Field(description="Handlers that run on it.")]
    capacity: Annotated[int, Field(description="Handlers that it runs at once.")]
    cpu: Annotated[float | None, Field(description="Of its processors, the part that is busy, 0 to 1; null: unknown.")]
    memory: Annotated[float | None, Field(description="Of its memory, the part in use, 0 to 1; null: unknown.")]
    age_s: Annotated[float, Field(description="Seconds since it said so: a hint, not how it stands now.")]


class Member(BaseModel):
    """One member of the mesh."""

    name: Annotated[str, Field(description="Name of the node.")]
    node_id: Annotated[str, Field(description="Id of the node.")]
    state: Annotated[str, Field(description="alive, suspect (does not answer), dead, or left.")]
    state_age_s: Annotated[float, Field(description="Seconds since that state was seen to begin.")]
    is_self: Annotated[bool, Field(description="True for the node that answers.")]
    address: Annotated[str, Field(description="host:port of the node.")]
    zone: Annotated[str, Field(description="Zone of the node, empty where none is set.")]
    handlers: Annotated[list[str], Field(description="Task handlers it runs: names for mesh_submit_task.")]
    mcp_servers: Annotated[list[str], Field(description="MCP servers attached to it: names for mesh_call_tool.")]
    load: Annotated[Load | None, Field(description="How busy it is; null where that is not known.")]
    rtt_ms: Annotated[
        float | None, Field(description="Round-trip time from this node to it, in ms; null where that is not known.")
    ]
    tags: Annotated[
        dict[str, str], Field(description="What its operator says of it, such as gpu (without a value) or cuda: 12.")
    ]


class NodeTags(Answer):
    """The tags of the node that answers."""

    tags: Annotated[dict[str, str], Field(description="All its tags, as every member comes to see them.")]
    changed: Annotated[
        list[str],
        Field(description="Keys that were set while it ran; the others are as its configuration says."),
    ]


class Members(Answer):
    """Members that matched."""

    members: Annotated[list[Member], Field(description="Alive members first.")]
    total: Annotated[int, Field(description="How many matched, the ones past `limit` included.")]


class TaskRow(BaseModel):
    """A task without its result."""

    task_id: Annotated[str, Field(description="Id of the task.")]
    handler: Annotated[str, Field(description="The handler that it runs.")]
    key: Annotated[str, Field(description="Its placement key, empty where none was given.")]
    state: Annotated[
        TaskStateName,
        Field(description="queued, running, succeeded, failed, cancelled, or dead (its workers died again and again)."),
    ]
    final: Annotated[bool, Field(description="True once the task has ended: nothing about it changes any more.")]
    attempt: Annotated[int, Field(description="How many times a run was started.")]
    node: Annotated[str, Field(description="Name of the node that runs or ran it; empty while it waits.")]
    detail: Annotated[str, Field(description="Why it failed, or what it waits for; empty where nothing is to say.")]
    run_s: Annotated[float, Field(description="Seconds that the last run took; 0 until it has ended.")]
    submitted_at: Annotated[str, Field(description="When it was submitted (UTC, ISO 8601); empty if not known.")]


class Task(TaskRow, Answer):
    """A task as it stands."""

    result: Annotated[
        Any,
        WithJsonSchema(_ANY_JSON),
        Field(description="What the handler returned (any JSON value); null until the task has succeeded."),
    ] = None
    next_step: Annotated[str, Field(description="What to do now; empty when there is nothing left to do.")] = ""


class SubmittedTask(Task):
    """A task that the mesh has taken in and will drive to one outcome."""

    existing: Annotated[
        bool, Field(description="True where the idempotency key named a task that was there already: nothing is new.")
    ] = False


class Tasks(Answer):
    """Tasks that matched."""

    tasks: Annotated[list[TaskRow], Field(description="Newest first, without results: mesh_get_task has those.")]
    total: Annotated[int, Field(description="How many matched, the ones past `limit` included.")]


class ToolRow(BaseModel):
    """One tool of one MCP server on one node."""

    server: Annotated[str, Field(description="MCP server that has the tool.")]
    tool: Annotated[str, Field(description="Name of the tool.")]
    description: Annotated[
        str, Field(description="What the server says about it, shortened: mesh_describe_tool has all of it.")
    ]
    node: Annotated[str, Field(description="Name of the node to which the server is attached.")]


class FoundTools(Answer):
    """Tools that matched."""

    tools: Annotated[list[ToolRow], Field(description="Tools that can be called with mesh_call_tool.")]
    total: Annotated[int, Field(description="How many matched, the ones past `limit` included.")]
    silent: Annotated[
        list[str], Field(description="Nodes with MCP servers that did not answer in time: their tools are not listed.")
    ]
    next_step: Annotated[str, Field(description="What to do now; empty when there is nothing to add.")]


class ToolDescription(Answer):
    """A tool, with what it takes."""

    server: Annotated[str, Field(description="MCP server that has the tool.")]
    tool: Annotated[str, Field(description="Name of the tool.")]
    description: Annotated[str, Field(description="What the server says about it.")]
    input_schema: Annotated[dict[str, Any], Field(description="JSON Schema of the tool's arguments.")]
    nodes: Annotated[list[str], Field(description="Names of the nodes that offer it.")]


class CalledTool(Answer):
    """What came of a call, or where to wait for it."""

    task_id: Annotated[str, Field(description="Id of the task that carries the call.")]
    final: Annotated[bool, Field(description="True: the tool has answered. False: it still runs; see next_step.")]
    state: Annotated[TaskStateName, Field(description="State of that task.")]
    node: Annotated[str, Field(description="Name of the node that runs or ran the tool; empty while it waits.")]
    content: Annotated[
        list[dict[str, Any]], Field(description="The tool's answer as MCP content blocks; empty until final.")
    ]
    detail: Annotated[str, Field(description="What the call waits for, if for anything but the tool itself.")]
    structured: Annotated[
        Any, WithJsonSchema(_ANY_JSON), Field(description="The tool's structured answer; null where it has none.")
    ]
    next_step: Annotated[str, Field(description="What to do now; empty when there is nothing left to do.")]
