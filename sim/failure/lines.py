"""Happenings as lines for people: nodes by name, times in seconds, columns that line up, and only what matters.

Nearly all that happens in a mesh is probes. Around a violation, half of the lines go to what is about the very task, or
between the very nodes, that the violation names, and to their crashes, however long ago; then come other changes at
these nodes (verdicts, records, answers) and faults, and some of the last messages. What lies between two lines and is
left out is counted in a column of its own, so that nobody takes them for neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from protocols.core import NANOS_PER_S, Instant
from sim.checkers.checker import Violation
from sim.record.happening import Happening, Kind, Recording
from sim.record.words import short_id

LINES = 20
MESSAGES_OF_LINES = 6
"""Of `LINES`, how many are kept for messages where there are enough other happenings for the rest."""
WIDTH = 100
WHY_LOST = {
    "cut": "cut off",
    "down": "the node is down",
    "loss": "on the way",
    "refused": "the node is down, no connection",
    "reset": "its stream was reset",
}
"""Reasons of the network, in words; others are words already."""
CLOSE_OF_LINES = 10
"""Of `LINES`, how many are kept for what is about the very task, or between the very nodes, that were violated."""
_TASK = re.compile(r"\b[a-z2-7]{12}\.[a-z2-7]{8}\b")
TRAFFIC = frozenset({Kind.MESSAGE, Kind.LOST})
MESH = "mesh"


def around(recording: Recording, violation: Violation, count: int = LINES) -> list[str]:
    """The last `count` happenings up to `violation`, itself included, that concern the nodes it is about."""
    at = place_of(recording, violation)
    nodes = nodes_in(recording.names, f"{violation.node} {violation.text}")
    chosen = _choose(recording, at, nodes, subjects_in(violation.text), count)
    lines = lines_of(recording, chosen, marked=at)
    if recording.forgotten and chosen and chosen[0] == 0:
        lines.insert(0, f"  (what happened before, {recording.forgotten:,} happenings, was not kept)")
    return lines


def place_of(recording: Recording, violation: Violation) -> int:
    """The position of `violation` among the happenings: its own, or else the last that is not later."""
    last = -1
    for position, happening in enumerate(recording.happenings):
        same = happening.kind is Kind.VIOLATION and happening.what == violation.property
        if same and happening.text == violation.text:
            return position
        if happening.at <= violation.time_s * NANOS_PER_S:
            last = position
    return last


def nodes_in(names: Sequence[str], text: str) -> frozenset[int]:
    """The indexes of the nodes that `text` names."""
    words = set(re.findall(r"[\w.-]+", text))
    words |= {word.rstrip(".-") for word in words}
    return frozenset(index for index, name in enumerate(names) if name in words)


def concerns(happening: Happening, nodes: frozenset[int]) -> bool:
    """Whether a happening is of one of `nodes`, to one of them, or of the mesh as a whole. No nodes: of any."""
    return not nodes or happening.node < 0 or happening.node in nodes or happening.peer in nodes


def _choose(recording: Recording, at: int, nodes: frozenset[int], subjects: Sequence[str], count: int) -> list[int]:
    """Positions, in order: what is about the very thing, then what else changed, then traffic; the violation."""
    close: list[int] = []
    changes: list[int] = []
    traffic: list[int] = []
    for position in range(at - 1, -1, -1):
        happening = recording.happenings[position]
        if len(close) >= count and len(changes) >= count and len(traffic) >= count:
            break
        about = any(subject in happening.text for subject in subjects)
        if happening.kind in TRAFFIC:
            if concerns(happening, nodes):
                traffic.append(position)
        elif about or (happening.node in nodes and (happening.peer in nodes or happening.kind is Kind.CRASH)):
            close.append(position)
        elif concerns(happening, nodes):
            changes.append(position)
    room = max(0, count - 1)
    messages = min(len(traffic), max(room * MESSAGES_OF_LINES // LINES, room - len(close) - len(changes)))
    near = min(len(close), max(room * CLOSE_OF_LINES // LINES, room - messages - len(changes)))
    chosen = close[:near] + changes[: room - messages - near] + traffic[:messages]
    return sorted(chosen) + ([at] if at >= 0 else [])


def subjects_in(text: str) -> tuple[str, ...]:
    """The tasks that `text` names, in the short form in which happenings name them: nothing else is about them."""
    return tuple(dict.fromkeys(short_id(word) for word in _TASK.findall(text)))


def lines_of(recording: Recording, positions: Sequence[int], *, marked: int = -1) -> list[str]:
    """One line for each of the happenings at `positions`, with how many lie between; `marked` gets an arrow."""
    if not positions:
        return []
    names = recording.names
    wide = max([len(MESH), *(len(who(names, recording.happenings[position])) for position in positions)])
    left_out = [0] + [later - earlier - 1 for earlier, later in pairwise(positions)]
    gap_wide = max([0, *(len(f"+{gap:,}") for gap in left_out if gap)])
    lines: list[str] = []
    for position, gap in zip(positions, left_out, strict=True):
        happening = recording.happenings[position]
        arrow = ">" if position == marked else " "
        skipped = f"+{gap:,}" if gap else ""
        head = f"{arrow} {seconds(happening.at):>11}  {skipped:>{gap_wide}}  {who(names, happening):<{wide}}  "
        lines.append(head + clipped(words_of(happening, names), max(20, WIDTH - len(head))))
    return lines


def who(names: Sequence[str], happening: Happening) -> str:
    """Where it happened: a node's name, `n0 → n1` for what travels, or the mesh."""
    if happening.node < 0:
        return MESH
    if happening.kind in TRAFFIC:
        return f"{names[happening.node]} → {names[happening.peer] if happening.peer >= 0 else '?'}"
    return names[happening.node]


def words_of(happening: Happening, names: Sequence[str]) -> str:
    """What happened, without when and where."""
    text = happening.text
    match happening.kind:
        case Kind.MESSAGE:
            fate = "still waits when the run ends" if happening.until < 0 else f"arrives at {seconds(happening.until)}"
            return f"{happening.what} {text}".rstrip() + f", {fate}"
        case Kind.LOST:
            return f"{happening.what} is lost: {WHY_LOST.get(text, text.replace('_', ' '))}"
        case Kind.BOOT:
            return f"boots {text}".rstrip()
        case Kind.CRASH:
            return f"crashes {text}".rstrip()
        case Kind.FAULT:
            return f"fault: {text}"
        case Kind.CUT:
            return f"cut: {text}" if text else "cut: over, all reach all"
        case Kind.DURABLE:
            return f"durable: {text}"
        case Kind.START:
            return f"starts a body: {what_and_text(happening)}"
        case Kind.REPLY:
            return f"answers a caller: {what_and_text(happening)}"
        case Kind.VIOLATION:
            return f"VIOLATED {happening.what}: {text}"
        case _:
            return text or happening.what


def what_and_text(happening: Happening) -> str:
    """The type's name and the words, without saying the same thing twice."""
    if not happening.text or not happening.what:
        return happening.text or happening.what
    return f"{happening.what}: {happening.text}"


def seconds(at: Instant) -> str:
    """An instant as virtual seconds, to the microsecond."""
    return f"{at / NANOS_PER_S:.6f} s"


def clipped(text: str, wide: int) -> str:
    """`text` on one line of at most `wide` characters."""
    line = " ".join(text.split())
    return line if len(line) <= wide else line[: wide - 1] + "…"
