"""Movement: what changes hands when one ring, or one assignment, takes the place of another.

Decides nothing and moves nothing: it says what a change costs, before or after it is made. Everything is counted
exactly; the circle itself is compared arc by arc, not by sampling keys.

The yardstick is minimal disruption (Karger et al. 1997): a member of weight share s that joins or leaves moves close to
s of the circle, all of it to or from that member. Assignments with bounded loads may add a little, because every cap
changes with the membership.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec import Struct

from protocols.core import NodeId
from protocols.ring.placement import Ring
from protocols.ring.tokens import CIRCLE


class Move(NamedTuple):
    """Something goes from `source` to another member `target`. None stands for nobody: one of the rings is empty."""

    source: NodeId | None
    target: NodeId | None


class Arc(Struct, frozen=True, gc=False):
    """The points from `start` (exclusive) clockwise to `end` (inclusive), which go from `source` to `target`.

    An arc may pass zero; one whose `start` equals its `end` is the whole circle.
    """

    start: int
    end: int
    source: NodeId | None
    target: NodeId | None

    @property
    def points(self) -> int:
        """How many of the CIRCLE points the arc holds, 1..CIRCLE."""
        return (self.end - self.start) % CIRCLE or CIRCLE

    def __contains__(self, point: int) -> bool:
        return 0 < ((point - self.start) % CIRCLE or CIRCLE) <= self.points


class Movement(Struct, frozen=True):
    """What changes hands, in units of whatever was compared: points of the circle, keys or slots.

    `gained` and `lost` are by node id, ascending, without zeros. A unit that came from nobody, or went to nobody, is
    counted on the one side that it has.
    """

    moved: int
    total: int
    gained: dict[NodeId, int]
    lost: dict[NodeId, int]

    @property
    def fraction(self) -> float:
        """Share that changed hands, 0..1; 0 where there was nothing to compare."""
        return self.moved / self.total if self.total else 0.0


def moved_keys(before: Ring, after: Ring, keys: Iterable[str]) -> dict[str, Move]:
    """The keys whose owner differs, in the order given, each with its old and its new owner."""
    moves = {key: Move(before.owner(key), after.owner(key)) for key in keys}
    return {key: move for key, move in moves.items() if move.source != move.target}


def moved_slots(before: Mapping[int, NodeId], after: Mapping[int, NodeId]) -> dict[int, Move]:
    """The slots whose primary differs between two assignments, ascending. A slot may be missing on either side."""
    slots = sorted(before.keys() | after.keys())
    moves = {slot: Move(before.get(slot), after.get(slot)) for slot in slots}
    return {slot: move for slot, move in moves.items() if move.source != move.target}


def moved_arcs(before: Ring, after: Ring) -> tuple[Arc, ...]:
    """The arcs of the circle whose owner differs: as few as possible, disjoint, in the order of their ends.

    Owners change only at tokens, so comparing the two rings at every token of either compares every point.
    """
    cuts = sorted({*before.tokens, *after.tokens})
    arcs: list[Arc] = []
    start = cuts[-1] if cuts else 0
    old_index = new_index = 0
    for end in cuts:
        old_index, source = _owner_from(before, old_index, end)
        new_index, target = _owner_from(after, new_index, end)
        if source != target:
            _append_or_extend(arcs, Arc(start, end, source, target))
        start = end
    if len(arcs) > 1 and arcs[-1].end == arcs[0].start and _move_of(arcs[-1]) == _move_of(arcs[0]):
        last = arcs.pop()
        arcs[0] = Arc(last.start, arcs[0].end, last.source, last.target)
    return tuple(arcs)


def circle_movement(before: Ring, after: Ring) -> Movement:
    """How much of the circle changes hands: the expected movement of evenly hashed keys, without sampling any."""
    return _tally([(_move_of(arc), arc.points) for arc in moved_arcs(before, after)], CIRCLE)


def key_movement(before: Ring, after: Ring, keys: Iterable[str]) -> Movement:
    """How many of the distinct `keys` change hands."""
    distinct = dict.fromkeys(keys)
    return _tally([(move, 1) for move in moved_keys(before, after, distinct).values()], len(distinct))


def slot_movement(before: Mapping[int, NodeId], after: Mapping[int, NodeId]) -> Movement:
    """How many slots change their primary between two assignments."""
    return _tally([(move, 1) for move in moved_slots(before, after).values()], len(before.keys() | after.keys()))


def _owner_from(ring: Ring, index: int, point: int) -> tuple[int, NodeId | None]:
    """Owner of `point`, and the index from which to look for a later point. `index` came from an earlier one."""
    if not ring.owners:
        return 0, None
    while index < len(ring.tokens) and ring.tokens[index] < point:
        index += 1
    return index, ring.owners[index % len(ring.owners)]


def _append_or_extend(arcs: list[Arc], arc: Arc) -> None:
    """Add `arc`, joined to the last one where that one ends at its start and moves alike."""
    if arcs and arcs[-1].end == arc.start and _move_of(arcs[-1]) == _move_of(arc):
        arc = Arc(arcs.pop().start, arc.end, arc.source, arc.target)
    arcs.append(arc)


def _move_of(arc: Arc) -> Move:
    return Move(arc.source, arc.target)


def _tally(moves: list[tuple[Move, int]], total: int) -> Movement:
    gained: dict[NodeId, int] = {}
    lost: dict[NodeId, int] = {}
    for move, size in moves:
        if move.source is not None:
            lost[move.source] = lost.get(move.source, 0) + size
        if move.target is not None:
            gained[move.target] = gained.get(move.target, 0) + size
    return Movement(sum(size for _, size in moves), total, dict(sorted(gained.items())), dict(sorted(lost.items())))
