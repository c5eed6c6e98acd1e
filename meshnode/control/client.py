"""The caller's side of the control socket: `async with connect(directory) as client: await client.call(command)`.

Rules:
- Any number of tasks may call at once over one connection; at most `IN_FLIGHT_MAX` of their requests are with the
  daemon, the others wait here. Answers are told apart by id.
- A call ends in the daemon's outcome, or in a `MeshError` that says what is known: that nothing was sent
  (`not_running`), or that the request may have taken effect (`unknown`). It never waits for ever.
- A call that is given up leaves its slot taken until the daemon answers, so that both sides count alike. Its line is
  still sent whole: giving up is not taking back.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from meshnode.calls import CallerCommand, CallerOutcome
from meshnode.control.codec import ANSWER_BYTES_MAX, IN_FLIGHT_MAX, BadAnswer, decode_answer, encode_call
from meshnode.control.lines import LineReader, LineTooLong
from meshnode.datadir import DataDir
from meshnode.errors import ExitCode, MeshError
from protocols.core import Refused
from protocols.membership.event_views import AskQuery, ReadEvents
from protocols.membership.views import Leave
from protocols.tasks.task import GetTask

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 15.0
"""How long an answer may take beyond what the command itself asks to wait."""
LEAVE_TIMEOUT_S = 30.0
_BACKLOG_FULL_PAUSE_S = 0.02


class _Pending:
    """A request that the daemon has, or is being given."""

    __slots__ = ("answered", "result")

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.result: CallerOutcome | MeshError | None = None

    def settle(self, result: CallerOutcome | MeshError) -> None:
        self.result = result
        self.answered.set()


class ControlClient:
    """One connection to a daemon; a `meshnode.calls.Caller`. Made by `connect`."""

    def __init__(self, stream: trio.SocketStream, directory: Path) -> None:
        self._stream = stream
        self._directory = directory
        self._slots = trio.Semaphore(IN_FLIGHT_MAX)
        self._outbox, self._lines = trio.open_memory_channel[bytes](IN_FLIGHT_MAX)
        """Lines on their way out: never more than there are slots, so that handing one over never waits."""
        self._pending: dict[int, _Pending] = {}
        self._last_id = 0
        self._ended: MeshError | None = None
        """Set once the connection is no more: what a call that has not been sent is told."""

    async def call(self, command: CallerCommand, *, timeout_s: float | None = None) -> CallerOutcome:
        """The daemon's outcome, `Refused` and `Unknown` included.

        `timeout_s` bounds the whole call; by default it is what the command asks to wait and `ANSWER_TIMEOUT_S`.
        Raises `MeshError`: `unknown` (exit UNKNOWN) where the request went out and no answer came, `not_running` where
        the daemon had gone before, `too_large` and `bad_text` where it cannot be sent, `incompatible` where the answer
        cannot be read.
        """
        bound_s = _timeout_s(command) if timeout_s is None else timeout_s
        pending: _Pending | None = None
        with trio.move_on_after(bound_s):
            await self._slots.acquire()
            pending = self._begin(command)
            await pending.answered.wait()
            if isinstance(pending.result, MeshError):
                raise _again(pending.result)
            assert pending.result is not None
            return pending.result
        raise self._no_answer(bound_s, sent=pending is not None)

    def _begin(self, command: CallerCommand) -> _Pending:
        """Hand one line to the writer; the slot is held. Whatever is raised, nothing was handed over."""
        try:
            if self._ended is not None:
                raise _again(self._ended)
            call_id = self._last_id + 1
            line = encode_call(call_id, command)
        except BaseException:
            self._slots.release()
            raise
        self._last_id = call_id
        pending = self._pending[call_id] = _Pending()
        self._outbox.send_nowait(line)
        return pending

    async def run(self) -> None:
        """Carry lines both ways until the connection ends or this is cancelled. `connect` runs it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write_lines)
            await self._read_answers()
            nursery.cancel_scope.cancel()

    async def _write_lines(self) -> None:
        try:
            async for line in self._lines:
                await self._stream.send_all(line)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the reader has yet to see what the daemon said last, and then ends the connection

    async def _read_answers(self) -> None:
        """Hand answers to their calls until the connection ends."""
        lines = LineReader(self._stream, ANSWER_BYTES_MAX)
        failure = self._went_away()
        try:
            while (line := await lines.read_line()) is not None:
                answer = decode_answer(line)
                if answer.id is None:
                    failure = _connection_refused(answer.outcome)
                    break
                pending = self._pending.pop(answer.id, None)
                if pending is not None:
                    self._slots.release()
                    pending.settle(answer.outcome)
        except (BadAnswer, LineTooLong) as error:
            failure = _incompatible(str(error) or f"it is longer than {ANSWER_BYTES_MAX} bytes")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # `failure` says it
        finally:
            self._end(failure)

    def _end(self, failure: MeshError) -> None:
        """No answer will come any more: tell every call under way, and every later one."""
        if self._ended is None:
            self._ended = failure if failure.code != "unknown" else not_running(self._directory)
        pending, self._pending = self._pending, {}
        for call in pending.values():
            self._slots.release()
            call.settle(failure)

    def _went_away(self) -> MeshError:
        return MeshError(
            "unknown",
            "The daemon went away before it answered; the request may or may not have taken effect.",
            f"Start it with `meshnode up --dir {self._directory}` and ask again; a task that has an idempotency key "
            "is not run twice.",
            ExitCode.UNKNOWN,
        )

    def _no_answer(self, bound_s: float, sent: bool) -> MeshError:
        if not sent:
            return MeshError(
                "busy",
                f"The daemon left {IN_FLIGHT_MAX} earlier requests unanswered for {bound_s:g} s; this was not sent.",
                "Ask again later.",
                retry_after_s=1.0,
            )
        return MeshError(
            "unknown",
            f"The daemon did not answer within {bound_s:g} s; the request may or may not have taken effect.",
            f"See whether it is well with `meshnode doctor --dir {self._directory}`, then ask again; a task that "
            "has an idempotency key is not run twice.",
            ExitCode.UNKNOWN,
        )


