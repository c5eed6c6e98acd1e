"""Accusations that came with another node's table: shown to the accused before anybody else (DESIGN 4, healing).

Real deaths travel by gossip and reach a node long before a table does. What a table alone brings against a member that
nobody here doubts is mostly what somebody concluded while it was cut off; passed on, each such accusation would cross
the mesh, and its refutation right behind it. So this node doubts the member for itself, pings it, and that ping says
so. Whatever still stands `shown_for` later goes the way of all news.
"""

from __future__ import annotations

from collections import deque

from protocols.core import Instant
from protocols.membership.member import Accusation
from protocols.outbox import NEVER

HEARSAY_MAX = 64
"""Accusations held back at a time. More of them are a mesh that was halved; then gossip costs less than pings."""


class Hearsay:
    """What is held back, oldest first. `deadline` is when `due` wants to be called."""

    __slots__ = ("_held", "_shown_for", "_unshown", "deadline")

    def __init__(self, shown_for: int) -> None:
        self._shown_for = shown_for
        self._held: deque[tuple[Instant, Accusation]] = deque()
        self._unshown: list[Accusation] = []
        self.deadline: Instant = NEVER

    def hold(self, now: Instant, accusation: Accusation) -> bool:
        """Hold `accusation` back; False where too many are held already."""
        if len(self._held) >= HEARSAY_MAX:
            return False
        self._held.append((now + self._shown_for, accusation))
        self._unshown.append(accusation)
        self.deadline = self._held[0][0]
        return True

    def show_again(self, accusation: Accusation) -> None:
        """Let the accused be told of what has been said aloud already."""
        if len(self._unshown) < HEARSAY_MAX:
            self._unshown.append(accusation)

    def put_off(self, now: Instant, late: Instant) -> None:
        """This node has run late by so much: what was due gets that time back, for refutations may lie unread."""
        back = min(late, self._shown_for)
        self._held = deque((max(now, due) + back, accusation) for due, accusation in self._held)
        self.deadline = self._held[0][0] if self._held else NEVER

    def to_show(self) -> list[Accusation]:
        """Those of which the accused is to be told now, each once."""
        unshown, self._unshown = self._unshown, []
        return unshown

    def due(self, now: Instant) -> list[Accusation]:
        """Those whose time is over, each once."""
        held = self._held
        due: list[Accusation] = []
        while held and held[0][0] <= now:
            due.append(held.popleft()[1])
        self.deadline = held[0][0] if held else NEVER
        return due
