"""What the commands about tasks and tools do. Each gives a `Report`, or raises a `MeshError`.

A submission always carries an idempotency key, a random one where none was given: an answer that is lost can then be
asked for again, and the error that says so names the key.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from meshnode.cli import tables
from meshnode.cli.documents import task_document, tasks_document, tools_document
from meshnode.cli.present import Report, note
from meshnode.cli.session import ask, converse, dir_flag, expect, goes_on, wait_for_task
from meshnode.cli.values import check_length, parse_seconds, parse_state, read_json
from meshnode.control.client import ControlClient
from meshnode.errors import ExitCode, MeshError
from protocols.limits import HANDLER_CHARS_MAX, KEY_CHARS_MAX, TASK_ID_CHARS_MAX
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

if TYPE_CHECKING:
    from rich.console import RenderableType

TIMEOUT_SECONDS_MIN = 0.001
QUERY_CHARS_MAX = 256
TOOL_CHARS_MAX = 128


@dataclass(frozen=True)
class SubmitRequest:
    """`meshnode submit`, as it was typed."""

    handler: str
    payload: str
    key: str
    idempotency_key: str | None
    timeout: str
    wait: str | None


@dataclass(frozen=True)
class CallRequest:
    """`meshnode call`, as it was typed."""

    server: str
    tool: str
    arguments: str
    idempotency_key: str | None
    timeout: str
    wait: str


def submit(directory: Path, request: SubmitRequest) -> Report:
    check_length("HANDLER", request.handler, HANDLER_CHARS_MAX, empty_allowed=False)
    check_length("--key", request.key, KEY_CHARS_MAX)
    wait_s = _wait_s(request.wait)
    command = _submission(
        request.handler,
        read_json("--payload", request.payload),
        request.key,
        request.idempotency_key,
        request.timeout,
    )
    accepted, task = _submit_and_wait(directory, command, wait_s)
    if task is not None:
        document = {**task_document(task), "existing": accepted.existing}
        return _outcome(directory, task, document, lambda: tables.task_text(task))
    document = {
        "task_id": accepted.task_id,
        "coordinator": accepted.coordinator,
        "existing": accepted.existing,
        "idempotency_key": command.idempotency_key,
    }

    def text() -> str:
        known = "known already (same idempotency key)" if accepted.existing else "taken in"
        note(f"{known}; its result: meshnode task {accepted.task_id} --wait 60{dir_flag(directory)}")
        return accepted.task_id

    return Report(document, text)


def call(directory: Path, request: CallRequest) -> Report:
    check_length("SERVER", request.server, HANDLER_CHARS_MAX - len(MCP_PREFIX), empty_allowed=False)
    check_length("TOOL", request.tool, TOOL_CHARS_MAX, empty_allowed=False)
    wait_s = parse_seconds("--wait", request.wait)
    arguments = read_json("--arguments", request.arguments, object_only=True)
    payload = msgspec.json.encode({"tool": request.tool, "arguments": msgspec.Raw(arguments.encode())}).decode()
    command = _submission(MCP_PREFIX + request.server, payload, "", request.idempotency_key, request.timeout)
    _, task = _submit_and_wait(directory, command, wait_s)
    assert task is not None
    return _outcome(directory, task, task_document(task), lambda: tables.tool_answer(task.output))


def task(directory: Path, task_id: str, wait: str | None) -> Report:
    check_length("ID", task_id, TASK_ID_CHARS_MAX, empty_allowed=False)
    wait_s = _wait_s(wait)
    if wait_s is None:
        view = ask(directory, GetTask(task_id), TaskView)
        return Report(task_document(view), lambda: tables.task_text(view))

    async def talk(client: ControlClient) -> TaskView:
        return await wait_for_task(client, task_id, wait_s)

    view = converse(directory, talk)
    return _outcome(directory, view, task_document(view), lambda: tables.task_text(view))


def tasks(directory: Path, states: tuple[str, ...], limit: int) -> Report:
    wanted = tuple(dict.fromkeys(parse_state(state) for state in states))
    listed = ask(directory, ListTasks(wanted, limit), TaskList)
    return Report(tasks_document(listed), lambda: tables.tasks_table(listed))


def cancel(directory: Path, task_id: str) -> Report:
    check_length("ID", task_id, TASK_ID_CHARS_MAX, empty_allowed=False)
    view = ask(directory, CancelTask(task_id), TaskView)
    return Report(task_document(view), lambda: tables.task_text(view))


def tools(directory: Path, query: str, server: str, tool: str, limit: int) -> Report:
    check_length("QUERY", query, QUERY_CHARS_MAX)
    check_length("--server", server, TOOL_CHARS_MAX)
    check_length("--tool", tool, TOOL_CHARS_MAX)
    found = ask(directory, FindTools(query, server, tool, limit), ToolsFound)

    def text() -> str | RenderableType:
        shown = tables.tool_text(found) if tool and found.tools else tables.tools_table(found)
        if found.silent:
            from rich.console import Group

            return Group(shown, f"did not answer in time: {', '.join(found.silent)}; ask again for their tools")
        return shown

    return Report(tools_document(found), text)


def _submission(handler: str, payload: str, key: str, idempotency_key: str | None, timeout: str) -> Submit:
    if idempotency_key is not None:
        check_length("--idempotency-key", idempotency_key, KEY_CHARS_MAX, empty_allowed=False)
    timeout_s = parse_seconds("--timeout", timeout, seconds_min=TIMEOUT_SECONDS_MIN)
    return Submit(
        handler,
        payload,
        key,
        idempotency_key or f"cli-{secrets.token_hex(8)}",
        round(timeout_s * 1000),
        round(time.time() * 1000),
    )


def _submit_and_wait(directory: Path, command: Submit, wait_s: float | None) -> tuple[Accepted, TaskView | None]:
    taken: Accepted | None = None

    async def talk(client: ControlClient) -> tuple[Accepted, TaskView | None]:
        nonlocal taken
        taken = expect(await client.call(command), Accepted)
        return taken, None if wait_s is None else await wait_for_task(client, taken.task_id, wait_s)

    try:
        return converse(directory, talk)
    except MeshError as error:
        if taken is not None:
            raise goes_on(error, directory, taken.task_id) from None
        if error.exit_code is ExitCode.UNKNOWN:
            raise _ask_again(error, command) from None
        raise
    except (KeyboardInterrupt, BaseExceptionGroup) as error:
        if taken is None or not _is_interrupt(error):
            raise
        stopped = MeshError("interrupted", "Interrupted.", "", ExitCode.INTERRUPTED)
        raise goes_on(stopped, directory, taken.task_id) from None


def _is_interrupt(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(KeyboardInterrupt) is not None
    return isinstance(error, KeyboardInterrupt)


def _ask_again(error: MeshError, command: Submit) -> MeshError:
    return MeshError(
        error.code,
        error.message,
        f"{error.next_step} This one has --idempotency-key {command.idempotency_key}: with it, nothing is done twice.",
        error.exit_code,
        error.retry_after_s,
    )


def _outcome(
    directory: Path, task: TaskView, document: dict[str, object], text: Callable[[], str | RenderableType]
) -> Report:
    """A task that was waited for: a failure unless it has succeeded."""
    match task.state:
        case TaskState.SUCCEEDED:
            return Report(document, text)
        case TaskState.QUEUED | TaskState.RUNNING:
            failure = MeshError(
                "still_running",
                f"Task {task.task_id} is still {task.state.name.lower()}; the wait is over, the task goes on.",
                f"Wait again: `meshnode task {task.task_id} --wait 60{dir_flag(directory)}`, or stop it: "
                f"`meshnode cancel {task.task_id}{dir_flag(directory)}`.",
                ExitCode.UNKNOWN,
            )
        case TaskState.FAILED | TaskState.CANCELLED | TaskState.DEAD:
            state = task.state.name.lower()
            failure = MeshError(
                f"task_{state}",
                f"Task {task.task_id} {_ENDED[task.state]}{f': {task.detail}' if task.detail else '.'}",
                _NEXT[task.state],
            )
    return Report(document, lambda: tables.task_text(task), failure)


_ENDED = {
    TaskState.FAILED: "failed",
    TaskState.CANCELLED: "was cancelled",
    TaskState.DEAD: "is dead: its workers died under it",
}
_NEXT = {
    TaskState.FAILED: "Correct what it says, then submit it again (as a new task, without its idempotency key).",
    TaskState.CANCELLED: "Submit it again if it is still wanted.",
    TaskState.DEAD: "Find out why its workers die (`meshnode up --log-level debug`), then submit it again.",
}


def _wait_s(wait: str | None) -> float | None:
    return None if wait is None else parse_seconds("--wait", wait)
