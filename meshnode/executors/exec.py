"""Exec handlers: one program for each run, argv from the node's configuration, and never a shell.

- `{name}` placeholders take their values from the payload, which must be an object with exactly those fields, each a
  text, a number or a truth value. Without placeholders the payload may be anything. It is on the program's stdin too.
- A value must not turn an argument into an option: an argument that begins with a placeholder and would come out with
  a dash in front is refused, unless the handler says `allow_dashes = true`.
- The environment is closed: PATH, HOME, LANG, the handler's `env`, MESHNODE_TASK_ID and MESHNODE_ATTEMPT.
- stdout is the output: itself if it is JSON, else {"stdout": text, "exit_status": 0}. It is counted while it is read,
  and the whole group is killed at the byte too many, so a program that prints for ever costs no memory.
- Stopping (cancelled, timed out) means SIGTERM to the group, half a second, SIGKILL.
"""

from __future__ import annotations

import errno
import json
import signal

import msgspec
import trio

from meshnode.config import ExecHandler
from meshnode.executors.bodies import failed, too_much_output
from meshnode.executors.process import (
    CHUNK_BYTES,
    TERM_GRACE_S,
    Child,
    Tail,
    closed_environment,
    describe_exit,
    describe_spawn_failure,
    spawn,
)
from meshnode.handler_config import fill, placeholders
from protocols.limits import DETAIL_CHARS_MAX
from protocols.tasks.task import BodyEnded, BodyStatus, RunBody

DRAIN_S = 1.0
"""How long after the program's end its pipes may stay open (by a process that left the group)."""


class BadPayload(Exception):
    """The payload does not fit the handler's argv; the text says why."""


def build_argv(handler: ExecHandler, payload: object) -> list[str]:
    """`handler.argv` filled from `payload` (decoded JSON). Raises `BadPayload`."""
    wanted = {name: None for element in handler.argv for name in placeholders(element)}
    if not wanted:
        return [fill(element, {}) for element in handler.argv]
    fields = ", ".join(wanted)
    if not isinstance(payload, dict) or set(payload) != set(wanted):
        raise BadPayload(f"The payload must be an object with exactly these fields: {fields}.")
    values = {name: _text(name, payload[name]) for name in wanted}
    argv = []
    for element in handler.argv:
        argument = fill(element, values)
        if argument.startswith("-") and not element.startswith("-") and not handler.allow_dashes:
            raise BadPayload(
                f"The value {argument[:100]!r} would be read as an option. Write a path as ./NAME, "
                "or set `allow_dashes = true` for this handler where options are meant."
            )
        argv.append(argument)
    return argv


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return json.dumps(value)
    if not isinstance(value, str):
        raise BadPayload(f"The field {name!r} must be a text, a number or a truth value.")
    if "\0" in value:
        raise BadPayload(f"The field {name!r} holds a NUL character, which no argument can.")
    return value


class ExecExecutor:
    """Runs the bodies of one exec handler."""

    def __init__(self, handler: ExecHandler) -> None:
        self._handler = handler
        self._slots = trio.CapacityLimiter(handler.concurrency)

    def resize(self, concurrency: int) -> None:
        self._slots.total_tokens = concurrency

    async def run(self, action: RunBody) -> BodyEnded:
        """One program to its end. Cancelled: its group is ended and reaped first."""
        handler = self._handler
        try:
            argv = build_argv(handler, msgspec.json.decode(action.payload))
        except BadPayload as error:
            return failed(BodyStatus.ERROR, str(error))
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            return failed(BodyStatus.ERROR, f"The payload is not JSON: {error}.")
        environment = closed_environment(handler.env)
        environment["MESHNODE_TASK_ID"] = action.task_id
        environment["MESHNODE_ATTEMPT"] = str(action.attempt)
        async with self._slots:
            try:
                child = await spawn(argv, cwd=handler.cwd, env=environment)
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno == errno.E2BIG:
                    return failed(
                        BodyStatus.ERROR, "The payload is too long for arguments; read it from stdin instead."
                    )
                return failed(BodyStatus.UNAVAILABLE, describe_spawn_failure(error, argv[0], handler.cwd))
            try:
                return await _attend(child, action.payload.encode(errors="replace"), handler)
            finally:
                await child.destroy(grace_s=TERM_GRACE_S)


async def _attend(child: Child, payload: bytes, handler: ExecHandler) -> BodyEnded:
    """Feed and read a running program until it ends."""
    stdout, stderr = bytearray(), Tail()
    limit = handler.output_bytes_max
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_feed, child, payload)
        nursery.start_soon(_read_bounded, child, stdout, limit)
        nursery.start_soon(stderr.follow, child.stderr)
        returncode = await child.wait()
        nursery.cancel_scope.deadline = trio.current_time() + DRAIN_S
    if len(stdout) > limit:
        return too_much_output(f"{handler.argv[0]}", limit)
    explanation = stderr.text(DETAIL_CHARS_MAX) or _end_of(stdout)
    if returncode < 0:
        return failed(BodyStatus.CRASHED, f"{handler.argv[0]} {describe_exit(returncode)}.", explanation)
    if returncode > 0:
        return failed(BodyStatus.ERROR, f"{handler.argv[0]} {describe_exit(returncode)}.", explanation)
    output = _as_json(bytes(stdout))
    if len(output.encode()) > limit:
        return too_much_output(f"{handler.argv[0]} (written as JSON)", limit)
    return BodyEnded(BodyStatus.OK, output=output)


async def _feed(child: Child, payload: bytes) -> None:
    """The payload, then end of file. A program need not read it."""
    try:
        await child.stdin.send_all(payload)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return
    finally:
        child.stdin.close()


async def _read_bounded(child: Child, into: bytearray, limit: int) -> None:
    """All of stdout, up to the first byte past `limit`, which ends the group."""
    try:
        while chunk := await child.stdout.receive_some(CHUNK_BYTES):
            into += chunk
            if len(into) > limit:
                child.signal_group(signal.SIGKILL)
                return
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


def _as_json(stdout: bytes) -> str:
    """stdout itself where it is JSON text, else JSON that holds it (bytes that are not UTF-8 are replaced)."""
    try:
        msgspec.json.decode(stdout)
        return stdout.decode().strip()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = stdout.decode(errors="replace")
        return msgspec.json.encode({"stdout": text, "exit_status": 0}).decode()


def _end_of(stdout: bytearray) -> str:
    tail = Tail()
    tail.add(stdout)
    return tail.text(DETAIL_CHARS_MAX)
