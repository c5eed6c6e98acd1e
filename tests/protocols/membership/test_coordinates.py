"""Network coordinates: estimates become good in every kind of mesh, and no peer can do much harm (Vivaldi, serf)."""

from __future__ import annotations

from collections.abc import Callable
from math import dist, isfinite
from random import Random
from statistics import median

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.membership.coordinates import (
    COORDINATE_BYTES_MAX,
    DIMENSIONS,
    ERROR_MAX,
    ERROR_UNIT,
    FORCE_MAX_US,
    HEIGHT_MIN_US,
    RTT_MAX_US,
    RTT_MIN_US,
    SPAN_US,
    Coordinate,
    Vivaldi,
    estimate,
)
from protocols.membership.messages import Ack
from protocols.wire import BadMessage, decode_message, encode_message
from tests.protocols.membership.topologies import Rtts, globe, one_switch, plane, sites
from tests.protocols.strategies import values_of

COORDINATES = values_of(Coordinate)
NODES = 30
ORIGIN = (0,) * DIMENSIONS


def mesh(
    rtts: Rtts, rounds: int, seed: int = 2, *, jitter: float = 0.0, liars: int = 0, says: Coordinate | None = None
) -> list[Vivaldi]:
    """Nodes that each probed a random other one `rounds` times. The first `liars` say of themselves what they like."""
    random = Random(seed)
    nodes = [Vivaldi(f"n{number}") for number in range(len(rtts))]
    for _ in range(rounds):
        for number, node in enumerate(nodes):
            other = random.randrange(len(nodes) - 1)
            other += other >= number
            told = says if other < liars and says is not None else nodes[other].coordinate
            node.sample(f"n{other}", told, rtts[number][other] * (1 + jitter * random.expovariate(1)))
    return nodes


def errors(nodes: list[Vivaldi], rtts: Rtts, first: int = 0) -> list[float]:
    """By how much of the truth the estimate of every pair is off."""
    return [
        abs(estimate(nodes[a].coordinate, nodes[b].coordinate)[0] - rtts[a][b]) / rtts[a][b]
        for a in range(first, len(nodes))
        for b in range(a + 1, len(nodes))
    ]


@pytest.mark.parametrize(
    ("topology", "rounds", "most"),
    [(plane, 60, 0.10), (plane, 200, 0.03), (sites, 200, 0.04), (one_switch, 200, 0.08), (globe, 200, 0.10)],
)
@pytest.mark.parametrize("seed", range(3))
def test_the_estimate_of_the_median_pair_is_near_the_truth(
    topology: Callable[[Random, int], Rtts], rounds: int, most: float, seed: int
) -> None:
    rtts = topology(Random(seed), NODES)
    assert median(errors(mesh(rtts, rounds, seed), rtts)) < most


def test_it_stays_near_the_truth_for_hours() -> None:
    rtts = plane(Random(1), 10)
    assert median(errors(mesh(rtts, 10_000, jitter=0.02), rtts)) < 0.05


@pytest.mark.parametrize("topology", [plane, sites, one_switch, globe])
def test_what_an_estimate_says_it_may_be_off_by_is_honest(topology: Callable[[Random, int], Rtts]) -> None:
    for rounds in (10, 40, 200):
        rtts = topology(Random(5), NODES)
        nodes = mesh(rtts, rounds)
        covered = total = 0
        for a in range(NODES):
            for b in range(a):
                rtt, error = estimate(nodes[a].coordinate, nodes[b].coordinate)
                covered += abs(rtt - rtts[a][b]) <= error
                total += 1
        assert covered / total > 0.6


def test_nodes_find_their_places_anew_when_the_network_changes() -> None:
    before, after = plane(Random(1), NODES), plane(Random(2), NODES)
    nodes = mesh(before, 200)
    assert median(errors(nodes, after)) > 0.3
    random = Random(3)
    for _ in range(200):
        for number, node in enumerate(nodes):
            other = (number + random.randrange(1, NODES)) % NODES
            node.sample(f"n{other}", nodes[other].coordinate, after[number][other])
    assert median(errors(nodes, after)) < 0.06


