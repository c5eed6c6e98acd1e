"""Child processes that never outlive their owner: what exec, python and mcp handlers have in common.

A child gets a session, and so a process group, of its own. The whole group is killed when its owner says so, when its
leader ends, and when this process ends, `kill -9` included. For the last, Linux does the work: the child holds the read
end of a pipe whose write end only we hold, and the kernel was asked (F_SETOWN, F_SETSIG, O_ASYNC) to send SIGKILL to
the group when that end closes. Unlike PR_SET_PDEATHSIG this is not tied to the thread that spawned, it needs nothing
of the child, it reaches grandchildren, and it can never hit a stranger whom the pid was given to. A process that starts
a session of its own gets away; that takes intent. Elsewhere than on Linux the first two hold.

No shell, no inherited descriptor, and no environment but what is named here.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

import trio
from trio.lowlevel import FdStream, open_process

TERM_GRACE_S = 0.5
REAP_S = 5.0
"""A killed process is gone at once unless the kernel itself is stuck (a dead network disk); we do not wait for that."""
CHUNK_BYTES = 64 * 1024
TAIL_BYTES = 8 * 1024
"""What is kept of an output that only serves to explain a failure: DETAIL_CHARS_MAX characters of any script."""

_F_SETSIG: int | None = getattr(fcntl, "F_SETSIG", None)


def closed_environment(extra: Mapping[str, str], *inherited: str) -> dict[str, str]:
    """PATH (this interpreter's directory first), HOME and LANG, what is `inherited` by name where set, then `extra`."""
    path = os.environ.get("PATH") or os.defpath
    environment = {"PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{path}", "LANG": "C.UTF-8"}
    for name in ("HOME", "LANG", *inherited):
        if name in os.environ:
            environment[name] = os.environ[name]
    return {**environment, **extra}


class Tail:
    """The last TAIL_BYTES of a stream of bytes."""

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        self._bytes = bytearray()

    def add(self, chunk: bytes | bytearray) -> None:
        self._bytes += chunk
        if len(self._bytes) > TAIL_BYTES:
            del self._bytes[:-TAIL_BYTES]

    def clear(self) -> None:
        self._bytes.clear()

    def text(self, chars_max: int) -> str:
        """The last `chars_max` characters, without white space around them; undecodable bytes are replaced."""
        return self._bytes.decode(errors="replace").strip()[-chars_max:] if chars_max > 0 else ""

    async def follow(self, stream: FdStream) -> None:
        """Take in all of `stream`, until it ends or is closed."""
        with suppress(trio.ClosedResourceError, trio.BrokenResourceError):
            while chunk := await stream.receive_some(CHUNK_BYTES):
                self.add(chunk)

    def catch_up(self, stream: FdStream) -> None:
        """Take in what lies in the pipe right now, beside a task that follows it."""
        with suppress(OSError):  # nothing there (the descriptor does not block), or closed
            while chunk := os.read(stream.fileno(), CHUNK_BYTES):
                self.add(chunk)


class Child:
    """A running process with pipes. Whoever spawns one must `wait` for it or `destroy` it."""

    def __init__(self, process: trio.Process, lifeline: int | None) -> None:
        assert isinstance(process.stdin, FdStream)
        assert isinstance(process.stdout, FdStream)
        assert isinstance(process.stderr, FdStream)
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr
        self.pid: int = process.pid
        self._process = process
        self._lifeline = lifeline
        self._returncode: int | None = None

    async def wait(self) -> int:
        """Wait for the end, reap, and kill what is left of the group. The status is as in `subprocess`."""
        self._returncode = await self._process.wait()
        self._cut_lifeline()
        return self._returncode

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the whole group, unless its leader has been reaped: by then it has been killed."""
        if self._returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def destroy(self, *, grace_s: float = 0.0) -> int | None:
        """End the group: SIGTERM and `grace_s` if there is a grace, then SIGKILL; reap it and close the pipes.

        Bounded in time and shielded from cancellation. The exit status, or None in the one case of a process that the
        kernel does not let go; the lifeline is cut then, too.
        """
        with trio.CancelScope(shield=True):
            if self._returncode is None and grace_s > 0:
                self.signal_group(signal.SIGTERM)
                with trio.move_on_after(grace_s):
                    await self.wait()
            if self._returncode is None:
                self.signal_group(signal.SIGKILL)
                with trio.move_on_after(REAP_S):
                    await self.wait()
            self._cut_lifeline()
            self.close_pipes()
        return self._returncode

    def close_pipes(self) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            stream.close()

    def _cut_lifeline(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None


async def spawn(argv: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> Child:
    """Start `argv` with three pipes. Raises `OSError` as `subprocess.Popen` does, `ValueError` for NUL characters."""
    held, lifeline = os.pipe()
    try:
        process = await open_process(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=dict(env),
            pass_fds=(held,),
            start_new_session=True,
        )
        # No checkpoint from here to the end: the process is owned by nobody yet.
        if _F_SETSIG is not None:
            with suppress(ProcessLookupError):  # it has ended already
                fcntl.fcntl(held, fcntl.F_SETOWN, -process.pid)
                fcntl.fcntl(held, _F_SETSIG, signal.SIGKILL)
                fcntl.fcntl(held, fcntl.F_SETFL, fcntl.fcntl(held, fcntl.F_GETFL) | os.O_ASYNC)
    except BaseException:
        os.close(lifeline)
        raise
    finally:
        os.close(held)
    return Child(process, lifeline)


def describe_exit(returncode: int | None) -> str:
    """As in "exited with status 3" or "was killed by signal 9 (SIGKILL)"."""
    if returncode is None:
        return "was killed, but the kernel has not let go of it"
    if returncode >= 0:
        return f"exited with status {returncode}"
    try:
        name = f" ({signal.Signals(-returncode).name})"
    except ValueError:
        name = ""
    return f"was killed by signal {-returncode}{name}"


def describe_spawn_failure(error: OSError | ValueError, program: str, cwd: str) -> str:
    """Why `program` could not be started, and what to do about it."""
    if isinstance(error, FileNotFoundError | NotADirectoryError) and not os.path.isdir(cwd):
        return f"The working directory {cwd} does not exist. Create it, or correct `cwd` in the node's configuration."
    if isinstance(error, FileNotFoundError):
        return f"The program {program!r} was not found. Install it on this node, or correct the node's configuration."
    if isinstance(error, PermissionError):
        return f"The program {program!r} may not be executed. Set its mode, or correct the node's configuration."
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"The program {program!r} could not be started: {why}."
