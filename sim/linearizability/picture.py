"""A picture of what cannot be explained: a lane for each client, time from left to right, in plain text.

Times are not to scale: every call and every return has a column of its own, in their order, which is all that matters.
"""

from __future__ import annotations

from sim.linearizability.history import OPEN, Operation
from sim.linearizability.models import Write
from sim.linearizability.smallest import Part

LABEL_CHARS_MAX = 40
NANOS_PER_MS = 1_000_000


def picture(part: Part) -> str:
    """Lines of text, without colours: the lanes, the states before, an order that gets furthest, and what is left."""
    lines = [f"{part.key or 'the object'}: what its clients saw cannot be explained by any order of their operations"]
    if part.dropped:
        lines.append(f"({part.dropped} more operations on it change nothing about that and are not shown)")
    lines += ["", *_lanes(part), ""]
    lines.append("before: " + " or ".join(_state(state) for state in part.before))
    if part.order:
        lines.append("an order that gets furthest:")
        lines += [f"  {place}. {_sentence(each)}" for place, each in enumerate(part.order, start=1)]
    placed = {each.number for each in part.order}
    left = [each for each in part.operations if each.number not in placed and not each.open]
    lines.append("what then has no place:")
    lines += [f"  {_sentence(each)}" for each in left]
    return "\n".join(lines)


def _lanes(part: Part) -> list[str]:
    moments = sorted(
        [(each.begin, 0, each.number) for each in part.operations]
        + [(each.end, 1, each.number) for each in part.operations if not each.open]
    )
    labels = {each.number: _label(each) for each in part.operations}
    column: dict[tuple[int, int], int] = {}
    at = 0
    for _, side, number in moments:
        # A bar is wide enough for its label: its return moves to the right as far as needed.
        if side:
            at = max(at, column[number, 0] + len(labels[number]) + 3)
        column[number, side] = at
        at += 2
    width = at + 2
    clients = list(dict.fromkeys(each.client for each in part.operations))
    margin = max(len(client) for client in clients) + 2
    lines: list[str] = []
    for client in clients:
        rows: list[list[str]] = []
        for each in (each for each in part.operations if each.client == client):
            begin = column[each.number, 0]
            end = column.get((each.number, 1), max(width, begin + len(labels[each.number]) + 3))
            row = next((row for row in rows if len(row) < begin), None)
            if row is None:
                row = []
                rows.append(row)
            row += " " * (begin - len(row))
            row += _bar(labels[each.number], end - begin, open_end=each.open)
        for position, row in enumerate(rows):
            lines.append((client if not position else "").ljust(margin) + "".join(row))
    return lines


def _bar(label: str, width: int, *, open_end: bool) -> str:
    """`├ label ───┤`, or `├ label ───▸` for an operation whose end nobody knows."""
    return "├ " + label + " " + "─" * max(0, width - len(label) - 3) + ("▸" if open_end else "┤")


def _label(operation: Operation) -> str:
    result = "?" if operation.open else _result(operation)
    text = f"{operation.command.words()} → {result}"
    return text if len(text) <= LABEL_CHARS_MAX else text[: LABEL_CHARS_MAX - 1] + "…"


def _sentence(operation: Operation) -> str:
    result = "no answer by then" if operation.open else f"answered {_result(operation)}"
    called = f"called at {operation.called_at / NANOS_PER_MS:.3f} ms"
    returned = "" if operation.returned_at == OPEN else f", returned at {operation.returned_at / NANOS_PER_MS:.3f} ms"
    return f"{operation.client}: {operation.command.words()}, {result} ({called}{returned})"


def _result(operation: Operation) -> str:
    if operation.result is None:
        return "ok" if isinstance(operation.command, Write) else "nothing"
    return repr(operation.result)


def _state(state: object) -> str:
    return "nothing" if state is None else repr(state)
