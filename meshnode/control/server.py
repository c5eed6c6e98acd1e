"""The daemon's side of the control socket.

Rules:
- Only the user who runs the daemon, and root, get in: the socket has mode 0600 from the first moment that it has a
  name, and the kernel is asked who connects (SO_PEERCRED, unix(7)).
- Every line gets exactly one answer while its client is there; a client that vanishes cancels what it waits for, and
  never what it set going: a `Submit` that was read is carried through.
- A client has at most `IN_FLIGHT_MAX` requests that are not answered *and taken*; past that nothing is read from it. So
  one that does not read holds that many outcomes and one encoded answer, never more; after `STALL_S` it is dropped.
- An answer that is ready is still handed over when the daemon stops (the one to `Leave` above all), within `FLUSH_S`.
- It knows nothing of what commands mean. An error of the daemon's that is not a `MeshError` is not caught here.
"""

from __future__ import annotations

import errno
import math
import os
import select
import socket
import stat
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import assert_never

import trio

from meshnode.calls import Caller, CallerCommand, CallerOutcome, CreateToken, Inspect, Reload
from meshnode.control.codec import (
    IN_FLIGHT_MAX,
    REQUEST_BYTES_MAX,
    BadRequest,
    Call,
    bad_request,
    decode_call,
    encode_answer,
    outcome_of,
)
from meshnode.control.lines import LineReader, LineTooLong
from meshnode.errors import MeshError
from protocols.core import Refused
from protocols.detector.why import Why
from protocols.keyring.views import AddKey, ListKeys, RemoveKey, UseKey
from protocols.membership.event_views import AnswerQuery, AskQuery, ReadEvents, SendEvent
from protocols.membership.rtt import EstimateRtt
from protocols.membership.tagging import GetTags, SetTags
from protocols.membership.views import GetStatus, Leave, ListMembers
from protocols.tasks.task import CancelTask, GetTask, ListTasks, Submit
from protocols.tools import FindTools

CONNECTIONS_MAX = 128
STALL_S = 20.0
"""How long one answer may take to be taken over by the client's side of the socket."""
FLUSH_S = 0.5
"""How long answers that are ready may hold up a daemon that stops."""
HANG_UP_CHECK_S = 1.0
"""How often a client that is not being read from is looked at, to see whether it is still there."""
BACKLOG = 512


