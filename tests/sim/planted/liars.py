"""Defences against a member that lies, taken away one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias

from protocols import node
from protocols.core import NANOS_PER_S, Endpoint, Instant, NodeId
from protocols.membership import membership, swim, telling
from protocols.membership.disputes import Disputes
from protocols.membership.member import Accusation, Member, Refutation, State, Update, generation_of, state_of
from protocols.membership.swim import Swim
from sim.faults import Crash, Liar
from sim.scenario import Scenario
from tests.sim.planted.mutant import mutant_by, patched

LIED = Scenario(nodes=5, seconds=60, faults=(Liar(5, 45, tells="deaths"),))
LIED_A_LOT = Scenario(nodes=5, seconds=40, faults=(Liar(5, 25, tells="deaths", per_s=20),))
LIED_TO_NEWCOMERS = Scenario(
    nodes=5, seconds=60, faults=(Liar(5, 45, tells="tables", per_s=20), Crash(10, 12, 2), Crash(20, 22, 2))
)
LIED_ABOUT_LIVES = Scenario(nodes=12, seconds=45, hold=("agreement",), faults=(Liar(5, 35, per_s=50, tells="lives"),))
LIED_ABOUT_PLACES = Scenario(nodes=5, seconds=50, faults=(Liar(5, 45, per_s=20, tells="lives"),))

Asked: TypeAlias = list[tuple[Endpoint, Accusation | Refutation]]


def believes_in_any_life() -> AbstractContextManager[None]:
    """What others say of a member is believed of whatever life they say it."""
    return patched(swim, "is_plausible", lambda known, told, patience=1: True)


def follows_no_liar() -> AbstractContextManager[None]:
    """A node goes along with nothing that is said of its later lives, however near they are."""
    refute = Swim._refute

    def refute_own_life(self: Swim, now: Instant, row: Member, update: Update) -> None:
        if generation_of(update.precedence) == row.generation:
            refute(self, now, row, update)

    return patched(Swim, "_refute", refute_own_life)


def believes_nobody_of_itself() -> AbstractContextManager[None]:
    """What a member says of itself counts no more than what others say of it, and nobody asks it."""
    hear = Swim.hear

    def hear_all_alike(self: Swim, now: Instant, updates: Iterable[Update], speaker: NodeId = "") -> bool:
        return hear(self, now, updates)

    return patched(Swim, "hear", hear_all_alike)


def asks_nobody() -> AbstractContextManager[None]:
    """A member of whom others say what only itself can say is not asked."""

    def nobody(self: Disputes, count: int) -> Asked:
        self._swim.to_ask.clear()
        return []

    return patched(Disputes, "next_to_ask", nobody)


def leaves_the_gone_to_gossip() -> AbstractContextManager[None]:
    """Whoever takes a member for dead or gone by the word of others does not show it that."""
    next_to_ask = Disputes.next_to_ask

    def who_is_here(self: Disputes, count: int) -> Asked:
        return [each for each in next_to_ask(self, count) if state_of(each[1].precedence) < State.DEAD]

    return patched(Disputes, "next_to_ask", who_is_here)


@contextmanager
def tells_nobody_that_it_has_left() -> Iterator[None]:
    """Who is taken for having left is told neither that nor any news."""
    accusation_against = telling.accusation_against

    def against(swim: Swim, node_id: NodeId) -> Accusation | None:
        accusation = accusation_against(swim, node_id)
        return None if accusation is None or state_of(accusation.precedence) is State.LEFT else accusation

    next_to_ask = Disputes.next_to_ask

    def who_is_here(self: Disputes, count: int) -> Asked:
        return [each for each in next_to_ask(self, count) if state_of(each[1].precedence) is not State.LEFT]

    told = membership.TOLD_THOUGH_GONE
    membership.TOLD_THOUGH_GONE = 0
    try:
        with patched(telling, "accusation_against", against), patched(Disputes, "next_to_ask", who_is_here):
            yield
    finally:
        membership.TOLD_THOUGH_GONE = told


@contextmanager
def begins_lives_too_slowly() -> Iterator[None]:
    """A node outdoes those who speak for a later life of it once a minute, and no faster."""
    at_once, pause = node.LIVES_AT_ONCE, node.LIFE_PAUSE
    node.LIVES_AT_ONCE, node.LIFE_PAUSE = 1, 60 * NANOS_PER_S
    try:
        yield
    finally:
        node.LIVES_AT_ONCE, node.LIFE_PAUSE = at_once, pause


LIARS = (
    mutant_by(believes_in_any_life, LIED, "no_exception", seeds=2),
    mutant_by(follows_no_liar, LIED_TO_NEWCOMERS, "agreement"),
    mutant_by(believes_nobody_of_itself, LIED, "nobody_forgotten", "agreement"),
    mutant_by(tells_nobody_that_it_has_left, LIED_A_LOT, "nobody_forgotten"),
    mutant_by(asks_nobody, LIED_ABOUT_LIVES, "agreement", seeds=3),
    mutant_by(leaves_the_gone_to_gossip, LIED_ABOUT_PLACES, "nobody_forgotten"),
    mutant_by(begins_lives_too_slowly, LIED, "nobody_forgotten"),
)
