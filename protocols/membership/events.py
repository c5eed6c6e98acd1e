"""User events: every member's users get each one once, and those of one origin in the order in which they were sent.

The model is serf's, with another way to tell new from old. There it is the Lamport time, so one absurd time makes all
later events too old for everybody. Here an event is named by (origin, generation, number); a node keeps one *mark* for
each origin, the last event of it that its users were given. Rules:
- *News* is what lies behind the mark, of a life of a member that this node has met. It is passed on by gossip at once.
- *Order*: what comes before its turn is held back, and its origin is asked for what is missing. The origin's word on
  what there is closes the gap; so does `GIVE_UP_AFTER`, where it says nothing.
- *Once*: users get an event when the new mark is durable. So a node that restarts repeats none, and is given those that
  it missed while it was away.
- *Anti-entropy*: digests go along with requests for tables; who has more of the recent ones hands them over.
- A newcomer takes what its first peer has heard for old: it begins with what comes after.
- *Broken peers*: nobody but the origin can lead its mark on by more than `WINDOW`, and an origin that hears a number of
  its own that it never gave goes on above it. What is absurd changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from protocols.config import NodeConfig
from protocols.core import (
    NANOS_PER_S,
    Delete,
    Endpoint,
    Instant,
    InvariantViolation,
    NodeId,
    Notify,
    Put,
    Record,
    Reply,
    RequestId,
    Then,
)
from protocols.limits import EVENT_BYTES_MAX, EVENT_MARKS_PER_FRAME_MAX
from protocols.membership.event_log import EventLog
from protocols.membership.event_views import EventSent, SendEvent, disk_fails, no_name, too_large, too_many
from protocols.membership.facts import EventDelivered
from protocols.membership.lamport import LamportClock
from protocols.membership.records import HEARD_PREFIX, Heard
from protocols.membership.rumour_queue import RumourQueue
from protocols.membership.rumours import EventDigest, Events, EventsWanted, Mark, UserEvent, bytes_of, fits
from protocols.membership.swim import Swim
from protocols.outbox import NEVER, Journal, Outbox

EVENTS_TAG = "events"
WINDOW = 256
"""Events of one origin that may be held back for one that is missing."""
HELD_MAX = 1024
"""Events that are held back at one node, of all origins."""
ASK_AFTER = 1 * NANOS_PER_S
"""Gossip takes packets in any order: what is missing has so long to come by itself."""
ASK_AGAIN_AFTER = 5 * NANOS_PER_S
GIVE_UP_AFTER = 30 * NANOS_PER_S
FRESH_FOR = 10 * NANOS_PER_S
"""How long a newcomer that hears events waits for a digest: older nodes do not send any."""
STRANGERS_MAX = 64
QUEUED_MAX = 128
"""Rumours on their way, past which this node's users are told to wait."""
UNSAVED_MAX = 4096
"""Events that wait for the disk, past which no more are taken in: a slow one must not cost memory without an end."""


class Origin:
    """What is known of the events of one node: the mark, and what is held back behind a gap."""

    __slots__ = ("ask_at", "asked_up_to", "generation", "give_up_at", "held", "number")

    def __init__(self, generation: int, number: int) -> None:
        self.generation = generation
        self.number = number
        self.held: dict[int, UserEvent] = {}
        self.asked_up_to = 0
        """The last of those that were held back when the origin was asked."""
        self.ask_at: Instant = NEVER
        self.give_up_at: Instant = NEVER