def test_gravity_pulls_a_node_to_the_origin_a_little() -> None:
    node = Vivaldi("a")
    for _ in range(400):
        node.sample("b", Coordinate((200_000, *ORIGIN[1:]), 0, 0, 0), 50_000.0)
    # At 150 ms it would be as far from its peer as it should; at 146.1 ms spring and gravity are equally strong.
    assert node.coordinate.position[0] + node.coordinate.height == pytest.approx(146_100, rel=0.003)


# One sample, in figures.


def test_two_nodes_at_one_place_are_pushed_apart_in_directions_of_their_own() -> None:
    start = Vivaldi("x").coordinate
    assert start == Coordinate(ORIGIN, int(HEIGHT_MIN_US), 0, int(ERROR_MAX * ERROR_UNIT))
    positions = set()
    for name in ("a", "b", "c"):
        node = Vivaldi(name)
        assert node.sample("x", start, 8_020.0)
        # Both are equally unsure: an eighth of the 8 ms that are missing. (Section 3.4: c_c · w · (rtt − distance).)
        rtt, _ = estimate(Coordinate(node.coordinate.position, 0, 0, 0), Coordinate(ORIGIN, 0, 0, 0))
        assert rtt == pytest.approx(1_000, abs=3)
        positions.add(node.coordinate.position)
        assert node.coordinate.adjustment == 7_000 / 40  # which are still missing
    assert len(positions) == 3


def test_the_surer_of_two_moves_less() -> None:
    def moved(peer_error: int) -> float:
        node = Vivaldi("a")
        node.error = 0.3
        node.sample("b", Coordinate((10_000, *ORIGIN[1:]), 10, 0, peer_error), 18_020.0)
        return -node.coordinate.position[0]

    assert moved(300) == pytest.approx(1_000, abs=2)  # 8 ms are missing: 0.25 · 0.5 of them
    assert moved(0) == pytest.approx(2_000, abs=2)  # 0.25 · 1
    assert moved(900) == pytest.approx(500, abs=2)  # 0.25 · 0.25


def test_the_error_follows_what_estimates_were_off_by() -> None:
    node = Vivaldi("a")
    node.error = 0.4
    node.sample("b", Coordinate((10_000, *ORIGIN[1:]), 10, 0, 400), 20_040.0)
    assert node.error == pytest.approx(0.5 * 0.125 + 0.4 * 0.875)  # off by a half, of which an eighth counts


def test_the_adjustment_is_half_of_what_the_last_twenty_samples_were_longer() -> None:
    node = Vivaldi("a")
    node.error = 0.0  # so sure that it does not move
    peer = Coordinate((10_000, *ORIGIN[1:]), 490, 0, 1000)
    for number in range(1, 31):
        node.sample("b", peer, 10_700.0)
        assert node.coordinate.adjustment == pytest.approx(200 * min(number, 20) / 40, abs=1)
    assert estimate(node.coordinate, Coordinate(peer.position, 490, 100, 0))[0] == pytest.approx(10_700, abs=2)


def test_the_adjustment_is_of_what_is_left_once_the_node_has_moved() -> None:
    node = Vivaldi("a")
    node.error = 0.3
    # It moves out by 2 of the 8 ms that are missing, and is lifted by the same part of both heights.
    node.sample("b", Coordinate((10_000, *ORIGIN[1:]), 10, 0, 0), 18_020.0)
    assert node.coordinate.position[0] == pytest.approx(-2_000, abs=2)
    assert node.coordinate.height == round(10 + 20 * 0.2)
    assert node.coordinate.adjustment == pytest.approx((18_020 - 12_024) / 40, abs=1)


def test_a_negative_estimate_is_none() -> None:
    near = Coordinate(ORIGIN, 100, -5_000, 100)
    assert estimate(near, near)[0] == 200


# Peers that say what they like.


@given(st.lists(st.tuples(COORDINATES, st.floats(1, RTT_MAX_US)), max_size=40))
@settings(max_examples=150, deadline=None)
def test_whatever_peers_say_the_coordinate_stays_within_its_bounds_and_moves_little(
    samples: list[tuple[Coordinate, float]],
) -> None:
    node = Vivaldi("a")
    for peer, rtt in samples:
        before = node.coordinate
        node.sample("b", peer, rtt)
        after = node.coordinate
        assert decode_message(encode_message(Ack(1, (), None, after))) == Ack(1, (), None, after)
        assert 0 <= node.error <= ERROR_MAX
        assert after.height >= round(HEIGHT_MIN_US)
        moved = dist(before.position, after.position)
        fallen = (FORCE_MAX_US + dist(before.position, ORIGIN)) ** 2 / 150_000**2 * 1_000
        assert moved <= FORCE_MAX_US + fallen + 5
        assert abs(after.height - before.height) <= FORCE_MAX_US + 1


