"""What a caller is told when a task command can not be carried out: what happened, what it means, what to do next."""

from __future__ import annotations

from protocols.core import Refused
from protocols.limits import OPEN_TASKS_MAX, PAYLOAD_BYTES_MAX
from protocols.tasks.task import MCP_PREFIX


def unknown_task(task_id: str) -> Refused:
    return Refused(
        "unknown_task",
        f"No node has a task {task_id!r}.",
        "Check the id. A node forgets its oldest finished tasks once it holds many.",
    )


def storage_refusal(why: str) -> Refused:
    """Why nothing new is taken in while the disk fails."""
    return Refused(
        "storage_failed",
        f"This node can not write to its data directory: {why}.",
        "Nothing was taken in and nothing is lost. Free or repair the disk; the node goes on by itself.",
        retry_after_s=5.0,
    )


def unknown_handler(handler: str, known: list[str]) -> Refused:
    if handler.startswith(MCP_PREFIX):
        servers = [name[len(MCP_PREFIX) :] for name in known if name.startswith(MCP_PREFIX)]
        what = f"No node has an MCP server {handler[len(MCP_PREFIX) :]!r} attached."
        names, kind = servers, "MCP servers"
    else:
        what = f"No node offers a handler {handler!r}."
        names, kind = [name for name in known if not name.startswith(MCP_PREFIX)], "Handlers"
    listed = ", ".join(names) if names else "none yet"
    return Refused(
        "unknown_handler",
        what,
        f"{kind} in this mesh: {listed}. Add one to a node's meshnode.toml, then run `meshnode reload` there.",
    )


def payload_too_large() -> Refused:
    return Refused(
        "payload_too_large",
        f"The payload has more than {PAYLOAD_BYTES_MAX} bytes.",
        "Put the data in a file or a store that the handler can reach, and send its path or key.",
    )


def too_many_open() -> Refused:
    return Refused(
        "busy",
        f"This node already holds {OPEN_TASKS_MAX} unfinished tasks.",
        "Try again in a second, or submit through another node.",
        retry_after_s=1.0,
    )
