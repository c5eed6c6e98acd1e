"""Bounded loads: caps hold, every slot finds a primary, and little moves that need not."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.ring.movement import moved_slots
from protocols.ring.placement import BOUND, SLOTS, Ring, RingMember, slot_key

memberships = st.lists(st.integers(0, 5), min_size=1, max_size=30).map(
    lambda weights: [RingMember(f"member-{number}", weight) for number, weight in enumerate(weights)]
)


@settings(max_examples=40)
@given(memberships, st.sets(st.integers(0, SLOTS - 1)), st.sampled_from([1.0, 1.1, BOUND, 3.0]))
def test_every_slot_has_a_primary_and_none_has_more_than_its_cap(
    members: list[RingMember], slots: set[int], bound: float
) -> None:
    primaries = Ring(members).assign_primaries(slots, bound)
    total = sum(member.weight for member in members)
    assert list(primaries) == (sorted(slots) if total else [])
    load = Counter(primaries.values())
    for member in members:
        share = Fraction(member.weight * len(slots), total or 1)
        assert load[member.node_id] <= ceil(Fraction(str(bound)) * share)


def test_the_cap_is_exact_where_floating_point_is_not() -> None:
    """1.1 * 20 slots / 2 members is 11; the binary fraction nearest to 1.1 is a little more and would round to 12."""
    assert Ring([RingMember("a"), RingMember("b")]).primary_caps(20, bound=1.1) == {"a": 11, "b": 11}


def test_a_bound_of_one_shares_out_evenly() -> None:
    ring = Ring(RingMember(f"member-{number}") for number in range(16))
    assert set(Counter(ring.assign_primaries(bound=1.0).values()).values()) == {SLOTS // 16}


def test_a_slot_stays_with_its_owner_unless_the_owner_is_full() -> None:
    ring = Ring(RingMember(f"member-{number}") for number in range(20))
    primaries = ring.assign_primaries()
    caps = ring.primary_caps()
    load = Counter(primaries.values())
    displaced = [slot for slot, primary in primaries.items() if primary != ring.owner(slot_key(slot))]
    assert displaced, "twenty members and 256 slots overflow somewhere, or this test shows nothing"
    for slot in displaced:
        passed_over = []
        for node_id in ring.preference(slot_key(slot)):
            if node_id == primaries[slot]:
                break
            passed_over.append(node_id)
        assert all(load[node_id] == caps[node_id] for node_id in passed_over)


def test_the_assignment_depends_on_neither_the_order_of_members_nor_of_slots() -> None:
    members = [RingMember(f"member-{number}", 1 + number % 2) for number in range(12)]
    backwards = Ring(reversed(members)).assign_primaries(reversed(range(SLOTS)))
    assert backwards == Ring(members).assign_primaries()


@pytest.mark.parametrize("present", [3, 5, 10, 20, 50])
def test_a_join_moves_hardly_more_than_the_newcomers_share(present: int) -> None:
    """Caps shrink for all when one joins, so a few slots may move between others: under 3 % of them."""
    for sample in range(4):
        members = [RingMember(f"{sample}/{number}") for number in range(present)]
        before = Ring(members).assign_primaries()
        grown = Ring([*members, RingMember("newcomer")])
        moves = moved_slots(before, grown.assign_primaries())
        to_newcomer = sum(move.target == "newcomer" for move in moves.values())
        assert 0 < to_newcomer <= grown.primary_caps()["newcomer"]
        assert len(moves) - to_newcomer <= 0.03 * SLOTS


@pytest.mark.parametrize("slots", [[-1], [SLOTS], [0, 1, 300]])
def test_an_unknown_slot_is_refused(slots: list[int]) -> None:
    with pytest.raises(ValueError, match="slots are"):
        Ring([RingMember("a")]).assign_primaries(slots)


@pytest.mark.parametrize("bound", [0.99, 0.0, -1.0, float("nan"), float("inf")])
def test_a_bound_that_leaves_no_room_is_refused(bound: float) -> None:
    with pytest.raises(ValueError, match=r"bound|Fraction"):
        Ring([RingMember("a")]).assign_primaries(bound=bound)
