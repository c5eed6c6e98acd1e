"""Sets of pairs against a plain set: cuts by sides, links of nodes, and what several of them in force add up to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.network import Cut, Pairs
from tests.sim.simkit import Small

COUNTS = st.integers(1, 7)
Pair = tuple[int, int]


@st.composite
def labelled(draw: st.DrawFn) -> list[int]:
    return draw(st.lists(st.integers(-1, 3), min_size=1, max_size=7))


def everyone(count: int) -> set[Pair]:
    return {(one, two) for one in range(count) for two in range(count) if one != two}


@given(labelled())
def test_a_cut_parts_different_sides_and_minus_one_is_on_all(labels: list[int]) -> None:
    parted = {(a, b) for a, b in everyone(len(labels)) if labels[a] != labels[b] and -1 not in (labels[a], labels[b])}
    assert set(Cut(labels)) == parted
    assert set(Cut(labels, one_way=True)) == {(a, b) for a, b in parted if labels[a] == 1}


@given(st.data(), COUNTS)
def test_listed_pairs_are_those_that_are_listed(data: st.DataObject, count: int) -> None:
    wanted = data.draw(st.sets(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))))
    pairs = Pairs.listed(count, sorted(wanted))
    assert set(pairs) == {(a, b) for a, b in wanted if a != b}
    assert all(((a, b) in pairs) == ((a, b) in set(pairs)) for a, b in everyone(count))
    assert bool(pairs) == bool(set(pairs))


@given(st.data(), COUNTS)
def test_links_of_nodes(data: st.DataObject, count: int) -> None:
    nodes = data.draw(st.sets(st.integers(0, count - 1)))
    to = data.draw(st.sets(st.integers(0, count - 1)))
    far = to or set(range(count))
    out = {(a, b) for a, b in everyone(count) if a in nodes and b in far}
    back = {(b, a) for a, b in out}
    by_way = {"out": out, "in": back, "both": out | back}
    for way, expected in by_way.items():
        assert set(Pairs.links_of(count, nodes, to, way=way)) == expected


def test_senders_that_are_alike_share_a_row() -> None:
    rows = Cut([0] * 500 + [1] * 500).rows
    assert len({id(row) for row in rows}) == 2
    small = Small(6)
    small.cut([0, 0, 0, 1, 1, 1])
    small.cut([0, 0, 0, 0, 1, 1])
    assert len({id(process.station.barred) for process in small.world.processes}) == 3


@given(st.data())
def test_what_is_in_force_adds_up_and_ends_in_any_order(data: st.DataObject) -> None:
    small = Small(5)
    network = small.world.network
    pairs = st.sets(st.sampled_from(sorted(everyone(5))), max_size=8).map(
        lambda chosen: Pairs.listed(5, sorted(chosen))
    )
    cuts = data.draw(st.lists(pairs, max_size=3))
    clogs = data.draw(st.lists(pairs, max_size=3))
    ends: list[Callable[[], None]] = []
    for cut in cuts:
        network.cut(cut)
        ends.append(lambda cut=cut: network.heal(small.now, cut))  # type: ignore[misc]  # bound now, on purpose
    for clog in clogs:
        network.clog(clog)
        ends.append(lambda clog=clog: network.unclog(small.now, clog))  # type: ignore[misc]  # bound now, on purpose
    stations = network.stations
    for one, two in everyone(5):
        assert network.reachable(one, two) == (not any((one, two) in cut for cut in cuts))
        assert stations[one].is_clogged(stations[two]) == any((one, two) in clog for clog in clogs)
        barred = stations[one].barred
        assert (barred is None or not barred[two]) == (
            network.reachable(one, two) and not stations[one].is_clogged(stations[two])
        )
    for end in data.draw(st.permutations(ends)):
        end()
    assert network.whole
    assert all(station.barred is None and station.blocked is None for station in stations)


@pytest.mark.parametrize("put_in_force", ["cut", "clog"])
def test_pairs_of_the_wrong_size_are_refused(put_in_force: str) -> None:
    network = Small(3).world.network
    with pytest.raises(ValueError, match="of 2 nodes in a network of 3"):
        getattr(network, put_in_force)(Pairs.listed(2, [(0, 1)]))
