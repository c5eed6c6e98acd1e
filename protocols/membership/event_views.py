"""What callers may say to the whole mesh, and ask of it; and what they get back."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from protocols.core import Command, NodeId, Outcome, Refused
from protocols.limits import (
    EVENT_BYTES_MAX,
    EVENT_NAME_CHARS_MAX,
    EVENT_WAIT_MS_MAX,
    EVENTS_PER_FRAME_MAX,
    QUERY_ANSWER_BYTES_MAX,
    QUERY_TIMEOUT_MS_MAX,
    QUERY_TIMEOUT_MS_MIN,
)

CURSOR_CHARS_MAX = 64
QUERY_ID_CHARS_MAX = 80
ANSWERS_SHOWN_MAX = 10_000

Name = Annotated[str, Meta(max_length=EVENT_NAME_CHARS_MAX)]
Payload = Annotated[str, Meta(max_length=EVENT_BYTES_MAX)]
Limit = Annotated[int, Meta(ge=1, le=EVENTS_PER_FRAME_MAX)]


class SendEvent(Command, frozen=True, tag="send_event"):
    """Tell every node of the mesh. Name and payload together have at most 512 bytes."""

    name: Name
    payload: Payload = ""


class EventSent(Outcome, frozen=True, tag="event_sent"):
    """The event is on its way; nobody confirms it. Its number is on this node's disk, and never given again. Its text
    is not: it is lost where the node is killed before anybody else has heard it."""

    ltime: int
    number: int
    """The how many-th event of this node since it was started."""
    members: int
    """Live members that are to hear of it, this node included."""


class ReadEvents(Command, frozen=True, tag="read_events"):
    """Events that this node has heard, oldest first: those after the cursor `after`, or, where it is empty, the last
    `limit` that are kept. With `wait_ms`, waits so long for the first one."""

    after: Annotated[str, Meta(max_length=CURSOR_CHARS_MAX)] = ""
    limit: Limit = 50
    wait_ms: Annotated[int, Meta(ge=0, le=EVENT_WAIT_MS_MAX)] = 0


class EventView(Struct, frozen=True):
    """One event, or one query that waits for an answer from here."""

    kind: str
    """`event` or `query`."""
    name: str
    payload: str
    origin: NodeId
    origin_name: str
    ltime: int
    """Lamport time: what happened because of something else has a larger one. 0 for a query."""
    number: int
    age_s: float
    """Seconds since this node heard it."""
    query_id: str = ""
    """What to name in an answer; empty for an event."""
    answer_within_s: float = 0.0
    """What is left of the time in which the asker wants answers; 0 when it is over, or for an event."""


class EventList(Outcome, frozen=True, tag="events"):
    events: tuple[EventView, ...]
    cursor: str
    """Read on from here."""
    more: bool
    """Whether more are there already."""
    missed: bool
    """Whether events between the given cursor and the first of these are not kept any more; also where that cannot be
    known, for the cursor is of an earlier life of this node."""


class AskQuery(Command, frozen=True, tag="ask_query"):
    """Ask every live member; the answers that come within `timeout_ms` are the outcome, sooner if all have answered."""

    name: Name
    payload: Payload = ""
    timeout_ms: Annotated[int, Meta(ge=QUERY_TIMEOUT_MS_MIN, le=QUERY_TIMEOUT_MS_MAX)] = 5_000
    limit: Annotated[int, Meta(ge=1, le=ANSWERS_SHOWN_MAX)] = 1_000
    """Answers that are kept; those past it are counted."""


class AnswerView(Struct, frozen=True):
    """What one member answered, and how long that took to come."""

    node_id: NodeId
    node_name: str
    answer: str
    after_ms: int


class QueryAnswers(Outcome, frozen=True, tag="query_answers"):
    """`answered` of `asked` members did; `silent` names the first of those that did not."""

    answers: tuple[AnswerView, ...]
    answered: int
    asked: int
    silent: tuple[str, ...]


class AnswerQuery(Command, frozen=True, tag="answer_query"):
    """Answer a query that `ReadEvents` showed, for this node. At most 1024 bytes."""

    query_id: Annotated[str, Meta(max_length=QUERY_ID_CHARS_MAX)]
    answer: Annotated[str, Meta(max_length=QUERY_ANSWER_BYTES_MAX)] = ""


class QueryAnswered(Outcome, frozen=True, tag="query_answered"):
    """The answer is on its way. The asker confirms nothing."""

    query_id: str


def no_name() -> Refused:
    return Refused("bad_name", "It has no name.", "Give it a short name, such as deployed.")


def too_large(what: str, limit_bytes: int) -> Refused:
    return Refused(
        "too_large",
        f"{what} has more than {limit_bytes} bytes of UTF-8; nothing was sent.",
        "Put the data where the others can reach it, and send its path or address. Or submit a task.",
    )


def too_many(what: str) -> Refused:
    return Refused("busy", f"Too many {what} are under way at this node.", "Try again in a second.", retry_after_s=1.0)


def disk_fails(why: str) -> Refused:
    return Refused(
        "storage_failed",
        f"This node can not write to its data directory: {why}.",
        "Nothing was sent. Free or repair the disk; the node goes on by itself.",
        retry_after_s=5.0,
    )
