"""The membership benchmark: what it reads out of logs, how it judges, how it cuts; and one small run on real nodes."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import trio

from meshnode.logs import Log
from meshnode.viewlog import ViewLog
from protocols.membership.facts import MemberChanged
from protocols.membership.member import State, precedence_of
from scripts.benchmarks import membership
from scripts.benchmarks.agents import running
from scripts.benchmarks.figures import Row, no_more_than
from scripts.benchmarks.membership_figures import Cut, Idle, Measured, rows_of
from scripts.benchmarks.networks import Place, network
from scripts.benchmarks.peers import PeerMissing, Peers
from scripts.benchmarks.sightings import (
    Detection,
    Seen,
    Sighting,
    Sightings,
    detection,
    false_positives,
    read_meshnode,
    read_serf,
    written_unix_s,
)
from scripts.namespaces import NoNamespaces

NAMES = ["n0", "n1", "n2"]
SERF_STAMP = "    2026/11/21 20:56:13 [INFO] "


def measured(
    *, first_s: Sequence[float] = (7.0, 7.5, 8.0), spread_s: float = 0.2, pauses: Sequence[int] = (0, 0)
) -> Measured:
    kills = [Detection(2.0, first, first + spread_s) for first in first_s]
    cut = Cut(Detection(1.5, 7.0, 7.1), 2.5)
    return Measured("serf 1", Idle([0.001, 0.003], [40.0, 50.0]), kills, list(pauses), [cut])


def row(rows: Sequence[Row], metric: str) -> Row:
    return next(row for row in rows if row.metric == metric)


# What logs say.


@pytest.mark.parametrize(
    ("state", "seen"),
    [
        (State.ALIVE, Seen.ALIVE),
        (State.SUSPECT, Seen.SUSPECT),
        (State.DEAD, Seen.DEAD),
        (State.LEFT, Seen.GONE),
    ],
)
def test_lines_of_the_daemon_are_read(state: State, seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "of-the-test"):
        changed = MemberChanged("y4hxbbl3xknfpnzmmt7kli2ure", "n3", precedence_of(1, 0, state), "of-n1")
        ViewLog(Log("of-the-test"), "of-n0", "n0").member_changed(changed)
    line = f"2026-11-21T20:56:13.250Z DEBUG {caplog.messages[0]}"
    assert read_meshnode(line) == ("n3", seen)
    assert written_unix_s(line) == 1795294573.25


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("serf: EventMemberJoin: n3 127.0.0.1", ("n3", Seen.ALIVE)),
        ("serf: EventMemberFailed: n3 127.0.0.1", ("n3", Seen.DEAD)),
        ("serf: EventMemberLeave: n3 127.0.0.1", ("n3", Seen.GONE)),
        ("serf: EventMemberReap: n3", ("n3", Seen.GONE)),
        ("memberlist: Suspect n3 has failed, no acks received", ("n3", Seen.SUSPECT)),
        ("memberlist: Marking n3 as failed, suspect timeout reached (2 peer confirmations)", None),
        ("serf: EventMemberUpdate: n3", None),
        ("agent: Received event: member-failed", None),
    ],
)
def test_lines_of_serf_are_read(text: str, read: tuple[str, Seen] | None) -> None:
    assert read_serf(SERF_STAMP + text) == read
    assert read_meshnode(SERF_STAMP + text) is None
    assert written_unix_s(SERF_STAMP + text) is None, "its stamps have no more than seconds"


def everybody_joins(sightings: Sightings) -> None:
    for observer in NAMES:
        for member in NAMES:
            if observer != member:
                sightings.hear(observer, f"{SERF_STAMP}serf: EventMemberJoin: {member} 127.0.0.1")


def test_a_mesh_is_whole_once_all_see_all_and_a_suspicion_changes_no_view() -> None:
    sightings = Sightings(read_serf)
    assert not sightings.whole(NAMES)
    everybody_joins(sightings)
    assert sightings.whole(NAMES)
    sightings.hear("n0", SERF_STAMP + "memberlist: Suspect n2 has failed, no acks received")
    assert sightings.whole(NAMES)
    sightings.hear("n0", SERF_STAMP + "serf: EventMemberFailed: n2 127.0.0.1")
    assert not sightings.whole(NAMES)
    assert not sightings.all_know(NAMES, "n2")
    sightings.hear("n1", SERF_STAMP + "serf: EventMemberFailed: n2 127.0.0.1")
    assert sightings.all_know(NAMES, "n2")
    everybody_joins(sightings)
    sightings.forget("n2")
    assert not sightings.whole(NAMES), "started again, it has to meet the others anew"


async def test_who_waits_is_woken_by_the_line_itself(autojump_clock: trio.testing.MockClock) -> None:
    sightings = Sightings(read_serf)
    assert not await sightings.wait_for(lambda: sightings.whole(NAMES), 5.0)
    assert trio.current_time() == 5.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sightings.wait_for, lambda: sightings.whole(NAMES), 60.0)
        await trio.sleep(1.0)
        everybody_joins(sightings)
    assert trio.current_time() == 6.0


# Judging.


def test_detection_is_by_the_first_and_the_last_verdict_of_each_and_by_nothing_older() -> None:
    said = [
        Sighting(5.0, "n0", "n2", Seen.DEAD),  # of an earlier life
        Sighting(11.0, "n1", "n2", Seen.SUSPECT),
        Sighting(16.0, "n1", "n2", Seen.DEAD),
        Sighting(16.5, "n0", "n2", Seen.DEAD),
        Sighting(18.0, "n1", "n2", Seen.DEAD),  # said before
        Sighting(17.0, "n0", "n1", Seen.DEAD),  # somebody else
    ]
    assert detection(said, "n2", since_s=10.0) == Detection(1.0, 6.0, 6.5)


def test_false_positives_are_whom_somebody_took_for_dead_who_was_not() -> None:
    said = [
        Sighting(9.0, "n0", "n1", Seen.DEAD),
        Sighting(11.0, "n0", "n1", Seen.SUSPECT),
        Sighting(12.0, "n0", "n1", Seen.DEAD),
        Sighting(13.0, "n2", "n1", Seen.DEAD),
        Sighting(14.0, "n0", "n2", Seen.DEAD),
        Sighting(20.0, "n0", "n1", Seen.DEAD),
    ]
    assert false_positives(said, 10.0, 20.0) == said[2:5]
    assert false_positives(said, 10.0, 20.0, gone="n2") == said[2:4], "what was killed is dead, and nobody else"
    assert false_positives(said, 10.0, 20.0, gone="n2", cut_off="n2") == said[2:3], "who is cut off can not know"


def test_a_false_positive_in_a_pause_misses_the_goal() -> None:
    wrong = row(rows_of(measured(pauses=(0, 1)), measured()), "pause of 5 s: false positives")
    assert (wrong.value, wrong.peer_value, wrong.goal, wrong.met) == (1.0, 0.0, "<= 0", False)
    assert wrong.missed_by == "1 above"
    right = row(rows_of(measured(), measured(pauses=(0, 1))), "pause of 5 s: false positives")
    assert (right.value, right.peer_value, right.met) == (0.0, 1.0, True)


@pytest.mark.parametrize(("first_s", "met"), [((7.4, 7.4), True), ((7.5, 7.5), True), ((7.6, 7.6), False)])
def test_the_first_is_to_know_no_later_than_the_peers_first(first_s: tuple[float, ...], met: bool) -> None:
    rows = rows_of(measured(first_s=first_s), measured())
    assert row(rows, "kill -9: first knows, median").goal == "<= 7.5"
    assert row(rows, "kill -9: first knows, median").met is met


def test_the_last_is_judged_by_the_worst_case() -> None:
    ours = measured()
    ours.kills[1] = ours.kills[1]._replace(last_s=ours.kills[1].first_s + 1.5)
    rows = rows_of(ours, None)
    assert row(rows, "kill -9: from first to last, median").value == pytest.approx(0.2)
    assert row(rows, "kill -9: from first to last, worst").met is False


def test_without_the_peer_and_without_namespaces_the_rest_is_told_and_why() -> None:
    ours = measured()
    ours.cuts, ours.no_cuts = [], "nobody was cut off"
    rows = rows_of(ours, None, "serf was not found")
    assert not [row for row in rows if "cut" in row.metric]
    assert all((row.peer, row.peer_value, row.ratio) == (None, None, None) for row in rows)
    assert row(rows, "kill -9: first knows, median").goal is None
    assert row(rows, "idle: processor, mean").met
    assert rows[0].note.endswith("nobody was cut off; serf was not found")


def test_a_bound_of_zero_is_met_by_zero_and_missed_by_a_number() -> None:
    assert no_more_than(0).met_by(0)
    assert no_more_than(0).missed_by(3) == "3 above"
    assert no_more_than(2).missed_by(3) == "50% above"


# The surroundings.


def test_a_peer_that_is_no_package_is_found_where_the_user_says_and_nowhere_else(tmp_path: Path) -> None:
    program = tmp_path / "serf"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    assert Peers(tmp_path, install_s_max=1, programs={"serf": str(program)}).program("serf", "") == program
    elsewhere = Peers(tmp_path, install_s_max=1, programs={"serf": str(tmp_path / "there")})
    with pytest.raises(PeerMissing, match=r"there was not found, .*; apt-get it"):
        elsewhere.program("serf", "apt-get it")
    unwanted = Peers(tmp_path, install_s_max=1, allowed=False, programs={"serf": str(program)})
    with pytest.raises(PeerMissing, match="--no-peers"):
        unwanted.program("serf", "")


LISTEN = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((sys.argv[1], 7000))
print("there", flush=True)
while True:
    data, source = sock.recvfrom(100)
    sock.sendto(data, source)
"""
ASK = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(0.1)
for _ in range(int(sys.argv[2])):
    sock.sendto(b"x", (sys.argv[1], 7000))
    try:
        sock.recvfrom(100)
    except TimeoutError:
        continue
    sys.exit(0)
