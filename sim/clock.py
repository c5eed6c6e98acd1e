"""A node's clocks: a monotonic one that runs a little fast or slow, and a wall clock that may be wrong and may jump.

The monotonic clock is what cores are stepped with. It starts anew with every life, at a number that is drawn; no two
nodes, and no two lives of one, can be compared by accident and go unnoticed. Its rate is a whole number of millionths:
`PAR` runs with virtual time, `PAR + 200` gains 200 µs a second (200 ppm, a poor crystal).

Integers only, so that a run is the same everywhere:

    shown(now) = origin + floor((now − since) · rate / PAR)
    when(t)    = since + ceil((t − origin) · PAR / rate)          the first instant at which the clock shows at least t

For whole numbers, floor(n·r/P) ≥ d is the same as n ≥ ceil(d·P/r). So `when` is exact: woken at `when(t)` a core sees
`t` or later, never earlier, and does not ask to be woken at once again. A change of rate starts from what is shown:
the clock never goes back, and never stops (rates are above zero).
"""

from __future__ import annotations

from msgspec import Struct

from protocols.core import NANOS_PER_MS, Instant
from sim.errors import ScenarioError

PAR = 1_000_000
"""The rate of a clock that runs with virtual time."""
DRIFT_PPM_MAX = 500_000
EPOCH_UNIX_MS = 1_760_000_000_000
"""What a right wall clock shows when a run starts."""
SKEW_MS_MAX = 10 * 365 * 24 * 3600 * 1000


class ClockProfile(Struct, frozen=True, forbid_unknown_fields=True):
    """How wrong the clocks of a mesh are, all the time; what a node's are is drawn once."""

    drift_ppm: int = 200
    """A monotonic clock gains or loses up to this many microseconds a second (crystals: 20 to 200)."""
    skew_ms: int = 100
    """A wall clock is ahead or behind by up to this (NTP over a busy network)."""

    def check(self) -> None:
        """Raise `ScenarioError` for the first thing that is wrong."""
        if not 0 <= self.drift_ppm <= DRIFT_PPM_MAX:
            raise ScenarioError(f"A drift of {self.drift_ppm} ppm: it must be 0 to {DRIFT_PPM_MAX} (half as fast).")
        if not 0 <= self.skew_ms <= SKEW_MS_MAX:
            raise ScenarioError(f"A skew of {self.skew_ms} ms: it must be 0 to {SKEW_MS_MAX} (ten years).")


class Clock:
    """The monotonic clock of one node. `rate`, `since` and `origin` are read by the hot path, and set only here."""

    __slots__ = ("origin", "rate", "since")

    def __init__(self, rate: int = PAR) -> None:
        self.origin: Instant = 0
        self.since: Instant = 0
        self.rate = rate

    def restart(self, now: Instant, shows: Instant) -> None:
        """A new life: from `now` on it counts up from `shows`."""
        self.since = now
        self.origin = shows

    def run_at(self, now: Instant, rate: int) -> None:
        """Go on from what is shown, at another rate."""
        assert rate > 0, "a clock that stands still would never come to any deadline"
        self.origin = self.shown(now)
        self.since = now
        self.rate = rate

    def leap(self, by: Instant) -> None:
        """Step forward: what was `by` away comes now."""
        assert by > 0, "a monotonic clock never goes back"
        self.origin += by

    def shown(self, now: Instant) -> Instant:
        """What it shows at virtual time `now`, which is not before `since`."""
        return self.origin + (now - self.since) * self.rate // PAR

    def when(self, time: Instant) -> Instant:
        """The first virtual time at which it shows `time` or more; one before `since` where it has shown it already."""
        return self.since - (self.origin - time) * PAR // self.rate


class WallClock:
    """The wall clock of one node: Unix milliseconds, off by `skew_ms`, and by whatever jumps are in force."""

    __slots__ = ("skew_ms",)

    def __init__(self, skew_ms: int) -> None:
        self.skew_ms = skew_ms

    def jump(self, by_ms: int) -> None:
        """Step forward, or back where negative."""
        self.skew_ms += by_ms

    def unix_ms(self, now: Instant) -> int:
        """What it shows at virtual time `now`; not below 0, where counting starts."""
        return max(0, EPOCH_UNIX_MS + now // NANOS_PER_MS + self.skew_ms)
