"""Whom to probe, when, and what to make of silence (SWIM sections 3.1 and 4.3).

Each interval one member is probed, round robin in an order drawn anew each round, so that every member is probed
within 2N-1 intervals (twice that where hints come all the time, for they take every other probe); a newcomer gets a
random place in the round. A probe unanswered after the timeout is repeated through `indirect_probes` other members; one
unanswered when the interval is over is a failure; so that lost datagrams alone make no failure, the target is asked
over a stream too. The prober never judges: it reports whom it could not reach.

As long as nobody that was asked has been heard of either, it may be this node that is cut off. The first message that
reaches it meanwhile says that it is in touch, and the target is pinged once more: who comes back from a cut does not
accuse whom it probed during the cut. In a mesh that gossips, that is a second try for most probes that were lost.

Interval and timeout are scaled by this node's local health (`health.py`). A helper that has no answer from the target
yet sends a nack when 80 % of its share of the asker's interval is over: the asker then knows that it can be heard.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from msgspec import Struct

from protocols.config import SwimConfig
from protocols.core import Endpoint, Instant, NodeId
from protocols.detector.evidence import UNTIMED
from protocols.detector.health import LocalHealth
from protocols.limits import MEMBERS_MAX
from protocols.outbox import NEVER

RELAYS_MAX = 256
"""Indirect probes that one node works on for others at a time; further requests are left unanswered."""


class Relay(Struct):
    """An indirect probe that this node does for `asker`: acked under the asker's own number."""

    asker: Endpoint
    asker_probe: int
    target: NodeId
    nack_at: Instant
    """When to tell the asker that there is no answer so far; NEVER once told."""
    expires: Instant


class Due(Struct, frozen=True):
    """What the clock demands: a target to ping, a target to ask others about, a target that failed its probe, one that
    answered over a stream alone, askers to be told that there is no answer yet."""

    failed: NodeId = ""
    over_stream: NodeId = ""
    ask_others_about: NodeId = ""
    ping: NodeId = ""
    nack: tuple[Relay, ...] = ()
    sent: Instant = UNTIMED
    """When the one that failed was pinged; `UNTIMED` where that does not tell how long it has been silent."""
    helpers: tuple[NodeId, ...] = ()
    """Who was asked about it."""
    helpers_heard: tuple[NodeId, ...] = ()
    """Those of them that sent a nack."""


NOTHING_DUE = Due()


