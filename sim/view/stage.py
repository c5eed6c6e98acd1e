"""What lies behind the messages of a recording, as stretches of time: who was down, what was broken, who reached whom.

Pure. Reads the boots, crashes, faults and cuts of a recording, forgotten ones included, so that a diagram that begins
in the middle of a run begins with the stage as it stood.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from protocols.core import Instant
from sim.record.happening import Happening, Kind, Recording


class Stretch(Struct, frozen=True):
    """Something held from `begin` to `end`. `letters` (a cut's) has the side of every node, by index."""

    begin: Instant
    end: Instant
    text: str
    letters: str = ""


def span(recording: Recording) -> tuple[Instant, Instant]:
    """From when to when messages and facts are complete: what was asked for, less what was forgotten."""
    begin = recording.since
    end = recording.end if recording.until < 0 else recording.until
    if recording.forgotten:
        kept = [each.at for each in recording.happenings[:1]]
        begin = max([begin, *kept])
    return begin, max(begin, end)


def _stage(recording: Recording, *kinds: Kind) -> Iterator[Happening]:
    for happening in (*recording.before, *recording.happenings):
        if happening.kind in kinds:
            yield happening


def down_times(recording: Recording) -> list[list[Stretch]]:
    """By node: the stretches in which it was not up. Before its first boot it had not been started."""
    end = recording.end
    down_since: list[tuple[Instant, str] | None] = [(0, "not started yet") for _ in recording.names]
    found: list[list[Stretch]] = [[] for _ in recording.names]
    for happening in _stage(recording, Kind.BOOT, Kind.CRASH):
        node = happening.node
        since = down_since[node]
        if happening.kind is Kind.CRASH:
            down_since[node] = (happening.at, "down")
        elif since is not None:
            if happening.at > since[0]:
                found[node].append(Stretch(since[0], happening.at, since[1]))
            down_since[node] = None
    for node, since in enumerate(down_since):
        if since is not None:
            found[node].append(Stretch(since[0], end, since[1]))
    return found


def faults(recording: Recording) -> list[Stretch]:
    """Every fault, from when to when it was in force."""
    return [
        Stretch(fault.at, recording.end if fault.until < 0 else fault.until, fault.text)
        for fault in _stage(recording, Kind.FAULT)
    ]


def cuts(recording: Recording) -> list[Stretch]:
    """Every stretch of time in which some could not reach others, and its sides."""
    found: list[Stretch] = []
    current: Happening | None = None
    for cut in _stage(recording, Kind.CUT):
        if current is not None and current.text:
            found.append(Stretch(current.at, cut.at, current.text, current.what))
        current = cut
    if current is not None and current.text:
        found.append(Stretch(current.at, recording.end, current.text, current.what))
    return found
