"""Clocks of nodes: exact both ways, never back, and wrong only as far as they are told to be."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.clock import EPOCH_UNIX_MS, PAR, Clock, ClockProfile, WallClock
from sim.errors import ScenarioError
from tests.sim.simkit import S

INSTANTS = st.integers(0, 40 * 24 * 3600 * S)
RATES = st.integers(PAR // 10, 2 * PAR)


def started(rate: int, now: int, shows: int) -> Clock:
    clock = Clock(rate)
    clock.restart(now, shows)
    return clock


@given(RATES, INSTANTS, INSTANTS, st.integers(-(10**6), 10**15))
def test_when_is_the_first_instant_that_shows_a_time_and_no_earlier_one(
    rate: int, now: int, shows: int, ahead: int
) -> None:
    clock = started(rate, now, shows)
    time = shows + ahead
    when = clock.when(time)
    assert clock.shown(when) >= time
    assert clock.shown(when - 1) < time


@given(RATES, INSTANTS, st.lists(st.integers(0, 10**12), min_size=2))
def test_a_clock_never_goes_back_and_keeps_its_rate_to_the_nanosecond(rate: int, now: int, steps: list[int]) -> None:
    clock = started(rate, now, 5)
    at, before = now, 5
    for step in steps:
        at += step
        assert clock.shown(at) >= before
        before = clock.shown(at)
    assert abs((before - 5) * PAR - (at - now) * rate) < PAR


@given(st.lists(st.tuples(st.integers(0, 10**12), RATES), min_size=1), INSTANTS)
def test_a_change_of_rate_goes_on_from_what_is_shown(changes: list[tuple[int, int]], shows: int) -> None:
    clock = started(PAR, 0, shows)
    now = 0
    for later, rate in changes:
        now += later
        before = clock.shown(now)
        clock.run_at(now, rate)
        assert clock.shown(now) == before
        assert clock.shown(clock.when(before + 10**9)) >= before + 10**9


def test_a_rate_is_in_millionths() -> None:
    clock = started(PAR + 200, 0, 0)
    assert clock.shown(10 * S) == 10 * S + 2_000_000
    assert clock.when(10 * S + 2_000_000) == 10 * S


def test_a_wall_clock_shows_unix_milliseconds_with_its_skew_and_its_jumps() -> None:
    wall = WallClock(-250)
    assert wall.unix_ms(3 * S) == EPOCH_UNIX_MS + 2750
    wall.jump(60_000)
    assert wall.unix_ms(3 * S) == EPOCH_UNIX_MS + 62_750
    wall.jump(-10 * EPOCH_UNIX_MS)
    assert wall.unix_ms(3 * S) == 0


@pytest.mark.parametrize(
    ("profile", "says"),
    [
        (ClockProfile(drift_ppm=-1), "A drift of -1 ppm"),
        (ClockProfile(drift_ppm=600_000), "0 to 500000"),
        (ClockProfile(skew_ms=-1), "A skew of -1 ms"),
    ],
)
def test_a_profile_that_cannot_be_says_so(profile: ClockProfile, says: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(says)):
        profile.check()
