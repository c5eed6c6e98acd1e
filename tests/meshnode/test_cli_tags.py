"""`meshnode tags`, and members by their tags, against a control socket: real processes and a small daemon in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.errors import ExitCode
from tests.meshnode.cli_desk import Desk, meshnode, serving
from tests.meshnode.control_desk import short_directory


@pytest.fixture
def root() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


async def test_members_are_found_by_their_tags(root: Path) -> None:
    async with serving(root, Desk()):
        for wanted, found in (
            (("gpu",), 1),
            (("gpu", "cuda=12"), 1),
            (("gpu", "cuda=11"), 0),
            (("gpu=",), 1),
            (("nobody-has-it",), 0),
        ):
            options = [part for tag in wanted for part in ("--tag", tag)]
            run = await meshnode(root, "members", "--json", *options)
            members = run.document["members"]
            assert isinstance(members, list)
            assert len(members) == found, wanted
            assert all(".later" not in member["tags"] for member in members)
        assert ".later=1, cuda=12" in (await meshnode(root, "members", "--all-tags")).out
        assert ".later=1" in (await meshnode(root, "members", "--tag", ".later")).out
        run = await meshnode(root, "members", "--tag", "GPU=")
        assert run.status == ExitCode.USAGE
        assert "a-z" in run.err


async def test_tags_are_shown_set_and_unset(root: Path) -> None:
    async with serving(root, Desk()):
        run = await meshnode(root, "tags", "set", "gpu", "cuda=12", "room=north wing", "--json")
        assert run.document == {
            "tags": {"cuda": "12", "gpu": "", "room": "north wing"},
            "changed": ["cuda", "gpu", "room"],
            "generation": 1,
            "incarnation": 2,
        }
        run = await meshnode(root, "tags", "unset", "cuda", "room")
        assert (run.status, "cuda" in run.err, "room" in run.err) == (0, True, False)
        run = await meshnode(root, "tags")
        assert (run.status, run.err) == (0, "")
        assert [line.split() for line in run.out.splitlines()][-2:] == [
            ["cuda", "11", "configuration"],
            ["gpu", "-", "meshnode", "tags", "set"],
        ]
        run = await meshnode(root, "tags", "set", "full")
        assert run.status == ExitCode.FAILED
        assert "25 tags" in run.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("set",), "needs a tag"),
        (("unset",), "needs a tag"),
        (("set", "GPU"), "a-z"),
        (("set", ".later=1"), "reserved"),
        (("set", "x=a\x1bb"), "control characters"),
        (("set", "x=" + "v" * 129), "129 bytes"),
        (("set", "x=1", "x=2"), "given twice"),
        (("unset", "x=1"), "Write x."),
        (("unset", "=1"), "'' is no key"),
        (("sett", "x"), "'set'"),
    ],
)
async def test_what_is_no_tag_is_told_before_the_daemon_is_asked(
    root: Path, arguments: tuple[str, ...], said: str
) -> None:
    desk = Desk()
    async with serving(root, desk):
        run = await meshnode(root, "tags", *arguments)
    assert (run.status, run.out) == (ExitCode.USAGE, "")
    assert said in run.err
    assert "next: " in run.err
    assert desk.commands == []
