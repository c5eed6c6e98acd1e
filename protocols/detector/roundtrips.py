"""How long answers take: round trips of this node's own probes, over a bounded window of the last ones.

A quantile is worked out when somebody asks, never when a round trip ends. `count` and `total` go on for ever, for
counters whose rates are taken elsewhere.
"""

from __future__ import annotations

from protocols.core import Instant

WINDOW = 256


class RoundTrips:
    """Durations in nanoseconds. `count` of all of them and their `total`; quantiles are of the last `WINDOW`."""

    __slots__ = ("_window", "count", "total")

    def __init__(self) -> None:
        self._window: list[Instant] = []
        self.count = 0
        self.total = 0

    def add(self, duration: Instant) -> None:
        window = self._window
        if len(window) < WINDOW:
            window.append(duration)
        else:
            window[self.count % WINDOW] = duration
        self.count += 1
        self.total += duration

    @property
    def in_window(self) -> int:
        """How many the quantiles are of."""
        return len(self._window)

    def quantile(self, of_hundred: int) -> Instant:
        """The smallest duration that `of_hundred` % of the window do not exceed (nearest rank); 0 where it is empty."""
        assert 0 < of_hundred <= 100
        window = sorted(self._window)
        return window[(len(window) * of_hundred + 99) // 100 - 1] if window else 0
