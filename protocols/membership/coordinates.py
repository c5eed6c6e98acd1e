"""Network coordinates: how far any two members are from each other, though few pairs ever measured it (DESIGN 4).

Vivaldi (Dabek and others, SIGCOMM 2004): every node has a point in a space in which distance is round-trip time, and
moves it a little with each probe, as a spring between the two would. Beside the point stand, as in serf:
- a height: what a node's own access adds to every way, however near the other is (section 5.4);
- an error: how far off its estimates were of late, as a part of the truth. The surer of two moves less (section 3.4);
- an adjustment: half of what the last samples were longer or shorter than the space says, as no space fits all;
- gravity: a weak pull to the origin, or the whole mesh would wander off (Ledlie and others, NSDI 2007, section 5).

What a peer says of itself may be a lie, so no sample moves a node far, nor tells more than `ERROR_MAX`. All is plain
arithmetic with square roots, which gives the same bits on every machine. Times are microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from math import sqrt
from typing import Annotated

from msgspec import Meta, Struct

from protocols.core import NodeId

DIMENSIONS = 8
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

    __slots__ = ("_adjustment", "_height", "_node_id", "_position", "_told", "_window", "error")

    def __init__(self, node_id: NodeId) -> None:
        self._node_id = node_id
        self._window: list[float] = []
        """Of the last samples, how much longer they were than the space says; the oldest first."""
        self._adjustment = 0.0
        self._told: Coordinate | None = None
        self._position = [0.0] * DIMENSIONS
        self._height = HEIGHT_MIN_US
        self.error = ERROR_MAX

    @property
    def coordinate(self) -> Coordinate:
        """What to tell others. The same object until the next sample."""
        if self._told is None:
            self._told = Coordinate(
                tuple(map(round, self._position)),
                round(self._height),
                round(_within(self._adjustment, SPAN_US)),
                round(self.error * ERROR_UNIT),
            )
        return self._told

    def sample(self, peer_id: NodeId, peer: Coordinate, rtt: float) -> bool:
        """A probe of `peer_id`, which takes itself to be at `peer`, took `rtt` µs. False for one that says nothing."""
        if not RTT_MIN_US <= rtt <= RTT_MAX_US:
            return False
        direction, apart = self._from(peer_id, peer)
        distance = apart + self._height + peer.height
        wrongness = min(abs(distance - rtt) / rtt, ERROR_MAX)
        peer_error = peer.error / ERROR_UNIT
        weight = self.error / (self.error + peer_error) if self.error + peer_error > 0 else 0.0
        share = ERROR_SHARE * weight
        self.error = min(wrongness * share + self.error * (1 - share), ERROR_MAX)
        self._push(direction, apart, FORCE_SHARE * weight * (rtt - distance), peer.height)
        _, apart = self._from(peer_id, peer)
        self._adjust(rtt, apart + self._height + peer.height)
        self._fall()
        self._told = None
        return True

    def _from(self, peer_id: NodeId, peer: Coordinate) -> tuple[list[float], float]:
        """The direction away from a peer, of length 1, and how far apart the two points are."""
        away = [mine - its for mine, its in zip(self._position, peer.position, strict=True)]
        apart = _length(away)
        if apart > TOGETHER_US:
            return [each / apart for each in away], apart
        # Any direction will do, if only not everybody takes the same (section 3.2): one out of the two ids.
        drawn = blake2b(f"{self._node_id}/{peer_id}".encode(), digest_size=DIMENSIONS).digest()
        away = [each - 127.5 for each in drawn]
        length = _length(away)
        return [each / length for each in away], apart

    def _push(self, direction: list[float], apart: float, force: float, height: float) -> None:
        force = _within(force, FORCE_MAX_US)
        self._position = [each + force * along for each, along in zip(self._position, direction, strict=True)]
        if apart > TOGETHER_US:
            lift = _within((self._height + height) * force / apart, FORCE_MAX_US)
            self._height = min(max(self._height + lift, HEIGHT_MIN_US), SPAN_US)

    def _adjust(self, rtt: float, distance: float) -> None:
        self._window.append(_within(rtt - distance, rtt))
        if len(self._window) > ADJUSTMENT_WINDOW:
            del self._window[0]
        total = 0.0
        for each in self._window:
            total += each
        self._adjustment = total / (2 * ADJUSTMENT_WINDOW)

    def _fall(self) -> None:
        """Gravity. Half a second out it outdoes the largest force, so nobody can be pushed any farther."""
        distance = _length(self._position)
        pull = (distance / 1000 / GRAVITY_RHO_MS) ** 2 * 1000
        if pull > 0:
            kept = max(0.0, 1 - pull / distance)
            self._position = [each * kept for each in self._position]


def _length(vector: Iterable[float]) -> float:
    total = 0.0  # not `sum`, which rounds otherwise from one Python to the next
    for each in vector:
        total += each * each
    return sqrt(total)


def _within(value: float, most: float) -> float:
    return max(-most, min(value, most))
