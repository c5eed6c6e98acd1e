"""What a node's own pings have shown, and that no mesh is so large that remembering it hurts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.core import NANOS_PER_MS, NANOS_PER_S
from protocols.detector.evidence import ANSWERED_MAX, GAP_MAX, SILENT_MAX, Evidence
from protocols.detector.roundtrips import WINDOW, RoundTrips
from protocols.membership.messages import Ping
from protocols.membership.views import GetStatus, NodeStatus
from tests.protocols.harness import Host, World, id_of

SECOND = NANOS_PER_S


@given(st.lists(st.integers(0, 10**12), max_size=3 * WINDOW), st.integers(1, 100))
def test_quantiles_are_those_of_the_last_ones(durations: list[int], of_hundred: int) -> None:
    round_trips = RoundTrips()
    for duration in durations:
        round_trips.add(duration)
    window = sorted(durations[-WINDOW:])
    expected = window[math.ceil(len(window) * of_hundred / 100) - 1] if window else 0
    assert round_trips.quantile(of_hundred) == expected
    assert (round_trips.count, round_trips.total) == (len(durations), sum(durations))
    assert round_trips.in_window == len(window)


def test_a_silence_begins_with_the_first_unanswered_ping_and_ends_with_an_answer() -> None:
    evidence = Evidence()
    evidence.probed(10 * SECOND, "x")
    evidence.probe_failed(11 * SECOND, "x", ("h", "i"), ("i",))
    evidence.probed(15 * SECOND, "x")
    evidence.probe_failed(16 * SECOND, "x", ("h",), ())
    silence = evidence.silence("x")
    assert silence is not None
    assert (silence.since, silence.last, silence.pings) == (10 * SECOND, 16 * SECOND, 2)
    assert (silence.helpers, silence.helpers_heard) == (("h",), ())
    assert evidence.last_answer("x") is None
    evidence.answered(17 * SECOND, "x")
    assert evidence.silence("x") is None
    assert evidence.last_answer("x") == 17 * SECOND


def test_pings_far_apart_are_two_silences() -> None:
    evidence = Evidence()
    evidence.unanswered(0, "x", 0)
    evidence.unanswered(GAP_MAX, "x", GAP_MAX)
    silence = evidence.silence("x")
    assert silence is not None
    assert silence.since == 0
    late = 2 * GAP_MAX + 1
    evidence.unanswered(late, "x", late)
    silence = evidence.silence("x")
    assert silence is not None
    assert (silence.since, silence.pings) == (late, 1)


def test_the_answer_of_a_helper_is_no_round_trip_and_no_evidence() -> None:
    evidence = Evidence()
    evidence.probed(0, "x")
    evidence.probe_answered(5, "helper")
    assert evidence.round_trips.count == 0
    assert evidence.last_answer("x") is evidence.last_answer("helper") is None


def test_a_ping_that_was_repeated_measures_nothing_but_shows_that_it_answers() -> None:
    """Karn and Partridge, 1987: which of the two pings the ack is for is not known."""
    evidence = Evidence()
    evidence.probed(0, "x")
    evidence.probed_again()
    evidence.probe_answered(5, "x")
    assert evidence.round_trips.count == 0
    assert evidence.last_answer("x") == 5


def test_it_is_bounded_and_forgets_the_oldest() -> None:
    evidence = Evidence()
    for number in range(1000):
        evidence.answered(number, f"a{number}")
        evidence.unanswered(number, f"s{number}", number)
        evidence.answered(number, "a0")
    assert evidence.last_answer("a0") == 999
    assert sum(evidence.last_answer(f"a{number}") is not None for number in range(1000)) == ANSWERED_MAX
    assert sum(evidence.silence(f"s{number}") is not None for number in range(1000)) == SILENT_MAX
    assert evidence.silence("s999") is not None


# In a mesh.


def status_of(host: Host) -> NodeStatus:
    status = host.ask(GetStatus())
    assert isinstance(status, NodeStatus)
    return status


def test_status_tells_round_trips_probes_and_table_exchanges() -> None:
    world = World()
    world.latency = 7 * NANOS_PER_MS
    host, *_ = world.mesh("a", "b", "c")
    world.run(100)
    membership = status_of(host).membership
    assert membership.probe_rtt_median_s == membership.probe_rtt_p99_s == pytest.approx(0.014)
    assert 95 <= membership.probes <= 107
    assert membership.probe_rtt_count in (membership.probes, membership.probes - 1)
    assert membership.probe_rtt_sum_s == pytest.approx(0.014 * membership.probe_rtt_count)
    assert (membership.probes_failed, membership.health_score, membership.suspicions_open) == (0, 0, 0)
    assert membership.push_pulls_begun >= 2
    assert membership.push_pulls_answered >= 2
    assert membership.view_changes_last_minute == 0
    assert membership.view_changes >= 1


def test_status_tells_health_suspicions_and_view_changes() -> None:
    world = World()
    host, _, other, _ = world.mesh("a", "b", "c", "d")
    other.crash()
    world.run_until(lambda: status_of(host).membership.suspicions_open == 1)
    seen = status_of(host)
    assert seen.members_suspect == 1
    before = seen.membership.view_changes
    world.run_until(lambda: status_of(host).members_dead == 1)
    seen = status_of(host)
    assert seen.membership.suspicions_open == 0
    assert seen.membership.view_changes == before + 1
    assert seen.membership.view_changes_last_minute >= 1
    world.split(("a",), ("b", "d"))
    world.run_until(lambda: status_of(host).membership.health_score >= 3)
    assert status_of(host).membership.probes_failed >= 1
    assert status_of(host).membership.health_score_max == 8


def test_a_lost_ping_that_is_answered_through_a_helper_is_no_round_trip() -> None:
    world = World()
    host, *_ = world.mesh("a", "b", "c")
    world.run(5)
    before = status_of(host).membership
    world.lets_through = lambda source, target, message: (
        not (source is host and target.name == "b" and isinstance(message, Ping))
    )
    world.run(30)
    after = status_of(host).membership
    assert after.probes - before.probes >= 25
    assert after.probe_rtt_count - before.probe_rtt_count < after.probes - before.probes - 5
    assert after.probes_failed == before.probes_failed
    assert host.node.membership.evidence.silence(id_of("b")) is None
