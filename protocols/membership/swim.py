"""SWIM: what this node believes of every member, and how belief changes (SWIM, Lifeguard; DESIGN 4).

One rule decides everything: of two statements about a member the one of larger precedence wins (`member.py`). Belief
changes by gossip (taken as it is), by push-pull (a remote *dead* only makes a *suspect*, so that the accused can
refute), and by this node's own failed probes. Only this file changes rows; it never decides when to talk to whom
(`probe.py`, `healing.py` do).
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from protocols.config import NodeConfig
from protocols.core import Instant, InvariantViolation, NodeId
from protocols.detector.health import LocalHealth
from protocols.detector.suspicion import Suspicions
from protocols.limits import UPDATES_BYTES_MAX
from protocols.membership.facts import Forgotten, MemberChanged, NameConflict, Refuted
from protocols.membership.gossip import GossipQueue, decimal_digits
from protocols.membership.member import (
    GENERATION_MAX,
    INCARNATION_BITS,
    INCARNATION_MAX,
    INCARNATION_STEP,
    NANOS_PER_MINUTE,
    STATE_BITS,
    STATE_MASK,
    STATES,
    Accusation,
    Alive,
    Fallen,
    Member,
    Profile,
    State,
    Update,
    generation_of,
    incarnation_of,
    precedence_of,
    size_bound,
    state_of,
    with_state,
)
from protocols.membership.table import MemberTable
from protocols.outbox import Outbox

ALIVE = int(State.ALIVE)
SUSPECT = int(State.SUSPECT)
DEAD = int(State.DEAD)
LEFT = int(State.LEFT)
GENERATION_SHIFT = STATE_BITS + INCARNATION_BITS


class Swim:
    """The beliefs of one node. `view` grows whenever the set of alive members or an announcement changes."""

    def __init__(self, config: NodeConfig, outbox: Outbox, rng: Random) -> None:
        self.config = config
        self.table = MemberTable()
        self.queue = GossipQueue()
        self.suspicions = Suspicions()
        self.health = LocalHealth(config.swim)
        self.me: Member | None = None
        self.leaving = False
        self.outgrown = 0
        """A generation above this node's own that was seen under its id; the node must start a newer one."""
        self.view = 0
        self._id = config.node_id
        self._retransmits_for = 0
        self._retransmits = 1
        self._outbox = outbox
        self._rng = rng

    # This node itself.

    def come_alive(self, now: Instant, generation: int, profile: Profile) -> None:
        """Announce this node in a new generation, which is durable already."""
        alive = Alive(self._id, precedence_of(generation, 0, State.ALIVE), profile)
        if self.me is None:
            self.me = Member(alive, alive.precedence, self._id, now)
            self.table.insert(self.me)
        else:
            self.me = self.table.believe(now, self.me, alive, alive.precedence, self._id)
        self.outgrown = 0
        self.view += 1
        self.queue.put(alive)

    def leave(self, now: Instant) -> None:
        """Say that this node leaves. Nothing refutes it but a new generation."""
        assert self.me is not None
        self.leaving = True
        precedence = with_state(self.me.precedence, State.LEFT)
        self.me = self.table.believe(now, self.me, self.me.alive, precedence, self._id)
        self.view += 1
        self.queue.put(Accusation(self._id, precedence, self._id))

    def retransmits(self) -> int:
        """How often a piece of news is passed on (SWIM section 4.1)."""
        present = self.table.present
        if present != self._retransmits_for:
            self._retransmits_for = present
            self._retransmits = max(1, self.config.swim.retransmit_mult * decimal_digits(present))
        return self._retransmits

    # What others say.

    def hear(self, now: Instant, updates: Iterable[Update]) -> bool:
        """Take in gossip; whether any of it was news. The hot path of a large mesh: most of it is not."""
        own, below = self.table.news_from.own.get, self.table.news_from.below.get
        news = [each for each in updates if each.precedence >= (own(each.node_id) or below(each.node_id, 0))]
        for update in news:
            row = self.table.get(update.node_id)
            if row is None:
                self._meet(now, update)
            elif update.precedence > row.precedence:
                self._believe(now, row, update)
            elif update.precedence == row.precedence:
                self._confirm(row, update)
        return bool(news)

    def merge(self, now: Instant, rows: Iterable[Alive | Fallen]) -> None:
        """Take in the rows of another table (push-pull)."""
        table = self.table
        own, below = table.news_from.own.get, table.news_from.below.get
        # Of a table that is exchanged in peace every row is known.
        for row in [
            each
            for each in rows
            if type(each) is not Alive or each.precedence >= (own(each.node_id) or below(each.node_id, 0))
        ]:
            if type(row) is Alive:
                self.hear(now, (row,))
            elif type(row) is Fallen:
                known = table.get(row.alive.node_id)
                if known is None or row.precedence > known.precedence:
                    self._merge_fallen(now, row, known)

    def _merge_fallen(self, now: Instant, row: Fallen, known: Member | None) -> None:
        state = state_of(row.precedence)
        if known is None:
            # Nobody here ever saw it alive: remember it as it is, without raising it for a last suspicion.
            if state in (State.DEAD, State.LEFT):
                self._remember(now, row)
                return
            self.hear(now, (row.alive,))
        elif row.alive.precedence > known.precedence:
            self.hear(now, (row.alive,))
        claimed = with_state(row.precedence, State.SUSPECT) if state is State.DEAD else row.precedence
        self.hear(now, (Accusation(row.node_id, claimed, row.by),))

    def _remember(self, now: Instant, row: Fallen) -> None:
        announced, believed = row.alive.precedence, row.precedence
        if announced & STATE_MASK != ALIVE or announced > believed:
            return  # no table of an honest peer has such a row
        if generation_of(announced) != generation_of(believed) or generation_of(believed) == GENERATION_MAX:
            return
        if not _is_honest(row.alive):
            return
        age = row.age_minutes * NANOS_PER_MINUTE
        if age > self.config.swim.remember_dead:
            return  # its time is over: whoever takes it in again keeps it in the mesh for ever
        member = Member(row.alive, believed, row.by, now - age)
        self.table.insert(member)
        self._notify_changed(member)

    def _meet(self, now: Instant, update: Update) -> None:
        """News of a member that is not in the table. An accusation of a stranger says nothing useful."""
        if type(update) is not Alive or update.precedence & STATE_MASK != ALIVE:
            return
        if not _is_honest(update):
            return
        member = Member(update, update.precedence, update.node_id, now)
        self.table.insert(member)
        self._became_alive(member, update, size_bound(update))

    def _believe(self, now: Instant, row: Member, update: Update) -> None:
        """`update` outranks `row`."""
        state = update.precedence & STATE_MASK
        if (type(update) is Alive) != (state == ALIVE):
            return  # a state that does not go with the kind of update: a broken peer
        if row is self.me:
            self._refute(now, row, update)
            return
        if generation_of(update.precedence) == GENERATION_MAX:
            return  # such a member could never restart again; no honest node counts so far
        if type(update) is Alive:
            size = size_bound(update)
            if size > UPDATES_BYTES_MAX:
                return  # no node that keeps the rules announces what fits no packet
            row = self.table.believe(now, row, update, update.precedence, update.node_id)
            self.suspicions.end(update.node_id)
            self._became_alive(row, update, size)
        elif type(update) is Accusation:
            self._accused(now, row, update)

    def _became_alive(self, row: Member, update: Alive, size: int) -> None:
        self.view += 1
        self.queue.put(update, size)
        self._notify_changed(row)
        if self.me is not None and update.profile.name == self.me.alive.profile.name:
            self._outbox.notify(NameConflict(update.node_id, update.profile.address))

    def _accused(self, now: Instant, row: Member, accusation: Accusation) -> None:
        if generation_of(accusation.precedence) > row.generation:
            return  # nobody here has met that life of it; its own announcement has to come first
        was_alive = row.precedence & STATE_MASK == ALIVE
        state = accusation.precedence & STATE_MASK
        row = self.table.believe(now, row, row.alive, accusation.precedence, accusation.by)
        if state == SUSPECT:
            present = self.table.present
            wanted = self.suspicions.start(
                now, accusation.node_id, accusation.precedence, accusation.by, self.config.swim, present
            )
            self.table.want_confirmations(row, wanted)
        else:
            self.suspicions.end(accusation.node_id)
            self.view += 1
        self.queue.put(accusation)
        if was_alive or state != SUSPECT:
            self._notify_changed(row)

    def _confirm(self, row: Member, update: Update) -> None:
        """Somebody else doubts a suspect too."""
        if type(update) is Accusation and self.suspicions.confirm(update.node_id, update.by):
            self.table.want_confirmations(row, update.node_id in self.suspicions.open)
            self.queue.put(update)

    def _refute(self, now: Instant, row: Member, update: Update) -> None:
        """Somebody outranks this node's own word about itself."""
        if self.leaving:
            return
        generation = generation_of(update.precedence)
        if generation > GENERATION_MAX // 2:
            return  # nobody has had so many lives; answering would use up those that are left to count
        if generation > row.generation:
            self.outgrown = max(self.outgrown, generation)
            return
        incarnation = incarnation_of(update.precedence) + 1
        if incarnation > INCARNATION_MAX:
            self.outgrown = max(self.outgrown, generation + 1)  # only a new life can still outrank that
            return
        precedence = (with_state(update.precedence, State.ALIVE)) + INCARNATION_STEP
        alive = Alive(self._id, precedence, row.alive.profile)
        self.me = self.table.believe(now, row, alive, precedence, self._id)
        self.queue.put(alive)
        self.health.worse()
        accuser = update.by if type(update) is Accusation else update.node_id
        self._outbox.notify(Refuted(accuser, incarnation))

    # What this node finds out itself.

    def suspect(self, now: Instant, node_id: NodeId) -> None:
        """A probe failed: doubt the member, or confirm a doubt that others have."""
        row = self.table.get(node_id)
        if row is None or row is self.me:
            return
        if row.state is State.ALIVE:
            self._accused(now, row, Accusation(node_id, with_state(row.precedence, State.SUSPECT), self._id))
        elif row.state is State.SUSPECT:
            self._confirm(row, Accusation(node_id, row.precedence, self._id))

    def judge(self, now: Instant) -> None:
        """Declare dead whoever has not refuted in time."""
        for node_id, suspicion in self.suspicions.due(now):
            row = self.table.get(node_id)
            if row is not None and row.precedence == suspicion.precedence:
                self._accused(now, row, Accusation(node_id, with_state(row.precedence, State.DEAD), self._id))

    def forget(self, now: Instant) -> None:
        """Drop rows of members that have been dead or gone for longer than they are remembered."""
        horizon = now - self.config.swim.remember_dead
        gone = [m.alive.node_id for m in self.table if m.precedence & STATE_MASK >= DEAD and m.since < horizon]
        for node_id in gone:
            if node_id != self._id:
                self.table.remove(node_id)
                self._outbox.notify(Forgotten(node_id))

    def _notify_changed(self, row: Member) -> None:
        alive, precedence = row.alive, row.precedence
        generation, incarnation = precedence >> GENERATION_SHIFT, (precedence >> STATE_BITS) & INCARNATION_MAX
        self._outbox.notify(
            MemberChanged(
                alive.node_id, alive.profile.name, STATES[precedence & STATE_MASK], generation, incarnation, row.by
            )
        )

    def rows(self, now: Instant) -> list[Alive | Fallen]:
        """This node's table as push-pull rows."""
        return [
            member.alive if member.precedence & STATE_MASK == ALIVE else member.fallen(now) for member in self.table
        ]

    def accusation_against(self, node_id: NodeId) -> tuple[Update, ...]:
        """What to tell a sender that this node takes for suspect or dead, so that it refutes (DESIGN 4)."""
        table = self.table
        if not table.count(State.SUSPECT) and not table.count(State.DEAD):
            return ()
        row = table.get(node_id)
        if row is None or row.state in (State.ALIVE, State.LEFT):
            return ()
        return (Accusation(node_id, row.precedence, row.by),)

    def check(self) -> None:
        """Raise `InvariantViolation` where the table contradicts itself."""
        if not self.table.check_counts():
            raise InvariantViolation("the member counts differ from the rows")
        if self.me is not None and not self.leaving and self.me.state is not State.ALIVE:
            raise InvariantViolation("a serving node believes that it is not alive")
        for member in self.table:
            if member.state is State.SUSPECT and member.alive.node_id not in self.suspicions:
                raise InvariantViolation(f"suspect {member.alive.node_id} has no deadline")
            wanted = member.alive.node_id in self.suspicions.open
            if (self.table.news_from[member.alive.node_id] == member.precedence) != wanted:
                raise InvariantViolation(f"{member.alive.node_id}: it is not known whether a further accuser counts")
            if member.alive.precedence > member.precedence:
                raise InvariantViolation(f"{member.alive.node_id} announced more than is believed")


def _is_honest(alive: Alive) -> bool:
    """Whether a node that keeps the rules can have announced this: it fits a packet, and a later life can still win."""
    return size_bound(alive) <= UPDATES_BYTES_MAX and generation_of(alive.precedence) < GENERATION_MAX
