"""How a report is set: lines of at most `WIDTH`, with the names of what they tell in a column at the left."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from sim.failure.lines import WIDTH

COLUMN = 12
INDENT = " " * (COLUMN + 2)


def wrapped(text: str, first: str, others: str | None = None) -> list[str]:
    """`text` in lines of at most `WIDTH`; words are not broken, so that paths and commands can be copied."""
    return textwrap.wrap(
        " ".join(text.split()),
        WIDTH,
        initial_indent=first,
        subsequent_indent=first if others is None else others,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]


def row(name: str, value: str) -> list[str]:
    """One value beside its name."""
    return wrapped(value, f"  {name:<{COLUMN}}", INDENT)


def table(rows: Mapping[str, str]) -> list[str]:
    """Values beside their names."""
    return [line for name, value in rows.items() for line in row(name, value)]


def listed(name: str, entries: Sequence[str], most: int) -> list[str]:
    """Up to `most` entries in lines of their own, the first beside the name of the list."""
    lines: list[str] = []
    for number, entry in enumerate(entries[:most]):
        lines += row("" if number else name, entry)
    if len(entries) > most:
        lines.append(f"{INDENT}… and {len(entries) - most} more")
    return lines
