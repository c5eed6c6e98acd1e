"""How often something happened of late, in a bounded amount of memory."""

from __future__ import annotations

from protocols.core import NANOS_PER_S, Instant

BUCKET = 5 * NANOS_PER_S
BUCKETS = 12


class PerMinute:
    """Counts events. `total` is of all time; `last_minute` forgets in steps of five seconds, and so may be of 55 s."""

    __slots__ = ("_buckets", "_newest", "total")

    def __init__(self) -> None:
        self._buckets = [0] * BUCKETS
        self._newest = 0
        """The number of the newest bucket: the time in units of `BUCKET`. Number n is at n modulo `BUCKETS`."""
        self.total = 0

    def add(self, now: Instant) -> None:
        """One more, at `now`; times never go back."""
        self._forget(now)
        self._buckets[self._newest % BUCKETS] += 1
        self.total += 1

    def last_minute(self, now: Instant) -> int:
        self._forget(now)
        return sum(self._buckets)

    def _forget(self, now: Instant) -> None:
        number = now // BUCKET
        for each in range(max(self._newest + 1, number - BUCKETS + 1), number + 1):
            self._buckets[each % BUCKETS] = 0
        self._newest = max(self._newest, number)
