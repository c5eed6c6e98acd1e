"""The dissemination queue: which news goes into the next packet (SWIM section 4.1).

News is passed on `retransmit_mult · ⌈log10(N+1)⌉` times, in `gossip_rounds_min` rounds at least, and then dropped. The
least-sent goes first, older first among equals. There is at most one piece of news about a member: a newer one takes
the place of the older. A refutation that takes the place of an announcement says that as well, and how old it is, for
some members may not have heard it.
"""

from __future__ import annotations

from collections import deque

from protocols.config import SwimConfig
from protocols.core import NodeId
from protocols.limits import UPDATES_BYTES_MAX, UPDATES_PER_PACKET_MAX
from protocols.membership.member import Alive, Refutation, Update, generation_of, said_again, size_bound

PLACES_LEFT = 2
"""In a packet, for an accusation that the receiver must see, and for the answer to one of its own."""
OUTDATED_MAX = 256
"""Pieces of news that others took the place of may lie in the queues, or as many as there are others, if more."""


def decimal_digits(n: int) -> int:
    """⌈log10(n+1)⌉ for n ≥ 0, without floating point: the decimal digits of n."""
    return len(str(n)) if n > 0 else 0


def retransmits(config: SwimConfig, members: int) -> int:
    """How often each of so many members passes a piece of news on (SWIM section 4.1).

    With loss p, fan-out f and r rounds gossip misses a member with about the probability e^(−(1 − p) · f · r). At 30 %
    loss and f = 3 it takes five rounds for that to be under one in ten thousand; memberlist's 4 · ⌈log10(N+1)⌉ copies
    are two rounds in a mesh of less than ten, and four in one of a hundred.
    """
    return max(
        config.retransmit_mult * decimal_digits(members), config.gossip_rounds_min * _told_a_round(config, members)
    )


def gossip_rounds(config: SwimConfig, members: int) -> int:
    """In how many rounds of gossip a piece of news is passed on."""
    return -(-retransmits(config, members) // _told_a_round(config, members))


def _told_a_round(config: SwimConfig, members: int) -> int:
    return min(config.gossip_fanout, max(1, members - 1))


class News:
    """One update on its way, and its size bound in bytes. `update` is None once newer news took its place."""

    __slots__ = ("size", "update")

    def __init__(self, update: Update, size: int) -> None:
        self.update: Update | None = update
        self.size = size


class GossipQueue:
    """News waiting to be sent, in one queue for each number of times sent; `take` costs only what it takes."""

    __slots__ = ("_by_member", "_outdated", "_queues", "size")

    def __init__(self) -> None:
        self._queues: list[deque[News]] = [deque()]
        self._by_member: dict[NodeId, News] = {}
        self._outdated = 0
        self.size = 0

    def put(self, update: Update, size: int = 0) -> None:
        """Queue `update`, replacing older news about the same member. `size`: its bound, where the caller knows it."""
        node_id = update.node_id
        older = self._by_member.pop(node_id, None)
        if older is not None:
            announced = older.update
            if (
                type(update) is Refutation
                and type(announced) is Alive
                and generation_of(update.precedence) == generation_of(announced.precedence)
            ):
                update = said_again(announced, update.precedence)
                size = 0
            self._drop(older)
        news = News(update, size or size_bound(update))
        if news.size > UPDATES_BYTES_MAX:
            return  # no packet could carry it, and at the head of its queue it would hold up all other news
        self.size += 1
        self._by_member[node_id] = news
        self._queues[0].append(news)

    def take(self, limit: int, copies: int = 1, budget: int = UPDATES_BYTES_MAX) -> tuple[Update, ...]:
        """Updates for one packet that goes to `copies` members, at most `budget` bytes of them.

        Each is dropped once it has been sent `limit` times.
        """
        if not self.size:
            return ()
        taken: list[Update] = []
        sent: list[tuple[int, list[News]]] = []
        room = UPDATES_PER_PACKET_MAX - PLACES_LEFT
        for times, queue in enumerate(self._queues):
            if not queue:
                continue  # most are empty most of the time
            moved: list[News] = []
            while queue and room:
                news = queue[0]
                update = news.update
                if update is not None:
                    if news.size > budget:
                        break
                    budget -= news.size
                    room -= 1
                    taken.append(update)
                    moved.append(news)
                else:
                    self._outdated -= 1
                queue.popleft()
            if moved:
                sent.append((times + copies, moved))
        for times, moved in sent:
            self._sent(times, moved, limit)
        return tuple(taken)

    def _sent(self, times: int, moved: list[News], limit: int) -> None:
        if times < limit:
            while times >= len(self._queues):
                self._queues.append(deque())
            self._queues[times].extend(moved)
            return
        for news in moved:
            if news.update is not None:
                del self._by_member[news.update.node_id]
        self.size -= len(moved)

    def withdraw(self, node_id: NodeId) -> None:
        """Spread the news about a member no further."""
        news = self._by_member.pop(node_id, None)
        if news is not None:
            self._drop(news)

    def _drop(self, news: News) -> None:
        """Leave it where it lies until it comes up. Behind news that never ends it would not: so not for ever."""
        news.update = None
        self.size -= 1
        self._outdated += 1
        if self._outdated > max(OUTDATED_MAX, self.size):
            self._queues = [deque(each for each in queue if each.update is not None) for queue in self._queues]
            self._outdated = 0

    def about(self, node_id: NodeId) -> Update | None:
        """The news about a member that is still being spread, if any."""
        news = self._by_member.get(node_id)
        return None if news is None else news.update
