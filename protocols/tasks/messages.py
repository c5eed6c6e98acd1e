"""What coordinators and workers say to each other. All of it travels on streams.

Coordinator to worker: `Assign` (a durable attempt), `CheckRuns`, `Concluded`. Worker to coordinator: `RunStates`,
`RunRefused`, `RunEnded` (repeated on every check until it is concluded). `Ask` and `Answer` carry a caller's command to
the node that can answer it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from protocols.core import Promise, Refused, Statement, Unknown
from protocols.limits import TASKS_PER_FRAME_MAX
from protocols.tasks.task import (
    BodyStatus,
    CancelTask,
    DetailText,
    GetTask,
    HandlerName,
    OutputText,
    PayloadText,
    TaskId,
    TaskView,
)
from protocols.tools import LocalToolsFor, ToolsFound

Attempt = Annotated[int, Meta(ge=1, lt=1 << 31)]
Millis = Annotated[int, Meta(ge=0, lt=1 << 48)]
AskId = Annotated[int, Meta(ge=0, lt=1 << 62)]


class Standing(IntEnum):
    """What a worker knows of a run."""

    UNKNOWN = 0
    WAITING = 1
    RUNNING = 2


class RefusalCode(IntEnum):
    """Why a worker does not take a run."""

    BUSY = 0
    NO_HANDLER = 1
    LEAVING = 2


class RunRef(Struct, frozen=True, array_like=True, gc=False):
    task_id: TaskId
    attempt: Attempt


class RunState(Struct, frozen=True, array_like=True, gc=False):
    task_id: TaskId
    attempt: Attempt
    standing: Standing


class Assign(Promise, frozen=True, array_like=True, tag="assign", gc=False):
    """Run this body. The attempt is durable at the sender and never given out twice."""

    task_id: TaskId
    attempt: Attempt
    handler: HandlerName
    payload: PayloadText
    timeout_ms: Annotated[int, Meta(ge=1, lt=1 << 40)]


class CheckRuns(Statement, frozen=True, array_like=True, tag="check", gc=False):
    """How do these stand?"""

    runs: Annotated[tuple[RunRef, ...], Meta(max_length=TASKS_PER_FRAME_MAX)]


class RunStates(Statement, frozen=True, array_like=True, tag="runs", gc=False):
    """They stand like this. An ended run is not listed: its `RunEnded` comes again."""

    runs: Annotated[tuple[RunState, ...], Meta(max_length=TASKS_PER_FRAME_MAX)]


class RunRefused(Statement, frozen=True, array_like=True, tag="refuse", gc=False):
    """I will not run it."""

    task_id: TaskId
    attempt: Attempt
    code: RefusalCode


class RunEnded(Statement, frozen=True, array_like=True, tag="ended", gc=False):
    """It has ended so. The worker forgets this when it crashes, so it binds nobody until it is recorded."""

    task_id: TaskId
    attempt: Attempt
    status: BodyStatus
    output: OutputText
    detail: DetailText
    run_ms: Millis


class Concluded(Promise, frozen=True, array_like=True, tag="concluded", gc=False):
    """The task's one outcome is recorded: stop the body if it still runs, and forget it."""

    task_id: TaskId


class Ask(Statement, frozen=True, array_like=True, tag="ask", gc=False):
    """A caller at my side wants to know."""

    ask_id: AskId
    command: GetTask | CancelTask | LocalToolsFor


class Answer(Promise, frozen=True, array_like=True, tag="answer", gc=False):
    """The outcome of an `Ask`. It may report something recorded, so it waits for the disk."""

    ask_id: AskId
    outcome: TaskView | ToolsFound | Refused | Unknown


TaskMessage: TypeAlias = Assign | CheckRuns | RunStates | RunRefused | RunEnded | Concluded | Ask | Answer