@asynccontextmanager
async def connect(directory: Path) -> AsyncIterator[ControlClient]:
    """A connection to the daemon that serves `directory`.

    Raises `MeshError`: `not_running` (exit NOT_RUNNING) where none does, `forbidden` where it belongs to somebody else,
    `not_ready` (exit NOT_RUNNING) where it is just starting or stopping, `busy` where it takes no connection.
    """
    stream = await _open(directory)
    client = ControlClient(stream, directory)
    failure: BaseException | None = None
    async with stream, trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        try:
            yield client
        except trio.Cancelled:
            raise
        except BaseException as error:  # carried around the nursery, which would wrap it in an exception group
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _open(directory: Path) -> trio.SocketStream:
    name = str(DataDir(directory).control_socket())
    unconnected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        unconnected.setblocking(False)
        # A unix socket connects at once or says EAGAIN while the backlog is full (connect(2)): nothing to wait on.
        with trio.fail_after(CONNECT_TIMEOUT_S):
            while True:
                failed = unconnected.connect_ex(name)
                if failed != errno.EAGAIN:
                    break
                await trio.sleep(_BACKLOG_FULL_PAUSE_S)
        if failed:
            raise OSError(failed, "")
        return trio.SocketStream(trio.socket.from_stdlib_socket(unconnected))
    except trio.TooSlowError:
        unconnected.close()
        raise MeshError(
            "busy",
            f"The daemon of {directory} has taken no connection for {CONNECT_TIMEOUT_S:g} s; nothing was sent.",
            f"Try again; if it stays so, look at it: `meshnode doctor --dir {directory}`.",
            retry_after_s=1.0,
        ) from None
    except OSError as error:
        unconnected.close()
        raise _cannot_connect(directory, error) from None
    except BaseException:
        unconnected.close()
        raise


def _cannot_connect(directory: Path, error: OSError) -> MeshError:
    if error.errno in (errno.EACCES, errno.EPERM):
        return MeshError(
            "forbidden",
            f"The data directory {directory} belongs to another user.",
            "Run the command as that user, or start a node of your own: `meshnode up --dir DIR`.",
        )
    holder = DataDir(directory).holder()
    if holder is None:
        return not_running(directory)
    return MeshError(
        "not_ready",
        f"The daemon of {directory} ({f'pid {holder}' if holder else 'pid unknown'}) is starting or stopping and takes "
        "no requests; nothing was sent.",
        f"Try again in a moment; if it stays so, look at it: `meshnode doctor --dir {directory}`.",
        ExitCode.NOT_RUNNING,
        retry_after_s=1.0,
    )


def not_running(directory: Path) -> MeshError:
    """No daemon serves `directory`; nothing was sent."""
    return MeshError(
        "not_running",
        f"No meshnode daemon is running on {directory}.",
        f"Start it with `meshnode up --dir {directory}`, or name another data directory with --dir.",
        ExitCode.NOT_RUNNING,
    )


def _again(error: MeshError) -> MeshError:
    """One error for several calls: each raises its own, for an exception belongs to one traceback."""
    return MeshError(error.code, error.message, error.next_step, error.exit_code, error.retry_after_s)


def _incompatible(why: str) -> MeshError:
    return MeshError(
        "incompatible",
        f"The daemon's answer cannot be read: {why}; the request may or may not have taken effect.",
        "Restart the daemon with the version of meshnode that this command has.",
        ExitCode.UNKNOWN,
    )


def _connection_refused(outcome: CallerOutcome) -> MeshError:
    if not isinstance(outcome, Refused):
        return _incompatible("an answer to no request")
    return MeshError(outcome.code, outcome.message, outcome.next_step, retry_after_s=outcome.retry_after_s)


def _timeout_s(command: CallerCommand) -> float:
    match command:
        case GetTask(wait_ms=wait_ms) | ReadEvents(wait_ms=wait_ms) | AskQuery(timeout_ms=wait_ms):
            return wait_ms / 1000 + ANSWER_TIMEOUT_S
        case Leave():
            return LEAVE_TIMEOUT_S
        case _:
            return ANSWER_TIMEOUT_S
