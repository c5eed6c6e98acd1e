"""`meshnode members --watch`: lines for programs, a table that is redrawn for people, and all ways in which it ends."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from meshnode.cli.tag_work import Choice
from meshnode.cli.watch import Change, Lines, changes
from meshnode.errors import ExitCode
from protocols.membership.views import MemberList, MemberView
from tests.meshnode.cli_desk import EVIL_NAME, Desk, member, serving
from tests.meshnode.cli_runner import TIMEOUT_S, command, environment
from tests.meshnode.control_desk import short_directory

BOX = replace(member("box", "alive"), node_id="b" * 26, incarnation=2, generation=3, tags={"cuda": "12"})


@pytest.fixture
def root() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


# What counts as a change.


def told(before: MemberView | None, after: MemberView | None) -> list[tuple[str, str]]:
    old = {before.node_id: before} if before else {}
    new = {after.node_id: after} if after else {}
    return [(change.kind, change.text) for change in changes(old, new)]


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (BOX, BOX, []),
        (BOX, replace(BOX, state_age_s=99.0), []),
        (None, BOX, [("joined", "joined; alive, at 127.0.0.1:1")]),
        (BOX, replace(BOX, state="suspect"), [("state", "alive -> suspect")]),
        (replace(BOX, state="suspect"), replace(BOX, incarnation=3), [("state", "suspect -> alive")]),
        (BOX, replace(BOX, incarnation=3), [("refuted", "refuted an accusation; incarnation 3")]),
        (BOX, replace(BOX, incarnation=3, tags={"gpu": ""}), [("announced", "tags cuda=12 -> gpu")]),
        (BOX, replace(BOX, incarnation=3, zone="east"), [("announced", "zone none -> east")]),
        (BOX, replace(BOX, generation=4, incarnation=0), [("restarted", "restarted; life 4, alive")]),
        (replace(BOX, state="dead"), replace(BOX, generation=4), [("restarted", "restarted; life 4, alive")]),
        (replace(BOX, state="dead"), None, [("forgotten", "forgotten; was dead")]),
        (
            BOX,
            replace(BOX, incarnation=3, state="suspect", address="h:2", handlers=()),
            [
                ("state", "alive -> suspect"),
                ("announced", "address 127.0.0.1:1 -> h:2"),
                ("announced", "handlers ok -> none"),
            ],
        ),
    ],
)
def test_each_change_is_told_once(
    before: MemberView | None, after: MemberView | None, found: list[tuple[str, str]]
) -> None:
    assert told(before, after) == found


def test_members_are_told_apart_by_id_and_come_in_the_order_of_the_list() -> None:
    one, two = BOX, replace(BOX, node_id="c" * 26)
    old = {one.node_id: one, two.node_id: two}
    new = {two.node_id: replace(two, state="left"), one.node_id: replace(one, state="dead")}
    assert [(change.member.node_id[0], change.text) for change in changes(old, new)] == [
        ("c", "alive -> left"),
        ("b", "alive -> dead"),
    ]


def test_a_name_cannot_forge_a_line(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert Lines(Choice(), as_json=False).show(MemberList((replace(BOX, name="a\n2026 b\x1b[2J"),)))
    out = capfdbinary.readouterr().out
    assert out.count(b"\n") == 1
    assert b"\x1b" not in out


def test_with_tags_those_are_shown_who_have_or_had_them(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    lines = Lines(Choice(("gpu",)), as_json=False)
    other = replace(BOX, node_id="c" * 26, name="other", tags={".later": "1"})
    looks = [
        (BOX, other),
        (replace(BOX, tags={"gpu": ""}), replace(other, state="dead")),
        (replace(BOX, tags={}), other),
        (replace(BOX, tags={}, state="dead"), other),
    ]
    for look in looks:
        assert lines.show(MemberList(look))
    shown = [line.partition(": ")[2] for line in capfdbinary.readouterr().out.decode().splitlines()]
    assert shown == ["tags cuda=12 -> gpu", "tags gpu -> none"]


def test_a_change_knows_the_member_as_it_is_now() -> None:
    after = replace(BOX, state="dead")
    assert changes({BOX.node_id: BOX}, {BOX.node_id: after}) == [Change("state", after, "alive -> dead")]


# The command.


class Watch:
    """The running command, and what it has written so far."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.out = b""

    async def until(self, words: str) -> None:
        """Read until `words` have come."""
        assert self.process.stdout is not None
        with trio.fail_after(TIMEOUT_S):
            while words.encode() not in self.out:
                data = await self.process.stdout.receive_some()
                assert data, f"it ended, and has written {self.out!r}"
                self.out += data

    async def ended(self) -> tuple[int, str]:
        """Its exit status, and all of stderr."""
        assert self.process.stderr is not None
        with trio.fail_after(TIMEOUT_S):
            err = b"".join([chunk async for chunk in self.process.stderr])
            return await self.process.wait(), err.decode()


