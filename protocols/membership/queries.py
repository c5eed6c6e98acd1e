"""Queries: one node asks, every live member may answer, straight to the asker (serf's queries, without its relays).

The question spreads as rumours do, and each member passes it on once. What a node knows of itself it answers at once
(`standing.py`); any other question is shown to this node's users, who may answer for it while the asker waits. The
asker counts the members that were alive when it asked. When a quarter of the time is over, and every eighth after that,
it asks some of those that are silent once more, face to face: the question or the answer may have been lost. It stops
when all have answered, or when the time is over.

Nothing here is kept on disk: who restarts has forgotten what it asked, and answers to an earlier life count for none.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from protocols.config import NodeConfig
from protocols.core import NANOS_PER_MS, Instant, NodeId, Refused, RequestId
from protocols.limits import EVENT_BYTES_MAX, QUERY_ANSWER_BYTES_MAX
from protocols.membership.event_log import EventLog
from protocols.membership.event_views import (
    AnswerQuery,
    AnswerView,
    AskQuery,
    QueryAnswered,
    QueryAnswers,
    no_name,
    too_large,
    too_many,
)
from protocols.membership.facts import QueryClosed
from protocols.membership.member import STATE_MASK, State
from protocols.membership.rumour_queue import RumourQueue
from protocols.membership.rumours import QueryAnswer, QueryAsk, UserQuery, bytes_of, fits
from protocols.membership.swim import Swim
from protocols.outbox import NEVER, Outbox

OPEN_MAX = 16
"""Queries of this node's users at a time."""
SEEN_MAX = 512
"""Queries that are remembered while their time runs; past it further ones are left unanswered."""
ASKED_AGAIN_MAX = 64
"""Members at a time; of more that are silent, the others are asked the next time."""
SILENT_NAMED_MAX = 100

QueryKey = tuple[NodeId, int, int]
AnswerFunction = Callable[[Instant, str], str | None]
"""(now, name of a query) -> what this node answers by itself; None where it has nothing to say."""


class OpenQuery(Struct):
    """A query of one of this node's users, while its time runs."""

    request_id: RequestId
    query: UserQuery
    asked_at: Instant
    ask_again_at: Instant
    deadline: Instant
    limit: int
    waiting: dict[NodeId, None]
    asked: int
    answers: list[AnswerView]
    answered: dict[NodeId, None]


class SeenQuery(Struct):
    """A query that was heard. `answer` is None as long as nobody here has one."""

    query: UserQuery
    deadline: Instant
    answer: str | None


