"""Movement is exact: arcs against owners point by point, reports against what was counted by hand."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.core import NodeId
from protocols.ring.movement import (
    Arc,
    Move,
    Movement,
    circle_movement,
    key_movement,
    moved_arcs,
    moved_keys,
    moved_slots,
    slot_movement,
)
from protocols.ring.placement import Ring, RingMember
from protocols.ring.tokens import CIRCLE

TEN = [RingMember(f"member-{number}") for number in range(10)]


def ring_with(tokens: dict[NodeId, list[int]]) -> Ring:
    """A ring whose tokens are given."""
    return Ring([RingMember(node_id) for node_id in tokens], tokens_of=lambda node_id, _weight: tokens[node_id])


points = st.sampled_from([0, 1, 2, 1 << 63, CIRCLE - 2, CIRCLE - 1]) | st.integers(0, CIRCLE - 1)
rings = st.dictionaries(st.sampled_from("abcd"), st.lists(points, min_size=1, max_size=4)).map(ring_with)


@given(rings, rings, st.lists(points))
def test_a_point_lies_in_an_arc_exactly_when_its_owner_changes(before: Ring, after: Ring, more: list[int]) -> None:
    arcs = moved_arcs(before, after)
    edges = [*before.tokens, *after.tokens]
    for point in [*more, *edges, *((edge + 1) % CIRCLE for edge in edges), *((edge - 1) % CIRCLE for edge in edges)]:
        move = (before.owner_at(point), after.owner_at(point))
        found = [(arc.source, arc.target) for arc in arcs if point in arc]
        assert found == ([move] if move[0] != move[1] else [])


@given(rings, rings)
def test_arcs_are_disjoint_in_order_and_as_few_as_possible(before: Ring, after: Ring) -> None:
    arcs = moved_arcs(before, after)
    assert [arc.end for arc in arcs] == sorted({arc.end for arc in arcs})
    assert sum(arc.points for arc in arcs) <= CIRCLE
    if len(arcs) > 1:
        for arc, following in [*pairwise(arcs), (arcs[-1], arcs[0])]:
            joined = arc.end == following.start
            assert not (joined and (arc.source, arc.target) == (following.source, following.target))


@given(rings, rings)
def test_going_back_moves_the_same_the_other_way(before: Ring, after: Ring) -> None:
    there, back = circle_movement(before, after), circle_movement(after, before)
    assert there.moved == back.moved
    assert (there.gained, there.lost) == (back.lost, back.gained)


@given(rings)
def test_a_ring_that_stays_moves_nothing(ring: Ring) -> None:
    assert moved_arcs(ring, ring) == ()
    assert circle_movement(ring, ring) == Movement(0, CIRCLE, {}, {})


def test_the_first_member_takes_the_whole_circle_from_nobody() -> None:
    empty, one = Ring([]), ring_with({"a": [5, 900]})
    (arc,) = moved_arcs(empty, one)
    assert arc.start == arc.end
    assert arc.points == CIRCLE
    assert (arc.source, arc.target) == (None, "a")
    assert circle_movement(empty, one) == Movement(CIRCLE, CIRCLE, {"a": CIRCLE}, {})
    assert circle_movement(one, empty) == Movement(CIRCLE, CIRCLE, {}, {"a": CIRCLE})
    assert circle_movement(empty, empty).fraction == 0.0


def test_arcs_that_meet_across_zero_are_one() -> None:
    before = ring_with({"a": [10, 100]})
    after = ring_with({"a": [10, 100], "b": [5, CIRCLE - 10]})
    assert moved_arcs(before, after) == (Arc(100, 5, "a", "b"),)
    assert circle_movement(before, after) == Movement(CIRCLE - 95, CIRCLE, {"b": CIRCLE - 95}, {"a": CIRCLE - 95})


def test_a_join_gives_arcs_to_the_newcomer_only_and_near_its_share() -> None:
    before, after = Ring(TEN), Ring([*TEN, RingMember("newcomer")])
    assert {arc.target for arc in moved_arcs(before, after)} == {"newcomer"}
    movement = circle_movement(before, after)
    assert list(movement.gained) == ["newcomer"]
    assert sum(movement.lost.values()) == movement.gained["newcomer"] == movement.moved
    assert movement.fraction <= 1.3 / 10
    assert movement.fraction == pytest.approx(1 / 11, rel=0.3)


def test_counted_keys_agree_with_the_exact_share_of_the_circle() -> None:
    keys = [f"key-{number}" for number in range(50_000)]
    before, after = Ring(TEN), Ring(TEN[:-1])
    exact = circle_movement(before, after).fraction
    counted = key_movement(before, after, keys)
    assert counted.total == len(keys)
    assert counted.fraction == pytest.approx(exact, abs=5 * sqrt(exact * (1 - exact) / len(keys)))
    assert counted.lost == {"member-9": counted.moved}
    assert "member-9" not in counted.gained


def test_moved_keys_name_old_and_new_owner_in_the_order_given() -> None:
    before, after = Ring(TEN), Ring(TEN[1:])
    keys = [f"key-{number}" for number in range(300)]
    moves = moved_keys(before, after, keys)
    assert moves
    assert list(moves) == [key for key in keys if before.owner(key) == "member-0"]
    for key, move in moves.items():
        assert move == Move("member-0", after.owner(key))


def test_a_key_given_twice_is_counted_once() -> None:
    movement = key_movement(Ring([]), Ring(TEN[:1]), ["a", "b", "a"])
    assert movement == Movement(2, 2, {"member-0": 2}, {})


def test_slots_that_are_new_gone_or_changed_are_told_apart() -> None:
    before = {1: "a", 2: "a", 3: "b", 4: "b"}
    after = {2: "a", 3: "a", 4: "c", 5: "c"}
    assert moved_slots(before, after) == {
        1: Move("a", None),
        3: Move("b", "a"),
        4: Move("b", "c"),
        5: Move(None, "c"),
    }
    assert slot_movement(before, after) == Movement(4, 5, {"a": 1, "c": 2}, {"a": 1, "b": 2})
    assert slot_movement(before, after).fraction == 0.8
    assert slot_movement({}, {}).fraction == 0.0