sys.exit(1)
"""


def answered(source: Place, to: Place, tries: int) -> bool:
    command = [*source.prefix, sys.executable, "-c", ASK, to.host, str(tries)]
    return subprocess.run(command, timeout=60, check=False).returncode == 0


def test_a_cut_loses_every_packet_and_ends_with_the_healing() -> None:
    with ExitStack() as stack:
        try:
            cable = stack.enter_context(network())
        except NoNamespaces as error:
            pytest.skip(str(error))
        command = [*cable.alone.prefix, sys.executable, "-c", LISTEN, cable.alone.host]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as listener:
            try:
                assert listener.stdout is not None
                assert listener.stdout.readline() == b"there\n"
                assert answered(cable.common, cable.alone, 100)
                trio.run(cable.cut)
                assert not answered(cable.common, cable.alone, 5)
                trio.run(cable.heal)
                assert answered(cable.common, cable.alone, 100)
            finally:
                listener.kill()


def listening(directory: Path) -> list[str]:
    return [(directory / f"n{index}" / "listen").read_text() for index in range(4)]


class Stubborn:
    """Agents of which each one that is killed brings another Ctrl-C, and one cannot be killed."""

    label = "stubborn"
    names = NAMES

    def __init__(self) -> None:
        self.sightings = Sightings(read_serf)
        self.killed: list[str] = []

    async def start(self, name: str) -> None:
        if name == NAMES[-1]:
            signal.raise_signal(signal.SIGINT)
            await trio.sleep_forever()

    def kill(self, name: str) -> None:
        signal.raise_signal(signal.SIGINT)
        self.killed.append(name)
        if name == NAMES[1]:
            raise PermissionError(name)

    def pid(self, name: str) -> int:
        return 0


def test_ctrl_c_again_and_again_leaves_no_agent_behind() -> None:
    system = Stubborn()

    async def use() -> None:
        async with running(lambda nursery: system):
            pytest.fail("it never comes up")

    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)):
        trio.run(use)
    assert sorted(system.killed) == NAMES


@pytest.mark.slow
async def test_real_nodes_are_killed_paused_and_cut_off_and_none_stays_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "SETTLE_S", 0.5)
    monkeypatch.setattr(membership, "PAUSE_S", 1.0)
    monkeypatch.setattr(membership, "WATCH_S", 0.0)
    plan = membership.Plan(calm_s=0.5, idle_s=0.5, kills=1, pauses=1, cuts=1)
    async with membership.prepared(tmp_path, 4, None) as trial:
        pids = [trial.system.pid(name) for name in trial.system.names]
        addresses = listening(tmp_path)
        [found] = await membership.measure([trial], plan, lambda _: None)
        pids += [trial.system.pid(name) for name in trial.system.names]
        assert listening(tmp_path) == addresses, "who comes back is where it was"
    assert not [pid for pid in set(pids) if psutil.pid_exists(pid)]
    [kill] = found.kills
    assert 4.0 < kill.first_s <= kill.last_s < membership.DETECT_S_MAX, "the shortest suspicion takes 4 s"
    assert 0 < kill.suspected_s < kill.first_s
    assert (found.pauses, found.false_elsewhere) == ([0], 0)
    assert len(found.idle.resident_mb) == 4
    assert min(found.idle.resident_mb) > 20
    assert found.delays_ms, "lines of the daemon say when they were written"
    assert found.no_cuts or found.cuts[0].found.last_s > 4.0
    assert all(row.value is not None for row in rows_of(found, None))