class UserEvents:
    """The events of one node. `deadline` is when `fire` wants to be called."""

    def __init__(
        self, config: NodeConfig, swim: Swim, outbox: Outbox, journal: Journal, queue: RumourQueue, log: EventLog
    ) -> None:
        self._id = config.node_id
        self._swim = swim
        self._outbox = outbox
        self._journal = journal
        self._queue = queue
        self._log = log
        self.clock = LamportClock()
        self.generation = 0
        self.fresh = False
        """This node is new, and no peer has said so far what is old."""
        self.refused = 0
        """Events and digests that no honest node says."""
        self._fresh_until: Instant = NEVER
        self._origins: dict[NodeId, Origin] = {}
        self._gaps: dict[NodeId, Origin] = {}
        """Those of them of which something is missing."""
        self._held = 0
        self._batch: list[UserEvent] = []
        """Given to users by the present step, and not handed to the disk yet."""
        self._saving: deque[tuple[UserEvent, ...]] = deque()
        self._unsaved = 0
        """Events in `_saving`."""
        self._own_durable = 0
        self.deadline: Instant = NEVER

    def recall(self, records: Iterable[Put]) -> None:
        """Take up the marks of earlier lives."""
        for put in records:
            if isinstance(put.value, Heard):
                heard = put.value
                self._origins[put.key.removeprefix(HEARD_PREFIX)] = Origin(heard.generation, heard.number)
                self.clock.time = max(self.clock.time, heard.clock)

    def begin(self, generation: int, *, joining: bool) -> None:
        """Take part, in a generation that is durable."""
        if not self.generation:
            self.fresh = joining and generation == 1  # a later life may not have heard any and is a member all the same
        self.generation = generation
        self._own_durable = 0
        self._origins[self._id] = Origin(generation, 0)

    # This node's users.

    def send(self, request_id: RequestId, command: SendEvent) -> None:
        """Take in an event; it is said, and answered, once it is durable, so that its name is never given again."""
        if not command.name:
            self._outbox.reply(request_id, no_name())
        elif bytes_of(command.name + command.payload) > EVENT_BYTES_MAX:
            self._outbox.reply(request_id, too_large("Name and payload together", EVENT_BYTES_MAX))
        elif self._journal.failing:
            self._outbox.reply(request_id, disk_fails(self._journal.error))
        elif self._overrun or (self._swim.table.present > 1 and self._queue.size + len(self._saving) >= QUEUED_MAX):
            self._outbox.reply(request_id, too_many("events"))
        else:
            mine = self._origins[self._id]
            mine.number += 1
            event = UserEvent(self._id, mine.generation, mine.number, self.clock.tick(), command.name, command.payload)
            self._batch.append(event)
            sent = EventSent(event.ltime, event.number, self._swim.table.present)
            self._save((Reply(request_id, sent),))

    # What others say.

    def hear(self, now: Instant, sender: NodeId, events: Iterable[UserEvent]) -> None:
        """Take in events out of gossip."""
        if self._overrun:
            return
        for event in events:
            self._hear(now, sender, event)
        self._save()
        self._rearm()

    @property
    def _overrun(self) -> bool:
        """No mark could be kept, or not soon. What is not taken in now comes again, with a digest."""
        return self._journal.failing or self._unsaved >= UNSAVED_MAX

    def _hear(self, now: Instant, sender: NodeId, event: UserEvent) -> None:
        if self.fresh and self._is_fresh(now):
            return
        origin = self._origin_of(event)
        if origin is None:
            return
        if event.generation == origin.generation and event.number in origin.held:
            return
        behind = event.number - (origin.number if event.generation == origin.generation else 0)
        if behind > WINDOW and sender != event.origin:
            self._missing(now, event.origin, origin)
            return
        if self._held >= HELD_MAX and behind > 1:
            return
        if not self.clock.witness(now, event.ltime):
            self.refused += 1
            return
        if self._swim.table.present > 1:
            self._queue.put(event)
        if event.generation > origin.generation:
            self._enter(origin, event.generation)
        origin.held[event.number] = event
        self._held += 1
        before = origin.number
        self._deliver(origin)
        if origin.number > before or not origin.held:
            self._gaps.pop(event.origin, None)  # what is missing now, if anything, has not been missing for long
        if origin.held:
            self._missing(now, event.origin, origin)

    def _is_fresh(self, now: Instant) -> bool:
        if self._fresh_until == NEVER:
            self._fresh_until = now + FRESH_FOR
        self.fresh = now < self._fresh_until
        return self.fresh

    def _origin_of(self, event: UserEvent) -> Origin | None:
        """The origin of an event, if that is news and can be true."""
        row = self._swim.table.get(event.origin)
        if row is None or event.generation > row.generation or not event.number or not fits(event):
            # Of a stranger, or of a life that nobody here has met: its announcement has to come first.
            self.refused += 1
            return None
        if event.origin == self._id:
            self._hear_own(event.generation, event.number)
            return None
        origin = self._origins.get(event.origin)
        if origin is None:
            self._forget_strangers()
            origin = self._origins[event.origin] = Origin(event.generation, 0)
        return origin if (event.generation, event.number) > (origin.generation, origin.number) else None

    def _hear_own(self, generation: int, number: int) -> None:
        """Somebody has heard so many events of this node: give no number a second time."""
        mine = self._origins[self._id]
        if generation == mine.generation and mine.number < number <= mine.number + WINDOW:
            mine.number = number

    def _enter(self, origin: Origin, generation: int) -> None:
        """The origin has begun another life: of the one before, what was held back is all that still comes."""
        self._skip(origin)
        origin.generation = generation
        origin.number = 0
        origin.asked_up_to = 0

    def _deliver(self, origin: Origin) -> None:
        """Give users what is next, as long as it is there."""
        while origin.held:
            event = origin.held.pop(origin.number + 1, None)
            if event is None:
                return
            self._held -= 1
            origin.number = event.number
            self._batch.append(event)

    def _skip(self, origin: Origin) -> None:
        """Give users all that is held back, whatever is missing between."""
        for number in sorted(origin.held):
            origin.number = max(origin.number, number - 1)
            self._deliver(origin)

    # Durability.

    def _save(self, then: tuple[Then, ...] = ()) -> None:
        """Hand what the step gives to users to the disk: they get it behind that."""
        if not self._batch:
            return
        batch, self._batch = tuple(self._batch), []
        last = {event.origin: event for event in batch}
        records: list[Record] = [
            Put(HEARD_PREFIX + event.origin, Heard(event.generation, event.number, self.clock.time))
            for event in last.values()
        ]
        told = [Notify(EventDelivered(each.origin, each.generation, each.number, each.ltime)) for each in batch]
        self._saving.append(batch)
        self._unsaved += len(batch)
        self._journal.save(records, (*told, *then), tag=EVENTS_TAG)

    def saved(self, now: Instant) -> None:
        """The oldest save is durable: its events are for users, and this node's own among them for everybody."""
        batch = self._saving.popleft()
        self._unsaved -= len(batch)
        for event in batch:
            self._log.append(now, event)
            if event.origin != self._id:
                continue
            if event.generation == self.generation:
                self._own_durable = event.number
            if self._swim.table.present > 1:
                self._queue.put(event)

    # Gaps.

    def _missing(self, now: Instant, node_id: NodeId, origin: Origin) -> None:
        """Something of this origin has not come in its turn."""
        if node_id not in self._gaps:
            self._gaps[node_id] = origin
            origin.ask_at = now + ASK_AFTER
            origin.give_up_at = now + GIVE_UP_AFTER

    def fire(self, now: Instant) -> None:
        """Ask for what is missing, and go on without what does not come."""
        if now < self.deadline:
            return
        for node_id, origin in list(self._gaps.items()):
            if now >= origin.give_up_at:
                del self._gaps[node_id]
                self._skip(origin)
            elif now >= origin.ask_at:
                origin.ask_at = now + ASK_AGAIN_AFTER
                origin.asked_up_to = max(origin.held, default=0)
                row = self._swim.table.get(node_id)
                if row is not None:
                    self._outbox.send(row.endpoint, EventsWanted(origin.generation, origin.number))
        self._save()
        self._rearm()

    def _rearm(self) -> None:
        self.deadline = min((min(each.ask_at, each.give_up_at) for each in self._gaps.values()), default=NEVER)

    def on_wanted(self, sender: Endpoint, message: EventsWanted) -> None:
        """Somebody misses events of this node: hand over what is kept, and say that this is all."""
        after = message.after if message.generation == self.generation else 0
        events = [
            event
            for event in self._log.events
            if event.origin == self._id and event.generation == self.generation and event.number > after
        ]
        self._outbox.send(sender, Events(tuple(events), True, self.generation, self._own_durable))

    def on_events(self, now: Instant, sender: Endpoint, message: Events) -> None:
        """Take in what this node missed."""
        if self._overrun:
            return  # nothing of it is taken in, so nothing of it may count as heard
        for event in message.events:
            self._hear(now, sender.node_id, event)
        if message.whole:
            self._close(sender.node_id, message)
        self._save()
        self._rearm()

    def _close(self, node_id: NodeId, message: Events) -> None:
        """The origin has said what there is: what was missing up to there does not exist, or is kept by nobody."""
        origin = self._origins.get(node_id)
        if origin is None or origin.generation != message.generation or node_id == self._id:
            return
        for number in sorted(origin.held):
            if number <= message.last:
                origin.number = max(origin.number, number - 1)
                self._deliver(origin)
            elif number <= origin.asked_up_to and origin.held.pop(number, None) is not None:
                self._held -= 1  # it was here before the origin was asked, and the origin never said it
                self.refused += 1
        origin.number = max(origin.number, message.last)
        self._deliver(origin)
        if not origin.held:
            self._gaps.pop(node_id, None)

    # Anti-entropy.

    def exchange(self, target: Endpoint) -> None:
        """Tell `target`, which is asked for its table as well, up to where everybody was heard here."""
        self._outbox.send(target, self._digest(answer=True))

    def _digest(self, *, answer: bool) -> EventDigest:
        marks = [Mark(node_id, each.generation, each.number) for node_id, each in self._origins.items() if each.number]
        return EventDigest(self.clock.time, tuple(marks[-EVENT_MARKS_PER_FRAME_MAX:]), answer, wants=not self.fresh)

    def on_digest(self, now: Instant, sender: Endpoint, message: EventDigest) -> None:
        if sender.node_id == self._id:
            return  # a seed that is this node itself by another address
        if not self.clock.witness(now, message.clock):
            self.refused += 1
        marks = {mark.origin: mark for mark in message.marks}
        mine = marks.get(self._id)
        if mine is not None:
            self._hear_own(mine.generation, mine.number)
        own = self._digest(answer=False)
        agreed = message.wants and own.wants and marks == {mark.origin: mark for mark in own.marks}
        if message.answer and not agreed:
            self._outbox.send(sender, own)
        if message.wants:
            missed = [event for event in self._log.events if _is_news(event, marks.get(event.origin), sender.node_id)]
            if missed:
                self._outbox.send(sender, Events(tuple(missed)))
        if self.fresh and (message.wants or not message.answer):
            self.fresh = False  # its sender is no newcomer, or has answered one
            self._take_for_old(message.marks)

    def _take_for_old(self, marks: Iterable[Mark]) -> None:
        """The first peer has answered a newcomer: what was heard there is not news here."""
        records: list[Record] = []
        for mark in marks:
            row = self._swim.table.get(mark.origin)
            if row is None or mark.generation > row.generation or mark.origin == self._id:
                continue
            self._origins[mark.origin] = Origin(mark.generation, mark.number)
            records.append(Put(HEARD_PREFIX + mark.origin, Heard(mark.generation, mark.number, self.clock.time)))
        if records:
            self._journal.save(records)

    def _forget_strangers(self) -> None:
        """Drop the marks of nodes that are members no more, once they are many."""
        table = self._swim.table
        if len(self._origins) <= len(table) + STRANGERS_MAX:
            return
        gone = [node_id for node_id in self._origins if table.get(node_id) is None]
        for node_id in gone:
            self._held -= len(self._origins.pop(node_id).held)
            self._gaps.pop(node_id, None)
        if gone:
            self._journal.save([Delete(HEARD_PREFIX + node_id) for node_id in gone])

    def check(self) -> None:
        """Raise `InvariantViolation` where the books are wrong."""
        if self._held != sum(len(origin.held) for origin in self._origins.values()):
            raise InvariantViolation("the count of events that are held back is wrong")
        if self._unsaved != sum(map(len, self._saving)):
            raise InvariantViolation("the count of events that wait for the disk is wrong")
        for node_id, origin in self._origins.items():
            if min(origin.held, default=origin.number + 1) <= origin.number:
                raise InvariantViolation(f"an event of {node_id} is held back though its turn is over")
            if origin.held and node_id not in self._gaps:
                raise InvariantViolation(f"nobody waits for what is missing of {node_id}")


def _is_news(event: UserEvent, mark: Mark | None, peer: NodeId) -> bool:
    """Whether a peer that has heard the event's origin up to `mark` lacks the event."""
    if event.origin == peer:
        return False
    return mark is None or (event.generation, event.number) > (mark.generation, mark.number)
