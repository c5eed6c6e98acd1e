"""Commands about work: tasks, and tools of MCP servers anywhere in the mesh. Names, options and help; no work."""

from __future__ import annotations

from typing import Annotated

import typer

from meshnode.cli.app import AsJson, Directory, app, data_directory
from meshnode.cli.present import present

TaskId = Annotated[str, typer.Argument(metavar="ID", help="Id of the task, as `meshnode submit` printed it.")]
Wait = Annotated[
    str | None,
    typer.Option("--wait", metavar="S", help="Wait so long for it to end: 30, 90s, 10m.", show_default=False),
]
Timeout = Annotated[
    str, typer.Option("--timeout", metavar="S", help="Bound on each run of the body: 30, 90s, 10m, up to 7d.")
]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key",
        metavar="K",
        help="Submitting again with the same K, on this node, is the same task.",
        show_default="a random one",
    ),
]

SUBMIT_HELP = """Give a task to the mesh.

HANDLER says what is to be done: a name from a node's meshnode.toml (`meshnode members` shows all). The task is safe on
this node's disk before the command answers. It then runs on a node that offers the handler, is started again elsewhere
if that node dies, and gets exactly one recorded result.

\b
Examples:
  meshnode submit wordcount --payload '{"path": "README.md"}' --wait 30
  meshnode submit checksum --payload @request.json
  echo '{"path": "README.md"}' | meshnode submit checksum --payload -

With --wait the exit status is 0 only if it succeeded; 4 if it still runs when the wait is over.

Next: `meshnode task ID --wait 60` for the result, `meshnode cancel ID` to stop it.
"""


@app.command("submit", help=SUBMIT_HELP, short_help="Give a task to the mesh.")
def submit(
    handler: Annotated[str, typer.Argument(metavar="HANDLER", help="What is to be done.")],
    payload: Annotated[
        str, typer.Option("--payload", metavar="JSON|@FILE|-", help="Input of the handler; - reads stdin.")
    ] = "null",
    key: Annotated[
        str,
        typer.Option("--key", metavar="K", help="Tasks of one key go to one node.", show_default="spread freely"),
    ] = "",
    idempotency_key: IdempotencyKey = None,
    timeout: Timeout = "10m",
    wait: Wait = None,
    directory: Directory = None,
    as_json: AsJson = False,
) -> int:
    from meshnode.cli import task_work

    request = task_work.SubmitRequest(handler, payload, key, idempotency_key, timeout, wait)
    return present(as_json, lambda: task_work.submit(data_directory(directory), request))


TASK_HELP = """Show one task: its state, where it ran, and its result.

States: queued, running, succeeded, failed, cancelled, dead (its workers died under it, time and again). Any node can be
asked; the id tells which one keeps the task.

\b
Examples:
  meshnode task k3v7…
  meshnode task k3v7… --wait 10m
  meshnode task k3v7… --json | jq .output

With --wait the exit status is 0 only if it succeeded; 4 if it still runs when the wait is over.
"""


@app.command("task", help=TASK_HELP, short_help="Show one task, or wait for its result.")
def task(task_id: TaskId, wait: Wait = None, directory: Directory = None, as_json: AsJson = False) -> int:
    from meshnode.cli import task_work

    return present(as_json, lambda: task_work.task(data_directory(directory), task_id, wait))


TASKS_HELP = """List tasks that this node took in, newest first.

\b
Examples:
  meshnode tasks
  meshnode tasks --state queued --state running
  meshnode tasks --state failed --limit 500 --json

Next: `meshnode task ID` shows one with its result.
"""


@app.command("tasks", help=TASKS_HELP, short_help="List tasks that this node took in.")
def tasks(
    state: Annotated[
        list[str] | None,
        typer.Option("--state", metavar="STATE", help="Only tasks in this state; may be given several times."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=500, help="At most so many.")] = 50,
    directory: Directory = None,
    as_json: AsJson = False,
) -> int:
    from meshnode.cli import task_work

    return present(as_json, lambda: task_work.tasks(data_directory(directory), tuple(state or ()), limit))


CANCEL_HELP = """Cancel a task: it is recorded as cancelled, and its body is stopped where it runs.

\b
Example:
  meshnode cancel k3v7…

A task that has ended stays as it is (exit status 1).

Next: `meshnode task ID` shows how it stands.
"""


@app.command("cancel", help=CANCEL_HELP, short_help="Cancel a task.")
def cancel(task_id: TaskId, directory: Directory = None, as_json: AsJson = False) -> int:
    from meshnode.cli import task_work

    return present(as_json, lambda: task_work.cancel(data_directory(directory), task_id))


TOOLS_HELP = """Find tools of the MCP servers that are attached to any live node.

QUERY is words of a tool's name or description; without it, all are listed.

\b
Examples:
  meshnode tools
  meshnode tools read file
  meshnode tools --server files --tool read_text     with the schema of its arguments

Next: `meshnode call SERVER TOOL --arguments JSON` calls one.
"""


@app.command("tools", help=TOOLS_HELP, short_help="Find MCP tools anywhere in the mesh.")
def tools(
    query: Annotated[
        list[str] | None, typer.Argument(metavar="QUERY", help="Words to look for.", show_default=False)
    ] = None,
    server: Annotated[
        str, typer.Option("--server", metavar="NAME", help="Only tools of this MCP server.", show_default=False)
    ] = "",
    tool: Annotated[
        str, typer.Option("--tool", metavar="NAME", help="Only this tool, with its schema.", show_default=False)
    ] = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=256, help="At most so many.")] = 50,
    directory: Directory = None,
    as_json: AsJson = False,
) -> int:
    from meshnode.cli import task_work

    return present(
        as_json, lambda: task_work.tools(data_directory(directory), " ".join(query or ()), server, tool, limit)
    )


CALL_HELP = """Call a tool of an MCP server that is attached to some node, wherever that is.

The call is a task like any other: it is driven to one result, and survives the loss of a node if another has the same
server. Its answer is printed as the tool gave it.

\b
Examples:
  meshnode call files read_text --arguments '{"path": "README.md"}'
  meshnode call files read_text --arguments @arguments.json --wait 10m

Exit status 0 only if the tool succeeded; 4 if it still runs when the wait is over (`meshnode task ID` goes on waiting).
"""


@app.command("call", help=CALL_HELP, short_help="Call an MCP tool anywhere in the mesh.")
def call(
    server: Annotated[str, typer.Argument(metavar="SERVER", help="Name of the MCP server (`meshnode tools`).")],
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="Name of the tool.")],
    arguments: Annotated[
        str, typer.Option("--arguments", metavar="JSON|@FILE|-", help="Object of arguments; - reads stdin.")
    ] = "{}",
    idempotency_key: IdempotencyKey = None,
    timeout: Timeout = "5m",
    wait: Annotated[str, typer.Option("--wait", metavar="S", help="Wait so long for the answer.")] = "60s",
    directory: Directory = None,
    as_json: AsJson = False,
) -> int:
    from meshnode.cli import task_work

    request = task_work.CallRequest(server, tool, arguments, idempotency_key, timeout, wait)
    return present(as_json, lambda: task_work.call(data_directory(directory), request))
