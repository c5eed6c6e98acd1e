"""Runs two scenarios and finds where they part, however long they are: recordings are bounded, the search is not.

A recording keeps the last so many happenings. Where two runs of one seed differ already at the first that both have
kept, the difference lies before: both are recorded again, up to there, until the difference is in sight. Runs are
deterministic, so each recording is a longer look at the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct

from protocols.core import NANOS_PER_S
from sim.failure.divergence import Divergence, How, first_divergence
from sim.record.happening import Recording

ROUNDS_MAX = 64
"""Recordings of each run, at most: 64 times what one of them holds."""

Record: TypeAlias = Callable[[float | None], Recording]
"""Records a run up to a time in virtual seconds (None: its end)."""


class Compared(Struct, frozen=True):
    """Two runs, recorded where they part; no divergence where nothing tells them apart."""

    a: Recording
    b: Recording
    divergence: Divergence | None


def compare(record_a: Record, record_b: Record) -> Compared:
    """Where two runs part. With equal trace hashes they do not."""
    a, b = record_a(None), record_b(None)
    if a.trace_hash == b.trace_hash:
        return Compared(a, b, None)
    divergence = first_divergence(a, b)
    for _ in range(ROUNDS_MAX):
        begin_s = _begins_at(a, b)
        if divergence is None or divergence.how is not How.EXACT or not _at_the_edge(divergence) or begin_s is None:
            break
        earlier_a, earlier_b = record_a(begin_s), record_b(begin_s)
        earlier = first_divergence(earlier_a, earlier_b)
        if earlier is None or (earlier.at_a is None and earlier.at_b is None):
            break
        a, b, divergence = earlier_a, earlier_b, earlier
    return Compared(a, b, divergence)


def _at_the_edge(divergence: Divergence) -> bool:
    """Nothing that is the same comes before it."""
    return not divergence.before_a and not divergence.before_b


def _begins_at(a: Recording, b: Recording) -> float | None:
    """Just before the first thing that either kept, in seconds; None where nothing was forgotten before it."""
    firsts = [each.happenings[0].at for each in (a, b) if each.forgotten and each.happenings]
    return (max(firsts) - 1) / NANOS_PER_S if firsts else None
