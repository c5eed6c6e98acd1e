"""What users say to the whole mesh, composed: one queue, one clock, the log, events and queries (DESIGN 4).

`membership.py` gives it room in its packets and tells it of exchanges of tables; `node.py` routes messages and commands
to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import assert_never

from protocols.config import NodeConfig
from protocols.core import Endpoint, Instant, NodeId, RequestId
from protocols.membership.event_log import EventLog
from protocols.membership.event_views import AnswerQuery, AskQuery, ReadEvents, SendEvent
from protocols.membership.events import UserEvents
from protocols.membership.queries import UserQueries
from protocols.membership.rumour_queue import RumourQueue
from protocols.membership.rumours import (
    EventDigest,
    Events,
    EventsWanted,
    QueryAnswer,
    QueryAsk,
    Rumour,
    RumourMessage,
    UserEvent,
)
from protocols.membership.swim import Swim
from protocols.outbox import NEVER, Journal, Outbox

UserCommand = SendEvent | ReadEvents | AskQuery | AnswerQuery


class Spreading:
    """The rumours of one node. `deadline` is when `fire` wants to be called."""

    def __init__(self, config: NodeConfig, swim: Swim, outbox: Outbox, journal: Journal) -> None:
        self.queue = RumourQueue()
        self.log = EventLog(swim.table, outbox)
        self.events = UserEvents(config, swim, outbox, journal, self.queue, self.log)
        self.queries = UserQueries(config, swim, outbox, self.queue, self.log)
        self.deadline: Instant = NEVER
        self.on_rearm: Callable[[], None] = lambda: None
        """Called when `deadline`, or what is queued, may have changed: nobody need look at either at every step."""

    def begin(self, generation: int, *, joining: bool) -> None:
        """Take part, in a generation that is durable."""
        if not self.log.life:
            self.log.life = generation
        self.events.begin(generation, joining=joining)
        self.queries.generation = generation

    def requested(self, now: Instant, request_id: RequestId, command: UserCommand) -> None:
        """A user of this node wants something."""
        match command:
            case SendEvent():
                self.events.send(request_id, command)
            case ReadEvents():
                self.log.read(now, request_id, command)
            case AskQuery():
                self.queries.ask(now, request_id, command)
            case AnswerQuery():
                self.queries.answer_for_users(now, request_id, command)
            case _:
                assert_never(command)
        self._rearm()

    def heard(self, now: Instant, sender: NodeId, rumours: Iterable[Rumour]) -> None:
        """Take in what came with a gossip packet."""
        events: list[UserEvent] = []
        for rumour in rumours:
            if isinstance(rumour, UserEvent):
                events.append(rumour)
            else:
                self.queries.on_query(now, rumour)
        self.events.hear(now, sender, events)
        self._rearm()

    def received(self, now: Instant, sender: Endpoint, message: RumourMessage) -> None:
        """Handle a message that concerns rumours alone."""
        match message:
            case EventDigest():
                self.events.on_digest(now, sender, message)
            case EventsWanted():
                self.events.on_wanted(sender, message)
            case Events():
                self.events.on_events(now, sender, message)
            case QueryAsk():
                self.queries.on_ask(now, message.query)
            case QueryAnswer():
                self.queries.on_answer(now, sender.node_id, message)
            case _:
                assert_never(message)
        self._rearm()

    def saved(self, now: Instant) -> None:
        """The events of the oldest save are durable."""
        self.events.saved(now)
        self._rearm()

    def fire(self, now: Instant) -> None:
        if now < self.deadline:
            return
        self.log.fire(now)
        self.events.fire(now)
        self.queries.fire(now)
        self._rearm()

    def _rearm(self) -> None:
        self.deadline = min(self.log.deadline, self.events.deadline, self.queries.deadline)
        self.on_rearm()