@asynccontextmanager
async def watching(
    root: Path, *arguments: str, stdout: int = subprocess.PIPE, terminal: str = "xterm"
) -> AsyncIterator[Watch]:
    """The command while it runs; killed at the end, should it run on."""
    process = await trio.lowlevel.open_process(
        command("members", "--watch", *arguments, "--dir", root),
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment(root, {"TERM": terminal}),
    )
    try:
        yield Watch(process)
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    await stream.aclose()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_where_stdout_is_no_terminal_there_is_a_line_for_each_change(root: Path, number: signal.Signals) -> None:
    desk = Desk()
    async with serving(root, desk), watching(root) as watch:
        await watch.until(r"evil\x1b[31m\x07name (eeeeeeee): dead, at 127.0.0.1:1")
        await watch.until("desk (aaaaaaaa)")
        desk.members = (*desk.members, BOX)
        await watch.until("box (bbbbbbbb): joined; alive")
        desk.members = (*desk.members[:-1], replace(BOX, state="suspect"))
        await watch.until("box (bbbbbbbb): alive -> suspect\n")
        watch.process.send_signal(number)
        assert await watch.ended() == (ExitCode.OK, "")
    lines = watch.out.decode().splitlines()
    assert len(lines) == len(desk.members) + 1
    assert all(line[:4].isdigit() and line[10] == "T" for line in lines)


async def test_with_json_each_change_is_a_document_on_a_line(root: Path) -> None:
    desk = Desk()
    async with serving(root, desk), watching(root, "--json") as watch:
        await watch.until('"dead"')
        desk.members = (desk.members[0],)
        await watch.until("forgotten")
        watch.process.send_signal(signal.SIGINT)
        assert await watch.ended() == (ExitCode.OK, "")
    documents = [json.loads(line) for line in watch.out.splitlines()]
    assert [(document["change"], document["member"]["name"]) for document in documents] == [
        ("present", "desk"),
        ("present", EVIL_NAME),
        ("forgotten", EVIL_NAME),
    ]
    assert documents[0]["time_unix_s"] > 1_700_000_000


async def test_a_reader_that_has_gone_ends_it_though_nothing_changes(root: Path) -> None:
    async with serving(root, Desk()), watching(root) as watch:
        await watch.until("desk")
        assert watch.process.stdout is not None
        await watch.process.stdout.aclose()
        assert await watch.ended() == (ExitCode.OK, "")


async def test_a_daemon_that_goes_away_is_an_error_with_a_next_step(root: Path) -> None:
    async with serving(root, Desk()) as scope, watching(root) as watch:
        await watch.until("desk")
        scope.cancel()
        with trio.CancelScope(shield=True):
            status, err = await watch.ended()
    assert status in (ExitCode.NOT_RUNNING, ExitCode.UNKNOWN)
    assert err.startswith("error: ")
    assert "\nnext: " in err
    assert "Traceback" not in err


async def test_without_a_daemon_it_says_so_as_any_command_does(root: Path) -> None:
    async with watching(root) as watch:
        status, err = await watch.ended()
    assert status == ExitCode.NOT_RUNNING
    assert "meshnode up" in err


class Terminal:
    """A pseudo-terminal of 100 by 30 cells, and all that was written to it."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        os.set_blocking(self.master, False)
        self.seen = b""

    async def until(self, words: str, after: int = 0) -> None:
        with trio.fail_after(TIMEOUT_S):
            while words.encode() not in self.seen[after:]:
                await trio.lowlevel.wait_readable(self.master)
                self.seen += os.read(self.master, 65536)

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)


async def test_on_a_terminal_the_table_is_drawn_anew_and_ctrl_c_leaves_it_in_order(root: Path) -> None:
    desk, terminal = Desk(), Terminal()
    try:
        async with serving(root, desk), watching(root, stdout=terminal.slave) as watch:
            await terminal.until("Ctrl-C ends")
            assert b"evil\x1b" not in terminal.seen
            drawn = len(terminal.seen)
            desk.members = (*desk.members, replace(BOX, state="suspect"))
            await terminal.until("1 suspect", drawn)
            await terminal.until("Ctrl-C ends", drawn)
            text = terminal.seen[drawn:].decode(errors="replace")
            assert text.index("box") < text.index("desk"), "who needs attention stands at the top"
            assert "\x1b[1A" in text, "the table takes the place of the one before"
            watch.process.send_signal(signal.SIGINT)
            assert await watch.ended() == (ExitCode.OK, "")
            await terminal.until("\x1b[?25h")  # the cursor is back
    finally:
        terminal.close()


async def test_on_a_terminal_that_cannot_redraw_there_are_lines(root: Path) -> None:
    terminal = Terminal()
    try:
        async with serving(root, Desk()), watching(root, stdout=terminal.slave, terminal="dumb") as watch:
            await terminal.until("desk (aaaaaaaa): alive, at 127.0.0.1:1")
            watch.process.send_signal(signal.SIGINT)
            assert await watch.ended() == (ExitCode.OK, "")
            assert b"\x1b" not in terminal.seen
    finally:
        terminal.close()
