"""What the commands about events and queries do. Each gives a `Report`, or raises a `MeshError`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from meshnode.cli import tables
from meshnode.cli.documents import embedded
from meshnode.cli.present import Report, note, printable, stdout_is_read, write_document, write_line
from meshnode.cli.session import ask, converse, converse_until_stopped, dir_flag, expect
from meshnode.cli.values import check_length, parse_seconds
from meshnode.control.client import ControlClient
from meshnode.errors import ExitCode, MeshError
from protocols.limits import (
    EVENT_BYTES_MAX,
    EVENT_NAME_CHARS_MAX,
    EVENT_WAIT_MS_MAX,
    QUERY_ANSWER_BYTES_MAX,
    QUERY_TIMEOUT_MS_MAX,
    QUERY_TIMEOUT_MS_MIN,
)
from protocols.membership.event_views import (
    CURSOR_CHARS_MAX,
    QUERY_ID_CHARS_MAX,
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
from protocols.membership.rumours import NO_TEXT, bytes_of

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

FOLLOW_WAIT_MS = 1_000
"""One call of `--follow`: a reader that has gone is noticed then at the latest, where no event comes."""


def event(directory: Path, name: str, payload: str) -> Report:
    _check_texts(name, payload)
    try:
        sent = ask(directory, SendEvent(name, payload), EventSent)
    except MeshError as error:
        if error.exit_code != ExitCode.UNKNOWN:
            raise
        look = f"See whether it was sent before you send it again: `meshnode events{dir_flag(directory)}`."
        raise MeshError(error.code, error.message, look, error.exit_code) from None
    document = {"ltime": sent.ltime, "number": sent.number, "members": sent.members}

    def text() -> str:
        whom = "nobody else is there" if sent.members == 1 else f"on its way to {sent.members - 1} other live members"
        return f"told, at Lamport time {sent.ltime}; {whom}"

    return Report(document, text)


def events(directory: Path, after: str, limit: int, wait: str | None) -> Report:
    check_length("--after", after, CURSOR_CHARS_MAX)
    wait_s = 0.0 if wait is None else parse_seconds("--wait", wait, seconds_max=EVENT_WAIT_MS_MAX / 1000)

    async def talk(client: ControlClient) -> EventList:
        command = ReadEvents(after, limit, round(wait_s * 1000))
        return expect(await client.call(command), EventList)

    listed = converse(directory, talk)
    return Report(_events_document(listed), lambda: _events_text(listed))


def follow(directory: Path, after: str, limit: int, *, as_json: bool) -> int:
    """Print the last `limit` events, or those after a cursor, and then each as it comes, until told to stop or nobody
    reads them any more; with `as_json` a document a line. The exit status."""
    check_length("--after", after, CURSOR_CHARS_MAX)

    async def talk(client: ControlClient) -> None:
        cursor = after
        while True:
            command = ReadEvents(cursor, limit, FOLLOW_WAIT_MS if cursor else 0)
            listed = expect(await client.call(command), EventList)
            if listed.missed and cursor:
                note("some events were missed: more came than are kept, or the node was restarted")
            for each in listed.events:
                if not (write_document(_event_document(each)) if as_json else write_line(_event_line(each))):
                    return
            if not stdout_is_read():
                return
            cursor = listed.cursor

    return converse_until_stopped(directory, talk)


def query(directory: Path, name: str, payload: str, timeout: str) -> Report:
    _check_texts(name, payload)
    timeout_s = parse_seconds(
        "--timeout", timeout, seconds_min=QUERY_TIMEOUT_MS_MIN / 1000, seconds_max=QUERY_TIMEOUT_MS_MAX / 1000
    )
    found = ask(directory, AskQuery(name, payload, round(timeout_s * 1000)), QueryAnswers)
    document = {
        "answers": [
            {
                "node_name": each.node_name,
                "node_id": each.node_id,
                "answer": embedded(each.answer),
                "after_ms": each.after_ms,
            }
            for each in found.answers
        ],
        "answered": found.answered,
        "asked": found.asked,
        "silent": list(found.silent),
    }
    return Report(document, lambda: _answers_text(found))


def answer(directory: Path, query_id: str, text: str) -> Report:
    check_length("QUERY", query_id, QUERY_ID_CHARS_MAX, empty_allowed=False)
    _check_bytes("TEXT", text, QUERY_ANSWER_BYTES_MAX)
    answered = ask(directory, AnswerQuery(query_id, text), QueryAnswered)
    following = f"meshnode events{dir_flag(directory)}"
    return Report({"query_id": answered.query_id}, lambda: f"answered; what else is asked: {following}")


def _events_document(listed: EventList) -> dict[str, object]:
    return {
        "events": [_event_document(each) for each in listed.events],
        "cursor": listed.cursor,
        "more": listed.more,
        "missed": listed.missed,
    }


def _event_document(event: EventView) -> dict[str, object]:
    fields: dict[str, object] = msgspec.to_builtins(event)
    return fields


def _events_text(listed: EventList) -> str | RenderableType:
    if not listed.events:
        return "no events"
    rows = [
        (
            each.name,
            each.payload or "-",
            each.origin_name or each.origin[: tables.ID_CHARS],
            str(each.ltime) if each.kind == "event" else "-",
            f"{tables.duration(each.age_s)} ago",
            _wanted(each),
        )
        for each in listed.events
    ]
    shown = tables.table(("name", "payload", "from", "ltime", "heard", "answer"), rows)
    if listed.more:
        return _with(shown, f"more: --after {listed.cursor}")
    return _with(shown, "some before these are not kept any more") if listed.missed else shown


def _event_line(event: EventView) -> str:
    parts = (event.origin_name or event.origin[: tables.ID_CHARS], event.name, event.payload, _wanted(event))
    return printable("  ".join(part.replace("\n", " ") for part in parts if part not in ("", "-")))


def _wanted(event: EventView) -> str:
    """What is to be done about a question, for people."""
    if event.kind == "event":
        return "-"
    if not event.answer_within_s:
        return "too late"
    return f"{event.query_id} within {tables.duration(event.answer_within_s)}"


def _answers_text(found: QueryAnswers) -> str | RenderableType:
    counted = f"{found.answered} of {found.asked} members answered"
    if found.answered > len(found.answers):
        counted += f"; the first {len(found.answers)} answers are shown"
    if found.silent:
        counted += f"; silent: {', '.join(found.silent)}"
    if not found.answers:
        return printable(counted)
    answers = sorted(found.answers, key=lambda each: each.node_name)
    rows = [(each.node_name, each.answer or "-", f"{each.after_ms}ms") for each in answers]
    shown = tables.table(("node", "answer", "after"), rows)
    return _with(shown, printable(counted))


def _with(table: Table, remark: str) -> RenderableType:
    """A table, and a line below it that is as long as it is."""
    from rich.console import Group
    from rich.text import Text

    return Group(table, Text(remark))


def _check_texts(name: str, payload: str) -> None:
    if not name:
        raise MeshError("bad_value", "NAME is empty.", "Give it a short name, such as deployed.", ExitCode.USAGE)
    check_length("NAME", name, EVENT_NAME_CHARS_MAX)
    _check_bytes("NAME and PAYLOAD together", name + payload, EVENT_BYTES_MAX)


def _check_bytes(what: str, text: str, bytes_max: int) -> None:
    size = bytes_of(text)
    if size >= NO_TEXT:
        raise MeshError(
            "bad_text",
            f"{what}: no valid UTF-8; nothing was sent.",
            "Events carry text: encode other data, as Base64 or as JSON.",
            ExitCode.USAGE,
        )
    if size > bytes_max:
        raise MeshError(
            "too_large",
            f"{what}: {size} bytes of UTF-8 where {bytes_max} are possible; nothing was sent.",
            "Put the data where the others can reach it, and send its path or address.",
            ExitCode.USAGE,
        )
