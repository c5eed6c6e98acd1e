"""What users of this node get to read: the last events heard, and the queries that wait for an answer from here.

A reader keeps a cursor, which names a life of this node and a place in it. The last `EVENTS_PER_FRAME_MAX` entries are
kept; a reader that falls behind further is told that it missed some. After a restart the list begins anew, and a cursor
of another life reads it from the beginning: what that life gave its users after it is in no list (`events.py`), so its
reader is told that it may have missed some.
"""

from __future__ import annotations

from collections import deque

from msgspec import Struct

from protocols.core import NANOS_PER_MS, NANOS_PER_S, Instant, Refused, RequestId
from protocols.limits import EVENTS_PER_FRAME_MAX
from protocols.membership.event_views import EventList, EventView, ReadEvents, too_many
from protocols.membership.rumours import Rumour, UserEvent, UserQuery
from protocols.membership.table import MemberTable
from protocols.outbox import NEVER, Outbox

READERS_MAX = 256


class Entry(Struct, frozen=True):
    """`rumour` was given to users at `at`, as the `position`-th of this life."""

    position: int
    rumour: Rumour
    at: Instant


class Reader(Struct, frozen=True):
    """A caller that waits for something to read."""

    request_id: RequestId
    after: int
    limit: int
    deadline: Instant


def query_id(query: UserQuery) -> str:
    """How callers name a query."""
    return f"{query.origin}.{query.generation}.{query.number}"


class EventLog:
    """The list and its readers. `deadline` is when `fire` wants to be called."""

    def __init__(self, table: MemberTable, outbox: Outbox) -> None:
        self._table = table
        self._outbox = outbox
        self._entries: deque[Entry] = deque(maxlen=EVENTS_PER_FRAME_MAX)
        self.events: deque[UserEvent] = deque(maxlen=EVENTS_PER_FRAME_MAX)
        """The last events, in the order in which users got them: what peers that missed them are handed. Queries take
        none of this room."""
        self._position = 0
        self._readers: list[Reader] = []
        self.life = 0
        """The generation in which this life began."""
        self.deadline: Instant = NEVER

    def append(self, now: Instant, rumour: Rumour) -> None:
        self._position += 1
        self._entries.append(Entry(self._position, rumour, now))
        if isinstance(rumour, UserEvent):
            self.events.append(rumour)
        if self._readers:
            readers, self._readers = self._readers, []  # all of them had read everything else
            for reader in readers:
                self._answer(now, reader.request_id, reader.after, reader.limit)
            self._rearm()

    def read(self, now: Instant, request_id: RequestId, command: ReadEvents) -> None:
        after = self._place_of(command)
        if after is None:
            self._outbox.reply(request_id, _bad_cursor(command.after))
        elif after < self._position or not command.wait_ms:
            self._answer(now, request_id, after, command.limit)
        elif len(self._readers) >= READERS_MAX:
            self._outbox.reply(request_id, too_many("readers"))
        else:
            deadline = now + command.wait_ms * NANOS_PER_MS
            self._readers.append(Reader(request_id, after, command.limit, deadline))
            self._rearm()

    def fire(self, now: Instant) -> None:
        if now < self.deadline:
            return
        for reader in self._readers:
            if reader.deadline <= now:
                self._answer(now, reader.request_id, reader.after, reader.limit)
        self._readers = [reader for reader in self._readers if reader.deadline > now]
        self._rearm()

    def _rearm(self) -> None:
        self.deadline = min((reader.deadline for reader in self._readers), default=NEVER)

    def _place_of(self, command: ReadEvents) -> int | None:
        """The position behind which to read, -1 where it is of another life; None for what is no cursor."""
        if not command.after:
            return max(0, self._position - command.limit)
        life, _, position = command.after.partition("-")
        if not (life.isdecimal() and position.isdecimal()):
            return None
        return min(int(position), self._position) if int(life) == self.life else -1

    def _answer(self, now: Instant, request_id: RequestId, after: int, limit: int) -> None:
        oldest = self._position - len(self._entries) + 1
        first = max(after + 1, oldest)
        shown = [entry for entry in self._entries if first <= entry.position < first + limit]
        last = shown[-1].position if shown else max(after, 0)
        self._outbox.reply(
            request_id,
            EventList(
                tuple(self._view(now, entry) for entry in shown),
                f"{self.life}-{last}",
                more=last < self._position,
                missed=after + 1 < oldest,
            ),
        )

    def _view(self, now: Instant, entry: Entry) -> EventView:
        rumour = entry.rumour
        row = self._table.get(rumour.origin)
        event = rumour if isinstance(rumour, UserEvent) else None
        query = rumour if isinstance(rumour, UserQuery) else None
        left_s = 0.0 if query is None else query.timeout_ms / 1000 - (now - entry.at) / NANOS_PER_S
        return EventView(
            kind="query" if event is None else "event",
            name=rumour.name,
            payload=rumour.payload,
            origin=rumour.origin,
            origin_name="" if row is None else row.alive.profile.name,
            ltime=0 if event is None else event.ltime,
            number=rumour.number,
            age_s=round((now - entry.at) / NANOS_PER_S, 3),
            query_id="" if query is None else query_id(query),
            answer_within_s=round(max(0.0, left_s), 3),
        )


def _bad_cursor(cursor: str) -> Refused:
    return Refused(
        "bad_cursor",
        f"{cursor!r} is no cursor of an event list.",
        "Pass the `cursor` of an earlier answer as it is, or nothing to begin with the events that are kept.",
    )
