"""`meshnode why`: what it shows, and what it reads out of an explanation, case by case."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from meshnode.cli.why_text import reading, signature_notes
from protocols.detector.why import Explanation, Finding, OwnFindings, Teller
from protocols.membership.views import MemberView
from tests.meshnode.cli_desk import EVIL_ID, EVIL_NAME, Desk, meshnode, serving
from tests.meshnode.control_desk import short_directory

ME, BOX = "m" * 26, "b" * 26
NAMES = {"me": ME, "box": BOX, "c": "c" * 26, "d": "d" * 26, "e": "e" * 26, "f": "f" * 26}


def explanation(state: str, unheard: str = "", **finds: str) -> Explanation:
    """`box` is in `state`; members by name with what each finds, and names of those who did not answer."""
    tellers = {name: Teller(NAMES[name], name) for name in (*finds, *unheard.split())}
    findings = tuple(Finding(tellers[name], reach, state, 0, -1.0, 0.0, ()) for name, reach in finds.items())
    member = MemberView(BOX, "box", "box.test:7400", state, 1, 0, (), "", 1, 1.0)
    own = OwnFindings(-1.0, -1.0, -1.0, 0, (), ())
    return Explanation(member, Teller(BOX, "box"), own, findings, tuple(tellers[name] for name in unheard.split()))


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (explanation("alive", me="answers", box="answers", c="answers"), "box answers everybody who was asked"),
        (explanation("alive", me="unknown", c="answers"), "box answers everybody who was asked"),
        (explanation("alive", me="answers"), "box answers everybody who was asked"),
        (explanation("suspect", me="answers", c="silent", d="answers"), "box answers this node, and not c: look at"),
        (explanation("suspect", me="silent", c="answers", d="answers"), "box answers c, d, and not this node"),
        (
            explanation("suspect", me="silent", c="answers", d="answers", e="answers", f="answers"),
            "box answers c, d, e and 1 more, and not this node",
        ),
        (explanation("dead", "box", me="silent", c="silent"), "Nobody who was asked reaches box"),
        (explanation("suspect", me="silent", box="answers", c="silent"), "see that UDP passes to box.test:7400"),
        (explanation("dead", "box c d", me="silent"), "this node itself may be cut off"),
        (explanation("dead", me="silent"), "there is nobody else to ask"),
        (explanation("left", "box", me="unknown", c="unknown"), "has left the mesh by itself"),
    ],
)
def test_the_reading_is_what_an_operator_would_conclude(case: Explanation, words: str) -> None:
    assert words in reading(case, ME)


def test_asked_about_itself_a_node_tells_how_many_reach_it() -> None:
    case = explanation("alive", box="answers", c="answers", d="silent")
    assert reading(case, BOX) == "This is the node that you asked: of 2 others 1 reach it."


def test_nothing_is_said_of_signatures_where_all_are_well() -> None:
    case = explanation("suspect", me="silent", c="answers", d="answers", e="answers", f="answers")
    [unsigned] = signature_notes(case)
    assert "me, c, d and 2 more" in unsigned
    assert signature_notes(replace(case, findings=tuple(replace(each, signed=True) for each in case.findings))) == []


def test_names_of_others_reach_no_terminal_with_their_control_characters() -> None:
    case = explanation("suspect", me="silent", c="answers")
    evil = replace(case.findings[1], by=Teller(NAMES["c"], "c\x1b[2J"))
    told = reading(replace(case, findings=(case.findings[0], evil)), ME)
    assert "\x1b" not in told


@pytest.fixture
def root() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


async def test_why_shows_accusers_evidence_and_what_it_most_likely_means(root: Path) -> None:
    async with serving(root, Desk()):
        run = await meshnode(root, "why", "evil")
        assert (run.status, run.err) == (0, "")
        assert "\x1b" not in run.out
        for words in (
            r"evil\x1b[31m\x07name",
            "suspect, for 3.2s; said by shelf",
            "shelf, desk; first 3.2s ago; it has 11.0s left to refute, less with 1 more to accuse it",
            "2 unanswered in a row, the last 1.5s ago; silent for 4.2s; last answer: 1m 1s ago",
            "shelf had no answer either; qqqqqqqq said nothing at all",
        ):
            assert words in run.out
        rows = [" ".join(line.split()) for line in run.out.splitlines()]
        assert "desk (this node) silent for 4.2s 1m 1s ago suspect shelf, desk yes" in rows
        assert "shelf silent for 9.0s - dead - no" in rows
        assert r"rack\x1b[31m not believed - - - wrong" in rows
        told = " ".join(run.out.split())
        assert "Not signed by shelf: an older version of meshnode" in told
        assert r"The signature of rack\x1b[31m is wrong" in told
        assert run.out.splitlines()[-1].startswith("Nobody who was asked reaches evil")

        document = (await meshnode(root, "why", "evil", "--json")).document
        assert isinstance(document["member"], dict)
        assert document["member"]["name"] == EVIL_NAME
        assert document["unheard"] == [{"node_id": EVIL_ID, "name": EVIL_NAME}]
        assert isinstance(document["findings"], list)
        assert [finding["signed"] for finding in document["findings"]] == [True, False]
        assert document["refused"] == [{"node_id": "r" * 26, "name": "rack\x1b[31m"}]
        assert str(document["reading"]).startswith("Nobody who was asked")

        run = await meshnode(root, "why", "nobody")
        assert run.status == 1
        run.assert_told("knows no such member", "It knows: desk.")
        run = await meshnode(root, "why", "x" * 65)
        assert run.status == 2
        run.assert_told("1 to 64 characters")