def test_nobody_is_pushed_farther_out_than_half_a_second() -> None:
    node = Vivaldi("a")
    for _ in range(3_000):
        node.sample("b", Coordinate((SPAN_US, *ORIGIN[1:]), 0, 0, 0), RTT_MIN_US)
        assert dist(node.coordinate.position, ORIGIN) < 500_000
    assert dist(node.coordinate.position, ORIGIN) > 400_000


def test_nobody_is_lifted_higher_than_the_wire_can_say_and_by_one_sample_only_a_little() -> None:
    node = Vivaldi("a")
    highest = 0
    for _ in range(1_100):
        before = node.coordinate
        beside = (before.position[0] + 10, *before.position[1:])  # the nearer, the steeper
        node.sample("b", Coordinate(beside, 0, 0, 0), RTT_MAX_US)
        highest = max(highest, node.coordinate.height)
        assert node.coordinate.height - before.height <= FORCE_MAX_US
    assert highest == SPAN_US


def test_one_lie_is_told_apart_from_the_truth_by_the_time_that_was_measured() -> None:
    node = Vivaldi("a")
    node.error = 0.1
    node.sample("b", Coordinate((SPAN_US,) * DIMENSIONS, SPAN_US, 0, 0), 4_000.0)
    assert node.error <= 0.1 * 0.75 + ERROR_MAX * 0.25
    assert node.coordinate.adjustment == -4_000 / 40


@given(COORDINATES, st.one_of(st.sampled_from([0.0, -1.0, float("nan"), float("inf"), -float("inf")]), st.floats()))
@settings(max_examples=200, deadline=None)
def test_an_absurd_time_changes_nothing(peer: Coordinate, rtt: float) -> None:
    node = Vivaldi("a")
    before = node.coordinate
    if not node.sample("b", peer, rtt):
        assert node.coordinate == before
        assert not 1 <= rtt <= RTT_MAX_US
    assert isfinite(node.error)


@given(COORDINATES, COORDINATES)
@settings(max_examples=200, deadline=None)
def test_an_estimate_is_the_same_in_both_directions_and_never_negative(a: Coordinate, b: Coordinate) -> None:
    rtt, error = estimate(a, b)
    assert (rtt, error) == estimate(b, a)
    assert rtt >= 0
    assert error >= 0


@pytest.mark.parametrize("far", [SPAN_US, -SPAN_US, 100_000])
@pytest.mark.parametrize("error", [0, 1500])
def test_one_liar_in_thirty_does_not_spoil_what_the_others_know_of_each_other(far: int, error: int) -> None:
    rtts = plane(Random(1), NODES)
    lie = Coordinate((far, *ORIGIN[1:]), SPAN_US, SPAN_US, error)
    assert median(errors(mesh(rtts, 300, liars=1, says=lie), rtts, first=1)) < 0.15


@pytest.mark.parametrize(
    "fields",
    [
        [[0] * 7, 1, 0, 0],
        [[0] * 9, 1, 0, 0],
        [[SPAN_US + 1, *[0] * 7], 1, 0, 0],
        [[0] * 8, -1, 0, 0],
        [[0] * 8, 1, 1 << 62, 0],
        [[0] * 8, 1, 0, 1501],
        [[0] * 8, 1, 0, -1],
        [[0.5] * 8, 1, 0, 0],
        [[float("nan")] * 8, 1, 0, 0],
        [[float("inf"), *[0] * 7], 1, 0, 0],
        [[0] * 8, None, 0, 0],
        ["x" * 8, 1, 0, 0],
        [[0] * 8],
    ],
)
def test_what_is_no_coordinate_is_refused_with_the_message(fields: list[object]) -> None:
    with pytest.raises(BadMessage):
        decode_message(msgspec.msgpack.encode([1, ["ack", 1, [], None, fields]]))


@given(COORDINATES)
@settings(max_examples=300, deadline=None)
def test_a_coordinate_takes_so_many_bytes_and_no_more(coordinate: object) -> None:
    assert len(msgspec.msgpack.encode(coordinate)) <= COORDINATE_BYTES_MAX
