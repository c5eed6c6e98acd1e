"""What one node tells another beside a probe or its ack: what it takes it for, what it is itself, and the news."""

from __future__ import annotations

from protocols.core import Instant, NodeId
from protocols.limits import UPDATES_BYTES_MAX
from protocols.membership.member import (
    STATE_MASK,
    Accusation,
    Alive,
    Refutation,
    Update,
    generation_of,
    size_bound,
)
from protocols.membership.swim import ALIVE, Swim


def news_for(swim: Swim, node_id: NodeId, answer: Update | None = None) -> tuple[Update, ...]:
    """What to tell a member beside a probe or its ack: first of all what this node takes it for, where that is
    not alive, so that it refutes (Lifeguard's buddy system; DESIGN 4); then the `answer` to its own doubts.
    """
    accusation = accusation_against(swim, node_id) if swim.table.not_alive else None
    if accusation is None and answer is None:
        return swim.queue.take(swim.retransmits()) if swim.queue.size else ()
    first = tuple(update for update in (accusation, answer) if update is not None)
    left = UPDATES_BYTES_MAX - sum(map(size_bound, first))
    if left < 0:
        first = first[:1]  # the answer is queued as well
    queued = swim.queue.take(swim.retransmits(), budget=left)
    return (*first, *(update for update in queued if update not in first))


def accusation_against(swim: Swim, node_id: NodeId) -> Accusation | None:
    """What this node takes a member for, where that is not alive."""
    row = swim.table.get(node_id)
    if row is None or row.precedence & STATE_MASK == ALIVE:
        return None
    return Accusation(node_id, row.precedence, row.by)


def answer_to(swim: Swim, now: Instant, first: Update) -> Update | None:
    """What this node is, for a sender that doubts it, or believes in an earlier life of it; None where it does not.

    `first` is what the sender said first of all. It is answered to its face: news is passed on so often and no more, so
    whoever was cut off all that time would not hear of the refutation before the next exchange of tables. It is queued
    as well, for the answer is one packet, and may be lost.
    """
    me, node_id = swim.me, swim.config.node_id
    if first.node_id != node_id or me is None or swim.leaving:
        return None
    if type(first) is not Accusation and generation_of(first.precedence) >= me.generation:
        return None  # it is taken for alive, in its present life
    if first.precedence > me.precedence:
        return None  # it speaks of a later life of this node (`outgrown`), or of one that cannot be
    known = generation_of(first.precedence) == me.generation and not swim.is_spreading(now)
    word = Refutation(node_id, me.precedence) if known else Alive(node_id, me.precedence, me.alive.profile)
    if swim.queue.about(node_id) is None:
        swim.queue.put(word)
    return word
