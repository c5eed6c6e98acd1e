"""Tasks: the states, what is kept on disk, and the words for asking about them.

A task is taken in by one node, its coordinator, whose disk holds it until one outcome is recorded. Its body is started
at least once, each start with a strictly growing attempt; the first outcome that the coordinator records is final
(DESIGN 6, first form: later the slot's replicas take the coordinator's place).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from msgspec import Meta

from protocols.core import Action, Command, Fact, NodeId, Outcome, Result, Stored
from protocols.limits import (
    DETAIL_CHARS_MAX,
    HANDLER_CHARS_MAX,
    KEY_CHARS_MAX,
    OUTPUT_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    TASK_ID_CHARS_MAX,
)

TaskId = Annotated[str, Meta(max_length=TASK_ID_CHARS_MAX)]
"""`<12 random base32 characters>.<first 8 characters of the coordinator's id>`: any node can tell whom to ask."""
HandlerName = Annotated[str, Meta(max_length=HANDLER_CHARS_MAX)]
Key = Annotated[str, Meta(max_length=KEY_CHARS_MAX)]
PayloadText = Annotated[str, Meta(max_length=PAYLOAD_BYTES_MAX)]
OutputText = Annotated[str, Meta(max_length=OUTPUT_BYTES_MAX)]
DetailText = Annotated[str, Meta(max_length=DETAIL_CHARS_MAX)]

MCP_PREFIX = "mcp:"
"""Handler `mcp:NAME` calls a tool of the attached MCP server NAME; payload {"tool": str, "arguments": object}."""


class TaskState(IntEnum):
    """Where a task stands. From SUCCEEDED on it is final."""

    QUEUED = 0
    RUNNING = 1
    SUCCEEDED = 2
    FAILED = 3
    CANCELLED = 4
    DEAD = 5

    @property
    def final(self) -> bool:
        return self >= TaskState.SUCCEEDED


class BodyStatus(IntEnum):
    """How one run of a body ended."""

    OK = 0
    ERROR = 1
    """The body itself failed: exception, nonzero exit status, tool error."""
    CRASHED = 2
    """The process that ran the body died under it."""
    TIMED_OUT = 3
    CANCELLED = 4
    OUTPUT_LIMIT = 5
    UNAVAILABLE = 6
    """The body could not be started: program missing, module not importable, MCP server down."""


# What is kept on disk: the spec never changes, the progress is rewritten.


class TaskSpec(Stored, frozen=True, tag="task"):
    """Key `task/<id>`: what was asked for."""

    task_id: TaskId
    handler: HandlerName
    payload: PayloadText
    key: Key
    idempotency_key: Key
    timeout_ms: int
    submitted_unix_ms: int


class TaskProgress(Stored, frozen=True, tag="progress"):
    """Key `progress/<id>`: how far it has come. `attempt` grows strictly and is durable before it is handed out."""

    task_id: TaskId
    state: TaskState
    attempt: int
    worker: NodeId
    worker_generation: int
    """The life of the worker that the attempt was given to: a restarted worker has lost it."""
    worker_deaths: int
    output: OutputText = ""
    detail: DetailText = ""
    run_ms: int = 0
    finished_order: int = 0
    """Grows with every task that this node records as finished: the order in which old ones are forgotten."""


# Commands and their outcomes.


class Submit(Command, frozen=True, tag="submit"):
    """Take a task in. Answered by `Accepted` once it is durable, or refused."""

    handler: HandlerName
    payload: PayloadText = "null"
    """JSON text."""
    key: Key = ""
    """Placement: tasks of one key go to one node while the mesh stands. Empty: the task's own id."""
    idempotency_key: Key = ""
    """Submitting again with the same one, at the same node, is the same task."""
    timeout_ms: Annotated[int, Meta(ge=1, le=7 * 24 * 3600 * 1000)] = 600_000
    """Bound on each run of the body."""
    submitted_unix_ms: int = 0


class GetTask(Command, frozen=True, tag="get_task"):
    """The task as it stands, or, with `wait_ms`, as soon as it is final (at latest when the wait is over)."""

    task_id: TaskId
    wait_ms: Annotated[int, Meta(ge=0, le=60_000)] = 0


class CancelTask(Command, frozen=True, tag="cancel_task"):
    """Record the task as cancelled and stop its body. Refused as `already_final` when it has ended."""

    task_id: TaskId


class ListTasks(Command, frozen=True, tag="list_tasks"):
    """Tasks that this node coordinates, newest first."""

    states: tuple[TaskState, ...] = ()
    limit: Annotated[int, Meta(ge=1, le=500)] = 50


class Accepted(Outcome, frozen=True, tag="accepted"):
    """The task is durable on its coordinator and will be driven to one outcome."""

    task_id: str
    coordinator: NodeId
    existing: bool = False
    """True where the idempotency key named a task that was there already."""


class TaskView(Outcome, frozen=True, tag="task"):
    """A task as its coordinator sees it."""

    task_id: str
    handler: str
    key: str
    state: TaskState
    attempt: int
    coordinator: NodeId
    worker: NodeId
    worker_name: str
    output: str
    """JSON text; empty until the task has succeeded."""
    detail: str
    """Why it failed, or what it waits for; empty when there is nothing to say."""
    run_ms: int
    submitted_unix_ms: int


class TaskList(Outcome, frozen=True, tag="tasks"):
    """Outcome of `ListTasks`. `output` is left out of the rows; `total` counts what matched."""

    tasks: tuple[TaskView, ...]
    total: int


# Actions and their results.


class RunBody(Action, frozen=True):
    """Run the body of a task. The executor gets the attempt as a token to hand on."""

    task_id: str
    attempt: int
    handler: str
    payload: str
    timeout_ms: int


class StopBody(Action, frozen=True):
    """Stop the run that `Perform(run, RunBody(…))` started; that run still ends in its own `Performed`."""

    run: int


class BodyEnded(Result, frozen=True):
    """`output` is JSON text (status OK), `detail` is for people (any other status)."""

    status: BodyStatus
    output: str = ""
    detail: str = ""
    run_ms: int = 0


class Stopped(Result, frozen=True):
    """Outcome of `StopBody`."""


# Facts.


class TaskAccepted(Fact, frozen=True, tag="task_accepted"):
    task_id: str
    handler: str


class RunStarted(Fact, frozen=True, tag="run_started"):
    """A worker starts a body."""

    task_id: str
    attempt: int
    handler: str


class TaskReassigned(Fact, frozen=True, tag="task_reassigned"):
    """The coordinator gives up on a run: `why` is `worker_dead`, `worker_left`, `worker_restarted`, `worker_lost_it`,
    `worker_stopped_it`, `lease_expired`, `refused` or `coordinator_restarted`."""

    task_id: str
    attempt: int
    worker: NodeId
    why: str


class TaskFinished(Fact, frozen=True, tag="task_finished"):
    """The one outcome is durable."""

    task_id: str
    state: TaskState
    attempt: int
    worker: NodeId
