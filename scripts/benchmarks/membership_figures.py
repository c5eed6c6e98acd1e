"""What was measured of membership, and the report of it: each figure beside the peer's and the issue's goal."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import NamedTuple

from msgspec import Struct, field

from scripts.benchmarks.figures import Goal, Row, below, figure, median, no_more_than, rounded
from scripts.benchmarks.sightings import Detection


class Cut(NamedTuple):
    found: Detection
    healed_s: float
    """From the end of the cut until all saw all alive."""


class Idle(NamedTuple):
    shares: list[float]
    """Of a core, for each agent."""
    resident_mb: list[float]


class Measured(Struct):
    """All that was measured of one system. What is empty was not."""

    label: str
    idle: Idle
    kills: list[Detection] = field(default_factory=list)
    pauses: list[int] = field(default_factory=list)
    """False positives of each: how often somebody took somebody for dead who was not."""
    cuts: list[Cut] = field(default_factory=list)
    no_cuts: str = ""
    """Why nobody could be cut off."""
    false_elsewhere: int = 0
    """False positives outside of pauses."""
    delays_ms: list[float] = field(default_factory=list)
    """From when a line was written to when it was stamped, where lines tell the former."""


class _Metric(NamedTuple):
    name: str
    unit: str
    value: Callable[[Measured], float]
    goal: Goal | None = None
    no_worse_than_peer: bool = False
    """The goal is the peer's figure of this run."""
    note: str = ""


def rows_of(ours: Measured, theirs: Measured | None, missing: str = "") -> list[Row]:
    """The report. `missing` says why there is nobody to compare with."""
    metrics = _of_kills(ours, theirs) + _of_pauses(ours) + (_of_cuts(ours) if ours.cuts else []) + _of_idling(ours)
    why = "; ".join(text for text in (ours.no_cuts, missing) if text)
    rows = []
    for metric in metrics:
        peer_value = metric.value(theirs) if theirs else None
        goal = metric.goal
        if metric.no_worse_than_peer and peer_value is not None:
            goal = no_more_than(rounded(peer_value))
        rows.append(
            figure(
                "membership",
                metric.name,
                metric.value(ours),
                metric.unit,
                better="lower",
                peer=theirs.label if theirs else None,
                peer_value=peer_value,
                goal=goal,
                note="; ".join(text for text in (metric.note, why) if text),
            )
        )
        why = ""  # once is enough
    return rows


def _of_kills(ours: Measured, theirs: Measured | None) -> list[_Metric]:
    kills = len(ours.kills)
    suspected = f"first suspected after {median([kill.suspected_s for kill in ours.kills]):.2f} s"
    if theirs:
        suspected += f", the peer after {median([kill.suspected_s for kill in theirs.kills]):.2f} s"
    stamps = "times are those of log lines as they come through a pipe"
    if ours.delays_ms:
        stamps += f", {median(ours.delays_ms):.1f} ms after they were written, {max(ours.delays_ms):.0f} ms at most"
    return [
        _Metric(
            "kill -9: first knows, median",
            "s",
            lambda measured: median([kill.first_s for kill in measured.kills]),
            no_worse_than_peer=True,
            note=f"{kills} kills, taken for dead by one, and then by all of the others; {suspected}; two kills may "
            f"differ by seconds, for it is chance who probes the victim next; {stamps}",
        ),
        _Metric("kill -9: first knows, worst", "s", lambda measured: max(kill.first_s for kill in measured.kills)),
        _Metric("kill -9: from first to last, median", "s", lambda measured: median(_spreads(measured))),
        _Metric("kill -9: from first to last, worst", "s", lambda measured: max(_spreads(measured)), below(1)),
    ]


def _spreads(measured: Measured) -> list[float]:
    return [kill.last_s - kill.first_s for kill in measured.kills]


def _of_pauses(ours: Measured) -> list[_Metric]:
    return [
        _Metric(
            "pause of 5 s: false positives",
            "",
            lambda measured: sum(measured.pauses),
            no_more_than(0),
            note=f"false positives are of {len(ours.pauses)} pauses together: each time that somebody was "
            "taken for dead who was not",
        ),
        _Metric("elsewhere: false positives", "", lambda measured: measured.false_elsewhere),
    ]


def _of_cuts(ours: Measured) -> list[_Metric]:
    return [
        _Metric(
            "one cut off: first knows, median",
            "s",
            lambda measured: median([cut.found.first_s for cut in measured.cuts]),
            note=f"{len(ours.cuts)} cuts, each until all others knew and a little longer; whole: all see all alive",
        ),
        _Metric(
            "one cut off: from first to last, worst",
            "s",
            lambda measured: max(cut.found.last_s - cut.found.first_s for cut in measured.cuts),
        ),
        _Metric("cut healed: whole again, worst", "s", lambda measured: max(cut.healed_s for cut in measured.cuts)),
    ]


def _of_idling(ours: Measured) -> list[_Metric]:
    return [
        _Metric(
            "idle: processor, mean",
            "% of a core",
            lambda measured: statistics.mean(measured.idle.shares) * 100,
            below(1),
            note=f"idle is each of {len(ours.idle.shares)} agents, without MCP; the busiest of ours took "
            f"{max(ours.idle.shares):.2%} of a core",
        ),
        _Metric("idle: resident, largest", "MB", lambda measured: max(measured.idle.resident_mb), below(60)),
    ]
