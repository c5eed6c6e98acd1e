"""SWIM: what this node believes of every member, and how belief changes (SWIM, Lifeguard; DESIGN 4).

One rule decides everything: of two statements about a member the one of larger precedence wins (`member.py`). Belief
changes by gossip (taken as it is), by push-pull (a remote *dead* only makes a *suspect*, so that the accused can
refute), and by this node's own failed probes. Only this file changes rows; it never decides when to talk to whom
(`probe.py`, `healing.py` do).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from protocols.config import NodeConfig
from protocols.core import Endpoint, Instant, NodeId
from protocols.detector.asleep import worse_by
from protocols.detector.health import LocalHealth
from protocols.detector.suspicion import Suspicions
from protocols.limits import UPDATES_BYTES_MAX
from protocols.membership.facts import Announced, Forgotten, MemberChanged, NameConflict, Refuted
from protocols.membership.gossip import GossipQueue, retransmits
from protocols.membership.hearsay import Hearsay
from protocols.membership.member import (
    GENERATION_MAX,
    INCARNATION_MAX,
    INCARNATION_STEP,
    NANOS_PER_MINUTE,
    STATE_MASK,
    Accusation,
    Alive,
    Believed,
    Member,
    Profile,
    Refutation,
    State,
    Update,
    announcement_in,
    generation_of,
    incarnation_of,
    precedence_of,
    said_again,
    size_bound,
    state_of,
    with_state,
)
from protocols.membership.plausible import PATIENCE, TO_ASK_MAX, is_honest, is_plausible
from protocols.membership.retention import has_room, is_full
from protocols.membership.steady import SteadyView
from protocols.membership.table import MemberTable
from protocols.outbox import Outbox

ALIVE = int(State.ALIVE)
SUSPECT = int(State.SUSPECT)
DEAD = int(State.DEAD)
LEFT = int(State.LEFT)
SPREADING_TIMES = 2
"""A profile counts as known to all once it has had this many times the time that one queue takes to pass it on."""
NOBODY = Member(Alive("", -1, Profile("", "")), -1, "", 0)
"""Stands for a row that is not there: everything is news of a stranger."""


class Swim:
    """The beliefs of one node. `view` grows with every change of the set of members, of those alive, or of what one
    announced; `steady` is what is published of that."""

    def __init__(self, config: NodeConfig, outbox: Outbox) -> None:
        self.config = config
        self.table = MemberTable()
        self.steady = SteadyView(config.swim, self.table, config.node_id)
        self.queue = GossipQueue()
        self.suspicions = Suspicions()
        self.hearsay = Hearsay(config.swim.probe_interval)
        self.health = LocalHealth(config.swim)
        self.me: Member | None = None
        self.leaving = False
        self.outgrown = 0
        """A generation above this node's own that was seen under its id; the node must start a newer one."""
        self.rival = ""
        """Another address at which this node's id was announced, in words that outrank this node's own."""
        self.view = 0
        self.touched = True
        """What is believed, or when something of it is due, may have changed since the node last worked out when to
        wake; the probe under way and what waits to be sent aside. The node resets it."""
        self.refutations = 0
        self.refused = 0
        """Words about members that no honest node says, or that cannot be true (`plausible.py`)."""
        self.to_ask: dict[Endpoint, None] = {}
        """Members of whom others say what only they themselves can say, and where they are asked (`disputes.py`)."""
        self.on_met: Callable[[NodeId], None] = lambda node_id: None
        """Told of every member that is met for the first time, or again after it was forgotten."""
        self._id = config.node_id
        self._retransmits_for = 0
        self._retransmits = 1
        self._announced_at: Instant = 0
        self._outbox = outbox

    # This node itself.

    def come_alive(self, now: Instant, generation: int, profile: Profile) -> None:
        """Announce this node in a new generation, which is durable already."""
        alive = Alive(self._id, precedence_of(generation, 0, State.ALIVE), profile)
        before = self.me
        if before is None:
            self.me = Member(alive, alive.precedence, self._id, now)
            self.table.insert(self.me)
        else:
            self.me = self.table.believe(now, before, alive, alive.precedence, self._id)
        self.outgrown = 0
        self._announced_at = now
        self._view_changed(now, before, self.me)
        self.queue.put(alive)

    def announce(self, now: Instant, profile: Profile) -> None:
        """Be something else from now on, in an incarnation of its own: one incarnation never means two profiles."""
        me = self.me
        assert me is not None
        assert not self.leaving
        if me.incarnation == INCARNATION_MAX:
            self.outgrown = max(self.outgrown, me.generation + 1)  # a new life begins with an announcement anyway
            self.touched = True
            return
        alive = Alive(self._id, me.precedence + INCARNATION_STEP, profile)
        self.me = self.table.believe(now, me, alive, alive.precedence, self._id)
        self._announced_at = now
        self._view_changed(now, me, self.me)
        self.queue.put(alive)
        self._outbox.notify(Announced(incarnation_of(alive.precedence)))

    def leave(self, now: Instant) -> None:
        """Say that this node leaves. Nothing refutes it but a new generation."""
        before = self.me
        assert before is not None
        self.leaving = True
        precedence = with_state(before.precedence, State.LEFT)
        self.me = self.table.believe(now, before, before.alive, precedence, self._id)
        self._view_changed(now, before, self.me)
        self.queue.put(Accusation(self._id, precedence, self._id))

    def retransmits(self) -> int:
        """How often a piece of news is passed on (SWIM section 4.1)."""
        present = self.table.present
        if present != self._retransmits_for:
            self._retransmits_for = present
            self._retransmits = retransmits(self.config.swim, present)
        return self._retransmits

    # What others say.

    def hear(self, now: Instant, updates: Iterable[Update], speaker: NodeId = "") -> bool:
        """Take in gossip; whether any of it was news. The hot path of a large mesh: most of it is not.

        What `speaker` says of itself counts however far it is ahead of what is known.
        """
        own, below = self.table.rows.own.get, self.table.rows.below.get
        news = [
            each
            for each in updates
            if each.precedence > (row := own(each.node_id) or below(each.node_id, NOBODY)).stale_to  # or of a stranger
            or (
                type(each) is Alive
                and each.precedence - each.incarnations_ago * INCARNATION_STEP > row.alive.precedence
            )
        ]
        for update in news:
            known = self.table.get(update.node_id)
            if known is None:
                self._meet(now, update)
            elif update.precedence > known.precedence:
                self._believe(now, known, update, speaker)
            elif type(update) is Alive:
                self._catch_up(now, known, update, aloud=True)
            elif update.precedence == known.precedence:
                self._confirm(known, update)
        return bool(news)

    def merge(self, now: Instant, rows: Iterable[Alive | Believed], speaker: NodeId = "") -> None:
        """Take in the rows of another table (push-pull), that of `speaker`."""
        table = self.table
        own, below = table.rows.own.get, table.rows.below.get
        # Of a table that is exchanged in peace every row is known; within one process it is the very same.
        for row in [
            each
            for each in rows
            if type(each) is not Alive or (own(each.node_id) or below(each.node_id, NOBODY)).alive is not each
        ]:
            alive = row.alive if isinstance(row, Believed) else row
            known = table.get(alive.node_id)
            if known is not None:
                if known is self.me and self._contest(now, known, alive, row.precedence):
                    continue
                if alive.precedence <= known.alive.precedence and row.precedence <= known.precedence:
                    if row.precedence < known.precedence and not is_plausible(
                        row.precedence, known.precedence, PATIENCE
                    ):
                        self.wonder(known.endpoint)
                    continue
            if isinstance(row, Believed):
                self._merge_believed(now, row, known, speaker)
            else:
                self._learn(now, alive, known, speaker)

    def _contest(self, now: Instant, me: Member, alive: Alive, believed: int) -> bool:
        """Outdo an announcement in this node's name that it never made, and that its own does not outrank.

        It is that of an earlier life, which was lost with the disk, or a broken peer's. Nothing else would: it says
        something else in an incarnation that this node may have reached long ago.
        """
        if alive.precedence < me.alive.precedence or alive.profile == me.alive.profile:
            return False
        highest = max(alive.precedence, believed, me.precedence)
        self._refute(now, me, Alive(self._id, with_state(highest, State.ALIVE), alive.profile))
        return True

    def _merge_believed(self, now: Instant, row: Believed, known: Member | None, speaker: NodeId) -> None:
        announced, state = row.alive.precedence, state_of(row.precedence)
        if (
            announced & STATE_MASK != ALIVE
            or announced > row.precedence
            or row.alive.incarnations_ago
            or generation_of(announced) != generation_of(row.precedence)
        ):
            self.refused += 1  # no table of an honest peer has such a row
            return
        if known is None and state in (State.DEAD, State.LEFT):
            # Nobody here ever saw it alive: remember it as it is, without raising it for a last suspicion.
            self._remember(now, row)
            return
        if state is State.ALIVE:
            if known is None or row.alive.precedence > known.alive.precedence:
                # In full, for others may have missed the announcement too.
                self._learn(now, said_again(row.alive, row.precedence), known, speaker)
            else:
                self.hear(now, (Refutation(row.node_id, row.precedence),), speaker)
            return
        if known is None or row.alive.precedence > known.alive.precedence:
            self._learn(now, row.alive, known, speaker)
        claimed = with_state(row.precedence, State.SUSPECT) if state is State.DEAD else row.precedence
        accusation = Accusation(row.node_id, claimed, row.by)
        if state is State.LEFT or not self._hold_back(now, accusation):
            self.hear(now, (accusation,))

    def _hold_back(self, now: Instant, accusation: Accusation) -> bool:
        """Doubt a member for ourselves, and tell nobody but the member (`hearsay.py`). False where there is no case."""
        row = self.table.get(accusation.node_id)
        if row is None or row is self.me or row.precedence & STATE_MASK != ALIVE:
            return False
        if accusation.precedence < row.precedence or generation_of(accusation.precedence) != row.generation:
            return False
        if not self.hearsay.hold(now, accusation):
            return False
        self._accused(now, row, accusation, aloud=False)
        return True

    def _catch_up(self, now: Instant, row: Member, update: Alive, *, aloud: bool) -> None:
        """Hear late what a member announced: of the member itself more is known."""
        if update.precedence & STATE_MASK != ALIVE or not is_honest(update):
            return
        announced = announcement_in(update)
        if announced.precedence <= row.alive.precedence:
            return
        if row is self.me:
            self._contest(now, row, announced, update.precedence)
            return
        self._view_changed(now, row, self.table.learn(row, announced))
        if aloud and row.precedence & STATE_MASK == ALIVE:
            self.queue.put(said_again(announced, row.precedence))

    def pass_on_hearsay(self, now: Instant) -> None:
        """Say aloud what was held back, and was not refuted meanwhile."""
        for accusation in self.hearsay.due(now):
            row = self.table.get(accusation.node_id)
            if row is None or row.precedence != accusation.precedence:
                continue
            if type(self.queue.about(accusation.node_id)) is not Accusation:
                self.queue.put(accusation)

    def slept(self, now: Instant, late: Instant) -> None:
        """This node has not run for a while: doubt nobody aloud, or for good, before the accused was asked again."""
        self.health.worse(worse_by(self.config.swim, late))
        for node_id in self.suspicions.slept(now, late):
            row = self.table.get(node_id)
            if row is None or row.precedence & STATE_MASK != SUSPECT:
                continue
            queued = self.queue.about(node_id)
            if type(queued) is Accusation and self.hearsay.hold(now, queued):
                self.queue.withdraw(node_id)
            else:
                self.hearsay.show_again(Accusation(node_id, row.precedence, row.by))

    def _learn(self, now: Instant, alive: Alive, known: Member | None, speaker: NodeId) -> None:
        """Take in an announcement that is newer than the one known, though what is believed may be newer still."""
        if known is None or alive.precedence > known.precedence:
            self.hear(now, (alive,), speaker)
        else:
            self._catch_up(now, known, alive, aloud=False)

    def _remember(self, now: Instant, row: Believed) -> None:
        if not is_honest(row.alive) or is_full(self):
            self.refused += 1
            return
        age = row.age_minutes * NANOS_PER_MINUTE
        if age > self.config.swim.remember_dead:
            return  # its time is over: whoever takes it in again keeps it in the mesh for ever
        member = Member(row.alive, row.precedence, row.by, now - age)
        self.table.insert(member)
        self._notify_changed(member)

    def _meet(self, now: Instant, update: Update) -> None:
        """News of a member that is not in the table. An accusation of a stranger says nothing useful."""
        if type(update) is not Alive or update.precedence & STATE_MASK != ALIVE:
            return
        if not is_honest(update) or not has_room(self):
            self.refused += 1
            return
        member = Member(announcement_in(update), update.precedence, update.node_id, now)
        self.table.insert(member)
        self.on_met(update.node_id)
        self._became_alive(now, None, member, update, size_bound(update))

    def _believe(self, now: Instant, row: Member, update: Update, speaker: NodeId) -> None:
        """`update` outranks `row`."""
        state = update.precedence & STATE_MASK
        if (type(update) is Accusation) == (state == ALIVE):
            self.refused += 1  # a state that does not go with the kind of update: a broken peer
            return
        if row is self.me:
            self._refute(now, row, update)
            return
        if generation_of(update.precedence) == GENERATION_MAX or (
            update.node_id != speaker and not is_plausible(row.precedence, update.precedence)
        ):
            self.refused += 1  # in the last generation it could never restart again: no honest node counts so far
            if type(update) is Alive:
                self.wonder(Endpoint(update.node_id, update.profile.address))
            elif type(update) is Refutation:
                self.wonder(row.endpoint)
            return
        moved = type(update) is Alive and update.profile.address != row.alive.profile.address
        if (moved or state >= DEAD) and update.node_id != speaker and self.table.present <= TO_ASK_MAX:
            self.wonder(row.endpoint)  # where it was: if that is not true, nobody else may tell it
        if type(update) is Accusation:
            self._accused(now, row, update)
        elif type(update) is Refutation:
            self._cleared(now, row, update)
        elif type(update) is Alive:
            self._announced(now, row, update)

    def wonder(self, at: Endpoint) -> None:
        """Others say of a member what cannot be true, or what it would have to object to: ask itself."""
        if len(self.to_ask) < TO_ASK_MAX:
            self.to_ask[at] = None

    def become_alive(self, now: Instant, row: Member, update: Alive) -> None:
        """Believe a member to be alive, and what it announced."""
        after = self.table.believe(now, row, announcement_in(update), update.precedence, update.node_id)
        self.suspicions.end(update.node_id)
        self._became_alive(now, row, after, update, size_bound(update))

    def _announced(self, now: Instant, row: Member, update: Alive) -> None:
        """The member is alive, and said what it is: now, or before something that was announced since and is known."""
        if size_bound(update) > UPDATES_BYTES_MAX or update.incarnations_ago > incarnation_of(update.precedence):
            self.refused += 1  # no node that keeps the rules says so
            return
        if update.incarnations_ago and announcement_in(update).precedence <= row.alive.precedence:
            self._cleared(now, row, Refutation(update.node_id, update.precedence))
            return
        self.become_alive(now, row, update)

    def _became_alive(self, now: Instant, before: Member | None, row: Member, update: Alive, size: int) -> None:
        self._view_changed(now, before, row)
        self.queue.put(update, size)
        self._notify_changed(row)
        if self.me is not None and update.profile.name == self.me.alive.profile.name:
            self._outbox.notify(NameConflict(update.node_id, update.profile.address))

    def _cleared(self, now: Instant, row: Member, refutation: Refutation) -> None:
        """The member is alive, as what it last announced."""
        node_id, precedence = refutation.node_id, refutation.precedence
        if generation_of(precedence) > row.generation:
            return  # nobody here has met that life of it; its own announcement has to come first
        before = row
        row = self.table.believe(now, row, row.alive, precedence, node_id)
        self.queue.put(refutation)
        if before.precedence & STATE_MASK != ALIVE:
            self.suspicions.end(node_id)
            self._view_changed(now, before, row)
            self._notify_changed(row)

    def _accused(self, now: Instant, row: Member, accusation: Accusation, *, aloud: bool = True) -> None:
        if generation_of(accusation.precedence) > row.generation:
            return  # nobody here has met that life of it; its own announcement has to come first
        before, was = row, row.precedence & STATE_MASK
        state = accusation.precedence & STATE_MASK
        row = self.table.believe(now, row, row.alive, accusation.precedence, accusation.by)
        if state == SUSPECT:
            present = self.table.present
            wanted = self.suspicions.start(
                now, accusation.node_id, accusation.precedence, accusation.by, self.config.swim, present
            )
            row.stale_to = row.precedence - wanted
        else:
            self.suspicions.end(accusation.node_id)
            if state == LEFT:
                row.stale_to = precedence_of(row.generation, 0, State.ALIVE)  # who doubts it is told (`farewell.py`)
        if state != SUSPECT or was >= DEAD:
            # A suspect serves: one that was dead had refuted that, and is in doubt again.
            self._view_changed(now, before, row)
        if aloud:
            self.queue.put(accusation)
        if was != SUSPECT or state != SUSPECT:
            self._notify_changed(row)

    def _confirm(self, row: Member, update: Update) -> None:
        """Somebody else doubts a suspect too."""
        if type(update) is Accusation and self.suspicions.confirm(update.node_id, update.by):
            row.stale_to = row.precedence - self.suspicions.is_open(update.node_id)
            self.queue.put(update)

    def _refute(self, now: Instant, row: Member, update: Update) -> None:
        """Somebody outranks this node's own word about itself."""
        if self.leaving:
            return
        if not is_plausible(row.precedence, update.precedence, PATIENCE):
            self.refused += 1
            return
        generation = generation_of(update.precedence)
        if type(update) is Alive and update.profile.address != row.alive.profile.address:
            self.rival = update.profile.address
        if generation > row.generation:
            self.outgrown = max(self.outgrown, generation)
            return
        incarnation = incarnation_of(update.precedence) + 1
        if incarnation > INCARNATION_MAX:
            self.outgrown = max(self.outgrown, generation + 1)  # only a new life can still outrank that
            return
        precedence = (with_state(update.precedence, State.ALIVE)) + INCARNATION_STEP
        # An incarnation that this node never had comes with an announcement that it never made.
        if self.is_spreading(now) or incarnation > row.incarnation + 1 or type(update) is Alive:
            alive = Alive(self._id, precedence, row.alive.profile)
            self.me = self.table.believe(now, row, alive, precedence, self._id)
            self.queue.put(alive)
            if not self.is_spreading(now):
                self._announced_at = now  # nobody has heard this announcement: refutations have to say it for a while
        else:
            self.me = self.table.believe(now, row, row.alive, precedence, self._id)
            self.queue.put(Refutation(self._id, precedence))
        if update.precedence <= with_state(row.precedence, State.DEAD):
            # Somebody could not reach this node as it is now, and that may well be its own fault. Who speaks of an
            # incarnation that it has not come to, or says that it has left, has not tried to.
            self.health.worse()
        self.refutations += 1
        accuser = update.by if type(update) is Accusation else update.node_id
        self._outbox.notify(Refuted(accuser, incarnation))

    def is_spreading(self, now: Instant) -> bool:
        """Whether there may be members that do not know this node's profile yet, so that a refutation has to say it.

        One that takes the place of the announcement in the queue says it in any case (`gossip.py`).
        """
        passing_on = self.retransmits() * self.config.swim.gossip_interval
        return now < self._announced_at + SPREADING_TIMES * passing_on

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

    def forget(self, member: Member) -> None:
        """Drop the row of a member that has been gone for long enough (`retention.py`)."""
        node_id = member.alive.node_id
        self.table.remove(node_id)
        self.view += 1
        self._outbox.notify(Forgotten(node_id))

    def _view_changed(self, now: Instant, before: Member | None, after: Member) -> None:
        self.view += 1
        self.touched = True
        self.steady.changed(now, before, after)

    def _notify_changed(self, row: Member) -> None:
        alive = row.alive
        self._outbox.notify(MemberChanged(alive.node_id, alive.profile.name, row.precedence, row.by))

    def rows(self, now: Instant) -> list[Alive | Believed]:
        """This node's table as push-pull rows."""
        return [member.as_announced or member.row(now) for member in self.table]
