"""What a member and those who believe what cannot be true of it say to each other (`plausible.py`).

Gossip cannot settle it: their word is outranked by what they were told, and its own is too far ahead to be believed of
others. So it is settled by itself alone: a member that hears such a thing insists, over a stream, and one that is said
to live is asked.
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

    def next_to_ask(self) -> tuple[Endpoint, Accusation | Refutation] | None:
        """Who is to be shown what is believed of it, so that it says itself what it is; each once."""
        swim = self._swim
        while swim.to_ask:
            node_id = next(iter(swim.to_ask))
            at = swim.to_ask.pop(node_id)
            row = swim.table.get(node_id)
            if row is not None and row is not swim.me:
                return at, accusation_against(swim, node_id) or Refutation(node_id, row.precedence)
        return None
