"""Suspicion timeouts: Lifeguard's formula, and how further accusers shorten them (Lifeguard section IV-B)."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.config import SwimConfig
from protocols.core import NANOS_PER_S
from protocols.detector.suspicion import OVER_MAX, Suspicions, suspicion_bounds, suspicion_timeout
from protocols.membership.facts import MemberChanged
from protocols.membership.member import State
from protocols.membership.messages import Gossip
from tests.protocols.harness import Host, World, accuse, alive, endpoint_of, id_of

S = NANOS_PER_S
CONFIG = SwimConfig()


# The formula.


@pytest.mark.parametrize(
    ("confirmations", "seconds"),
    [(0, 30.0), (1, 16.0), (2, 30 - 28 * math.log(3) / math.log(4)), (3, 2.0), (4, 2.0), (100, 2.0)],
)
def test_the_timeout_shortens_by_the_logarithm_of_confirmations(confirmations: int, seconds: float) -> None:
    """The figures of memberlist's own test: 2 s at least, 30 s at most, 3 confirmations wanted."""
    assert suspicion_timeout(2 * S, 30 * S, 3, confirmations) == pytest.approx(seconds * S, abs=2)


@pytest.mark.parametrize(
    ("members", "shortest_s", "longest_s", "wanted"),
    [
        (1, 4, 4, 0),
        (2, 4, 4, 0),
        (3, 4, 4, 0),
        (4, 4, 24, 2),
        (10, 4, 24, 2),
        (100, 8, 48, 2),
        (1000, 12, 72, 2),
    ],
)
def test_the_bounds_follow_from_the_size_of_the_mesh(
    members: int, shortest_s: float, longest_s: float, wanted: int
) -> None:
    assert suspicion_bounds(CONFIG, members) == (shortest_s * S, longest_s * S, wanted)


@given(st.integers(1, 10_000), st.integers(2, 8), st.integers(1, 8))
def test_more_accusers_never_lengthen_a_suspicion(members: int, mult: int, factor: int) -> None:
    bounds = suspicion_bounds(SwimConfig(suspicion_mult=mult, suspicion_max_factor=factor), members)
    timeouts = [suspicion_timeout(*bounds, confirmations) for confirmations in range(10)]
    assert timeouts == sorted(timeouts, reverse=True)
    assert timeouts[0] == bounds[1]
    assert timeouts[-1] == bounds[0]


# The suspicions of one node.


def test_each_further_accuser_counts_once_and_only_while_wanted() -> None:
    suspicions = Suspicions()
    suspicions.start(0, "x", 5, "one", CONFIG, 10)
    assert suspicions.deadline == 24 * S
    assert not suspicions.confirm("x", "one")
    assert suspicions.confirm("x", "two")
    assert not suspicions.confirm("x", "two")
    assert suspicions.confirm("x", "three")
    assert not suspicions.confirm("x", "four")
    assert suspicions.deadline == 4 * S


def test_nobody_is_doubted_twice_or_judged_twice() -> None:
    suspicions = Suspicions()
    suspicions.start(0, "x", 5, "one", CONFIG, 10)
    suspicions.confirm("x", "two")
    assert suspicions.due(24 * S - 1)
    assert suspicions.due(100 * S) == []
    assert "x" not in suspicions
    assert not suspicions.confirm("x", "three")


def test_a_refuted_suspicion_is_never_due() -> None:
    suspicions = Suspicions()
    suspicions.start(0, "x", 5, "one", CONFIG, 3)
    suspicions.end("x")
    assert len(suspicions) == 0
    assert suspicions.due(100 * S) == []


def test_a_suspicion_that_is_replaced_starts_anew() -> None:
    suspicions = Suspicions()
    suspicions.start(0, "x", 5, "one", CONFIG, 3)
    suspicions.start(3 * S, "x", 9, "one", CONFIG, 3)
    assert suspicions.due(4 * S) == []
    ((node_id, suspicion),) = suspicions.due(7 * S)
    assert (node_id, suspicion.precedence) == ("x", 9)


def test_a_suspicion_that_wants_no_accusers_replaces_one_that_did() -> None:
    """The mesh has shrunk meanwhile: what the old one wanted must not count for the new one."""
    suspicions = Suspicions()
    suspicions.start(0, "x", 5, "one", CONFIG, 10)
    suspicions.start(1 * S, "x", 9, "one", CONFIG, 3)
    assert not suspicions.confirm("x", "two")
    assert [node_id for node_id, _ in suspicions.due(5 * S)] == ["x"]


