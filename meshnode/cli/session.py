"""One command's conversation with the daemon: ask, and turn refusals into errors; wait, in several calls if need be.

Rules:
- No single call waits longer than `WAIT_CHUNK_S`, so that a daemon that has gone is noticed.
- A wait outlives what passes: a coordinator that is silent for a moment, a refusal that names a time to come back.
- Whatever ends a wait early says that the task goes on, and how to go on waiting for it.
- What goes on until it is told to stop ends well then, with exit status 0: Ctrl-C is the usual way.
"""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import trio

from meshnode.calls import Caller, CallerCommand, CallerOutcome
from meshnode.cli.app import data_directory
from meshnode.control.client import ControlClient, connect
from meshnode.errors import ExitCode, MeshError
from protocols.core import Outcome, Refused, Unknown
from protocols.tasks.task import GetTask, TaskView

WAIT_CHUNK_S = 50.0
PAUSE_S = 1.0
"""Between calls that came back too soon."""

_Wanted = TypeVar("_Wanted", bound=Outcome)
_Result = TypeVar("_Result")


def converse(directory: Path, talk: Callable[[ControlClient], Awaitable[_Result]]) -> _Result:
    """Connect to the daemon of `directory`, and do `talk` over the connection. Raises `MeshError`."""

    async def connected() -> _Result:
        async with connect(directory) as client:
            return await talk(client)

    return trio.run(connected)


def converse_until_stopped(directory: Path, talk: Callable[[ControlClient], Awaitable[None]]) -> int:
    """As `converse`, until `talk` ends, or SIGINT or SIGTERM comes. The exit status. Raises `MeshError`."""
    try:
        converse(directory, lambda client: _until_stopped(client, talk))
    except KeyboardInterrupt:
        pass  # in the moment before the signal is waited for
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is None:
            raise
    return ExitCode.OK


async def _until_stopped(client: ControlClient, talk: Callable[[ControlClient], Awaitable[None]]) -> None:
    failure: MeshError | None = None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def stop_on_signal() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(stop_on_signal)
            try:
                await talk(client)
            except MeshError as error:  # carried around the nursery, which would wrap it in an exception group
                failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def ask(directory: Path, command: CallerCommand, wanted: type[_Wanted]) -> _Wanted:
    """One question, answered by a `wanted`. Raises `MeshError` where it is refused, or its outcome unknown."""

    async def talk(client: ControlClient) -> _Wanted:
        return expect(await client.call(command), wanted)

    return converse(directory, talk)


def expect(outcome: CallerOutcome, wanted: type[_Wanted]) -> _Wanted:
    """`outcome`, if it is a `wanted`. Raises `MeshError` with the daemon's own words where it is not."""
    match outcome:
        case Refused():
            raise MeshError(outcome.code, outcome.message, outcome.next_step, retry_after_s=outcome.retry_after_s)
        case Unknown():
            raise MeshError("unknown", outcome.message, outcome.next_step, ExitCode.UNKNOWN)
        case _ if isinstance(outcome, wanted):
            return outcome
        case _:
            raise MeshError(
                "incompatible",
                f"The daemon answered with a {type(outcome).__name__} where a {wanted.__name__} was expected.",
                "Restart the daemon with the version of meshnode that this command has.",
                ExitCode.UNKNOWN,
            )


async def wait_for_task(client: Caller, task_id: str, wait_s: float) -> TaskView:
    """The task as soon as it is final, at latest as it stands when `wait_s` is over. Raises `MeshError`."""
    deadline = trio.current_time() + wait_s
    while True:
        asked_at = trio.current_time()
        chunk_s = min(WAIT_CHUNK_S, max(0.0, deadline - asked_at))
        pause_s = PAUSE_S
        outcome = await client.call(GetTask(task_id, round(chunk_s * 1000)))
        late = trio.current_time() >= deadline
        match outcome:
            case TaskView() if outcome.state.final or late:
                return outcome
            case Unknown() if not late:
                pass
            case Refused() if outcome.retry_after_s and not late:
                pause_s = outcome.retry_after_s
            case TaskView():
                pass
            case _:
                return expect(outcome, TaskView)
        asked_s = trio.current_time() - asked_at
        if asked_s < chunk_s / 2:
            await trio.sleep(max(0.0, min(pause_s, deadline - trio.current_time())))


def goes_on(error: MeshError, directory: Path, task_id: str) -> MeshError:
    """An error that ended a wait, with what it leaves out: that the task goes on, and how to see it again."""
    return MeshError(
        error.code,
        f"{error.message} Task {task_id} is safe and goes on.",
        f"{error.next_step} See how it stands: `meshnode task {task_id} --wait 60{dir_flag(directory)}`.".strip(),
        error.exit_code,
        error.retry_after_s,
    )


def dir_flag(directory: Path) -> str:
    """What a command that is suggested needs in order to mean the same node; empty where that is the default one."""
    if directory == data_directory(None) or directory == Path(os.environ.get("MESHNODE_DIR") or "/").absolute():
        return ""
    return f" --dir {shlex.quote(str(directory))}"
