"""The dissemination queue of rumours: user events and queries that wait for room in gossip packets.

As with membership news (`gossip.py`) the least-sent goes first, and each is dropped once it has been sent as often as
any news. Membership comes first: rumours get the bytes that its news leaves over. But not for ever: where packet after
packet was full without them, the next one is told to leave room for one. The queue is bounded; what it must drop is
what has been sent most, and who misses that gets it with the next exchange of digests.
"""

from __future__ import annotations

from collections import deque

from protocols.core import Instant
from protocols.limits import RUMOURS_PER_PACKET_MAX
from protocols.membership.rumours import Rumour, rumour_bytes
from protocols.outbox import NEVER

RUMOURS_QUEUED_MAX = 256
PASSED_OVER_MAX = 3
"""Packets in a row that membership news may fill while rumours wait."""


class Waiting:
    """One rumour on its way, and until when it is of use."""

    __slots__ = ("expires", "rumour", "size")

    def __init__(self, rumour: Rumour, expires: Instant) -> None:
        self.rumour = rumour
        self.size = rumour_bytes(rumour)
        self.expires = expires


class RumourQueue:
    """Rumours waiting to be sent, in one queue for each number of times sent. `size` counts them."""

    __slots__ = ("_passed_over", "_queues", "size")

    def __init__(self) -> None:
        self._queues: list[deque[Waiting]] = [deque()]
        self._passed_over = 0
        self.size = 0

    def put(self, rumour: Rumour, expires: Instant = NEVER) -> None:
        """Queue a rumour that was not queued before; the most-sent makes room where there is none."""
        if self.size >= RUMOURS_QUEUED_MAX:
            next(queue for queue in reversed(self._queues) if queue).popleft()
            self.size -= 1
        self._queues[0].append(Waiting(rumour, expires))
        self.size += 1

    def claim(self) -> int:
        """Bytes that membership news must leave in the next packet: 0 but where rumours were passed over too often."""
        if self._passed_over < PASSED_OVER_MAX:
            return 0
        return next((queue[0].size for queue in self._queues if queue), 0)

    def take(self, now: Instant, limit: int, copies: int, budget: int) -> tuple[Rumour, ...]:
        """Rumours for one packet that goes to `copies` members, at most `budget` bytes of them.

        Each is dropped once it has been sent `limit` times, or is of no use any more.
        """
        taken: list[Rumour] = []
        sent: list[tuple[int, list[Waiting]]] = []
        for times, queue in enumerate(self._queues):
            moved: list[Waiting] = []
            while queue and len(taken) < RUMOURS_PER_PACKET_MAX:
                waiting = queue[0]
                if waiting.expires <= now:
                    queue.popleft()
                    self.size -= 1
                    continue
                if waiting.size > budget:
                    break
                budget -= waiting.size
                taken.append(waiting.rumour)
                moved.append(queue.popleft())
            if moved:
                sent.append((times + copies, moved))
        for times, moved in sent:
            self._sent(times, moved, limit)
        self._passed_over = 0 if taken or not self.size else self._passed_over + 1
        return tuple(taken)

    def _sent(self, times: int, moved: list[Waiting], limit: int) -> None:
        if times >= limit:
            self.size -= len(moved)
            return
        while times >= len(self._queues):
            self._queues.append(deque())
        self._queues[times].extend(moved)
