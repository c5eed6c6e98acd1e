"""`meshnode keys` against a daemon in memory: what it asks, and what people and programs are shown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from meshnode.calls import CallerCommand, CallerOutcome
from meshnode.control.server import serve_control
from meshnode.errors import ExitCode
from protocols.core import Refused
from protocols.keyring.views import AddKey, KeyHolder, KeysReport, KeyView, ListKeys, RemoveKey, UseKey
from tests.meshnode.cli_runner import TIMEOUT_S, Run, command, environment
from tests.meshnode.control_desk import short_directory

KEYS = (KeyView("aaaa1111", True, 2, 2), KeyView("bbbb2222", False, 1, 0))
MEMBERS = (
    KeyHolder("a" * 26, "desk", "ok", ("aaaa1111", "bbbb2222"), is_self=True),
    KeyHolder("b" * 26, "evil\x1b[31mname", "ok", ("aaaa1111",)),
    KeyHolder("c" * 26, "shelf", "refused", (), "its disk fails"),
    KeyHolder("d" * 26, "loft", "silent"),
    KeyHolder("e" * 26, "attic", "away"),
)


class Desk:
    """A daemon that answers with what `reply` says."""

    def __init__(self) -> None:
        self.commands: list[CallerCommand] = []
        self.reply: CallerOutcome = KeysReport("list", "", True, KEYS, MEMBERS)

    async def call(self, command: CallerCommand) -> CallerOutcome:
        self.commands.append(command)
        return self.reply


@pytest.fixture
def root() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


@asynccontextmanager
async def serving(root: Path) -> AsyncIterator[Desk]:
    desk = Desk()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, root / "control.sock", desk)
        yield desk
        nursery.cancel_scope.cancel()


async def keys(root: Path, *arguments: str) -> Run:
    with trio.fail_after(TIMEOUT_S):
        done = await trio.run_process(
            command("keys", *arguments, "--dir", root),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=environment(root),
        )
    return Run(done.returncode, done.stdout.decode(), done.stderr.decode())


async def test_each_action_asks_for_just_that(root: Path) -> None:
    async with serving(root) as desk:
        for arguments in ((), ("list",), ("add",), ("use", "bb"), ("use", "bb", "--force"), ("remove", "aa")):
            await keys(root, *arguments)
        assert desk.commands == [
            ListKeys(),
            ListKeys(),
            AddKey(),
            UseKey("bb"),
            UseKey("bb", force=True),
            RemoveKey("aa"),
        ]


async def test_list_shows_keys_and_who_holds_which(root: Path) -> None:
    async with serving(root):
        run = await keys(root)
        assert (run.status, run.err) == (ExitCode.OK, "")
        lines = [" ".join(line.split()) for line in run.out.splitlines()]
        assert "aaaa1111 primary 2 of 4 2" in lines
        assert "bbbb2222 1 of 4 -" in lines
        assert "desk (this node) aaaa1111 bbbb2222" in lines
        assert r"evil\x1b[31mname aaaa1111" in lines
        assert "shelf - refused: its disk fails" in lines
        assert "loft - gave no answer" in lines
        assert "attic - not there; catches up when it is back" in lines
        document = (await keys(root, "--json")).document
        assert set(document) == {"action", "key", "done", "keys", "members"}
        assert document["keys"] == [
            {"key": "aaaa1111", "primary": True, "holders": 2, "users": 2},
            {"key": "bbbb2222", "primary": False, "holders": 1, "users": 0},
        ]


async def test_a_change_says_what_it_has_done_and_what_is_left_to_do(root: Path) -> None:
    async with serving(root) as desk:
        desk.reply = KeysReport("add", "bbbb2222", True, KEYS, MEMBERS)
        run = await keys(root, "add")
        assert run.status == ExitCode.OK
        assert run.out.startswith("added key bbbb2222; next: meshnode keys use bbbb2222\n")
        desk.reply = KeysReport("use", "bbbb2222", True, KEYS, MEMBERS, "members_behind", "Not all have.", "Wait.")
        run = await keys(root, "use", "bb", "--force")
        assert run.status == ExitCode.FAILED
        assert run.out.startswith("packets are sealed with key bbbb2222 now\n")
        run.assert_told("Not all have.", "Wait.")


async def test_a_change_that_was_not_made_fails_and_still_shows_who_is_behind(root: Path) -> None:
    async with serving(root) as desk:
        desk.reply = KeysReport("remove", "aaaa1111", False, KEYS, MEMBERS, "key_in_use", "It is in use.", "Ask again.")
        run = await keys(root, "remove", "aa")
        assert run.status == ExitCode.FAILED
        assert "removed" not in run.out
        assert "loft" in run.out
        run.assert_told("It is in use.", "Ask again.")
        run = await keys(root, "remove", "aa", "--json")
        assert (run.status, run.document["done"], run.error["code"]) == (ExitCode.FAILED, False, "key_in_use")
        desk.reply = Refused("unknown_key", "This node holds no key 'ff'.", "Name another.")
        run = await keys(root, "use", "ff", "--json")
        assert (run.status, run.error["code"]) == (ExitCode.FAILED, "unknown_key")


async def test_what_cannot_name_a_key_is_refused_before_anything_is_sent(root: Path) -> None:
    async with serving(root) as desk:
        for arguments, words in (
            (("use", "x" * 65), "KEY: 65 characters"),
            (("remove",), "needs the id of a key"),
            (("add", "aaaa1111"), "takes no aaaa1111"),
            (("list", "--force"), "takes no --force"),
        ):
            run = await keys(root, *arguments)
            assert run.status == ExitCode.USAGE
            run.assert_told(words)
        assert desk.commands == []
