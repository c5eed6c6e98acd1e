"""What a node's own pings have shown, and that no mesh is so large that remembering it hurts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.core import NANOS_PER_MS, NANOS_PER_S
from protocols.detector.evidence import ANSWERS_MAX, GAP_MAX, SILENT_MAX, UNTIMED, Evidence, quantile
from protocols.membership.messages import Ping
from protocols.membership.views import GetStatus, NodeStatus
from tests.protocols.harness import Host, World, endpoint_of, id_of

SECOND = NANOS_PER_S


@given(st.lists(st.integers(0, 10**12)), st.integers(1, 100))
def test_a_quantile_is_the_nearest_rank(durations: list[int], of_hundred: int) -> None:
    ascending = sorted(durations)
    expected = ascending[math.ceil(len(ascending) * of_hundred / 100) - 1] if ascending else 0
    assert quantile(ascending, of_hundred) == expected


@given(st.lists(st.tuples(st.integers(0, 10**12), st.booleans()), max_size=3 * ANSWERS_MAX), st.integers(1, 50))
def test_round_trips_are_counted_for_ever_and_the_last_ones_kept(each: list[tuple[int, bool]], fold_every: int) -> None:
    evidence = Evidence()
    for number, (took, timed) in enumerate(each):
        evidence.note(("x", 5 if timed else UNTIMED, 5 + took))
        if number % fold_every == 0:
            evidence.fold()
    all_timed = [took for took, timed in each if timed]
    assert evidence.round_trips() == (len(all_timed), sum(all_timed))
    kept = evidence.last_round_trips()
    assert len(kept) <= ANSWERS_MAX
    assert kept == sorted(all_timed[len(all_timed) - len(kept) :])


def test_a_silence_begins_with_the_first_unanswered_ping_and_ends_with_an_answer() -> None:
    evidence = Evidence()
    evidence.probe_failed(11 * SECOND, "x", 10 * SECOND, ("h", "i"), ("i",))
    evidence.probe_failed(16 * SECOND, "x", 15 * SECOND, ("h",), ())
    silence = evidence.silence("x")
    assert silence is not None
    assert (silence.since, silence.last, silence.pings) == (10 * SECOND, 16 * SECOND, 2)
    assert (silence.helpers, silence.helpers_heard) == (("h",), ())
    assert evidence.last_answer("x") is None
    assert evidence.probes_failed == 2
    evidence.note(("y", 16 * SECOND, 17 * SECOND))
    assert evidence.silence("x") is silence
    evidence.note(("x", 16 * SECOND, 17 * SECOND))
    assert evidence.silence("x") is None
    assert evidence.last_answer("x") == 17 * SECOND


def test_a_silence_behind_an_answer_is_a_new_one() -> None:
    evidence = Evidence()
    evidence.unanswered(2 * SECOND, "x", 1 * SECOND)
    evidence.note(("x", 3 * SECOND, 3 * SECOND))
    evidence.unanswered(5 * SECOND, "x", 4 * SECOND)
    silence = evidence.silence("x")
    assert silence is not None
    assert (silence.since, silence.pings) == (4 * SECOND, 1)


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


def test_a_silence_that_an_answer_ended_does_not_come_back_when_the_answer_is_forgotten() -> None:
    evidence = Evidence()
    evidence.unanswered(2 * SECOND, "x", 1 * SECOND)
    evidence.unanswered(2 * SECOND, "y", 1 * SECOND)
    evidence.note(("x", 3 * SECOND, 3 * SECOND))
    for number in range(ANSWERS_MAX):
        evidence.note((f"a{number}", 4 * SECOND, 4 * SECOND))
    evidence.fold()
    assert evidence.last_answer("x") is None
    assert evidence.silence("x") is None
    assert evidence.silence("y") is not None


def test_it_is_bounded_and_forgets_the_oldest() -> None:
    evidence = Evidence()
    for number in range(1000):
        evidence.unanswered(number, f"s{number}", number)
    assert sum(evidence.silence(f"s{number}") is not None for number in range(1000)) == SILENT_MAX
    assert evidence.silence("s999") is not None
    for number in range(1000):
        evidence.note((f"a{number}", number, number))
    evidence.fold()
    assert sum(evidence.last_answer(f"a{number}") is not None for number in range(1000)) == ANSWERS_MAX
    assert evidence.last_answer("a999") == 999


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


def test_a_probe_that_this_node_slept_through_shows_no_silence_before_it_woke_up() -> None:
    world = World()
    host, *_ = world.mesh("a", "b")
    world.run_until(lambda: host.node.membership.prober.probes > 0)
    host.world.split(("a",), ("b",))
    host.hush()
    world.run_until(lambda: bool(host.said_of(Ping, "b")), 3)
    host.sleep(20)
    woke = world.now
    assert host.node.membership.evidence.silence(id_of("b")) is None
    world.run(5)
    silence = host.node.membership.evidence.silence(id_of("b"))
    assert silence is not None
    assert silence.since >= woke
    assert silence.last - silence.since >= SECOND


def test_what_is_remembered_of_answers_does_not_grow_with_time() -> None:
    world = World()
    host, *_ = world.mesh("a", "b", "c")
    world.run(400)
    membership = status_of(host).membership
    assert membership.probe_rtt_window == ANSWERS_MAX
    assert membership.probe_rtt_count in (membership.probes, membership.probes - 1)
    assert membership.probe_rtt_sum_s == pytest.approx(0.002 * membership.probe_rtt_count)
    assert len(host.node.membership.evidence._answers) <= ANSWERS_MAX + 31


def test_a_node_that_comes_back_into_touch_pings_again_and_measures_nothing_by_it() -> None:
    """Which of the two pings the ack is for is not known (Karn and Partridge, 1987)."""
    world = World()
    host, *_ = world.mesh("a", "b", "c")
    world.split(("a",))
    world.run_until(lambda: host.node.membership.prober.out_of_touch)
    before = status_of(host).membership.probe_rtt_count
    world.heal()
    target = host.node.membership.prober.pinged
    host.hears(endpoint_of("c"), Ping(7))
    world.run_until(lambda: host.node.membership.evidence.last_answer(target) == world.now, 0.1)
    assert status_of(host).membership.probe_rtt_count == before