class Prober:
    """The probe schedule of one node. `deadline` is when `fire` wants to be called."""

    __slots__ = (
        "_config",
        "_health",
        "_helpers",
        "_helpers_heard",
        "_hinted",
        "_next_nack_at",
        "_next_probe_at",
        "_order",
        "_out_of_turn",
        "_over_stream",
        "_position",
        "_probe_deadline",
        "_relayed",
        "_relays",
        "_rng",
        "_seq",
        "_target",
        "deadline",
        "out_of_touch",
        "pinged",
        "pinged_at",
        "seq",
    )

    def __init__(self, config: SwimConfig, rng: Random, health: LocalHealth) -> None:
        self._config = config
        self._health = health
        self._rng = rng
        self._order: list[NodeId] = []
        self._position = 0
        self._hinted: NodeId = ""
        """Whom to probe next, out of turn."""
        self._out_of_turn = False
        """Whether the last probe was: the next one is not, so that no peer that flaps costs others their turn."""
        self._seq = 0
        self._target: NodeId = ""
        self.seq = 0
        """The number of the probe under way."""
        self._helpers: tuple[NodeId, ...] = ()
        self._helpers_heard: tuple[NodeId, ...] = ()
        """Those of them that sent a nack: they are there, and so is this node."""
        self._over_stream = False
        """The target has answered over a stream, and by no datagram so far."""
        self.out_of_touch = False
        """Nobody has answered the probe under way, and no message has come in since others were asked for help."""
        self.pinged: NodeId = ""
        """Whom the last probe pinged, and when; `UNTIMED` where it was pinged again: an ack may be of either ping."""
        self.pinged_at: Instant = UNTIMED
        self._relayed = 0
        self._relays: dict[int, Relay] = {}
        self._next_probe_at: Instant = NEVER
        self._probe_deadline: Instant = NEVER
        """When the probe under way, or the next one, wants something."""
        self._next_nack_at: Instant = NEVER
        self.deadline: Instant = NEVER

    def start(self, now: Instant) -> None:
        """Begin, at a random point of the first interval so that nodes started together do not probe in step."""
        self._next_probe_at = now + int(self._rng.random() * self._config.probe_interval)
        self._rearm(self._next_probe_at)

    def stop(self) -> None:
        self._next_probe_at = NEVER
        self._next_nack_at = NEVER
        self._target = ""
        self._over_stream = self.out_of_touch = False
        self._rearm(NEVER)

    def put_off(self, now: Instant, late: Instant) -> None:
        """This node has run late by so much: what was due gets that time back, for answers may lie unread.

        The end of the interval moves as far, so that those who are asked for help have all of their share of it.
        """
        self.pinged_at = UNTIMED  # part of that time would count as the way
        if self._next_probe_at != NEVER:
            probe_deadline = max(now, self._probe_deadline) + late
            self._next_probe_at += probe_deadline - self._probe_deadline
            self._rearm(probe_deadline)

    def slept(self, now: Instant) -> None:
        """This node has not run for longer than a probe may take: the one under way proves nothing. Begin anew.

        Its target comes up again in this round; and those who had asked for help wait no longer.
        """
        if self._next_probe_at == NEVER:
            return
        if self._target and self._out_of_turn:
            self._hinted, self._out_of_turn = self._target, False
        elif self._target and self._position:
            self._position -= 1
        self._target = ""
        self._over_stream = self.out_of_touch = False
        self._relays.clear()
        self._next_nack_at = NEVER
        self._next_probe_at = now
        self._rearm(now)

    def _rearm(self, probe_deadline: Instant) -> None:
        self._probe_deadline = probe_deadline
        self.deadline = probe_deadline if probe_deadline < self._next_nack_at else self._next_nack_at

    @property
    def probes(self) -> int:
        """How many have been begun."""
        return self._seq - self._relayed

    def add(self, node_id: NodeId) -> None:
        """A newcomer: it takes a random place in the round (section 4.3), so that as many probe it soon as any other.

        A place among those that had their turn already is one in the next round.
        """
        count = len(self._order)
        if int(self._rng.random() * (count + 1)) >= self._position and count < MEMBERS_MAX:
            self._order.append(node_id)  # where it comes among the rest is drawn when they are (`_draw`)

    def probe_next(self, node_id: NodeId) -> None:
        """Probe this member next, out of turn, unless the last probe was so too. Of several hints the last counts."""
        self._hinted = node_id

    def fire(self, now: Instant, candidates: Callable[[], list[NodeId]], probeable: Callable[[NodeId], bool]) -> Due:
        """What is due at `now`. `candidates` lists a new round, `probeable` says who of them may be probed."""
        if now < self.deadline:
            return NOTHING_DUE
        nack = self._overdue(now) if now >= self._next_nack_at else ()
        if now < self._probe_deadline:
            self._rearm(self._probe_deadline)
            return Due(nack=nack)
        if now < self._next_probe_at:
            self._rearm(self._next_probe_at)
            return Due(ask_others_about=self._target, nack=nack)
        failed, self._target = self._target, ""
        over_stream = ""
        if self._over_stream:
            failed, over_stream = "", failed
            self._over_stream = False
        self.out_of_touch = False
        if failed:
            helpers, helpers_heard = self._helpers, self._helpers_heard
            # Who slept has not read what came meanwhile: that is no silence of the target.
            slept = now - self._next_probe_at > self._config.probe_timeout
            sent = UNTIMED if slept else self.pinged_at
            # Helpers that are silent too make it likely that this node is the one that cannot be heard.
            silent = len(helpers) - len(helpers_heard)
            self._health.worse(silent if helpers else 1)
        if self._relays:
            self._expire_relays(now)
        stretch = self._health.stretch
        self._next_probe_at = now + stretch * self._config.probe_interval
        target = self._next_target(candidates, probeable)
        if target:
            self._seq += 1
            self._target = target
            self.seq = self._seq
            self.pinged = target
            self.pinged_at = now
            self._helpers = self._helpers_heard = ()
            self._rearm(now + stretch * self._config.probe_timeout)
        else:
            self._rearm(self._next_probe_at)
        if not failed:
            return Due(over_stream=over_stream, ping=target, nack=nack)
        return Due(failed=failed, sent=sent, helpers=helpers, helpers_heard=helpers_heard, ping=target, nack=nack)

    def _next_target(self, candidates: Callable[[], list[NodeId]], probeable: Callable[[NodeId], bool]) -> NodeId:
        hinted, self._hinted = self._hinted, ""
        self._out_of_turn = bool(hinted) and not self._out_of_turn and probeable(hinted)
        if self._out_of_turn:
            return hinted
        for _ in range(2):
            while self._position < len(self._order):
                node_id = self._draw()
                if probeable(node_id):
                    return node_id
            self._order = candidates()
            self._position = 0
        return ""

    def _draw(self) -> NodeId:
        """The next of the round: one step of the Fisher-Yates shuffle, so that no step costs a whole round."""
        order, position = self._order, self._position
        pick = position + int(self._rng.random() * (len(order) - position))
        node_id = order[pick]
        order[pick] = order[position]
        order[position] = node_id
        self._position = position + 1
        return node_id

    def asked(self, helpers: tuple[NodeId, ...]) -> None:
        """These members were asked to probe the target: their ack counts too."""
        self._helpers = helpers
        self.out_of_touch = bool(helpers)

    def in_touch(self) -> NodeId:
        """A message has come in while this node was `out_of_touch`: whom to ping once more."""
        self.out_of_touch = False
        self.pinged_at = UNTIMED
        return self._target

    def round_trip(self, now: Instant, sender: NodeId, seq: int) -> Instant:
        """How long the probe under way has taken, if this ack is its target's own answer; 0 where that is unclear."""
        if seq != self.seq or sender != self._target or self.pinged_at == UNTIMED:
            return 0
        return now - self.pinged_at

    def acked(self, sender: NodeId, seq: int) -> bool:
        """True where `seq` answers the probe under way and comes from the target or one of the helpers."""
        if not self._target or seq != self.seq or (sender != self._target and sender not in self._helpers):
            return False
        self._target = ""
        self._over_stream = self.out_of_touch = False
        self._health.better()
        self._rearm(self._next_probe_at)
        return True

    def acked_over_stream(self, sender: NodeId, seq: int) -> None:
        """The target is there. Whether datagrams reach it too is seen when the interval is over."""
        if self._target and seq == self.seq and sender == self._target:
            self._over_stream = True

    def nacked(self, sender: NodeId, seq: int) -> None:
        """A helper has no answer from the target either; but it has heard this node, and this node hears it."""
        if self._target and seq == self.seq and sender in self._helpers and sender not in self._helpers_heard:
            self._helpers_heard += (sender,)
            self.out_of_touch = False

    def relay(self, now: Instant, asker: Endpoint, asker_probe: int, target: NodeId) -> int:
        """Start an indirect probe for `asker`; returns its number, or 0 where too many are under way."""
        if len(self._relays) >= RELAYS_MAX:
            self._expire_relays(now)
            if len(self._relays) >= RELAYS_MAX:
                return 0
        self._seq += 1
        self._relayed += 1
        nack_at = now + (self._config.probe_interval - self._config.probe_timeout) * 4 // 5
        self._relays[self._seq] = Relay(asker, asker_probe, target, nack_at, now + self._config.probe_interval)
        if nack_at < self._next_nack_at:
            self._next_nack_at = nack_at
            self._rearm(self._probe_deadline)
        return self._seq

    def _overdue(self, now: Instant) -> tuple[Relay, ...]:
        """The relays whose askers are to be told now that there is no answer yet."""
        overdue = tuple(relay for relay in self._relays.values() if relay.nack_at <= now)
        for relay in overdue:
            relay.nack_at = NEVER
        self._next_nack_at = min((relay.nack_at for relay in self._relays.values()), default=NEVER)
        return overdue

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
