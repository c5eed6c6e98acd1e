"""What the tests of network faults share: who reaches whom while a fault is in force."""

from __future__ import annotations

from collections.abc import Iterator

from sim.faults.fault import Fault, Stage
from tests.sim.simkit import Small

Pair = tuple[int, int]


def pairs(count: int) -> Iterator[Pair]:
    """Every ordered pair of two of `count` nodes."""
    return ((one, two) for one in range(count) for two in range(count) if one != two)


def reach(small: Small) -> set[Pair]:
    """The pairs (a, b) such that a reaches b now."""
    return {(a, b) for a, b in pairs(len(small.world.processes)) if small.world.network.reachable(a, b)}


def reach_under(fault: Fault, *, nodes: int = 9, seed: int = 0) -> set[Pair]:
    """Who reaches whom just after `fault` has begun. That its end leaves nothing behind is checked in passing."""
    small = Small(nodes, seed=seed)
    undo = fault.begin(small.now, Stage(small.world, 1))
    assert undo is not None
    found = reach(small)
    undo(small.now)
    assert small.world.network.whole
    assert reach(small) == set(pairs(nodes))
    return found


def heard_by(found: set[Pair], node: int) -> set[int]:
    """Whom `node` hears, itself included."""
    return {one for one, two in found if two == node} | {node}
