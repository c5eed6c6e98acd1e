"""Whom to probe, when, and what to make of silence (SWIM sections 3.1 and 4.3).

Each interval one member is probed, round robin in an order shuffled anew each round, so that every member is probed
within 2N-1 intervals. A probe unanswered after the timeout is repeated through `indirect_probes` other members; one
unanswered when the interval is over is a failure. The prober never judges: it reports whom it could not reach.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from msgspec import Struct

from protocols.config import SwimConfig
from protocols.core import Endpoint, Instant, NodeId
from protocols.outbox import NEVER

RELAYS_MAX = 256
"""Indirect probes that one node works on for others at a time; further requests are left unanswered."""


class Relay(Struct):
    """An indirect probe that this node does for `asker`: acked under the asker's own number."""

    asker: Endpoint
    asker_probe: int
    target: NodeId
    expires: Instant


class Due(Struct, frozen=True):
    """What the clock demands: a target to ping, a target to ask others about, a target that failed its probe."""

    failed: NodeId = ""
    ask_others_about: NodeId = ""
    ping: NodeId = ""


NOTHING_DUE = Due()


class Prober:
    """The probe schedule of one node. `deadline` is when `fire` wants to be called."""

    __slots__ = (
        "_config",
        "_helpers",
        "_next_probe_at",
        "_order",
        "_position",
        "_relays",
        "_rng",
        "_seq",
        "_target",
        "_target_seq",
        "deadline",
    )

    def __init__(self, config: SwimConfig, rng: Random) -> None:
        self._config = config
        self._rng = rng
        self._order: list[NodeId] = []
        self._position = 0
        self._seq = 0
        self._target: NodeId = ""
        self._target_seq = 0
        self._helpers: tuple[NodeId, ...] = ()
        self._relays: dict[int, Relay] = {}
        self._next_probe_at: Instant = NEVER
        self.deadline: Instant = NEVER

    def start(self, now: Instant) -> None:
        """Begin, at a random point of the first interval so that nodes started together do not probe in step."""
        self._next_probe_at = now + int(self._rng.random() * self._config.probe_interval)
        self.deadline = self._next_probe_at

    def stop(self) -> None:
        self.deadline = NEVER
        self._next_probe_at = NEVER
        self._target = ""

    @property
    def seq(self) -> int:
        """The number of the probe under way."""
        return self._target_seq

    def add(self, node_id: NodeId) -> None:
        """A member to probe from now on, at a random place of the round (section 4.3)."""
        self._order.insert(int(self._rng.random() * (len(self._order) + 1)), node_id)

    def fire(self, now: Instant, candidates: Callable[[], list[NodeId]], probeable: Callable[[NodeId], bool]) -> Due:
        """What is due at `now`. `candidates` lists the members for a new round, `probeable` filters the dead."""
        if now < self.deadline:
            return NOTHING_DUE
        if now < self._next_probe_at:
            self.deadline = self._next_probe_at
            return Due(ask_others_about=self._target) if self._target else NOTHING_DUE
        failed, self._target = self._target, ""
        self._expire_relays(now)
        self._next_probe_at = now + self._config.probe_interval
        target = self._next_target(candidates, probeable)
        if target:
            self._seq += 1
            self._target = target
            self._target_seq = self._seq
            self._helpers = ()
            self.deadline = now + self._config.probe_timeout
        else:
            self.deadline = self._next_probe_at
        return Due(failed=failed, ping=target)

    def _next_target(self, candidates: Callable[[], list[NodeId]], probeable: Callable[[NodeId], bool]) -> NodeId:
        for _ in range(2):
            while self._position < len(self._order):
                node_id = self._order[self._position]
                self._position += 1
                if probeable(node_id):
                    return node_id
            self._order = candidates()
            self._rng.shuffle(self._order)
            self._position = 0
        return ""

    def asked(self, helpers: tuple[NodeId, ...]) -> None:
        """These members were asked to probe the target: their ack counts too."""
        self._helpers = helpers

    def acked(self, sender: NodeId, seq: int) -> bool:
        """True where `seq` answers the probe under way and comes from the target or one of the helpers."""
        if not self._target or seq != self._target_seq or (sender != self._target and sender not in self._helpers):
            return False
        self._target = ""
        self.deadline = self._next_probe_at
        return True

    def relay(self, now: Instant, asker: Endpoint, asker_probe: int, target: NodeId) -> int:
        """Start an indirect probe for `asker`; returns its number, or 0 where too many are under way."""
        if len(self._relays) >= RELAYS_MAX:
            self._expire_relays(now)
            if len(self._relays) >= RELAYS_MAX:
                return 0
        self._seq += 1
        self._relays[self._seq] = Relay(asker, asker_probe, target, now + self._config.probe_interval)
        return self._seq

    def relayed(self, sender: NodeId, seq: int) -> Relay | None:
        """The indirect probe that `seq` answers, once, if `sender` is its target."""
        relay = self._relays.get(seq)
        if relay is None or relay.target != sender:
            return None
        del self._relays[seq]
        return relay

    def _expire_relays(self, now: Instant) -> None:
        for seq in [seq for seq, relay in self._relays.items() if relay.expires <= now]:
            del self._relays[seq]
