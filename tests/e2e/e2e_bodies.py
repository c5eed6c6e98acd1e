"""Bodies of the end-to-end tests: they wait for a file, crash, shout, hang, or hand back what they were given.

`gate` is how a test knows that a body runs right now, without guessing by time: it adds a line to one file when it
starts, and ends when another one appears.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Protocol

POLL_S = 0.02
LOUD_BYTES = 10_000_000


class Context(Protocol):
    """What a body that takes a second parameter is given."""

    task_id: str
    attempt: int


def echo(payload: object) -> object:
    return payload


def gate(payload: dict[str, str], ctx: Context) -> dict[str, object]:
    """Payload {"room": directory}: one line in `room/starts` for every start, then waits for `room/open`."""
    room = Path(payload["room"])
    with open(room / "starts", "a", encoding="utf-8") as starts:
        starts.write(f"{ctx.attempt}\n")
    while not (room / "open").exists():
        time.sleep(POLL_S)
    return {"attempt": ctx.attempt}


def crash(payload: object) -> None:
    print("last words", flush=True)
    os._exit(7)


def loud(payload: object) -> str:
    """Prints 10 MB and succeeds: what a body prints is no output of its own."""
    print("x" * LOUD_BYTES, flush=True)
    return "said it"


def huge(payload: object) -> str:
    """Returns 10 MB."""
    return "x" * LOUD_BYTES


def hang(payload: object) -> None:
    while True:
        time.sleep(3600)


def fail(payload: object) -> None:
    raise ValueError(f"cannot do {payload!r}")
