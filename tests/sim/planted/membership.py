"""Broken beliefs, announcements and gossip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from msgspec.structs import replace

from protocols.core import Effect, Instant, NodeId, Put, Send
from protocols.membership.gossip import GossipQueue, News
from protocols.membership.member import (
    INCARNATION_STEP,
    Accusation,
    Alive,
    Believed,
    Member,
    Profile,
    Refutation,
    State,
    Update,
    incarnation_of,
    with_state,
)
from protocols.membership.membership import Membership
from protocols.membership.messages import Ack, Gossip, Ping
from protocols.membership.records import GENERATION_KEY
from protocols.membership.swim import Swim
from tests.sim.planted.mutant import (
    ANEW,
    CRASHES,
    CUT,
    CUTS,
    JOIN,
    LOST,
    MANY,
    QUIET,
    Tampered,
    mutant_by,
    mutant_of,
    patched,
)


class ForgetsItsGeneration(Tampered):
    """The generation is not found again after a restart, so an old one is used once more."""

    def tamper_with_saved(self, saved: list[Put]) -> list[Put]:
        return [put for put in saved if put.key != GENERATION_KEY]


class SpeaksOutOfRange(Tampered):
    """Probe numbers go out negative, which every codec refuses."""

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        return [
            Send(effect.to, Ping(-1, effect.message.updates))
            if isinstance(effect, Send) and isinstance(effect.message, Ping)
            else effect
            for effect in effects
        ]


class OverfillsPackets(Tampered):
    """An ack carries more than fits its packet."""

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        me = self.swim.me
        return [
            Send(effect.to, Ack(effect.message.probe, (me.alive,) * 30))
            if isinstance(effect, Send) and isinstance(effect.message, Ack) and me is not None
            else effect
            for effect in effects
        ]


class AcksTwiceAfterADeath(Tampered):
    """Once a node takes another one for dead, it answers every ping twice."""

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        acks: list[Effect] = [
            effect for effect in effects if isinstance(effect, Send) and isinstance(effect.message, Ack)
        ]
        return effects + acks if any(row.state is State.DEAD for row in self.swim.table) else effects


def believes_whatever_comes_last() -> AbstractContextManager[None]:
    """News is taken for true whether or not it outranks what is known."""

    def hear(self: Swim, now: Instant, updates: Iterable[Update], speaker: NodeId = "") -> None:
        for update in updates:
            row = self.table.get(update.node_id)
            if row is None:
                self._meet(now, update)
            elif row is not self.me:
                self._believe(now, row, update, speaker)

    return patched(Swim, "hear", hear)


def raises_the_dead() -> AbstractContextManager[None]:
    """A table in which a dead member is alive brings it back in the very incarnation in which it was declared dead."""
    merge = Swim.merge

    def merge_and_forgive(self: Swim, now: Instant, rows: Iterable[Alive | Believed], speaker: NodeId = "") -> None:
        rows = tuple(rows)
        for update in rows:
            row = self.table.get(update.node_id)
            if not isinstance(update, Alive) or row is None or row is self.me or row.state is not State.DEAD:
                continue
            if with_state(row.precedence, State.ALIVE) == update.precedence:
                self._believe(now, row, update, speaker)
        merge(self, now, rows, speaker)

    return patched(Swim, "merge", merge_and_forgive)


def raises_incarnations_of_others() -> AbstractContextManager[None]:
    """An accuser raises the incarnation of the accused, which only the accused may do."""

    def suspect(self: Swim, now: Instant, node_id: str) -> None:
        row = self.table.get(node_id)
        if row is not None and row is not self.me and row.state is State.ALIVE:
            precedence = with_state(row.precedence, State.SUSPECT) + INCARNATION_STEP
            self._accused(now, row, Accusation(node_id, precedence, self.config.node_id))

    return patched(Swim, "suspect", suspect)


def reuses_an_incarnation() -> AbstractContextManager[None]:
    """From the second time on, a refutation goes out under the incarnation that was accused."""
    refute = Swim._refute

    def refute_again(self: Swim, now: Instant, row: Member, update: Update) -> None:
        if incarnation_of(update.precedence) > 0:
            update = replace(update, precedence=update.precedence - INCARNATION_STEP)
        refute(self, now, row, update)

    return patched(Swim, "_refute", refute_again)


def drops_its_refutations() -> AbstractContextManager[None]:
    """The accused keeps silent."""

    def refute(self: Swim, now: Instant, row: Member, update: Update) -> None:
        return None

    return patched(Swim, "_refute", refute)


@contextmanager
def forgets_what_was_announced() -> Iterator[None]:
    """Whoever refutes has no handlers any more in the eyes of those who hear of it, and does not mind."""
    cleared = Swim._cleared

    def forget(self: Swim, now: Instant, row: Member, refutation: Refutation) -> None:
        cleared(self, now, row, refutation)
        row = self.table.rows[refutation.node_id]
        self.table.learn(row, replace(row.alive, profile=replace(row.alive.profile, handlers=())))

    with patched(Swim, "_cleared", forget), patched(Swim, "_contest", lambda self, now, me, alive, believed: False):
        yield


def lets_others_say_what_it_is() -> AbstractContextManager[None]:
    """Who lost its disk keeps silent where others still take it for what it announced before."""
    return patched(Swim, "_contest", lambda self, now, me, alive, believed: False)


def believes_its_accusers() -> AbstractContextManager[None]:
    """A node takes over what others say of itself."""
    refute = Swim._refute

    def give_in(self: Swim, now: Instant, row: Member, update: Update) -> None:
        if isinstance(update, Accusation) and not self.leaving:
            self.me = self.table.believe(now, row, row.alive, update.precedence, update.by)
            return
        refute(self, now, row, update)

    return patched(Swim, "_refute", give_in)


def never_reaches_out_to_the_dead() -> AbstractContextManager[None]:
    """Push-pull rows of members that are known are not looked at, so two halves stay two."""

    def merge(self: Swim, now: Instant, rows: Iterable[Alive | Believed], speaker: NodeId = "") -> None:
        self.hear(now, [row for row in rows if isinstance(row, Alive) and self.table.get(row.node_id) is None], speaker)

    return patched(Swim, "merge", merge)


def stops_listening_at_old_news() -> AbstractContextManager[None]:
    """What comes after a piece of old news in a packet is not read, so the order of news matters."""
    hear = Swim.hear

    def hear_in_part(self: Swim, now: Instant, updates: Iterable[Update], speaker: NodeId = "") -> None:
        for update in updates:
            row = self.table.get(update.node_id)
            if row is not None and update.precedence <= row.precedence:
                return
            hear(self, now, (update,), speaker)

    return patched(Swim, "hear", hear_in_part)


def counts_every_accusation() -> AbstractContextManager[None]:
    """To hear of a suspicion again is taken for a proof: the second time, the suspect is dead."""
    hear = Swim.hear

    def convict(self: Swim, now: Instant, updates: Iterable[Update], speaker: NodeId = "") -> None:
        for update in updates:
            row = self.table.get(update.node_id)
            if not isinstance(update, Accusation) or row is None or row is self.me or row.state is not State.SUSPECT:
                continue
            if update.precedence == row.precedence:
                self._accused(now, row, replace(update, precedence=with_state(row.precedence, State.DEAD)))
        hear(self, now, updates, speaker)

    return patched(Swim, "hear", convict)


def changes_its_profile_in_passing() -> AbstractContextManager[None]:
    """A node announces another weight without a new incarnation."""
    come_alive = Swim.come_alive

    def come_alive_heavier(self: Swim, now: Instant, generation: int, profile: Profile) -> None:
        come_alive(self, now, generation, profile)
        assert self.me is not None
        self.queue.put(replace(self.me.alive, profile=replace(profile, weight=profile.weight + 1)))

    return patched(Swim, "come_alive", come_alive_heavier)


def passes_news_on_for_ever() -> AbstractContextManager[None]:
    """News is never taken off the queue, however often it was sent."""
    sent = GossipQueue._sent

    def keep(self: GossipQueue, times: int, moved: list[News], limit: int) -> None:
        sent(self, min(times, limit - 1), moved, limit)

    return patched(GossipQueue, "_sent", keep)


def gossips_to_everybody() -> AbstractContextManager[None]:
    """Every round of gossip goes to the whole mesh and counts as one sending."""

    def gossip(self: Membership, now: Instant) -> None:
        members = [member for member in self.table if member is not self.swim.me]
        message = Gossip(self.swim.queue.take(self.swim.retransmits()))
        for member in members:
            self._outbox.send(member.endpoint, message)

    return patched(Membership, "_gossip", gossip)


MEMBERSHIP = (
    mutant_of(ForgetsItsGeneration, CRASHES, "incarnations_grow"),
    mutant_of(SpeaksOutOfRange, QUIET, "survives_the_wire"),
    mutant_of(OverfillsPackets, MANY, "fits_a_packet"),
    mutant_of(AcksTwiceAfterADeath, replace(LOST, seconds=60), "traffic_is_flat"),
    mutant_by(believes_whatever_comes_last, CUT, "incarnations_grow"),
    mutant_by(raises_the_dead, CUT, "no_resurrection"),
    mutant_by(raises_incarnations_of_others, CUT, "incarnations_grow"),
    mutant_by(reuses_an_incarnation, CUT, "incarnations_grow"),
    mutant_by(drops_its_refutations, CUT, "agreement"),
    mutant_by(forgets_what_was_announced, CUT, "agreement", "one_profile"),
    mutant_by(lets_others_say_what_it_is, ANEW, "agreement"),
    mutant_by(believes_its_accusers, CUT, "nobody_sees_itself_dead"),
    mutant_by(never_reaches_out_to_the_dead, CUT, "agreement"),
    mutant_by(stops_listening_at_old_news, CUTS, "merge_is_a_join"),
    mutant_by(counts_every_accusation, CUTS, "merge_is_a_join"),
    mutant_by(changes_its_profile_in_passing, JOIN, "one_profile"),
    mutant_by(passes_news_on_for_ever, QUIET, "traffic_is_flat"),
    mutant_by(gossips_to_everybody, MANY, "traffic_is_flat"),
)