async def serve_control(
    path: Path, caller: Caller, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve `caller` on the unix socket `path`, until cancelled; `task_status` says when clients can connect.

    A socket file that a dead daemon left is replaced. Raises `MeshError`: `already_running` where a live one answers,
    `control_socket` where the path cannot be used.
    """
    with _listening(path) as listening:
        server = _Server(caller)
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, server.serve, [trio.SocketListener(listening)])
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                server.flush_until(trio.current_time() + FLUSH_S)


class _Server:
    """All connections, and how many there may be."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._connections: list[_Connection] = []

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            refusal = self._refusal(stream)
            if refusal is not None:
                with trio.move_on_after(FLUSH_S):
                    await _send_quietly(stream, encode_answer(None, refusal))
                return
            connection = _Connection(stream, self._caller)
            self._connections.append(connection)
            try:
                await connection.serve()
            finally:
                self._connections.remove(connection)

    def _refusal(self, stream: trio.SocketStream) -> Refused | None:
        uid = _peer_uid(stream)
        if uid is not None and uid not in (os.geteuid(), 0):
            return Refused(
                "forbidden",
                "This daemon belongs to another user.",
                "Run the command as that user, or start a node of your own: `meshnode up --dir DIR`.",
            )
        if len(self._connections) >= CONNECTIONS_MAX:
            return Refused(
                "busy",
                f"The daemon already has {CONNECTIONS_MAX} connections on its control socket.",
                "Close some of them, or send several requests over one.",
                retry_after_s=1.0,
            )
        return None

    def flush_until(self, deadline: float) -> None:
        for connection in self._connections:
            connection.flush_until(deadline)


class _Connection:
    """One client: a loop that reads requests, and a task for each request under way."""

    def __init__(self, stream: trio.SocketStream, caller: Caller) -> None:
        self._stream = stream
        self._caller = caller
        self._slots = trio.Semaphore(IN_FLIGHT_MAX)
        self._write_lock = trio.Lock()
        self._write_scope: trio.CancelScope | None = None
        self._flush_deadline = math.inf
        self._torn = False
        """Set while a line is half written, and for ever once one was left so: nothing may follow it."""
        self._client = trio.CancelScope()
        """Reading, and everything that only concerns a client that is there."""

    async def serve(self) -> None:
        async with trio.open_nursery() as effects:
            with self._client:
                async with trio.open_nursery() as waits:
                    await self._read(waits, effects)
                    self._client.cancel()

    async def _read(self, waits: trio.Nursery, effects: trio.Nursery) -> None:
        """Start a task for every request, until the client goes or sends what cannot be a line."""
        lines = LineReader(self._stream, REQUEST_BYTES_MAX)
        while await self._take_slot():
            try:
                line = await lines.read_line()
            except LineTooLong:
                await self._write(None, bad_request(f"The line is longer than {REQUEST_BYTES_MAX} bytes; closing"))
                return
            except trio.BrokenResourceError:
                return
            if line is None:
                return
            try:
                call = decode_call(line)
            except BadRequest as bad:
                await self._write(bad.call_id, bad_request(bad.why))
                self._slots.release()
                continue
            (effects if _has_effects(call.command) else waits).start_soon(self._answer, call)

    async def _take_slot(self) -> bool:
        """Wait for room for one more request. False: the client has gone meanwhile."""
        while True:
            with trio.move_on_after(HANG_UP_CHECK_S):
                await self._slots.acquire()
                return True
            if _hung_up(self._stream):
                return False

    async def _answer(self, call: Call) -> None:
        try:
            try:
                outcome = await self._caller.call(call.command)
            except MeshError as error:
                outcome = outcome_of(error)
            await self._write(call.id, outcome)
        finally:
            self._slots.release()

    async def _write(self, call_id: int | None, outcome: CallerOutcome) -> None:
        """Hand one answer over, or find the client gone. Not cut short by a cancellation: see the rules above."""
        with trio.CancelScope(shield=True):
            async with self._write_lock:
                if self._torn:
                    return
                line = encode_answer(call_id, outcome)
                self._torn = True
                deadline = min(trio.current_time() + STALL_S, self._flush_deadline)
                with trio.CancelScope(deadline=deadline) as self._write_scope:
                    self._torn = not await _send_quietly(self._stream, line)
                if self._torn:
                    self._client.cancel()

    def flush_until(self, deadline: float) -> None:
        """Let answers under way take until `deadline` at most."""
        self._flush_deadline = deadline
        if self._write_scope is not None:
            self._write_scope.deadline = min(self._write_scope.deadline, deadline)


def _has_effects(command: CallerCommand) -> bool:
    """Whether the command does something that outlives the interest of the client that asked for it."""
    match command:
        case Submit() | CancelTask() | Leave() | CreateToken() | AddKey() | UseKey() | RemoveKey():
            return True
        case SetTags() | SendEvent() | AnswerQuery() | Reload():
            return True
        case GetTask() | ListTasks() | ListMembers() | GetStatus() | Why() | FindTools() | ListKeys() | Inspect():
            return False
        case EstimateRtt() | GetTags() | ReadEvents() | AskQuery():
            return False
        case _:
            assert_never(command)


async def _send_quietly(stream: trio.SocketStream, line: bytes) -> bool:
    """Send all of `line`; False where the other side has gone."""
    try:
        await stream.send_all(line)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return False
    return True


def _peer_uid(stream: trio.SocketStream) -> int | None:
    """The user at the other end, as the kernel knows it; None where the system cannot tell (the mode must do then)."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = struct.Struct("3i")
    raw = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    _pid, uid, _gid = credentials.unpack(raw)
    return int(uid)


def _hung_up(stream: trio.SocketStream) -> bool:
    poll = select.poll()
    poll.register(stream.socket.fileno(), 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


@contextmanager
def _listening(path: Path) -> Iterator[trio.socket.SocketType]:
    """A listening socket at `path`, and nobody else's; the file goes with it.

    It is bound inside a directory that only this user can enter and then renamed to where it belongs, so that no other
    user can reach it before its mode is set, and a file left by a dead daemon is replaced in one step. The name inside
    is no longer than the one that `DataDir.control_socket` bounds.
    """
    _refuse_to_displace(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            identity = _bind(listening, path)
        except OSError as error:
            raise _unusable(path, error.strerror or str(error)) from None
        listening.setblocking(False)
        try:
            yield trio.socket.from_stdlib_socket(listening)
        finally:
            _remove(path, identity)
    finally:
        listening.close()


def _bind(listening: socket.socket, path: Path) -> tuple[int, int]:
    """Bind and listen; the file's device and inode."""
    with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as private:
        bound = Path(private, "s")
        listening.bind(str(bound))
        bound.chmod(0o600)
        listening.listen(BACKLOG)
        status = bound.stat()
        bound.rename(path)
    return status.st_dev, status.st_ino


def _remove(path: Path, identity: tuple[int, int]) -> None:
    """Remove the socket file unless somebody has put another in its place."""
    try:
        status = path.lstat()
        if (status.st_dev, status.st_ino) == identity:
            path.unlink()
    except OSError:
        pass  # the directory is gone or cannot be written: a file without a listener is replaced by the next daemon


def _refuse_to_displace(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from None
    if not stat.S_ISSOCK(mode):
        raise _unusable(path, "something that is not a socket has this name")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        answer = probe.connect_ex(str(path))
    if answer in (0, errno.EAGAIN):
        raise MeshError(
            "already_running",
            f"A daemon already listens on {path}.",
            "Use it, stop it with `meshnode leave`, or give this node a directory of its own with --dir.",
        )
    if answer not in (errno.ECONNREFUSED, errno.ENOENT):
        raise _unusable(path, os.strerror(answer))


def _unusable(path: Path, why: str) -> MeshError:
    return MeshError(
        "control_socket",
        f"The control socket {path} cannot be created: {why}.",
        "See that its directory exists and can be written, or name another data directory with --dir.",
    )
