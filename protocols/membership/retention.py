"""For how long members that are gone are remembered, and how many members there is room for at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.core import Instant
from protocols.limits import MEMBERS_MAX
from protocols.membership.member import STATE_MASK, Member, State

if TYPE_CHECKING:
    from protocols.membership.swim import Swim


def forget_the_gone(swim: Swim, now: Instant) -> list[str]:
    """Drop the rows of members that have been dead or gone for longer than they are remembered.

    Returns the addresses of those that were dead.
    """
    horizon = now - swim.config.swim.remember_dead
    gone = [member for member in _gone(swim) if member.since < horizon]
    for member in gone:
        swim.forget(member)
    return [member.alive.profile.address for member in gone if member.state is State.DEAD]


def is_full(swim: Swim) -> bool:
    """Whether the table has as many rows as it may."""
    return len(swim.table) >= MEMBERS_MAX


def has_room(swim: Swim) -> bool:
    """Whether one more member can be met; where there are too many, the half that is gone for longest is forgotten."""
    if not is_full(swim):
        return True
    gone = sorted(_gone(swim), key=lambda member: (member.since, member.alive.node_id))
    for member in gone[: (len(gone) + 1) // 2]:
        swim.forget(member)
    return not is_full(swim)


def _gone(swim: Swim) -> list[Member]:
    """Who is dead or has left, this node aside."""
    if not swim.table.count(State.DEAD) and not swim.table.count(State.LEFT):
        return []
    return [member for member in swim.table if member.precedence & STATE_MASK >= State.DEAD and member is not swim.me]
