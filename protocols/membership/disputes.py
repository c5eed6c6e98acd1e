"""What a member and those who believe what cannot be true of it say to each other (`plausible.py`).

Gossip cannot settle it: their word is outranked by what they were told, and its own is too far ahead to be believed of
others. So it is settled by itself alone: a member that hears such a thing insists, over a stream, and one that is said
to live is asked.

What could be true is believed, and the member outdoes it once it hears of it. But others pass over the death of a life
that they have not met, and nobody can reach who is said to live elsewhere: so nobody may tell it but the one that
believes it. That one asks it where it was before, within a gossip interval, in a mesh small enough for all to ask
(`TO_ASK_MAX`); and again whenever it gossips, where it does so from, for a question may be lost.
"""

from __future__ import annotations

from protocols.core import Endpoint, Instant, NodeId
from protocols.membership.member import (
    STATE_MASK,
    Accusation,
    Alive,
    Believed,
    Refutation,
    State,
    Update,
    generation_of,
    said_again,
)
from protocols.membership.plausible import PATIENCE, is_honest, is_plausible
from protocols.membership.swim import Swim
from protocols.membership.telling import accusation_against


class Disputes:
    """The disputes of one node."""

    def __init__(self, swim: Swim) -> None:
        self._swim = swim

    def insistence(self, first: Update) -> Alive | None:
        """What to say over a stream to a sender that believes of this node what cannot be true; None where it does not.

        `first` is what the sender said first of all, beside a probe or its ack (`telling.news_for`).
        """
        me = self._swim.me
        if me is None or first.node_id != me.alive.node_id or self._swim.leaving:
            return None
        if is_plausible(me.precedence, first.precedence, PATIENCE):
            return None
        return Alive(first.node_id, me.precedence, me.alive.profile)

    def take_its_word(self, now: Instant, speaker: NodeId, rows: tuple[Alive | Believed, ...]) -> None:
        """Believe of `speaker`, whose rows these are, what it says of itself, where what is believed cannot be true."""
        swim = self._swim
        row = swim.table.get(speaker)
        if row is None or row is swim.me or (row.precedence & STATE_MASK == State.ALIVE and len(rows) > 1):
            return  # of tables that are exchanged in peace nobody looks for that row
        word = next((each for each in rows if each.node_id == speaker), None)
        if word is None or word.precedence & STATE_MASK != State.ALIVE:
            return
        if is_plausible(word.precedence, row.precedence, PATIENCE):
            return  # it goes along with that, and outdoes it
        if isinstance(word, Believed):
            announced = word.alive.precedence
            if announced > word.precedence or generation_of(announced) != generation_of(word.precedence):
                return
        alive = said_again(word.alive, word.precedence) if isinstance(word, Believed) else word
        if is_honest(alive):
            swim.become_alive(now, row, alive)

    def objects_to(self, speaker: Endpoint, updates: tuple[Update, ...]) -> bool:
        """Ask a member that gossips, though it is taken for dead or gone, and does not say itself that it leaves."""
        row = self._swim.table.get(speaker.node_id)
        if row is None or row.precedence & STATE_MASK < State.DEAD:
            return False
        if any(type(update) is Accusation and update.node_id == speaker.node_id for update in updates):
            return False
        self._swim.wonder(speaker)
        return True

    def next_to_ask(self, count: int) -> list[tuple[Endpoint, Accusation | Refutation]]:
        """Up to `count` members to be shown what is believed of them, so that they say themselves what they are."""
        swim = self._swim
        asked: list[tuple[Endpoint, Accusation | Refutation]] = []
        for at in list(swim.to_ask)[:count]:
            del swim.to_ask[at]
            node_id = at.node_id
            row = swim.table.get(node_id)
            if row is not None and row is not swim.me:
                asked.append((at, accusation_against(swim, node_id) or Refutation(node_id, row.precedence)))
        return asked
