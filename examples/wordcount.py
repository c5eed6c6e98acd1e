"""A body for a `python` handler: words, lines and bytes of one file, as `wc` counts them.

    [handlers.wordcount]
    executor = "python"
    target = "examples.wordcount:count"

A body takes the decoded payload and returns something that JSON can hold. It runs in a process of its own, may raise
(the task then fails and says what was raised and where), and may be started again should that process die.
"""

from __future__ import annotations

from typing import TypedDict


class Counts(TypedDict):
    words: int
    lines: int
    bytes: int


def count(payload: dict[str, str]) -> Counts:
    """Payload {"path": text}; a relative path starts at the handler's `cwd`. Raises `OSError`, `KeyError`."""
    counts = Counts(words=0, lines=0, bytes=0)
    inside_word = False
    with open(payload["path"], "rb") as file:
        while chunk := file.read(1 << 16):
            counts["bytes"] += len(chunk)
            counts["lines"] += chunk.count(b"\n")
            counts["words"] += len(chunk.split())
            if inside_word and not chunk[:1].isspace():
                counts["words"] -= 1  # the word went on from the chunk before
            inside_word = not chunk[-1:].isspace()
    return counts
