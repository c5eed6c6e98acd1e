"""From what a command has done to what its user sees: the one place that writes to stdout and stderr.

Rules:
- With --json, stdout gets exactly one JSON document and nothing else, failures included. Without it, stdout gets text
  for people: tables when it is a terminal wide enough, one line a row when it is not, colour only on a terminal.
- Errors go to stderr as two lines, `error: …` and `next: …`, whatever stdout gets.
- Text that came from elsewhere (names, details of tasks) never reaches a terminal with its control characters.
- A reader that has gone (`| head`) is no failure: the command has done its work, and its exit status says how it went.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshnode.errors import ExitCode, MeshError

if TYPE_CHECKING:
    from rich.console import RenderableType

PIPE_COLUMNS = 10_000
"""Width of tables that no person looks at directly: a row is a line, never folded."""


@dataclass(frozen=True)
class Report:
    """What a command has to say. `failure`, where there is one, goes to stderr and decides the exit status."""

    document: Mapping[str, object]
    """For --json; a failure is added to it under `error`."""
    text: Callable[[], str | RenderableType]
    """For people; built only when it is shown."""
    failure: MeshError | None = None


def present(as_json: bool, work: Callable[[], Report | int]) -> int:
    """Do `work` and show what came of it. The exit status; an `int` from `work` is one, with nothing left to show."""
    try:
        result = work()
        if isinstance(result, int):
            return result
        if as_json:
            write_document(result.document if result.failure is None else with_error(result.document, result.failure))
        else:
            _write_text(result.text())
        if result.failure is None:
            return ExitCode.OK
        tell(result.failure)
        return result.failure.exit_code
    except MeshError as error:
        return fail(error, as_json)
    except KeyboardInterrupt:
        return fail(interrupted(), as_json)
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is None:
            raise
        return fail(interrupted(), as_json)


def fail(error: MeshError, as_json: bool) -> int:
    """Show a command's failure. Its exit status."""
    if as_json:
        try:
            write_document(with_error({}, error))
        except MeshError as unwritten:
            tell(unwritten)
    tell(error)
    return error.exit_code


def interrupted() -> MeshError:
    return MeshError("interrupted", "Interrupted.", "", ExitCode.INTERRUPTED)


def with_error(document: Mapping[str, object], error: MeshError) -> dict[str, object]:
    fields: dict[str, object] = {"code": error.code, "message": error.message, "next_step": error.next_step}
    if error.retry_after_s:
        fields["retry_after_s"] = error.retry_after_s
    return {**document, "error": fields}


def tell(error: MeshError) -> None:
    """`error: …` and `next: …` on stderr; where that is closed, nothing more can be done."""
    lines = [f"error: {printable(error.message)}"]
    if error.next_step:
        lines.append(f"next: {printable(error.next_step)}")
    note("\n".join(lines))


def note(text: str) -> None:
    """A word for people beside the result: to stderr, so that it never mixes with what stdout is read for."""
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        _forget_stream(2)


def printable(text: str) -> str:
    """`text` with control characters made visible: no escape sequence of a foreign name reaches a terminal."""
    return "".join(
        character if character.isprintable() or character == "\n" else character.encode("unicode_escape").decode()
        for character in text
    )


def write_document(document: Mapping[str, object]) -> bool:
    """One line of JSON on stdout; False where its reader has gone. Raises `MeshError` (`output`) where stdout cannot be
    written."""
    import msgspec

    return _write(msgspec.json.encode(document) + b"\n")


def write_line(text: str) -> bool:
    """One line of text on stdout; False where its reader has gone. Raises `MeshError` (`output`)."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return _write(f"{text}\n".encode(encoding, "backslashreplace"))


def stdout_is_read() -> bool:
    """False where stdout is a pipe whose reader has gone: what writes seldom would not notice otherwise."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return not any(events & select.POLLERR for _, events in poll.poll(0))
    except (OSError, ValueError, AttributeError):
        return True  # closed, or nothing that can be asked: the next write finds out


def _write_text(text: str | RenderableType) -> None:
    if not isinstance(text, str):
        text = _rendered(text)
    if text:
        write_line(text.removesuffix("\n"))


def _rendered(renderable: RenderableType) -> str:
    from rich.console import Console

    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    console = Console(
        file=sys.stdout, highlight=False, emoji=False, markup=False, width=None if on_terminal else PIPE_COLUMNS
    )
    with console.capture() as capture:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _write(data: bytes) -> bool:
    """Write to stdout and be sure of it. A reader that has gone is let go in peace: False."""
    try:
        if sys.stdout is None:
            raise OSError("it is closed")
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return True
    except BrokenPipeError:
        _forget_stream(1)
        return False
    except (OSError, ValueError) as error:
        _forget_stream(1)
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise MeshError(
            "output",
            f"What the command has to say cannot be written to standard output: {why}.",
            "The command itself was carried out. See that standard output is open and has room, then look again.",
        ) from None


def _forget_stream(descriptor: int) -> None:
    """Point a stream that cannot be written to nowhere, so that the interpreter's last flush does not complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, descriptor)
    finally:
        os.close(nowhere)
