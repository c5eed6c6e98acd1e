"""Where the components of one core put their effects while a step runs, and the one way in which they save.

The journal keeps the order of saves through a failing disk: after a failure nothing new is handed to the driver; what
failed and what came after it go out again, in order, once `retry` is due. So an older record can never overwrite a
newer one, and whatever waits for durability simply waits longer. A save that was asked for with `refusable` is the
exception: it is given up at once, and its owner is told. Where nothing else waits, `probe` is saved until that is done,
for who is told that the disk fails asks for no more saves. A `tag` tells the owner which of its saves came to what.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from msgspec import Struct

from protocols.core import (
    NANOS_PER_S,
    Effect,
    Endpoint,
    Fact,
    Instant,
    Notify,
    Outcome,
    Perform,
    Record,
    Reply,
    RequestId,
    Save,
    SaveSeq,
    Send,
    Statement,
    Then,
)

NEVER: Instant = 1 << 62
RETRY_AFTER = 1 * NANOS_PER_S


class Outbox:
    """Collects effects. One per core, shared by its components; `drain` empties it at the end of a step."""

    __slots__ = ("effects",)

    def __init__(self) -> None:
        self.effects: list[Effect] = []

    def send(self, to: Endpoint, message: Statement) -> None:
        self.effects.append(Send(to, message))

    def perform(self, perform: Perform) -> None:
        self.effects.append(perform)

    def reply(self, request_id: RequestId, outcome: Outcome) -> None:
        self.effects.append(Reply(request_id, outcome))

    def notify(self, fact: Fact) -> None:
        self.effects.append(Notify(fact))

    def drain(self) -> list[Effect]:
        effects = self.effects
        self.effects = []
        return effects


class Entry(Struct):
    """One save that is not durable yet."""

    records: tuple[Record, ...]
    then: tuple[Then, ...]
    tag: str
    refusable: bool


class Journal:
    """Numbers the saves of one core and repeats those that failed.

    `deadline` is when `fire` wants to be called. `error` says why the last save failed, and is empty while all is well.
    """

    __slots__ = ("_doomed", "_held", "_next_seq", "_outbox", "_probe", "_under_way", "deadline", "error")

    def __init__(self, outbox: Outbox, probe: tuple[Record, ...] = ()) -> None:
        self._outbox = outbox
        self._probe = probe
        self._next_seq: SaveSeq = 1
        self._under_way: dict[SaveSeq, Entry] = {}
        self._doomed: dict[SaveSeq, Entry] = {}
        """Handed over behind a save that failed: their own `SaveFailed` is still to come."""
        self._held: deque[Entry] = deque()
        self.deadline: Instant = NEVER
        self.error = ""

    def save(
        self, records: Sequence[Record], then: Sequence[Then] = (), *, tag: str = "", refusable: bool = False
    ) -> bool:
        """Make `records` durable, then carry out `then`. Without records: carry it out once all before is durable.

        False where the disk is failing and the save is refusable: it was not taken.
        """
        entry = Entry(tuple(records), tuple(then), tag, refusable)
        if not self._held:
            self._hand_over(entry)
        elif refusable:
            return False
        else:
            self._held.append(entry)
        return True

    @property
    def failing(self) -> bool:
        """Saves are waiting for the disk to recover: what can be refused should be."""
        return bool(self._held)

    def _hand_over(self, entry: Entry) -> None:
        seq = self._next_seq
        self._next_seq += 1
        self._under_way[seq] = entry
        self._outbox.effects.append(Save(seq, entry.records, entry.then))

    def saved(self, seq: SaveSeq) -> str:
        """The driver has carried out `then`; returns the tag of the save."""
        entry = self._under_way.pop(seq)
        if not self._held:
            self.error = ""
        return entry.tag

    def failed(self, now: Instant, seq: SaveSeq, why: str) -> str:
        """Keep the entry for another try; returns its tag if it was refusable and is given up instead."""
        self.error = why
        self.deadline = now + RETRY_AFTER
        if seq not in self._doomed:
            # All that is under way fails with it, so it is held back now: what is saved from here on comes behind it.
            self._doomed, self._under_way = self._under_way, {}
            self._held.extend(entry for entry in self._doomed.values() if not entry.refusable)
        entry = self._doomed.pop(seq)
        return entry.tag if entry.refusable else ""

    def fire(self, now: Instant) -> None:
        """Hand over again what was held back, or the probe, once nothing older is still under way."""
        if now < self.deadline:
            return
        self.deadline = NEVER
        if self._under_way or self._doomed:
            self.deadline = now + RETRY_AFTER
            return
        held, self._held = self._held, deque()
        if self.error and self._probe and not held:
            held.append(Entry(self._probe, (), "", refusable=True))
        for entry in held:
            self._hand_over(entry)
