"""Virtual time: one heap of events, one clock, one random stream per concern. Knows nothing of nodes.

- An event is a plain tuple `(time, sequence, function, a, b)`. Popping it calls `function(time, a, b)`. Nothing is
  built for an event but the tuple: functions are bound methods made once, arguments travel by reference.
- `sequence` breaks ties in the order of scheduling, so two runs that schedule alike run alike, and nothing behind it
  is ever compared.
- Every concern (network, disk, executor, workload, faults, …) draws from its own `random.Random(f"{seed}/{concern}")`:
  turning one of them on or off does not move the draws of the others.
- Nothing here reads a clock, a global random, `id()` or the order of a set.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, TypeAlias

from protocols.core import Instant

EventFunction: TypeAlias = Callable[[Instant, Any, Any], None]
ScheduledEvent: TypeAlias = tuple[Instant, int, EventFunction, Any, Any]

SLICE_EVENTS = 1024
"""Events between two calls of `on_slice`."""
EVENTS_PER_INSTANT_MAX = 1_000_000
"""More events than this without time moving on is taken for a livelock (a core that asks to be woken now, for ever)."""

FIRST = -1
LAST = 1 << 62
"""Sequence numbers of the two events that end a run: before, and after, all others of their instant."""


class Livelock(Exception):
    """Virtual time stands still while events go on and on."""


class _Halt(Exception):
    """Leaves the inner loop, so that it need not test for the end after every event."""


class Kernel:
    """The heap and the clock. `now` is virtual nanoseconds since the start of the run; `events` counts what has run."""

    __slots__ = ("_streams", "events", "heap", "next_sequence", "now", "on_slice", "seed")

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now: Instant = 0
        self.events = 0
        self.heap: list[ScheduledEvent] = []
        self.next_sequence = count().__next__
        """Hot paths push `(time, next_sequence(), function, a, b)` onto `heap` themselves."""
        self.on_slice: Callable[[Instant], None] = _nothing
        """Called between two events, once per `SLICE_EVENTS` of them and at the end of a run."""
        self._streams: dict[str, random.Random] = {}

    def random(self, concern: str) -> random.Random:
        """The stream of `concern`, made at first use; the same object ever after."""
        stream = self._streams.get(concern)
        if stream is None:
            stream = self._streams[concern] = random.Random(f"{self.seed}/{concern}")
        return stream

    def push(self, at: Instant, function: EventFunction, a: Any = None, b: Any = None) -> None:
        """Have `function(at, a, b)` called at `at`. Raises `ValueError` for a time in the past."""
        if at < self.now:
            raise ValueError(f"an event at {at} ns would lie before the present, {self.now} ns")
        heappush(self.heap, (at, self.next_sequence(), function, a, b))

    def stop(self) -> None:
        """Leave `run` before the next event. Legal only inside of an event or of `on_slice`."""
        heappush(self.heap, (self.now, FIRST, HALT, None, None))

    def run(self, until: Instant) -> bool:
        """Run every event up to and including `until`. True when the clock got there, False when `stop` was called.

        Raises `Livelock`, and whatever an event raises.
        """
        if until < self.now:
            raise ValueError(f"cannot run until {until} ns: it is {self.now} ns already")
        heap = self.heap
        end: ScheduledEvent = (until, LAST, HALT, None, None)
        heappush(heap, end)
        try:
            while True:
                self._run_slice()
        except _Halt:
            self.on_slice(self.now)
        reached = end not in heap
        left_over = [event for event in heap if event[2] is not HALT]
        if len(left_over) < len(heap):
            heap[:] = left_over
            heapify(heap)
        return reached

    def _run_slice(self) -> None:
        heap = self.heap
        start = self.now
        slices = EVENTS_PER_INSTANT_MAX // SLICE_EVENTS
        for _ in range(slices):
            done = 0
            try:
                for done in range(SLICE_EVENTS):  # noqa: B007  # read below: how many events came before the halt
                    now, _sequence, function, a, b = heappop(heap)
                    self.now = now
                    function(now, a, b)
                done += 1
            finally:
                self.events += done
            self.on_slice(self.now)
            if self.now != start:
                return
        raise Livelock(f"{slices * SLICE_EVENTS} events at {start} ns without time moving on")


def _halt(now: Instant, a: None, b: None) -> None:
    raise _Halt


HALT: EventFunction = _halt


def _nothing(now: Instant) -> None:
    return None
