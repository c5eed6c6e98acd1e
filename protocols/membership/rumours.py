"""What users of the mesh say to all of it, on the wire: events, queries, and what nodes say about them.

A *rumour* is an event or a query on its way by gossip. An event is named by (origin, generation, number): the node at
which it was sent, in which of its lives, and the how many-th of that life, counted from 1 without a gap. So who misses
one knows it, and nobody takes one twice. Its Lamport time orders it among the events of other nodes; nothing is decided
by it, for a broken peer may claim any (`lamport.py`).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeAlias

from msgspec import Meta, Struct

from protocols.core import Carrier, Statement
from protocols.limits import (
    EVENT_BYTES_MAX,
    EVENT_MARKS_PER_FRAME_MAX,
    EVENT_NAME_CHARS_MAX,
    EVENTS_PER_FRAME_MAX,
    QUERY_ANSWER_BYTES_MAX,
    QUERY_TIMEOUT_MS_MAX,
    QUERY_TIMEOUT_MS_MIN,
    RUMOURS_PER_PACKET_MAX,
)
from protocols.membership.member import GENERATION_MAX, Id

LAMPORT_BITS = 62
NUMBER_BITS = 40
"""A node that sends ten thousand events a second counts so far in three years."""

Generation = Annotated[int, Meta(ge=0, le=GENERATION_MAX)]
Number = Annotated[int, Meta(ge=0, lt=1 << NUMBER_BITS)]
LamportTime = Annotated[int, Meta(ge=0, lt=1 << LAMPORT_BITS)]
Name = Annotated[str, Meta(min_length=1, max_length=EVENT_NAME_CHARS_MAX)]
Payload = Annotated[str, Meta(max_length=EVENT_BYTES_MAX)]
AnswerText = Annotated[str, Meta(max_length=QUERY_ANSWER_BYTES_MAX)]
TimeoutMs = Annotated[int, Meta(ge=QUERY_TIMEOUT_MS_MIN, le=QUERY_TIMEOUT_MS_MAX)]


class UserEvent(Struct, frozen=True, array_like=True, tag="e", gc=False):
    """Something that a user at `origin` tells everybody."""

    origin: Id
    generation: Generation
    number: Number
    ltime: LamportTime
    name: Name
    payload: Payload


class UserQuery(Struct, frozen=True, array_like=True, tag="q", gc=False):
    """Something that a user at `origin` asks everybody; who hears it answers `origin` within `timeout_ms`.

    It has no Lamport time: it lives for seconds, and there is nothing to order.
    """

    origin: Id
    generation: Generation
    number: Number
    timeout_ms: TimeoutMs
    name: Name
    payload: Payload


Rumour: TypeAlias = UserEvent | UserQuery
Rumours = Annotated[tuple[UserEvent | UserQuery, ...], Meta(max_length=RUMOURS_PER_PACKET_MAX)]


class Mark(Struct, frozen=True, array_like=True, gc=False):
    """Up to where the events of a node have been heard."""

    origin: Id
    generation: Generation
    number: Number


class EventDigest(Statement, frozen=True, array_like=True, tag="eventdigest", gc=False):
    """Up to where I have heard everybody. Who knows more and is wanted to (`wants`) sends it; `answer`: tell me yours.

    Goes along with every request for a table, so what gossip missed comes the same way as missed membership news.
    """

    clock: LamportTime
    marks: Annotated[tuple[Mark, ...], Meta(max_length=EVENT_MARKS_PER_FRAME_MAX)]
    answer: bool
    wants: bool


class EventsWanted(Statement, frozen=True, array_like=True, tag="eventswanted", gc=False):
    """To an origin itself: I miss events of yours, and have those up to `after`."""

    generation: Generation
    after: Number


class Events(Statement, frozen=True, array_like=True, tag="events", gc=False):
    """Events that you have missed, each origin's in order. Where they are the `whole`, they are my own: of those up to
    `last` in my life `generation` there are no others that anybody could still get."""

    events: Annotated[tuple[UserEvent, ...], Meta(max_length=EVENTS_PER_FRAME_MAX)]
    whole: bool = False
    generation: Generation = 0
    last: Number = 0


class QueryAsk(Statement, frozen=True, array_like=True, tag="queryask", gc=False):
    """A query said to one member that has not answered yet: it, or its answer, may have been lost."""

    carrier: ClassVar[Carrier] = Carrier.DATAGRAM
    query: UserQuery


class QueryAnswer(Statement, frozen=True, array_like=True, tag="queryanswer", gc=False):
    """The answer to your query of that number, straight to you."""

    carrier: ClassVar[Carrier] = Carrier.DATAGRAM
    generation: Generation
    number: Number
    answer: AnswerText


RumourMessage: TypeAlias = EventDigest | EventsWanted | Events | QueryAsk | QueryAnswer

RUMOUR_OVERHEAD_BYTES = 42
"""Headers, tag and numbers: everything but the texts."""


NO_TEXT = 1 << 30


def bytes_of(text: str) -> int:
    """Bytes of `text` in UTF-8; `NO_TEXT`, more than any limit, where it is no text at all (a lone surrogate)."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return NO_TEXT


def rumour_bytes(rumour: Rumour) -> int:
    """An upper bound of the encoded bytes of `rumour`."""
    return RUMOUR_OVERHEAD_BYTES + bytes_of(rumour.origin + rumour.name + rumour.payload)


def fits(rumour: Rumour) -> bool:
    """Whether a node that keeps the rules can have said this: the decoder counts characters, the limit bytes."""
    return bytes_of(rumour.name + rumour.payload) <= EVENT_BYTES_MAX
