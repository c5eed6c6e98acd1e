"""What a person is shown of a violation: nothing that has no part in it, and a part that is broken by itself."""

from __future__ import annotations

from random import Random

import pytest

from sim.linearizability import History, KeyValue, Read, Write, check, picture, smallest_part
from tests.sim.linearizability.histories import explained_by_some_order, spoiled, told, truthful

STALE = (
    "A w1 0-10; A r 11-12 1; B w2 20-30; A r 21-25 1; B r 31-32 2; C r 40-50 1; A r 60-61 2; B w7 62-63; B r 70-71 7"
)


def test_what_came_before_and_after_and_what_only_read_is_left_out() -> None:
    part = smallest_part(check(told(STALE), KeyValue()))
    assert [(each.client, each.called_at) for each in part.operations] == [("C", 40)]
    assert part.before == (2,)
    assert part.dropped == 8


def test_a_write_that_a_read_needs_stays() -> None:
    part = smallest_part(check(told("A w1 0-100; B r 10-20 1; C r 30-40 n; D r 5-90 1"), KeyValue()))
    assert [each.client for each in part.operations] == ["A", "B", "C"]
    assert part.operations[0].open  # it had not returned when the violation was complete
    assert part.before == (None,)


def test_the_order_at_one_instant_counts_in_the_part_too() -> None:
    history = History()
    long = history.call("A", 0, Read("x"))
    for value in (1, 2):
        history.returned(history.call("B", 5, Write("x", value)), 5, None)
    history.returned(long, 9, None)
    history.returned(history.call("C", 10, Read("x")), 11, 1)
    part = smallest_part(check(history.operations, KeyValue()))
    assert part.before == (2,)
    assert [each.client for each in part.operations] == ["C"]

    history = History()
    write = history.call("A", 1, Write("x", 3))
    history.returned(history.call("B", 2, Read("x")), 5, 7)
    history.returned(write, 5, None)
    part = smallest_part(check(history.operations, KeyValue()))
    assert [(each.client, each.open) for each in part.operations] == [("A", True), ("B", False)]


def test_several_states_may_have_been_there_before() -> None:
    part = smallest_part(check(told("A w1 0-10; B w2 0-10; C r 20-21 3"), KeyValue()))
    assert part.before in ((1, 2), (2, 1))
    assert [each.client for each in part.operations] == ["C"]


@pytest.mark.parametrize("seed", range(30))
def test_the_part_is_broken_by_itself_and_each_read_in_it_is_needed(seed: int) -> None:
    draw = Random(seed)
    broken = next(spoiled(draw, truthful(draw, 40, 4, locks=False)))
    part = smallest_part(check(broken, KeyValue()))
    assert len(part.operations) < len(broken)
    if len(part.operations) > 7:
        return  # too many for the oracle
    model = KeyValue()
    assert not explained_by_some_order(part.operations, model, part.before)  # type: ignore[arg-type]  # its own states
    for each in part.operations:
        if each.command.reads_only:
            rest = [other for other in part.operations if other is not each]
            assert explained_by_some_order(rest, model, part.before)  # type: ignore[arg-type]  # its own states


def test_there_is_no_part_of_a_history_that_holds() -> None:
    with pytest.raises(ValueError, match="nothing to show"):
        smallest_part(check(told("A w1 0-1"), KeyValue()))


def test_the_picture() -> None:
    ms = 1_000_000
    text = f"A x:w1 0-{100 * ms}; B x:r {10 * ms}-{20 * ms} 1; C x:r {30 * ms}-{40 * ms} n"
    assert picture(smallest_part(check(told(text), KeyValue()))) == (
        "x: what its clients saw cannot be explained by any order of their operations\n"
        "\n"
        "A  ├ write value=1 → ? ────────────────▸\n"
        "B    ├ read → 1 ┤\n"
        "C                 ├ read → nothing ┤\n"
        "\n"
        "before: nothing\n"
        "an order that gets furthest:\n"
        "  1. A: write value=1, no answer by then (called at 0.000 ms)\n"
        "  2. B: read, answered 1 (called at 10.000 ms, returned at 20.000 ms)\n"
        "what then has no place:\n"
        "  C: read, answered nothing (called at 30.000 ms, returned at 40.000 ms)"
    )


def test_operations_of_one_client_that_overlap_get_lines_of_their_own() -> None:
    lines = picture(smallest_part(check(told("A w1 0-50; A r 10-20 9"), KeyValue()))).splitlines()
    lanes = [line for line in lines if "├" in line]
    assert [line[:3] for line in lanes] == ["A  ", "   "]
