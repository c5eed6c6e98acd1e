"""How a node takes its leave, so that nobody takes a departure for a failure (DESIGN 4).

That a node leaves is news like any other, and gossip reaches nearly everybody. Whoever it misses probes a node that is
gone, and would report a death some time later. In a small mesh it may even miss all, for few packets tell of it. So:
- who leaves says it to `gossip_fanout` members over a stream too, and stays until one of them has it, or `leave_linger`
  is over. A `StreamPing` behind the word on the same stream asks for that; older members answer it as well. Who leaves
  too does not answer, for it may pass nothing on any more; so others are asked, up to SAID_MAX times in all;
- who is asked to probe a member of which it knows that it has left says so at once to the one who asks;
- who hears somebody doubt such a member tells the one that it heard it from. A doubt lasts many packets and seconds
  before it is a verdict, so one answer of many is enough.
"""

from __future__ import annotations

from random import Random

from protocols.config import SwimConfig
from protocols.core import Endpoint, Instant, NodeId
from protocols.membership.member import STATE_MASK, Accusation, Member, State, Update, generation_of
from protocols.membership.messages import NO_PROBE, Gossip, PushPull, StreamPing
from protocols.membership.swim import Swim
from protocols.outbox import NEVER, Outbox

SAID_MAX = 4


class Farewell:
    """One node's own departure, and what it tells those who missed that of others."""

    __slots__ = ("_acknowledged", "_config", "_outbox", "_rng", "_said", "_swim")

    def __init__(self, config: SwimConfig, swim: Swim, outbox: Outbox, rng: Random) -> None:
        self._config = config
        self._swim = swim
        self._outbox = outbox
        self._rng = rng
        self._acknowledged = False
        self._said = 0

    def say(self, now: Instant) -> Instant:
        """Tell some members over streams that this node leaves, unless one has it. Returns when to do so again."""
        swim = self._swim
        if self._acknowledged or self._said == SAID_MAX:
            return NEVER
        self._said += 1
        me = swim.me
        assert me is not None
        word = PushPull((me.row(now),), answer=False)
        for member in swim.table.sample(self._rng, self._config.gossip_fanout, _is_alive):
            self._outbox.send(member.endpoint, word)
            self._outbox.send(member.endpoint, StreamPing(NO_PROBE))
        return now + self._config.leave_linger // SAID_MAX

    def acknowledged(self, probe: int) -> None:
        """A `StreamPing` was answered: by one who has the word, if it is that of `say`."""
        if probe == NO_PROBE and self._swim.leaving:
            self._acknowledged = True

    @property
    def is_said(self) -> bool:
        """Somebody has the word for certain, and it has been sent as often as any news is; or all others have left."""
        swim = self._swim
        return not swim.table.present or (self._acknowledged and swim.queue.about(swim.config.node_id) is None)

    def correct(self, sender: Endpoint, updates: tuple[Update, ...]) -> None:
        """Tell `sender` who has left of those that it doubts."""
        if self._swim.table.count(State.LEFT):
            words = tuple(word for update in updates if (word := self._departure(update)) is not None)
            if words:
                self._outbox.send(sender, Gossip(words))

    def tell_asker(self, sender: Endpoint, target: NodeId) -> None:
        """`sender` cannot reach `target`: tell it if that is because it has left."""
        row = self._swim.table.get(target)
        if row is not None and row.state is State.LEFT:
            self._outbox.send(sender, Gossip((Accusation(target, row.precedence, row.by),)))

    def _departure(self, doubt: Update) -> Accusation | None:
        row = self._swim.table.get(doubt.node_id)
        if row is None or row.state is not State.LEFT or type(doubt) is not Accusation:
            return None
        if doubt.precedence >= row.precedence or generation_of(doubt.precedence) != row.generation:
            return None
        return Accusation(doubt.node_id, row.precedence, row.by)


def _is_alive(member: Member) -> bool:
    return member.precedence & STATE_MASK == State.ALIVE