class UserQueries:
    """The queries of one node. `deadline` is when `fire` wants to be called."""

    def __init__(self, config: NodeConfig, swim: Swim, outbox: Outbox, queue: RumourQueue, log: EventLog) -> None:
        self._id = config.node_id
        self._swim = swim
        self._outbox = outbox
        self._queue = queue
        self._log = log
        self._next_number = 1
        self._open: dict[int, OpenQuery] = {}
        self._seen: dict[QueryKey, SeenQuery] = {}
        self.answer: AnswerFunction = lambda now, name: None
        self.generation = 0
        self.refused = 0
        """Queries that no honest node says."""
        self.deadline: Instant = NEVER

    # This node's users.

    def ask(self, now: Instant, request_id: RequestId, command: AskQuery) -> None:
        """Ask every live member, this one included."""
        if not command.name:
            self._outbox.reply(request_id, no_name())
            return
        if bytes_of(command.name + command.payload) > EVENT_BYTES_MAX:
            self._outbox.reply(request_id, too_large("Name and payload together", EVENT_BYTES_MAX))
            return
        if len(self._open) >= OPEN_MAX or not self._has_room(now):
            self._outbox.reply(request_id, too_many("queries"))
            return
        number = self._next_number
        self._next_number += 1
        query = UserQuery(self._id, self.generation, number, command.timeout_ms, command.name, command.payload)
        patience = command.timeout_ms * NANOS_PER_MS
        waiting = {
            member.alive.node_id: None for member in self._swim.table if member.precedence & STATE_MASK <= State.SUSPECT
        }
        self._open[number] = OpenQuery(
            request_id, query, now, now + patience // 4, now + patience, command.limit, waiting, len(waiting), [], {}
        )
        self._take_in(now, query)
        self._rearm()

    def answer_for_users(self, now: Instant, request_id: RequestId, command: AnswerQuery) -> None:
        """A user of this node has an answer to a query that the log showed."""
        seen = self._seen.get(_key_of(command.query_id))
        if bytes_of(command.answer) > QUERY_ANSWER_BYTES_MAX:
            self._outbox.reply(request_id, too_large("The answer", QUERY_ANSWER_BYTES_MAX))
        elif seen is None or seen.deadline <= now:
            self._outbox.reply(request_id, _nobody_waits(command.query_id))
        elif seen.answer is not None:
            self._outbox.reply(request_id, _answered_already(command.query_id))
        else:
            seen.answer = command.answer
            self._say(now, seen)
            self._outbox.reply(request_id, QueryAnswered(command.query_id))

    # Queries of others.

    def on_query(self, now: Instant, query: UserQuery) -> None:
        """Take in a query, out of gossip or said to this node alone."""
        row = self._swim.table.get(query.origin)
        if query.origin == self._id:
            return
        if row is None or query.generation != row.generation or not fits(query):
            self.refused += 1
            return
        seen = self._seen.get((query.origin, query.generation, query.number))
        if seen is None:
            self._take_in(now, query)

    def on_ask(self, now: Instant, query: UserQuery) -> None:
        """The asker itself asks again: what was answered has not reached it."""
        seen = self._seen.get((query.origin, query.generation, query.number))
        if seen is None:
            self.on_query(now, query)
        elif seen.answer is not None:
            self._say(now, seen)

    def _take_in(self, now: Instant, query: UserQuery) -> None:
        """A query that is new here: pass it on, and answer it or show it to users."""
        if not self._has_room(now):
            return
        deadline = now + query.timeout_ms * NANOS_PER_MS
        seen = SeenQuery(query, deadline, self.answer(now, query.name))
        self._seen[query.origin, query.generation, query.number] = seen
        if self._swim.table.present > 1:
            self._queue.put(query, deadline)
        if seen.answer is None:
            self._log.append(now, query)
        else:
            self._say(now, seen)

    def _has_room(self, now: Instant) -> bool:
        if len(self._seen) >= SEEN_MAX:
            self._seen = {key: each for key, each in self._seen.items() if each.deadline > now}
        return len(self._seen) < SEEN_MAX

    def _say(self, now: Instant, seen: SeenQuery) -> None:
        assert seen.answer is not None
        query = seen.query
        row = self._swim.table.get(query.origin)
        if query.origin == self._id:
            self._count(now, query.number, self._id, seen.answer)
        elif row is not None:
            self._outbox.send(row.endpoint, QueryAnswer(query.generation, query.number, seen.answer))

    # Answers.

    def on_answer(self, now: Instant, sender: NodeId, message: QueryAnswer) -> None:
        if message.generation == self.generation and bytes_of(message.answer) <= QUERY_ANSWER_BYTES_MAX:
            self._count(now, message.number, sender, message.answer)

    def _count(self, now: Instant, number: int, node_id: NodeId, answer: str) -> None:
        query = self._open.get(number)
        row = self._swim.table.get(node_id)
        if query is None or row is None or node_id in query.answered:
            return
        query.answered[node_id] = None
        if query.waiting.pop(node_id, _NOT_ASKED) is _NOT_ASKED:
            query.asked += 1  # it came while the query went round
        if len(query.answers) < query.limit:
            after_ms = (now - query.asked_at) // NANOS_PER_MS
            query.answers.append(AnswerView(node_id, row.alive.profile.name, answer, after_ms))
        if not query.waiting:
            self._close(query)
            self._rearm()

    def _close(self, query: OpenQuery) -> None:
        del self._open[query.query.number]
        answered = len(query.answered)
        silent = [self._name_of(node_id) for node_id in query.waiting][:SILENT_NAMED_MAX]
        self._outbox.notify(QueryClosed(query.query.name, query.asked, answered))
        self._outbox.reply(
            query.request_id, QueryAnswers(tuple(query.answers), answered, query.asked, tuple(sorted(silent)))
        )

    def _name_of(self, node_id: NodeId) -> str:
        row = self._swim.table.get(node_id)
        return node_id if row is None else row.alive.profile.name

    # Time.

    def fire(self, now: Instant) -> None:
        if now < self.deadline:
            return
        for query in list(self._open.values()):
            if now >= query.deadline:
                self._close(query)
            elif now >= query.ask_again_at:
                query.ask_again_at = now + query.query.timeout_ms * NANOS_PER_MS // 8
                self._ask_again(query)
        self._rearm()

    def _ask_again(self, query: OpenQuery) -> None:
        for node_id in list(query.waiting)[:ASKED_AGAIN_MAX]:
            query.waiting[node_id] = query.waiting.pop(node_id)  # behind those that have not had their turn
            row = self._swim.table.get(node_id)
            if row is not None and row.state <= State.SUSPECT and node_id != self._id:
                self._outbox.send(row.endpoint, QueryAsk(query.query))

    def _rearm(self) -> None:
        self.deadline = min((min(each.deadline, each.ask_again_at) for each in self._open.values()), default=NEVER)


_NOT_ASKED = object()


def _key_of(text: str) -> QueryKey:
    """The key that `query_id` wrote; one that no query has where it did not."""
    origin, _, rest = text.partition(".")
    generation, _, number = rest.partition(".")
    if not (generation.isdecimal() and number.isdecimal()):
        return "", 0, 0
    return origin, int(generation), int(number)


def _nobody_waits(text: str) -> Refused:
    return Refused(
        "query_over",
        f"Nobody waits for an answer to query {text!r} any more, or this node never heard of it.",
        "Read the events again: `answer_within_s` says how long an asker still waits.",
    )


def _answered_already(text: str) -> Refused:
    return Refused("answered", f"This node has answered query {text!r} already.", "A node answers a query once.")
