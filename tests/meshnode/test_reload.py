"""What a reload applies, what it leaves for a restart, and that it changes all of it or nothing."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from meshnode.calls import Reloaded
from meshnode.config import Config, load_config, remember_listen
from meshnode.executors.pool import Executors
from meshnode.reload import Reloader, applied_by, needing_restart
from protocols.config import HandlerSpec
from protocols.core import Outcome, Refused
from protocols.membership.tagging import Reconfigured
from protocols.reconfiguring import Reconfigure

H = '[handlers.h]\nexecutor = "exec"\nargv = ["true"]\n'
G = '[handlers.g]\nexecutor = "exec"\nargv = ["true"]\n'
TIMEOUT_S = 60
SERVER = '[mcp_servers.files]\ncommand = "never-started"\n'


def configuration(root: Path, toml: str, **flags: object) -> Config:
    (root / "meshnode.toml").write_text(toml)
    return load_config(root, environ={}, **flags)


# By key.


@pytest.mark.parametrize(
    ("before", "after", "applied"),
    [
        ("", "", {}),
        (H, H + G, {"handlers.g": "added"}),
        (H + G, G, {"handlers.h": "removed"}),
        (H, H.replace("true", "false"), {"handlers.h": "changed"}),
        (H, H + "concurrency = 2", {"handlers.h": "changed"}),
        ("", SERVER, {"mcp_servers.files": "added"}),
        (SERVER, "", {"mcp_servers.files": "removed"}),
        ("", 'zone = "north"\nweight = 3\ntags = ["gpu"]', {"zone": "changed", "weight": "changed", "tags": "changed"}),
        ('workdir = "."' + "\n" + H, 'workdir = ".."' + "\n" + H, {"workdir": "changed", "handlers.h": "changed"}),
        ("", 'name = "other"\nmcp = 0\n[membership]\nprofile = "wan"', {}),
    ],
)
def test_what_applies_while_it_runs(tmp_path: Path, before: str, after: str, applied: dict[str, str]) -> None:
    assert applied_by(configuration(tmp_path, before), configuration(tmp_path, after)) == applied


@pytest.mark.parametrize(
    ("after", "keys"),
    [
        (H + SERVER, ()),
        ('zone = "north"\nweight = 3\ntags = ["gpu"]\nworkdir = ".."', ()),
        ('name = "other"', ("name",)),
        ('listen = "127.0.0.1:7400"', ("listen",)),
        ('listen = "0.0.0.0:0"', ("listen",)),
        ('advertise = "192.0.2.7:7400"\nseeds = ["192.0.2.8:7400"]', ("advertise", "seeds")),
        ("mcp = 0\nmetrics = 0\nzeroconf = true", ("mcp", "metrics", "zeroconf")),
        ("[membership]\nprobe_interval_s = 2.0", ("membership",)),
    ],
)
def test_what_needs_a_restart(tmp_path: Path, after: str, keys: tuple[str, ...]) -> None:
    assert needing_restart(configuration(tmp_path, ""), configuration(tmp_path, after)) == keys


def test_a_port_that_was_chosen_by_the_start_itself_is_no_other_setting(tmp_path: Path) -> None:
    first = configuration(tmp_path, "")
    remember_listen(tmp_path, "127.0.0.1:4711")
    later = configuration(tmp_path, "")
    assert later.listen == "127.0.0.1:4711"
    assert needing_restart(first, later) == needing_restart(later, first) == ()
    assert needing_restart(first, configuration(tmp_path, 'listen = "127.0.0.1:4711"')) == ("listen",)


def test_flags_of_the_start_win_over_the_file_again(tmp_path: Path) -> None:
    flags = {"tags": ("gpu",), "name": "flagged"}
    before = configuration(tmp_path, 'tags = ["cpu"]', **flags)
    after = configuration(tmp_path, 'tags = ["disk"]\nname = "filed"', **flags)
    assert applied_by(before, after) == {}
    assert needing_restart(before, after) == ()


# As a whole.


class Party:
    """A reloader of a directory, with executors that run and a core that is played by the test."""

    def __init__(self, root: Path) -> None:
        config = configuration(root, H)
        self.root = root
        self.executors = Executors(config)
        self.reloader = Reloader(lambda: load_config(root, environ={}), config, self.executors, self.core)
        self.asked: list[Reconfigure] = []
        self.answer: Outcome = Reconfigured(1, 2)
        self.gate: trio.Event | None = None

    async def core(self, command: Reconfigure) -> Outcome:
        self.asked.append(command)
        if self.gate is not None:
            await self.gate.wait()
        return self.answer

    def write(self, toml: str) -> None:
        (self.root / "meshnode.toml").write_text(toml)


@pytest.fixture
async def party(tmp_path: Path, nursery: trio.Nursery) -> Party:
    party = Party(tmp_path)
    await nursery.start(party.executors.run)
    nursery.start_soon(party.reloader.serve)
    return party


async def test_all_of_a_file_is_applied_and_told_by_key(party: Party) -> None:
    party.write('zone = "north"\nweight = 2\ntags = ["gpu"]\nname = "other"\n' + G)
    party.answer = Reconfigured(3, 4, ("gpu",))
    reloaded = await party.reloader.reload()
    assert reloaded == Reloaded(
        {"zone": "changed", "weight": "changed", "tags": "changed", "handlers.h": "removed", "handlers.g": "added"},
        ("name",),
        ("gpu",),
        3,
        4,
    )
    assert party.asked == [Reconfigure((HandlerSpec("g", 1),), "north", 2, (("gpu", ""),))]
    assert list(party.executors.offers) == ["g"]
    again = await party.reloader.reload()
    assert isinstance(again, Reloaded)
    assert (again.applied, again.needs_restart) == ({}, ("name",))


@pytest.mark.parametrize(
    "toml",
    [
        "zone = ",
        "zoone = 'north'\n" + G,
        'zone = "north"\n' + G.replace("argv", "arv"),
        'zone = "north"\nweight = 99\n' + G,
        'tags = ["GPU"]\n' + G,
        "".join(f'[handlers.{"x" * 50}{number}]\nexecutor = "exec"\nargv = ["true"]\n' for number in range(10)),
    ],
)
async def test_a_bad_file_changes_nothing_and_is_told_and_logged(
    party: Party, toml: str, caplog: pytest.LogCaptureFixture
) -> None:
    party.write(toml)
    with caplog.at_level(logging.ERROR):
        refused = await party.reloader.reload()
    assert isinstance(refused, Refused)
    assert refused.code == "bad_config"
    assert "meshnode.toml" in refused.message
    assert "nothing has changed" in caplog.text
    assert party.asked == []
    assert list(party.executors.offers) == ["h"]
    party.write(H + G)
    reloaded = await party.reloader.reload()
    assert isinstance(reloaded, Reloaded)
    assert reloaded.applied == {"handlers.g": "added"}


async def test_a_file_that_cannot_be_read_in_time_is_told_and_takes_no_thread_from_the_disk(
    party: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshnode.reload.READ_S_MAX", 0.1)
    file = party.root / "meshnode.toml"
    file.unlink()
    os.mkfifo(file)  # who opens it to read waits for a writer
    free = trio.to_thread.current_default_thread_limiter().available_tokens
    for _ in range(3):
        refused = await party.reloader.reload()
        assert isinstance(refused, Refused)
        assert refused.code == "slow_config"
    assert trio.to_thread.current_default_thread_limiter().available_tokens == free
    descriptor = os.open(file, os.O_WRONLY)  # the disk is back
    file.unlink()
    party.write(H + G)
    os.close(descriptor)
    while isinstance(await party.reloader.reload(), Refused):
        pass
    assert sorted(party.executors.offers) == ["g", "h"]


async def test_a_node_stops_while_its_file_is_being_read(tmp_path: Path) -> None:
    config = configuration(tmp_path, H)
    reading, disk_answers = threading.Event(), threading.Event()
    read: list[Config] = []

    def load() -> Config:
        reading.set()
        disk_answers.wait(TIMEOUT_S)
        read.append(config)
        return config

    party = Party(tmp_path)
    reloader = Reloader(load, config, party.executors, party.core)
    async with trio.open_nursery() as node:
        await node.start(party.executors.run)
        node.start_soon(reloader.serve)
        node.start_soon(reloader.reload)
        await until(reading.is_set)
        node.cancel_scope.cancel()
    assert read == []
    disk_answers.set()


async def test_what_the_core_refuses_changes_nothing(party: Party) -> None:
    party.write('zone = "north"\n' + G)
    offered = party.executors.offers["h"]
    party.answer = Refused("leaving", "This node is leaving.")
    assert await party.reloader.reload() == party.answer
    assert party.executors.offers == {"h": offered}
    party.answer = Reconfigured(1, 2)
    reloaded = await party.reloader.reload()
    assert isinstance(reloaded, Reloaded)
    assert reloaded.applied == {"zone": "changed", "handlers.h": "removed", "handlers.g": "added"}


async def test_one_at_a_time_and_whoever_waits_meanwhile_shares_the_next(party: Party, nursery: trio.Nursery) -> None:
    party.gate = trio.Event()
    answers: list[Reloaded | Refused] = []

    async def ask() -> None:
        answers.append(await party.reloader.reload())

    party.write(G)
    nursery.start_soon(ask)
    await until(lambda: len(party.asked) == 1)
    party.write(G + H)
    for _ in range(5):
        nursery.start_soon(ask)
    await trio.testing.wait_all_tasks_blocked()
    assert len(party.asked) == 1
    party.gate.set()
    await until(lambda: len(answers) == 6)
    assert [len(asked.handlers) for asked in party.asked] == [1, 2]


async def test_a_hangup_reloads_and_one_that_comes_while_the_node_stops_does_not_end_it(party: Party) -> None:
    before = signal.getsignal(signal.SIGHUP)
    try:
        async with trio.open_nursery() as watching:
            watching.start_soon(party.reloader.watch_hangups)
            await trio.testing.wait_all_tasks_blocked()
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: len(party.asked) == 1)
            watching.cancel_scope.cancel()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_a_caller_that_goes_away_takes_nothing_back(party: Party) -> None:
    party.gate = trio.Event()
    party.write(G)
    async with trio.open_nursery() as callers:
        callers.start_soon(party.reloader.reload)
        await until(lambda: len(party.asked) == 1)
        callers.cancel_scope.cancel()
    assert sorted(party.executors.offers) == ["g", "h"]
    party.gate.set()
    await until(lambda: list(party.executors.offers) == ["g"])


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(TIMEOUT_S):
        while not condition():
            await trio.lowlevel.checkpoint()
