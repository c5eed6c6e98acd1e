"""The tools for what concerns the whole mesh: events and queries (see `tools.py` for the others)."""

from __future__ import annotations

from typing import Any

from meshnode.calls import Caller
from meshnode.mcp import event_schemas as schemas
from meshnode.mcp.bounds import ANSWER_SECONDS, CALL_SECONDS_MAX
from meshnode.mcp.toolset import READS, Hints, Mesh, ToolSpec
from protocols.membership.event_views import (
    AnswerQuery,
    AskQuery,
    EventList,
    EventSent,
    EventView,
    QueryAnswered,
    QueryAnswers,
    ReadEvents,
    SendEvent,
)

TELLS_EVERYBODY = Hints(read_only=False, destructive=False, idempotent=False, open_world=False)
ANSWERS_ONCE = Hints(read_only=False, destructive=False, idempotent=True, open_world=False)


class EventTools:
    """The bodies of these tools. Every method raises `ToolFailure` where it cannot do what it says."""

    def __init__(self, caller: Caller) -> None:
        self._mesh = Mesh(caller)

    async def send_event(self, arguments: schemas.SendEventArguments) -> schemas.SentEvent:
        sent = await self._mesh.ask(SendEvent(arguments.name, arguments.payload), EventSent)
        return schemas.SentEvent(ltime=sent.ltime, members=sent.members)

    async def read_events(self, arguments: schemas.ReadEventsArguments) -> schemas.Events:
        wait_s = min(arguments.wait_s, CALL_SECONDS_MAX - 2 * ANSWER_SECONDS)
        command = ReadEvents(arguments.after, arguments.limit, int(wait_s * 1000))
        listed = await self._mesh.ask(command, EventList)
        return schemas.Events(
            events=[_event(each) for each in listed.events],
            cursor=listed.cursor,
            more=listed.more,
            missed=listed.missed,
        )

    async def query(self, arguments: schemas.QueryArguments) -> schemas.QueryResult:
        command = AskQuery(arguments.name, arguments.payload, round(arguments.timeout_s * 1000), arguments.limit)
        found = await self._mesh.ask(command, QueryAnswers)
        return schemas.QueryResult(
            answers=[
                schemas.NodeAnswer(node=each.node_name, answer=each.answer, after_s=each.after_ms / 1000)
                for each in found.answers
            ],
            answered=found.answered,
            asked=found.asked,
            silent=list(found.silent),
        )

    async def answer_query(self, arguments: schemas.AnswerQueryArguments) -> schemas.AnsweredQuery:
        answered = await self._mesh.ask(AnswerQuery(arguments.query_id, arguments.answer), QueryAnswered)
        return schemas.AnsweredQuery(query_id=answered.query_id)


def _event(event: EventView) -> schemas.Event:
    return schemas.Event(
        kind=event.kind,
        name=event.name,
        payload=event.payload,
        node=event.origin_name or event.origin,
        ltime=event.ltime,
        age_s=event.age_s,
        query_id=event.query_id,
        answer_within_s=event.answer_within_s,
    )


def event_specs(caller: Caller) -> tuple[ToolSpec[Any, Any], ...]:
    """The tools, for a server of `caller`."""
    tools = EventTools(caller)
    return (
        ToolSpec(
            name="mesh_send_event",
            title="Tell the whole mesh",
            description="Tell every node of the mesh that something has happened; their agents read it with "
            "mesh_read_events. Each gets it once, and the events of one node in order. Nobody confirms it and nobody "
            "need act on it: for work that must be done use mesh_submit_task.",
            hints=TELLS_EVERYBODY,
            arguments=schemas.SendEventArguments,
            answer=schemas.SentEvent,
            run=tools.send_event,
            if_unknown="Look with mesh_read_events whether it was sent before you send it again",
        ),
        ToolSpec(
            name="mesh_read_events",
            title="Read events",
            description="What nodes of the mesh have told everybody (mesh_send_event), and questions that wait for an "
            "answer from here (mesh_query), oldest first. Keep the cursor and pass it as `after` to get each one once; "
            "with wait_s it waits for the next. Names and payloads are the words of other agents.",
            hints=READS,
            arguments=schemas.ReadEventsArguments,
            answer=schemas.Events,
            run=tools.read_events,
        ),
        ToolSpec(
            name="mesh_query",
            title="Ask the whole mesh",
            description="Ask every live node, and get what each answered within timeout_s, and how many of how many "
            "did. ping, version, handlers and status are answered by the nodes themselves; any other question by "
            "agents there that read it with mesh_read_events and use mesh_answer_query.",
            hints=READS,
            arguments=schemas.QueryArguments,
            answer=schemas.QueryResult,
            run=tools.query,
        ),
        ToolSpec(
            name="mesh_answer_query",
            title="Answer a question",
            description="Answer a question that mesh_read_events showed, in the name of this node, while its asker "
            "waits (answer_within_s). A node answers a question once; it is an error when nobody waits any more.",
            hints=ANSWERS_ONCE,
            arguments=schemas.AnswerQueryArguments,
            answer=schemas.AnsweredQuery,
            run=tools.answer_query,
        ),
    )
