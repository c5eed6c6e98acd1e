"""The Lamport clock of user events: later than everything heard, and not to be run away with by one broken peer.

Whoever sends ticks; whoever hears moves on to what it hears (Lamport 1978). In serf one event with a time near the
largest number moves every clock there, and all that anybody sends afterwards counts as too old. Here a time tells
nothing but order. This clock moves on by no more than `LEAP_MAX` a minute, whatever it hears: no honest mesh sends four
billion events in one, and to use up the numbers that there are a broken peer needs two thousand years. A time that no
clock can have come to in that way (`AHEAD_MAX`) is refused; one below that is not, for the clock of its node may have
been led on further than this one, and that node is not to be silenced.
"""

from __future__ import annotations

from protocols.core import NANOS_PER_S, Instant

LEAP_MAX = 1 << 32
AHEAD_MAX = 1 << 56
"""How far clocks may be apart after thirty years of such an attack on one of them."""
MINUTE = 60 * NANOS_PER_S


class LamportClock:
    """`time` is the latest Lamport time that was given out here or heard."""

    __slots__ = ("_base", "_base_at", "time")

    def __init__(self, time: int = 0) -> None:
        self.time = time
        self._base = time
        self._base_at: Instant = 0

    def tick(self) -> int:
        """The time of something that happens here now."""
        self.time += 1
        return self.time

    def witness(self, now: Instant, time: int) -> bool:
        """Move on towards a time that was heard. False, and nothing changes, where no clock can stand there."""
        if time > self.time + AHEAD_MAX:
            return False
        if time > self.time:
            self.time = max(self.time, min(time, self._limit(now)))  # what happened here may have passed the limit
        return True

    def _limit(self, now: Instant) -> int:
        if now - self._base_at >= MINUTE:
            self._base, self._base_at = self.time, now
        return self._base + LEAP_MAX