def test_verdicts_come_in_the_order_of_their_deadlines() -> None:
    suspicions = Suspicions()
    for number, node_id in enumerate(("x", "y", "z")):
        suspicions.start(-number * S, node_id, 5, "one", CONFIG, 3)
    assert [node_id for node_id, _ in suspicions.due(10 * S)] == ["z", "y", "x"]


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from(["start", "confirm", "end", "due"])), max_size=40))
def test_nobody_is_judged_before_the_shortest_time_and_everybody_is_in_the_end(steps: list[tuple[str, str]]) -> None:
    suspicions = Suspicions()
    now = 0
    open_since: dict[str, int] = {}
    for number, (node_id, what) in enumerate(steps, 1):
        now = number * S
        match what:
            case "start":
                suspicions.start(now, node_id, number, "one", CONFIG, 10)
                open_since[node_id] = now
            case "confirm":
                suspicions.confirm(node_id, f"accuser {number}")
            case "end":
                suspicions.end(node_id)
                open_since.pop(node_id, None)
            case _:
                for judged, _ in suspicions.due(now):
                    assert now - open_since.pop(judged) >= 4 * S
        assert len(suspicions) == len(open_since)
        assert (suspicions.deadline < 1 << 62) or not open_since
    assert {node_id for node_id, _ in suspicions.due(now + 24 * S)} == open_since.keys()


# The verdict, as others see it.


def doubting(*accusers: str, members: int = 10) -> tuple[Host, int]:
    """A node in a mesh of `members` that has just been told by each of `accusers` that b is suspect."""
    host = World().add("a").start()
    host.world.run(0.001)
    host.hears(endpoint_of("c"), Gossip(tuple(alive(f"n{number}") for number in range(members - 2))))
    host.hears(endpoint_of("c"), Gossip((alive("b"),)))
    for accuser in accusers:
        host.hears(endpoint_of(accuser), Gossip((accuse("b", State.SUSPECT, by=accuser),)))
    return host, host.world.now


def seconds_to_the_verdict(host: Host, since: int) -> float:
    host.world.run_until(lambda: host.sees("b") is State.DEAD, 60)
    (death,) = [
        fact for fact in host.facts_of(MemberChanged) if fact.state is State.DEAD and fact.node_id == id_of("b")
    ]
    assert death.by == id_of("a")
    return (host.world.now - since) / S


@pytest.mark.parametrize(
    ("accusers", "seconds"),
    [(("n1",), 24.0), (("n1", "n2"), 24 - 20 * math.log(2) / math.log(3)), (("n1", "n2", "n3"), 4.0)],
)
def test_a_suspect_is_dead_when_the_formula_says(accusers: tuple[str, ...], seconds: float) -> None:
    """The other members do not exist, so probes of them fail; b itself is never probed within the first seconds."""
    host, since = doubting(*accusers)
    took = seconds_to_the_verdict(host, since)
    if len(accusers) == 3:
        assert took == pytest.approx(seconds, abs=0.001)
    else:
        assert took <= seconds + 0.001


def test_a_suspect_has_longer_in_a_larger_mesh() -> None:
    host, since = doubting("n1", "n2", "n3", members=60)
    assert seconds_to_the_verdict(host, since) == pytest.approx(4 * math.log10(60), abs=0.001)


def test_the_same_accuser_twice_shortens_nothing() -> None:
    host, since = doubting("n1", "n1", "n1")
    host.world.run(4.5)
    assert host.sees("b") is State.SUSPECT
    assert host.world.now - since > 4 * S


def test_a_refutation_in_time_ends_the_suspicion() -> None:
    host, _ = doubting("n1", "n2", "n3")
    host.world.run(3.9)
    host.hears(endpoint_of("b"), Gossip((alive("b", incarnation=1),)))
    host.world.run(0.5)
    assert host.sees("b") is State.ALIVE


def test_a_confirmation_is_passed_on_while_it_is_wanted_and_not_after() -> None:
    host, _ = doubting("n1", "n2", "n3", "n4")
    host.world.run(2)
    accusers = {update.by for update in host.told("b") if hasattr(update, "by")}
    assert id_of("n3") in accusers
    assert id_of("n4") not in accusers


def test_suspicions_that_ended_are_remembered_for_whoever_asks_why_and_so_many_of_them() -> None:
    suspicions = Suspicions()
    for number in range(OVER_MAX + 2):
        suspicions.start(0, f"m{number}", 1, "first", CONFIG, 10)
        suspicions.confirm(f"m{number}", "second")
        assert suspicions.accusers(f"m{number}") == ("first", "second")
        suspicions.end(f"m{number}")
        assert suspicions.get(f"m{number}") is None
        assert suspicions.accusers(f"m{number}") == ()
    over = [suspicions.last(f"m{number}") for number in range(OVER_MAX + 2)]
    assert over[:2] == [None, None]
    assert all(each is not None and each.accusers == ("first", "second") for each in over[2:])
    suspicions.start(5, "m2", 2, "third", CONFIG, 10)
    again = suspicions.last("m2")
    assert again is not None
    assert again.accusers == ("third",)
