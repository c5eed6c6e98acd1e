"""Values as people write them: durations, JSON given in place or by file, names of states. No I/O but reading payloads.

What cannot be understood is a `MeshError` with exit status USAGE that says what was given, what is possible, and shows
an example. Sizes are bounded before anything is decoded.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import BinaryIO

import msgspec

from meshnode.errors import ExitCode, MeshError
from protocols.limits import PAYLOAD_BYTES_MAX
from protocols.tasks.task import TaskState

TOKEN_BYTES_MAX = 4096
SECONDS_MAX = 7 * 24 * 3600.0
LIFETIME_SECONDS_MAX = 366 * 24 * 3600.0

_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(ms|s|m|h|d)?\s*")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 24 * 3600.0}
STATES = {state.name.lower(): state for state in TaskState}


def parse_seconds(option: str, text: str, *, seconds_min: float = 0.0, seconds_max: float = SECONDS_MAX) -> float:
    """Seconds from `90`, `1.5`, `250ms`, `90s`, `10m`, `1h` or `7d`. Raises `MeshError` (`bad_value`)."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise _bad_value(option, f"{text!r} is not a duration", "Write seconds, or a number with ms, s, m, h or d: 1h.")
    seconds = float(match.group(1)) * _UNIT_S[match.group(2) or "s"]
    if not math.isfinite(seconds) or not seconds_min <= seconds <= seconds_max:
        raise _bad_value(
            option, f"{text!r} is out of bounds", f"It may be from {seconds_min:g} to {seconds_max:g} seconds."
        )
    return seconds


def check_length(what: str, text: str, chars_max: int, *, empty_allowed: bool = True) -> None:
    """Raises `MeshError` (`bad_value`) where `text` is longer than anything that can be meant."""
    if len(text) > chars_max or not (text or empty_allowed):
        possible = f"{0 if empty_allowed else 1} to {chars_max}"
        raise _bad_value(what, f"{len(text)} characters, where {possible} are possible", "Give a text of that length.")


def parse_state(text: str) -> TaskState:
    """A task state from its name. Raises `MeshError` (`bad_value`) that names the nearest."""
    state = STATES.get(text.lower())
    if state is None:
        raise _bad_value("--state", f"{text!r} is not a state of a task", nearest(text, tuple(STATES)))
    return state


def nearest(text: str, possible: Sequence[str]) -> str:
    """A sentence that says what was probably meant, or all that is possible."""
    near = get_close_matches(text.lower(), possible, n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else f"Possible: {', '.join(possible)}."


def read_json(option: str, text: str, *, object_only: bool = False) -> str:
    """JSON text from `text` itself, from the file of `@path`, or from stdin where it is `-`; checked, not changed.

    Raises `MeshError`: `bad_json`, `too_large`, `unreadable`.
    """
    raw = _read_argument(option, text, PAYLOAD_BYTES_MAX).strip()
    try:
        value = msgspec.json.decode(raw)
        given = raw.decode()
    except RecursionError:
        raise _bad_json(option, "it is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _bad_json(option, str(error)) from None
    if object_only and not isinstance(value, dict):
        raise _bad_json(option, "it must be an object, with a value for every argument by name")
    return given


def read_token(text: str) -> str:
    """A join token given in place, by `@file`, or on stdin (`-`), where no list of processes shows it."""
    return _read_argument("--join", text, TOKEN_BYTES_MAX).decode("utf-8", "replace").strip()


def _read_argument(option: str, text: str, bytes_max: int) -> bytes:
    if text == "-":
        if sys.stdin is None:
            raise MeshError("unreadable", f"{option} - reads standard input, which is closed.", "", ExitCode.USAGE)
        return _bounded(option, "standard input", sys.stdin.buffer, bytes_max)
    if text.startswith("@"):
        path = Path(text[1:]).expanduser()
        try:
            with path.open("rb") as file:
                return _bounded(option, str(path), file, bytes_max)
        except OSError as error:
            raise MeshError(
                "unreadable",
                f"{option}: the file {path} cannot be read: {error.strerror or error}.",
                "Check the path behind the @; relative ones start in the current directory.",
                ExitCode.USAGE,
            ) from None
    data = os.fsencode(text)
    if len(data) > bytes_max:
        raise _too_large(option, "what was given", bytes_max)
    return data


def _bounded(option: str, source: str, file: BinaryIO, bytes_max: int) -> bytes:
    try:
        data = file.read(bytes_max + 1)
    except OSError as error:
        raise MeshError(
            "unreadable", f"{option}: {source} cannot be read: {error.strerror or error}.", "", ExitCode.USAGE
        ) from None
    if len(data) > bytes_max:
        raise _too_large(option, source, bytes_max)
    return data


def _too_large(option: str, source: str, bytes_max: int) -> MeshError:
    return MeshError(
        "too_large",
        f"{option}: {source} has more than {bytes_max} bytes; nothing was sent.",
        "Put large data where the handler can reach it, and send its path or address.",
        ExitCode.USAGE,
    )


def _bad_json(option: str, why: str) -> MeshError:
    return MeshError(
        "bad_json",
        f"{option} is not the JSON that is needed: {why}.",
        f'Quote it for the shell, as in {option} \'{{"path": "README.md"}}\', or keep it in a file: {option} @FILE.',
        ExitCode.USAGE,
    )


def _bad_value(option: str, what: str, next_step: str) -> MeshError:
    return MeshError("bad_value", f"{option}: {what}.", next_step, ExitCode.USAGE)
