"""`meshnode event`, `events`, `query` and `answer` against a control socket: what they send, print and exit with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from meshnode.errors import ExitCode
from protocols.membership.event_views import AnswerQuery, AnswerView, AskQuery, QueryAnswers, ReadEvents, SendEvent
from tests.meshnode.cli_desk import EVIL_NAME, NODE_ID, Desk, interrupt, meshnode, serving
from tests.meshnode.cli_runner import TIMEOUT_S, command, environment
from tests.meshnode.control_desk import short_directory


@pytest.fixture
def root() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


async def test_an_event_is_sent_and_its_sender_told_whom_it_goes_to(root: Path) -> None:
    desk = Desk()
    async with serving(root, desk):
        run = await meshnode(root, "event", "deployed", "v7")
        assert (run.status, run.err) == (0, "")
        assert run.out == "told, at Lamport time 8; on its way to 2 other live members\n"
        run = await meshnode(root, "event", "lunch", "--json")
        assert run.document == {"ltime": 8, "number": 1, "members": 3}
    assert desk.commands == [SendEvent("deployed", "v7"), SendEvent("lunch")]


async def test_who_does_not_know_whether_an_event_was_sent_is_told_to_look_first(root: Path) -> None:
    async with serving(root, Desk()):
        run = await meshnode(root, "event", "lost")
    assert run.status == ExitCode.UNKNOWN
    run.assert_told("Nobody answered.", "before you send it again: `meshnode events --dir")


async def test_events_are_listed_with_what_is_asked_of_this_node(root: Path) -> None:
    desk = Desk()
    async with serving(root, desk):
        run = await meshnode(root, "events")
        assert (run.status, run.err) == (0, "")
        for words in ("deployed", "1m 1s ago", f"{NODE_ID}.1.1 within 3.5s", r"v7\x1b[31m", "more: --after 1-2"):
            assert words in run.out
        assert "\x1b" not in run.out
        run = await meshnode(root, "events", "--after", "1-2", "--limit", "9", "--wait", "20", "--json")
        (event,) = json.loads(run.out)["events"]
        assert (event["name"], event["origin_name"], event["ltime"]) == ("deployed", "desk", 8)
        assert (run.document["cursor"], run.document["more"], run.document["missed"]) == ("1-3", False, True)
        run = await meshnode(root, "events", "--after", "1-3")
        assert run.out == "no events\n"
    assert desk.commands == [ReadEvents(), ReadEvents("1-2", 9, 20_000), ReadEvents("1-3")]


@pytest.mark.parametrize("as_json", [False, True])
async def test_following_prints_each_event_once_until_it_is_interrupted(root: Path, as_json: bool) -> None:
    desk = Desk()
    async with serving(root, desk):
        run = await interrupt(root, desk, "events", "--follow", "--limit", "7", *(["--json"] if as_json else []))
    assert run.status == ExitCode.OK
    lines = run.out.splitlines()
    assert len(lines) == 3
    assert run.err == "some events were missed: more came than are kept, or the node was restarted\n"
    assert [(command.after, command.limit) for command in desk.commands if isinstance(command, ReadEvents)][:3] == [
        ("", 7),
        ("1-2", 7),
        ("1-3", 7),
    ]
    if as_json:
        assert [json.loads(line)["kind"] for line in lines] == ["event", "query", "event"]
    else:
        assert lines[0] == r"desk  deployed  v7\x1b[31m"
        assert lines[1].startswith(r"evil\x1b[31m\x07name  lunch?")


@pytest.mark.parametrize("when", ["at once", "after the last event"])
async def test_following_ends_when_nobody_reads_it_any_more(root: Path, when: str) -> None:
    desk = Desk()
    async with serving(root, desk):
        with trio.fail_after(TIMEOUT_S):
            process = await trio.lowlevel.open_process(
                command("events", "--follow", "--dir", root), stdout=-1, stderr=-1, env=environment(root)
            )
            assert process.stdout is not None
            if when != "at once":
                await desk.waiting.wait()  # all there is has been printed, and no more comes
            await process.stdout.aclose()
            assert await process.wait() == ExitCode.OK


async def test_no_name_of_a_silent_node_reaches_the_terminal_with_its_escapes(root: Path) -> None:
    desk = Desk()
    desk.answers = QueryAnswers((), 0, 1, (EVIL_NAME,))
    async with serving(root, desk):
        run = await meshnode(root, "query", "status")
        desk.answers = QueryAnswers((AnswerView(NODE_ID, "desk", "pong", 3),), 5, 5, ())
        assert "5 of 5 members answered; the first 1 answers are shown" in (await meshnode(root, "query", "ping")).out
    assert run.out == "0 of 1 members answered; silent: evil\\x1b[31m\\x07name\n"


async def test_a_query_shows_every_answer_and_who_is_silent(root: Path) -> None:
    desk = Desk()
    async with serving(root, desk):
        run = await meshnode(root, "query", "status", "--timeout", "2.5s")
        assert (run.status, run.err) == (0, "")
        for words in (r"evil\x1b[31m\x07name", '{"open": 2}', "pong", "2 of 4 members answered; silent: box, shelf"):
            assert words in run.out
        run = await meshnode(root, "query", "status", "x", "--json")
        assert run.document == {
            "answers": [
                {"node_name": EVIL_NAME, "node_id": NODE_ID, "answer": {"open": 2}, "after_ms": 40},
                {"node_name": "desk", "node_id": NODE_ID, "answer": "pong", "after_ms": 3},
            ],
            "answered": 2,
            "asked": 4,
            "silent": ["box", "shelf"],
        }
    assert desk.commands == [AskQuery("status", "", 2_500), AskQuery("status", "x", 5_000)]


async def test_an_answer_names_its_question(root: Path) -> None:
    desk = Desk()
    async with serving(root, desk):
        run = await meshnode(root, "answer", f"{NODE_ID}.1.1", "yes", "--json")
        assert run.document == {"query_id": f"{NODE_ID}.1.1"}
    assert desk.commands == [AnswerQuery(f"{NODE_ID}.1.1", "yes")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("event", ""), "NAME is empty"),
        (("event", "n" * 65), "64 are possible"),
        (("event", "n", "ü" * 256), "where 512 are possible"),
        (("query", "n", "ü" * 256), "where 512 are possible"),
        (("query", "n", "--timeout", "46s"), "0.1 to 45"),
        (("event", "n", "\udcff"), "no valid UTF-8"),
        (("answer", "q", "\udcff"), "no valid UTF-8"),
        (("events", "--wait", "51"), "0 to 50"),
        (("events", "--follow", "--wait", "5"), "--follow waits for ever"),
        (("events", "--after", "x" * 65), "--after: 65 characters"),
        (("answer", "q", "ü" * 513), "where 1024 are possible"),
    ],
)
async def test_what_cannot_be_said_is_refused_before_anything_is_sent(
    root: Path, arguments: tuple[str, ...], words: str
) -> None:
    desk = Desk()
    async with serving(root, desk):
        run = await meshnode(root, *arguments)
    assert run.status == ExitCode.USAGE
    run.assert_told(words)
    assert desk.commands == []
