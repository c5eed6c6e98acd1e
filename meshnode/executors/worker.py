"""The process that runs bodies of one python handler. Started as a script by `python.py`; never imported by the daemon.

    python -P worker.py MODULE:FUNCTION OUTPUT_BYTES_MAX PATH...

Protocol, over what were stdin and stdout: frames of a 4-byte big-endian length and a MessagePack array.
    to the worker:    [task_id, attempt, payload (JSON as bytes)]
    from the worker:  [kind, output (JSON as bytes), detail], first READY or BROKEN, then one for each request

- Imports the standard library and msgpack only, and nothing of this project: it must start fast, and modules of the
  body (found in the PATHs) must not meet ours.
- The body has no way to the protocol by accident: descriptor 0 is /dev/null, 1 is stderr, which the daemon captures.
- Ends by itself when the daemon's end of the pipe closes.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from types import FunctionType
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types, and this file cannot import our own

READY, BROKEN, OK, ERROR, OUTPUT_LIMIT = range(5)
DETAIL_CHARS_MAX = 1000
"""The rest of what the daemon keeps is for output."""
CO_COROUTINE_OR_ASYNC_GENERATOR = 0x80 | 0x200


class Context:
    """What a body that takes a second parameter learns about its run."""

    __slots__ = ("attempt", "task_id")

    def __init__(self, task_id: str, attempt: int) -> None:
        self.task_id = task_id
        self.attempt = attempt
        """Grows with every start of this task: a token that fences off earlier starts."""


class Channel:
    """Frames on two file descriptors, blocking."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._buffer = b""

    def receive(self) -> list[Any] | None:
        """The next frame; None when the daemon is gone or wants no more."""
        if not self._fill(4):
            return None
        end = 4 + int.from_bytes(self._buffer[:4], "big")
        if not self._fill(end):
            return None
        frame, self._buffer = self._buffer[4:end], self._buffer[end:]
        request: list[Any] = msgpack.unpackb(frame, max_bin_len=len(frame))
        return request

    def send(self, kind: int, output: bytes = b"", detail: str = "") -> None:
        frame: bytes = msgpack.packb([kind, output, detail], unicode_errors="replace")
        data = memoryview(len(frame).to_bytes(4, "big") + frame)
        while data:
            data = data[os.write(self._write_fd, data) :]

    def _fill(self, size: int) -> bool:
        while len(self._buffer) < size:
            chunk = os.read(self._read_fd, max(65536, size - len(self._buffer)))
            if not chunk:
                return False
            self._buffer += chunk
        return True


def load(target: str) -> tuple[Callable[..., object], bool]:
    """The function, and whether it takes the context too. Raises whatever its import raises, and `TypeError`."""
    module_name, _, path = target.partition(":")
    function: Any = importlib.import_module(module_name)
    for part in path.split("."):
        function = getattr(function, part)
    if not callable(function):
        raise TypeError(f"{target} is not callable")
    if isinstance(function, FunctionType) and not hasattr(function, "__wrapped__"):
        code = function.__code__
        if code.co_flags & CO_COROUTINE_OR_ASYNC_GENERATOR:
            raise TypeError(f"{target} is async; a body is a plain function (it may call asyncio.run or trio.run)")
        names = code.co_varnames[: code.co_argcount]
        required = len(names) - len(function.__defaults__ or ())
    else:
        import inspect  # late: it costs more than the rest of this start together

        if inspect.iscoroutinefunction(function):
            raise TypeError(f"{target} is async; a body is a plain function (it may call asyncio.run or trio.run)")
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        positional = [each for each in inspect.signature(function).parameters.values() if each.kind in kinds]
        names = tuple(each.name for each in positional)
        required = sum(each.default is inspect.Parameter.empty for each in positional)
    if required > 2:
        raise TypeError(f"{target} wants {required} arguments; a body takes (payload) or (payload, ctx)")
    return function, required == 2 or names[1:2] == ("ctx",)


def describe(error: BaseException) -> str:
    """Type and message, and where: the innermost line of the traceback that is not ours."""
    text = "".join(traceback.format_exception_only(error)).strip()
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and not frame.filename.startswith("<frozen importlib")
    ]
    where = ""
    if frames:
        last = frames[-1]
        where = f"\nat {last.filename}:{last.lineno} in {last.name}" + (f": {last.line}" if last.line else "")
    return text[: DETAIL_CHARS_MAX - len(where[:300])] + where[:300]


def run(
    function: Callable[..., object], wants_context: bool, request: list[Any], output_max: int
) -> tuple[int, bytes, str]:
    """One body, to the answer that goes back. Whatever the body raises is an answer too."""
    task_id, attempt, payload = request
    try:
        value = json.loads(payload)
        result = function(value, Context(task_id, attempt)) if wants_context else function(value)
    except BaseException as error:  # SystemExit and KeyboardInterrupt of a body end the run, not the worker
        return ERROR, b"", describe(error)
    try:
        output = json.dumps(result, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except Exception as error:
        return ERROR, b"", f"The result cannot be written as JSON. {describe(error)}"
    if len(output) > output_max:
        return OUTPUT_LIMIT, b"", f"The result is {len(output)} bytes of JSON; {output_max} are allowed."
    return OK, output, ""


def main() -> None:
    target, output_max, *paths = sys.argv[1:]
    channel = Channel(os.dup(0), os.dup(1))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a TextIOWrapper: nothing replaced it yet
    faulthandler.enable()
    sys.argv = [target]
    sys.path[:0] = paths
    worker_pid = os.getpid()
    try:
        function, wants_context = load(target)
    except BaseException as error:
        sys.stdout.flush()
        channel.send(BROKEN, b"", describe(error))
        return
    channel.send(READY)
    while (request := channel.receive()) is not None:
        answer = run(function, wants_context, request, int(output_max))
        if os.getpid() != worker_pid:
            os._exit(0)  # a child that the body forked and forgot to end: the answer is not its to give
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            pass  # the body closed them
        channel.send(*answer)


if __name__ == "__main__":
    main()
