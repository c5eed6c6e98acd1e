"""Rates over the last minute, against a list of all events."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocols.core import NANOS_PER_S
from protocols.meter import BUCKET, PerMinute

MINUTE = 60 * NANOS_PER_S


@given(st.lists(st.integers(0, 90 * NANOS_PER_S), max_size=40), st.integers(0, 3 * MINUTE), st.integers(0, 10**15))
def test_the_last_minute_is_counted_to_within_one_bucket(gaps: list[int], pause: int, start: int) -> None:
    meter = PerMinute()
    now, events = start, []
    for gap in gaps:
        now += gap
        meter.add(now)
        events.append(now)
    now += pause
    counted = meter.last_minute(now)
    assert sum(event > now - MINUTE + BUCKET for event in events) <= counted
    assert counted <= sum(event > now - MINUTE for event in events)
    assert meter.total == len(events)
