"""What one node knows of round-trip times: its own coordinate, those of others, and what its own probes took.

Only a probe that was pinged once and answered by its target itself is measured: of any other it is not known which of
two pings was answered (Karn's rule, RFC 6298 section 3). One slow answer says more of the moment than of the way, so
the median of a member's last three counts (as in serf). Answers come from here alone: nothing is measured to answer.
"""

from __future__ import annotations

from collections.abc import Callable

from protocols.core import NANOS_PER_S, Instant, NodeId
from protocols.limits import PEERS_HEARD_MAX
from protocols.membership.coordinates import Coordinate, Vivaldi, estimate
from protocols.membership.rtt import COORDINATES, PROBES, RttView

SAMPLES_KEPT = 3
_SAMPLES_BEFORE = 1 - SAMPLES_KEPT
NANOS_PER_US = 1000
US_PER_MS = 1000


class Peer:
    """What is known of one member: where it takes itself to be, and how long its last probes took."""

    __slots__ = ("coordinate", "heard_at", "measured_at", "samples")

    def __init__(self) -> None:
        self.coordinate: Coordinate | None = None
        self.heard_at: Instant = 0
        """When the coordinate came."""
        self.samples: tuple[float, ...] = ()
        """Microseconds; the oldest first."""
        self.measured_at: Instant = 0


class Nearness:
    """Round-trip times as one node knows them."""

    __slots__ = ("_me", "_peers", "vivaldi")

    def __init__(self, node_id: NodeId) -> None:
        self._me = node_id
        self._peers: dict[NodeId, Peer] = {}
        self.vivaldi = Vivaldi(node_id)

    def heard(self, now: Instant, member_id: NodeId, coordinate: Coordinate | None, rtt: Instant) -> None:
        """An ack of `member_id`: where it takes itself to be (None: it does not say), and how long it took to come.

        `rtt` in nanoseconds, 0 where that is unclear. Past the bound the first heard gives way.
        """
        if coordinate is None and not rtt:
            return
        peers = self._peers
        peer = peers.get(member_id)
        if peer is None:
            if len(peers) >= PEERS_HEARD_MAX:
                del peers[next(iter(peers))]
            peer = peers[member_id] = Peer()
        if rtt > 0:
            peer.samples = (*peer.samples[_SAMPLES_BEFORE:], rtt / NANOS_PER_US)
            peer.measured_at = now
        if coordinate is None:
            return
        peer.coordinate = coordinate
        peer.heard_at = now
        if rtt > 0:
            self.vivaldi.sample(member_id, coordinate, _median(peer.samples))

    def keep(self, is_member: Callable[[NodeId], bool]) -> None:
        """Forget everybody who is no member, or no longer."""
        self._peers = {member_id: peer for member_id, peer in self._peers.items() if is_member(member_id)}

    def knows_place_of(self, node_id: NodeId) -> bool:
        """Whether it is known where a node takes itself to be; of this node itself, always."""
        return node_id == self._me or self._coordinate(node_id) is not None

    def between(self, now: Instant, a: NodeId, b: NodeId) -> RttView | None:
        """The round-trip time between two nodes: as probed, where one of them is this node; else by coordinates.

        None where it is not known.
        """
        if self._me in (a, b):
            peer = self._peers.get(b if a == self._me else a)
            if peer is not None and peer.samples:
                spread = (max(peer.samples) - min(peer.samples)) / 2
                return _view(_median(peer.samples), spread, PROBES, len(peer.samples), now - peer.measured_at)
        one, other = self._coordinate(a), self._coordinate(b)
        if one is None or other is None:
            return None
        rtt, error = estimate(one, other)
        heard_at = min(self._peers[each].heard_at for each in (a, b) if each != self._me)
        return _view(rtt, error, COORDINATES, 0, now - heard_at)

    def _coordinate(self, node_id: NodeId) -> Coordinate | None:
        if node_id == self._me:
            return self.vivaldi.coordinate
        peer = self._peers.get(node_id)
        return None if peer is None else peer.coordinate


def _median(samples: tuple[float, ...]) -> float:
    """The upper one of two."""
    return sorted(samples)[len(samples) // 2]


def _view(rtt_us: float, error_us: float, source: str, samples: int, age: Instant) -> RttView:
    return RttView(
        ms=round(rtt_us / US_PER_MS, 3),
        error_ms=round(error_us / US_PER_MS, 3),
        source=source,
        samples=samples,
        age_s=round(age / NANOS_PER_S, 3),
    )
