"""Network coordinates: how far any two members are from each other, though few pairs ever measured it (DESIGN 4).

Vivaldi (Dabek and others, SIGCOMM 2004): every node has a point in a space in which distance is round-trip time, and
moves it a little with each probe, as a spring between the two would. Beside the point stand, as in serf:
- a height: what a node's own access adds to every way, however near the other is (section 5.4);
- an error: how far off its estimates were of late, as a part of the truth. The surer of two moves less (section 3.4);
- an adjustment: half of what the last samples were longer or shorter than the space says, as no space fits all;
- gravity: a weak pull to the origin, or the whole mesh would wander off (Ledlie and others, NSDI 2007, section 5).

What a peer says of itself may be a lie, so no sample moves a node far, nor tells more than `ERROR_MAX`. All is plain
arithmetic with square roots, which gives the same bits on every machine. Every probe costs every node one sample, so
`sample` is written out coordinate by coordinate: with loops it took three times as long. Times are microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from math import sqrt
from typing import Annotated

from msgspec import Meta, Struct

from protocols.core import NodeId

DIMENSIONS = 8
"""As in serf. With four, in a mesh on one switch, estimates are off by 6 % instead of 4 %."""
ERROR_MAX = 1.5
ERROR_SHARE = 0.25
"""Of a sample in the error, at most (`c_e` of the paper)."""
FORCE_SHARE = 0.25
"""Of what an estimate was off by, how much a sample moves the node at most (`c_c` of the paper)."""
FORCE_MAX_US = 10_000.0
"""One sample moves a node by no more, whatever the peer says of itself: enough to settle a planet in a minute."""
HEIGHT_MIN_US = 10.0
ADJUSTMENT_WINDOW = 20
GRAVITY_RHO_MS = 150.0
"""Gravity pulls a node by (distance / this)² milliseconds a sample: next to nothing within a continent."""
_GRAVITY_US = GRAVITY_RHO_MS**2 * 1000
"""Gravity takes from each coordinate a part of (distance / this)."""
RTT_MIN_US = 1.0
RTT_MAX_US = 10_000_000.0
"""A sample of more says that somebody slept, not how far away it is."""
TOGETHER_US = 1.0
"""Nodes that are no farther apart have no direction from each other."""
SPAN_US = 10_000_000
ERROR_UNIT = 1000

Span = Annotated[int, Meta(ge=-SPAN_US, le=SPAN_US)]
Height = Annotated[int, Meta(ge=0, le=SPAN_US)]


class Coordinate(Struct, frozen=True, array_like=True, gc=False):
    """Where a node takes itself to be. Whole microseconds: there is no absurd value that its bounds do not catch."""

    position: Annotated[tuple[Span, ...], Meta(min_length=DIMENSIONS, max_length=DIMENSIONS)]
    height: Height
    adjustment: Span
    error: Annotated[int, Meta(ge=0, le=int(ERROR_MAX * ERROR_UNIT))]
    """In thousandths."""


COORDINATE_BYTES_MAX = 2 + 5 * DIMENSIONS + 5 + 5 + 3
"""Of an encoded coordinate (proven against the codec by a property test)."""


def estimate(a: Coordinate, b: Coordinate) -> tuple[float, float]:
    """The round-trip time between two nodes, and what it may well be off by, for both may be; in microseconds."""
    apart = _length([x - y for x, y in zip(a.position, b.position, strict=True)]) + (a.height + b.height)
    adjusted = apart + (a.adjustment + b.adjustment)
    rtt = adjusted if adjusted > 0 else apart
    return rtt, rtt * (a.error + b.error) / ERROR_UNIT


class Vivaldi:
    """The coordinate of one node, and how it moves. `error` is a part of one, at most `ERROR_MAX`."""

    __slots__ = ("_beyond", "_height", "_node_id", "_position", "_told", "_window", "error")

    def __init__(self, node_id: NodeId) -> None:
        self._node_id = node_id
        self._window: list[int] = []
        """Of the last samples, how much longer they were than the space says; the oldest first."""
        self._beyond = 0
        """The sum of these; whole numbers, for that of fractions would depend on the order."""
        self._told: Coordinate | None = None
        self._position = (0.0,) * DIMENSIONS
        self._height = HEIGHT_MIN_US
        self.error = ERROR_MAX

    @property
    def coordinate(self) -> Coordinate:
        """What to tell others. The same object until the next sample."""
        told = self._told
        if told is None:
            told = self._told = Coordinate(
                tuple(map(round, self._position)),
                round(self._height),
                round(self._beyond / (2 * ADJUSTMENT_WINDOW)),
                round(self.error * ERROR_UNIT),
            )
        return told

    def sample(self, peer_id: NodeId, peer: Coordinate, rtt: float) -> bool:
        """A probe of `peer_id`, which takes itself to be at `peer`, took `rtt` µs. False for one that says nothing."""
        if not RTT_MIN_US <= rtt <= RTT_MAX_US:
            return False
        p0, p1, p2, p3, p4, p5, p6, p7 = self._position
        b0, b1, b2, b3, b4, b5, b6, b7 = peer.position
        a0, a1, a2, a3 = p0 - b0, p1 - b1, p2 - b2, p3 - b3  # the way from the peer to this node
        a4, a5, a6, a7 = p4 - b4, p5 - b5, p6 - b6, p7 - b7
        apart = sqrt(a0 * a0 + a1 * a1 + a2 * a2 + a3 * a3 + a4 * a4 + a5 * a5 + a6 * a6 + a7 * a7)
        heights = self._height + peer.height
        missing = rtt - (apart + heights)
        weight = self._learn(peer.error, abs(missing) / rtt)

        force = _within(FORCE_SHARE * weight * missing, FORCE_MAX_US)
        if apart > TOGETHER_US:
            push = force / apart
            lifted = self._height + _within(heights * push, FORCE_MAX_US)
            self._height = SPAN_US if lifted > SPAN_US else lifted if lifted > HEIGHT_MIN_US else HEIGHT_MIN_US
            apart = abs(apart + force)
        else:
            a0, a1, a2, a3, a4, a5, a6, a7 = self._drawn(peer_id)
            push = force
            apart = abs(force)
        p0, p1, p2, p3 = p0 + push * a0, p1 + push * a1, p2 + push * a2, p3 + push * a3
        p4, p5, p6, p7 = p4 + push * a4, p5 + push * a5, p6 + push * a6, p7 + push * a7
        # Gravity. Half a second out it outdoes the largest force, so nobody can be pushed any farther.
        out = sqrt(p0 * p0 + p1 * p1 + p2 * p2 + p3 * p3 + p4 * p4 + p5 * p5 + p6 * p6 + p7 * p7)
        kept = 1 - out / _GRAVITY_US
        self._position = (p0 * kept, p1 * kept, p2 * kept, p3 * kept, p4 * kept, p5 * kept, p6 * kept, p7 * kept)

        beyond = round(_within(rtt - (apart + self._height + peer.height), rtt))
        self._window.append(beyond)
        self._beyond += beyond
        if len(self._window) > ADJUSTMENT_WINDOW:
            self._beyond -= self._window.pop(0)
        self._told = None
        return True

    def _learn(self, peer_error: int, wrongness: float) -> float:
        """Take in by what part of the truth an estimate was off; how much of what is missing is this node's to move."""
        error = self.error
        both = error + peer_error / ERROR_UNIT
        weight = error / both if both > 0 else 0.0
        self.error = error + ERROR_SHARE * weight * ((wrongness if wrongness < ERROR_MAX else ERROR_MAX) - error)
        return weight

    def _drawn(self, peer_id: NodeId) -> list[float]:
        """The direction away from a peer at the same place, of length 1: drawn from both ids, for any will do, if only
        not everybody takes the same (section 3.2)."""
        drawn = blake2b(f"{self._node_id}/{peer_id}".encode(), digest_size=DIMENSIONS).digest()
        away = [each - 127.5 for each in drawn]
        length = _length(away)
        return [each / length for each in away]


def _length(vector: Iterable[float]) -> float:
    total = 0.0  # not `sum`, which rounds otherwise from one Python to the next
    for each in vector:
        total += each * each
    return sqrt(total)


def _within(value: float, most: float) -> float:
    return most if value > most else value if value > -most else -most
