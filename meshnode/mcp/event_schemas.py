"""What the tools for events and queries take and give, described for the agent that reads it (see `schemas.py`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from meshnode.mcp.bounds import WAIT_SECONDS_MAX
from meshnode.mcp.schemas import Answer, Arguments
from protocols.limits import (
    EVENT_BYTES_MAX,
    EVENT_NAME_CHARS_MAX,
    EVENTS_PER_FRAME_MAX,
    QUERY_ANSWER_BYTES_MAX,
    QUERY_TIMEOUT_MS_MAX,
    QUERY_TIMEOUT_MS_MIN,
)
from protocols.membership.event_views import CURSOR_CHARS_MAX, QUERY_ID_CHARS_MAX

ANSWERS_MAX = 500

PayloadArgument = Annotated[
    str,
    Field(
        max_length=EVENT_BYTES_MAX,
        description="Any text, such as JSON. Together with the name at most 512 bytes of UTF-8: send a path or an id, "
        "not the data.",
    ),
]


class SendEventArguments(Arguments):
    name: Annotated[
        str, Field(min_length=1, max_length=EVENT_NAME_CHARS_MAX, description="What happened, such as deployed.")
    ]
    payload: PayloadArgument = ""


class ReadEventsArguments(Arguments):
    after: Annotated[
        str,
        Field(
            max_length=CURSOR_CHARS_MAX,
            description="`cursor` of your last call: only what came after it. Empty: the last events that are kept.",
        ),
    ] = ""
    limit: Annotated[int, Field(ge=1, le=EVENTS_PER_FRAME_MAX, description="At most so many.")] = 50
    wait_s: Annotated[
        float,
        Field(ge=0, le=WAIT_SECONDS_MAX, description="Seconds to wait for the first one. 0: answer at once."),
    ] = 0.0


class QueryArguments(Arguments):
    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=EVENT_NAME_CHARS_MAX,
            description="What is asked. Every node answers ping, version, handlers and status by itself; anything else "
            "is shown to the agents of each node.",
        ),
    ]
    payload: PayloadArgument = ""
    timeout_s: Annotated[
        float,
        Field(
            ge=QUERY_TIMEOUT_MS_MIN / 1000,
            le=QUERY_TIMEOUT_MS_MAX / 1000,
            description="Seconds to wait for answers; it ends sooner when all have answered. Agents need 30 or more.",
        ),
    ] = 5.0
    limit: Annotated[int, Field(ge=1, le=ANSWERS_MAX, description="At most so many answers; the rest is counted.")] = (
        100
    )


class AnswerQueryArguments(Arguments):
    query_id: Annotated[
        str, Field(min_length=1, max_length=QUERY_ID_CHARS_MAX, description="`query_id` from mesh_read_events.")
    ]
    answer: Annotated[
        str, Field(max_length=QUERY_ANSWER_BYTES_MAX, description="Any text of at most 1024 bytes of UTF-8.")
    ]


class SentEvent(Answer):
    """An event that is on its way."""

    ltime: Annotated[int, Field(description="Its Lamport time: whatever is sent because of it has a larger one.")]
    members: Annotated[int, Field(description="Live members that are to hear of it, this node included.")]


class Event(BaseModel):
    """An event, or a question that waits for an answer."""

    kind: Annotated[str, Field(description="event, or query: a question of another node.")]
    name: Annotated[str, Field(description="What it is about.")]
    payload: Annotated[str, Field(description="What its sender added.")]
    node: Annotated[str, Field(description="Name of the node at which it was sent.")]
    ltime: Annotated[int, Field(description="Lamport time, for the order of events of several nodes; 0 for a query.")]
    age_s: Annotated[float, Field(description="Seconds since this node heard it.")]
    query_id: Annotated[str, Field(description="For mesh_answer_query; empty for an event.")]
    answer_within_s: Annotated[float, Field(description="Seconds for which the asker still waits; 0: nobody does.")]


class Events(Answer):
    """What this node has heard, oldest first."""

    events: Annotated[list[Event], Field(description="Oldest first; of one node in the order in which it sent them.")]
    cursor: Annotated[str, Field(description="Pass it as `after` in your next call.")]
    more: Annotated[bool, Field(description="True where more are there already.")]
    missed: Annotated[
        bool,
        Field(
            description="True where some after your cursor are not kept any more, or may "
            "have gone with a restart of the node."
        ),
    ]


class NodeAnswer(BaseModel):
    """What one node answered."""

    node: Annotated[str, Field(description="Name of the node.")]
    answer: Annotated[str, Field(description="Its answer: text, often JSON.")]
    after_s: Annotated[float, Field(description="Seconds that it took.")]


class QueryResult(Answer):
    """What came of a query."""

    answers: Annotated[list[NodeAnswer], Field(description="In the order in which they came.")]
    answered: Annotated[int, Field(description="How many members answered, the ones past `limit` included.")]
    asked: Annotated[int, Field(description="How many live members were asked.")]
    silent: Annotated[list[str], Field(description="Names of members that did not answer in time (the first 100).")]


class AnsweredQuery(Answer):
    """An answer that is on its way to the asker."""

    query_id: Annotated[str, Field(description="The query that was answered.")]
