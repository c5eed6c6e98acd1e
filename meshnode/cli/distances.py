"""Round-trip times and loads as people read them."""

from __future__ import annotations

from meshnode.cli.tables import duration
from protocols.membership.rtt import PROBES, RttEstimate, RttSummary
from protocols.membership.vitals import VitalsView

SETTLED_ERROR = 0.2
"""Estimates of round-trip times that are off by a larger part than this are called rough."""


def rtt_text(answer: RttEstimate) -> str:
    """`a to b: 12.3 ms ± 0.4 ms`, and what that stands on."""
    rtt = answer.rtt
    if rtt.source == PROBES:
        probes = "last probe" if rtt.samples == 1 else f"median of the last {rtt.samples} probes"
        stands_on = f"{probes}, {duration(rtt.age_s)} ago"
    else:
        stands_on = f"estimated from network coordinates, heard up to {duration(rtt.age_s)} ago"
        if rtt.error_ms > rtt.ms:
            stands_on += "; they are not settled yet, ask again in a minute"
    error = "" if rtt.samples == 1 else f" ± {milliseconds(rtt.error_ms)}"
    return f"{answer.a} to {answer.b}: {milliseconds(rtt.ms)}{error} ({stands_on})"


def summary_text(summary: RttSummary | None) -> str:
    """For `meshnode status`."""
    if summary is None:
        return "not known yet"
    times = f"median {milliseconds(summary.median_ms)}"
    if summary.members > 1:
        times = f"{milliseconds(summary.nearest_ms)} to {milliseconds(summary.farthest_ms)}, {times}"
    rough = ", estimates are rough so far" if summary.coordinate_error > SETTLED_ERROR else ""
    return f"{times} ({summary.members} member{'s' * (summary.members > 1)}{rough})"


def vitals_text(vitals: VitalsView | None) -> str:
    if vitals is None:
        return "not known"
    runs = f"{vitals.running} of {vitals.capacity} places taken, {vitals.queued} waiting"
    machine = [
        f"{label} {part:.0%}" for label, part in (("cpu", vitals.cpu), ("memory", vitals.memory)) if part is not None
    ]
    return ", ".join((runs, *machine))


def milliseconds(ms: float) -> str:
    """To three figures or so: 0.21 ms, 3.45 ms, 12.3 ms, 184 ms."""
    digits = 2 if ms < 10 else 1 if ms < 100 else 0
    return f"{ms:.{digits}f} ms"
