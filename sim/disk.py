"""One node's disk: saves queue up first-in first-out and become durable in groups (DESIGN 3, group commit).

It promises no more than `meshnode/driver.py` and `meshnode/storage.py` do together:
- While one commit is under way, later saves wait; the next commit takes as many of them as one transaction may hold.
  A commit is one transaction: all of it becomes durable, or nothing.
- When a commit is through, every save of it in order has its `then` carried out and its `Saved` fed, in one go.
- While the disk fails, the commit under way and every save behind it are answered by `SaveFailed`, in order, and none
  of it is durable, then or later. One failed sync fails one commit likewise.
- A crash drops the queue, which was in memory. A commit that was under way is on the disk in part: sectors torn,
  missing, or written out of order (`sim/wal.py`). Recovery keeps all of it or nothing, and nobody is told which.
- A slow disk takes longer for a commit, or hangs; of several that make it slow the slowest counts. Once it is well, the
  commit under way takes no longer than one that begins then.
- While its node is stopped (SIGSTOP) a commit that ends is not noticed, and none begins.
- A row that has rotted is found by its checksum when the node starts, which it then refuses (`Damaged`).

What was acknowledged is lost in two ways only, both of which a scenario must ask for: `wipe`, and `give_up`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol
from zlib import crc32

import msgspec
from msgspec import Struct

from protocols.core import NANOS_PER_MS, Instant, Put, Record, Save, Stored
from sim import wal
from sim.errors import ScenarioError
from sim.kernel import Kernel

BATCH_RECORDS_MAX = 4096
"""Records in one commit, as in the daemon's driver."""
FULL = "no space left on device"
CANNOT_SYNC = "I/O error: the log could not be synced"
COMMIT_MS_MAX = 60_000.0
"""The longest that a scenario may let a commit of a disk that is well take."""


class DiskProfile(Struct, frozen=True, forbid_unknown_fields=True):
    """How long one commit takes: uniform between the two, in milliseconds (an NVMe drive with a real flush)."""

    commit_ms_min: float = 0.5
    commit_ms_max: float = 3.0

    def check(self) -> None:
        """Raise `ScenarioError` for the first thing that is wrong."""
        if not 0 <= self.commit_ms_min <= self.commit_ms_max <= COMMIT_MS_MAX:
            raise ScenarioError(
                f"A commit of {self.commit_ms_min:g} to {self.commit_ms_max:g} ms: it must take at least 0, at most "
                f"{COMMIT_MS_MAX:g} ms, and its minimum no more than its maximum."
            )


class Damaged(Exception):
    """A row whose checksum does not fit: the node cannot start from this disk. Nothing was changed."""


class Slowness:
    """Something that slows a disk down: commits take `times` as long, and none ends before `stalled_until`."""

    __slots__ = ("stalled_until", "times")

    def __init__(self, times: int = 1) -> None:
        self.times = times
        self.stalled_until: Instant = 0

    def stall(self, until: Instant) -> None:
        """Hang until then, or longer where it does already."""
        self.stalled_until = max(self.stalled_until, until)


class SyncFailure:
    """Something that lets the next `left` commits fail."""

    __slots__ = ("left",)

    def __init__(self, times: int) -> None:
        self.left = times


class DiskOwner(Protocol):
    """Whom a disk tells. One of the first two is called for every save that a crash did not drop."""

    def saved(self, now: Instant, save: Save) -> None: ...
    def save_failed(self, now: Instant, save: Save, why: str) -> None: ...
    def violated(self, now: Instant, property_name: str, text: str) -> None: ...


