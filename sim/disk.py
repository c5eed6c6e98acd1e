"""One node's disk: saves queue up first-in first-out and become durable in groups (DESIGN 3, group commit).

- While one commit is under way, later saves wait; the next commit takes all of them. A commit is one transaction, as in
  the daemon's storage: all of it becomes durable, or nothing.
- When a commit is through, every save of it in order has its `then` carried out and its `Saved` fed, in one go.
- While the disk fails, the commit under way and every save behind it are answered by `SaveFailed`, in order.
- A crash drops the queue. A commit that was under way becomes durable or not, as a coin says, and nobody is told: the
  node that comes back must be able to live with either.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Protocol

from msgspec import Struct

from protocols.core import NANOS_PER_MS, Instant, Put, Record, Save, Stored
from sim.errors import ScenarioError
from sim.kernel import Kernel


class DiskProfile(Struct, frozen=True, forbid_unknown_fields=True):
    """How long one commit takes: uniform between the two, in milliseconds (an NVMe drive with a real flush)."""

    commit_ms_min: float = 0.5
    commit_ms_max: float = 3.0

    def check(self) -> None:
        """Raise `ScenarioError` for the first thing that is wrong."""
        if not 0 <= self.commit_ms_min <= self.commit_ms_max:
            raise ScenarioError("A commit must take at least 0 ms, and its minimum no more than its maximum.")


class DiskOwner(Protocol):
    """Whom a disk tells. One of the two is called for every save that a crash did not drop."""

    def saved(self, now: Instant, save: Save) -> None: ...
    def save_failed(self, now: Instant, save: Save, why: str) -> None: ...


class Disk:
    """`records` is what is durable. `failure`, when not empty, is why every commit fails from now on."""

    __slots__ = (
        "_committing",
        "_failing",
        "_kernel",
        "_latency_min",
        "_latency_span",
        "_on_committed",
        "_owner",
        "_queue",
        "_random",
        "commits",
        "failure",
        "failures",
        "lost",
        "on_durable",
        "records",
        "saves",
        "slowdown",
    )

    def __init__(self, kernel: Kernel, owner: DiskOwner, profile: DiskProfile) -> None:
        self._kernel = kernel
        self._owner = owner
        self._random: random.Random = kernel.random("disk")
        self._latency_min = int(profile.commit_ms_min * NANOS_PER_MS)
        self._latency_span = int((profile.commit_ms_max - profile.commit_ms_min) * NANOS_PER_MS)
        self._queue: list[Save] = []
        self._committing: list[Save] | None = None
        self._on_committed = self._committed
        self.records: dict[str, Stored] = {}
        self.failure = ""
        self._failing = 0
        self.slowdown = 1
        self.on_durable: Callable[[Instant, tuple[Record, ...]], None] = _nothing
        """Told of the records of every save that has become durable, before anyone else is."""
        self.saves = 0
        self.commits = 0
        self.failures = 0
        self.lost = 0

    def fail(self, why: str) -> None:
        """Let every commit fail until `mend` has been called as often as this."""
        self._failing += 1
        self.failure = why

    def mend(self) -> None:
        """End what one `fail` began."""
        self._failing -= 1
        if not self._failing:
            self.failure = ""

    def load(self) -> Iterable[Put]:
        """Everything durable, as a restarted node is given it."""
        return [Put(key, value) for key, value in self.records.items()]

    def save(self, now: Instant, save: Save) -> None:
        """Queue `save`; its fate is told to the owner later, never from within this call."""
        self.saves += 1
        self._queue.append(save)
        if self._committing is None:
            self._start(now)

    def crash(self, now: Instant) -> None:
        """Drop what is queued; let the coin decide on a commit that is under way."""
        committing = self._committing
        if committing is not None and not self.failure and self._random.random() < 0.5:
            self._apply(now, committing)
        elif committing is not None:
            self.lost += len(committing)
        self.lost += len(self._queue)
        self._committing = None
        self._queue = []

    def _start(self, now: Instant) -> None:
        batch, self._queue = self._queue, []
        self._committing = batch
        latency = self._latency_min + int(self._random.random() * self._latency_span)
        self._kernel.push(now + latency * self.slowdown, self._on_committed, batch)

    def _committed(self, now: Instant, batch: list[Save], _: None) -> None:
        if batch is not self._committing:
            return
        # While the owner is told, the disk counts as busy: saves that it makes meanwhile share the next commit. The
        # empty list is this turn's token; a crash in the middle of it replaces it.
        turn: list[Save] = []
        self._committing = turn
        if self.failure:
            self._fail(now, batch, turn)
        else:
            self.commits += 1
            self._apply(now, batch)
            for save in batch:
                self._owner.saved(now, save)
                if self._committing is not turn:
                    return
        if self._committing is turn:
            self._committing = None
            if self._queue:
                self._start(now)

    def _fail(self, now: Instant, batch: list[Save], turn: list[Save]) -> None:
        behind, self._queue = self._queue, []
        for save in batch + behind:
            self.failures += 1
            self._owner.save_failed(now, save, self.failure)
            if self._committing is not turn:
                return

    def _apply(self, now: Instant, batch: list[Save]) -> None:
        records = self.records
        for save in batch:
            for record in save.records:
                if type(record) is Put:
                    records[record.key] = record.value
                else:
                    records.pop(record.key, None)
            if save.records:
                self.on_durable(now, save.records)


def _nothing(now: Instant, records: tuple[Record, ...]) -> None:
    return None
