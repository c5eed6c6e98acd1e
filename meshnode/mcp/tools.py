"""The catalogue: what the tools of the mesh are called, what their texts tell an agent, and the server that has them.

The texts are the product here. Each says when to use the tool and what comes back; names are `mesh_<verb>_<noun>`, and
the hints are true for the worst thing that a call may do (a handler may do anything that the operator has set up).
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mcp.server.lowlevel.server import Server

from meshnode.calls import Caller
from meshnode.mcp import schemas, views
from meshnode.mcp.bodies import MeshTools
from meshnode.mcp.event_tools import event_specs
from meshnode.mcp.toolset import READS, Hints, ToolSpec, build_toolset

RUNS_ANYTHING = Hints(read_only=False, destructive=True, idempotent=False, open_world=True)
CHANGES_NODE = Hints(read_only=False, destructive=True, idempotent=True, open_world=False)
STOPS_WORK = Hints(read_only=False, destructive=True, idempotent=True, open_world=False)

INSTRUCTIONS = """\
You are connected to {where}, one node of a mesh of machines that run tasks and MCP tools for each other.
To call a tool of an MCP server on any machine: mesh_find_tools, mesh_describe_tool, mesh_call_tool.
To run a task handler: mesh_list_members shows the handlers, mesh_submit_task runs one, mesh_wait_task waits for it.
To tell or ask every node: mesh_send_event, mesh_query; mesh_read_events shows what others tell and ask.
An accepted task is kept on disk and driven to exactly one outcome, even when machines fail on the way.
Nothing waits longer than 50 s: what takes longer gives you a task_id to wait on.
Give work that must not be done twice an idempotency_key: then asking again after a lost answer is safe."""


def build_server(caller: Caller, *, node_name: str) -> Server[dict[str, Any]]:
    """The MCP server of a node, for any transport. `node_name` may be empty where it is not known (the bridge)."""
    where = f"node {node_name!r}" if node_name else "the node on this machine"
    tools = MeshTools(caller)
    return build_toolset(
        (*_mesh_specs(tools), *_task_specs(tools), *_remote_tool_specs(tools), *event_specs(caller)),
        name="meshnode",
        title=f"meshnode {node_name}".strip(),
        version=_version(),
        instructions=INSTRUCTIONS.format(where=where),
    )


def _mesh_specs(tools: MeshTools) -> tuple[ToolSpec[Any, Any], ...]:
    return (
        ToolSpec(
            name="mesh_get_status",
            title="Mesh status",
            description="How the mesh stands, seen from the node on this machine: how many members are alive, how many "
            "tasks wait, run and have ended, what this node can run, and whether its disk is well. Use it first, and "
            "whenever something seems stuck.",
            hints=READS,
            arguments=schemas.NoArguments,
            answer=schemas.Status,
            run=tools.get_status,
        ),
        ToolSpec(
            name="mesh_list_members",
            title="Mesh members",
            description="The nodes of the mesh: name, state, tags, which handlers and MCP servers each one has, how "
            "busy it is and how far away. Use it to learn which handlers mesh_submit_task can run and which nodes are "
            "up.",
            hints=READS,
            arguments=schemas.ListMembersArguments,
            answer=schemas.Members,
            run=tools.list_members,
        ),
        ToolSpec(
            name="mesh_set_tags",
            title="Set tags of this node",
            description="Say what the node on this machine is or can do, for every member to see: set and unset tags, "
            "all of them or none. They outlive restarts. Gives the tags as they are then; without arguments it only "
            "shows them. Use mesh_list_members with `tag` to find nodes by their tags.",
            hints=CHANGES_NODE,
            arguments=schemas.SetTagsArguments,
            answer=schemas.NodeTags,
            run=tools.set_tags,
        ),
    )


def _task_specs(tools: MeshTools) -> tuple[ToolSpec[Any, Any], ...]:
    return (
        ToolSpec(
            name="mesh_submit_task",
            title="Submit a task",
            description="Run a handler somewhere in the mesh. The task is on disk when this answers, and is driven to "
            "one outcome even if machines fail; it may be started more than once. You get a task_id; with wait_s you "
            "also get the result if it is there in time. A task that ends as failed is not an error of this call: look "
            "at `state`. For tools of MCP servers use mesh_call_tool instead.",
            hints=RUNS_ANYTHING,
            arguments=schemas.SubmitTaskArguments,
            answer=schemas.SubmittedTask,
            run=tools.submit_task,
        ),
        ToolSpec(
            name="mesh_get_task",
            title="Look at a task",
            description="A task as it stands now: state, which node runs it, and its result once it has succeeded. "
            "Answers at once; to wait for the end use mesh_wait_task.",
            hints=READS,
            arguments=schemas.TaskArguments,
            answer=schemas.Task,
            run=tools.get_task,
        ),
        ToolSpec(
            name="mesh_wait_task",
            title="Wait for a task",
            description="Wait until a task has ended, at most wait_s seconds, then give it as it stands. `final` says "
            "whether it has ended; while it is false call this again with the same task_id.",
            hints=READS,
            arguments=schemas.WaitTaskArguments,
            answer=schemas.Task,
            run=tools.wait_task,
        ),
        ToolSpec(
            name="mesh_cancel_task",
            title="Cancel a task",
            description="Record a task as cancelled and stop it where it runs. What it has done by then stays done. "
            "Gives the task; it is an error (already_final) when the task has ended before.",
            hints=STOPS_WORK,
            arguments=schemas.TaskArguments,
            answer=schemas.Task,
            run=tools.cancel_task,
        ),
        ToolSpec(
            name="mesh_list_tasks",
            title="List tasks",
            description="Tasks that the node on this machine has taken in, newest first, without their results. Use it "
            "to find a task_id again or to see what is still open.",
            hints=READS,
            arguments=schemas.ListTasksArguments,
            answer=schemas.Tasks,
            run=tools.list_tasks,
        ),
    )


def _remote_tool_specs(tools: MeshTools) -> tuple[ToolSpec[Any, Any], ...]:
    return (
        ToolSpec(
            name="mesh_find_tools",
            title="Find tools in the mesh",
            description="Tools of the MCP servers that are attached to live nodes of the mesh. Use it to learn what "
            "other machines can do for you; then mesh_describe_tool shows the arguments and mesh_call_tool calls it. "
            "Descriptions are the words of those servers.",
            hints=READS,
            arguments=schemas.FindToolsArguments,
            answer=schemas.FoundTools,
            run=tools.find_tools,
        ),
        ToolSpec(
            name="mesh_describe_tool",
            title="Describe a tool",
            description="One tool of an MCP server in the mesh, with the JSON Schema of its arguments and the nodes "
            "that offer it. Use it before the first mesh_call_tool.",
            hints=READS,
            arguments=schemas.DescribeToolArguments,
            answer=schemas.ToolDescription,
            run=tools.describe_tool,
        ),
        ToolSpec(
            name="mesh_call_tool",
            title="Call a tool in the mesh",
            description="Call a tool of an MCP server that is attached to any live node, and get the tool's answer. If "
            "it has not answered after wait_s you get final=false and a task_id for mesh_wait_task: the call goes on. "
            "A tool that fails is an error of this call. The call is a task: if a machine dies it may run again.",
            hints=RUNS_ANYTHING,
            arguments=schemas.CallToolArguments,
            answer=schemas.CalledTool,
            run=tools.call_tool,
            content=views.call_content,
        ),
    )


def _version() -> str:
    try:
        return version("meshnode")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