class Disk:
    """`records` is what is durable. `failure`, when not empty, is why every commit fails from now on."""

    __slots__ = (
        "_committing",
        "_damage",
        "_failing",
        "_kernel",
        "_latency",
        "_latency_min",
        "_latency_span",
        "_on_committed",
        "_overwritten",
        "_owner",
        "_queue",
        "_random",
        "_rotten",
        "_slowed_by",
        "_stopped",
        "_sync_failures",
        "_unnoticed",
        "commits",
        "damages",
        "failure",
        "failures",
        "lost",
        "on_commit",
        "on_durable",
        "records",
        "writer",
        "writers",
    )

    def __init__(self, kernel: Kernel, owner: DiskOwner, profile: DiskProfile) -> None:
        self._kernel = kernel
        self._owner = owner
        self._random: random.Random = kernel.random("disk")
        self._damage = kernel.random("disk damage")
        self._latency_min = int(profile.commit_ms_min * NANOS_PER_MS)
        self._latency_span = int((profile.commit_ms_max - profile.commit_ms_min) * NANOS_PER_MS)
        self._queue: list[Save] = []
        self._committing: list[Save] | None = None
        self._latency: Instant = 0
        """How long the commit under way would take if nothing slowed the disk down."""
        self._unnoticed: list[Save] | None = None
        """A commit that ended while the node was stopped."""
        self._overwritten: list[Save] = []
        """The commit before: its bytes stand in the log where the next one is written."""
        self._on_committed = self._committed
        self._stopped = False
        self._slowed_by: list[Slowness] = []
        self._sync_failures: list[SyncFailure] = []
        self._rotten: dict[str, bytes] = {}
        """Rows that a restart will find damaged, as they stand on the disk."""
        self.records: dict[str, Stored] = {}
        self.writer = 0
        """The version of the program that writes, noted for every record once there is more than one."""
        self.writers: dict[str, int] | None = None
        """By key, the version that wrote the record; None while there has been only one."""
        self.failure = ""
        self._failing = 0
        self.on_durable: Callable[[Instant, tuple[Record, ...]], None] = _nothing
        """Told of the records of every save that has become durable, before anyone else is."""
        self.on_commit: list[Callable[[Instant, Instant], None]] = []
        """Told when a commit begins and when it will end, where somebody waits for that moment."""
        self.commits = 0
        self.failures = 0
        self.lost = 0
        self.damages: dict[wal.Damage, int] = dict.fromkeys(wal.Damage, 0)
        """How often a crash caught a commit under way, by what it left of it."""

    # What can go wrong.

    def fail(self, why: str) -> None:
        """Let every commit fail until `mend` has been called as often as this."""
        self._failing += 1
        self.failure = why

    def mend(self) -> None:
        """End what one `fail` began."""
        self._failing -= 1
        if not self._failing:
            self.failure = ""

    def fail_syncs(self, failure: SyncFailure) -> None:
        """Put `failure` in force. It is for the next commits to end, one that is under way already included."""
        self._sync_failures.append(failure)

    def mend_syncs(self, failure: SyncFailure) -> None:
        """End `failure`, whether or not it has let all its commits fail."""
        self._sync_failures.remove(failure)

    def slow_down(self, slowness: Slowness) -> None:
        """Put `slowness` in force. A commit that is under way keeps its pace, but it hangs where the disk does."""
        self._slowed_by.append(slowness)

    def speed_up(self, now: Instant, slowness: Slowness) -> None:
        """End `slowness`. The commit under way takes no longer from now on than one that begins now."""
        self._slowed_by.remove(slowness)
        if self._committing:
            self._kernel.push(self._end_of_commit(now), self._on_committed, self._committing)

    def stop(self) -> None:
        """The node's process is stopped: nobody is there to notice that a commit has ended, or to begin one."""
        self._stopped = True

    def go_on(self, now: Instant) -> None:
        """The node's process goes on."""
        self._stopped = False
        batch, self._unnoticed = self._unnoticed, None
        if batch is not None:
            self._committed(now, batch, None)
        elif self._committing is None and self._queue:
            self._start(now)

    def rot(self, key: str, bit: int) -> None:
        """Flip one bit of the row of `key` (counted modulo its length). It shows when the node starts."""
        row = bytearray(row_of(key, self.records[key]))
        bit %= 8 * len(row)
        row[bit // 8] ^= 1 << bit % 8
        self._rotten[key] = bytes(row)

    def restore(self) -> None:
        """Put the good copy of every rotten row back (a backup, or the mirror of a RAID)."""
        self._rotten.clear()

    def give_up(self) -> None:
        """Remove every rotten row for good, as the daemon's error says one may: what was acknowledged is lost."""
        for key in self._rotten:
            del self.records[key]
        self._rotten.clear()

    def wipe(self) -> None:
        """Lose everything. Only while the node is down."""
        assert self._committing is None, "a disk in use cannot be replaced"
        self.records.clear()
        self._rotten.clear()
        self._overwritten = []

    # What a node does with it.

    def load(self) -> list[Put]:
        """Everything durable in the order of keys, as a restarted node is given it. Raises `Damaged`."""
        values = dict(self.records)
        for key, row in self._rotten.items():
            values[key] = read_row(key, row, type(self.records[key]))
        return [Put(key, values[key]) for key in sorted(values)]

    @property
    def idle(self) -> bool:
        """No commit is under way, and no save of one is still to be told of."""
        return self._committing is None and not self._queue

    def save(self, now: Instant, save: Save) -> None:
        """Queue `save`; its fate is told to the owner later, never from within this call."""
        self._queue.append(save)
        if self._committing is None and not self._stopped:
            self._start(now)

    def crash(self, now: Instant) -> None:
        """Drop what is queued; let chance decide how much of a commit under way the disk has taken."""
        committing = self._committing
        self._committing = self._unnoticed = None
        self._stopped = False
        self.lost += len(self._queue)
        self._queue = []
        if committing and not self.failure and not self._recovered(now, committing):
            self.lost += len(committing)

    def _recovered(self, now: Instant, batch: list[Save]) -> bool:
        """Whether `batch`, which a crash has caught under way, turns out durable."""
        saves = [save.records for save in batch if save.records]
        if not saves:
            return False
        before = [save.records for save in self._overwritten if save.records]
        types = wal.types_in([*saves, *before])
        log = wal.encode_commit(self.commits + 1, saves, types)
        stood = wal.encode_commit(self.commits, before, types)
        leftover = wal.draw_leftover(self._damage, wal.sectors_of(log))
        self.damages[leftover.damage] += 1
        try:
            found = wal.recover(wal.crashed(log, stood, leftover), self.commits + 1, types)
        except wal.DECODING_ERRORS as error:
            self._owner.violated(now, "disk_keeps_its_word", f"recovery took garbage for an entry: {error}")
            return False
        if found not in ([], saves):
            self._owner.violated(now, "disk_keeps_its_word", f"recovery made {found!r} of a commit of {saves!r}")
        if found:
            self.commits += 1
            self._overwritten = batch
            self._apply(now, found)
        return bool(found)

    # Commits.

    def _start(self, now: Instant) -> None:
        batch = self._next_batch()
        self._committing = batch
        self._latency = self._latency_min + int(self._random.random() * self._latency_span)
        end = self._end_of_commit(now)
        self._kernel.push(end, self._on_committed, batch)
        if self.on_commit:
            for listener in tuple(self.on_commit):
                listener(now, end)

    def _end_of_commit(self, begun: Instant) -> Instant:
        """When the commit under way ends if it begins at `begun` and all that slows the disk down goes on."""
        if not self._slowed_by:
            return begun + self._latency
        times = max(slowness.times for slowness in self._slowed_by)
        return max(begun + self._latency * times, self._stalled_until())

    def _stalled_until(self) -> Instant:
        return max([slowness.stalled_until for slowness in self._slowed_by]) if self._slowed_by else 0

    def _next_batch(self) -> list[Save]:
        queue = self._queue
        if len(queue) == 1:
            self._queue = []
            return queue
        count = records = 0
        while count < len(queue) and records < BATCH_RECORDS_MAX:
            records += len(queue[count].records)
            count += 1
        self._queue = queue[count:]
        return queue[:count]

    def _committed(self, now: Instant, batch: list[Save], _: None) -> None:
        if batch is not self._committing:
            return
        stalled_until = self._stalled_until()
        if now < stalled_until:
            self._kernel.push(stalled_until, self._on_committed, batch)
            return
        if self._stopped:
            self._unnoticed = batch
            return
        # While the owner is told, the disk counts as busy: saves that it makes meanwhile share the next commit. The
        # empty list is this turn's token; a crash in the middle of it replaces it.
        turn: list[Save] = []
        self._committing = turn
        if self.failure or (self._sync_failures and any(failure.left for failure in self._sync_failures)):
            self._fail(now, batch, turn)
        else:
            self.commits += 1
            self._overwritten = batch
            self._apply(now, [save.records for save in batch])
            for save in batch:
                self._owner.saved(now, save)
                if self._committing is not turn:
                    return
        if self._committing is turn:
            self._committing = None
            if self._queue:
                self._start(now)

    def _fail(self, now: Instant, batch: list[Save], turn: list[Save]) -> None:
        why = self.failure or CANNOT_SYNC
        if not self.failure:
            for failure in self._sync_failures:
                failure.left = max(0, failure.left - 1)
        behind, self._queue = self._queue, []
        for save in batch + behind:
            self.failures += 1
            self._owner.save_failed(now, save, why)
            if self._committing is not turn:
                return

    def _apply(self, now: Instant, saves: Sequence[tuple[Record, ...]]) -> None:
        durable = self.records
        for records in saves:
            for record in records:
                if type(record) is Put:
                    durable[record.key] = record.value
                    if self.writers is not None:
                        self.writers[record.key] = self.writer
                else:
                    durable.pop(record.key, None)
                if self._rotten:
                    self._rotten.pop(record.key, None)
            if records:
                self.on_durable(now, records)


# Rows, as the daemon's storage keeps them: a checksum of key and value, then the value.


def row_of(key: str, value: Stored) -> bytes:
    """The row of a record."""
    encoded = msgspec.msgpack.encode(value)
    return row_checksum(key, encoded) + encoded


def read_row(key: str, row: bytes, stored: type[Stored]) -> Stored:
    """The value in a row. Raises `Damaged`."""
    if not row_is_intact(key, row):
        raise Damaged(f"The record {key!r} cannot be read: its checksum does not fit.")
    try:
        return msgspec.msgpack.decode(row[wal.CHECKSUM_BYTES :], type=stored)
    except wal.DECODING_ERRORS as error:
        raise Damaged(f"The record {key!r} cannot be read: {error}.") from None


def row_is_intact(key: str, row: bytes) -> bool:
    """Whether its checksum fits."""
    return row[: wal.CHECKSUM_BYTES] == row_checksum(key, row[wal.CHECKSUM_BYTES :])


def row_checksum(key: str, encoded: bytes) -> bytes:
    """What stands in front of an encoded value."""
    return crc32(encoded, crc32(key.encode())).to_bytes(wal.CHECKSUM_BYTES)


def _nothing(now: Instant, records: tuple[Record, ...]) -> None:
    return None
