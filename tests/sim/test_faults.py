"""Fault specifications: what is read, what is refused and how, and who ends up on which side."""

from __future__ import annotations

import re

import msgspec
import pytest

from sim.errors import ScenarioError
from sim.faults import Crash, DiskFull, Fault, Halves, Isolate, OneWay
from sim.faults.fault import Stage
from sim.faults.short import parse_crash, parse_disk_full, parse_partition, spec_of
from sim.network import LinkProfile
from sim.scenario import Report, Run, Scenario, run
from tests.sim.simkit import Small


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("halves@30-60", Halves(30, 60)),
        ("isolate:2@10-40", Isolate(10, 40, 2)),
        ("isolate@10-40", Isolate(10, 40, 1)),
        ("oneway:3@0.5-1.25", OneWay(0.5, 1.25, 3)),
        ("  halves@1-2 ", Halves(1, 2)),
    ],
)
def test_partitions_are_read(spec: str, fault: Fault) -> None:
    assert parse_partition(spec) == fault
    assert parse_partition(spec_of(fault)) == fault


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("crash:3@20-35", Crash(20, 35, 3)),
        ("3@20-35", Crash(20, 35, 3)),
        ("crash@20-35", Crash(20, 35, 1)),
        ("3@20", Crash(20, None, 3)),
    ],
)
def test_crashes_are_read(spec: str, fault: Fault) -> None:
    assert parse_crash(spec) == fault
    assert parse_crash(spec_of(fault)) == fault


@pytest.mark.parametrize("spec", ["2@20-40", "diskfull:2@20-40"])
def test_full_disks_are_read(spec: str) -> None:
    assert parse_disk_full(spec) == DiskFull(20, 40, 2)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("halfs@30-60", "Did you mean 'halves'?"),
        ("isolated@30-60", "Did you mean 'isolate'?"),
        ("zzz@30-60", "Valid: halves, isolate, oneway."),
        ("halves@30", "never heals"),
        ("halves:3@30-60", "take no count"),
        ("halves", "as in halves@30-60"),
        ("halves@30-60-90", "Cannot read"),
        ("halves@-3-60", "Cannot read"),
        ("halves@１-60", "Cannot read"),
        ("", "Cannot read"),
    ],
)
def test_partitions_that_cannot_be_read_say_what_was_probably_meant(spec: str, says: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(says)):
        parse_partition(spec)


@pytest.mark.parametrize("spec", ["", "x@1-2", "crush:1@2-3", "@1-2", "1@", "crash:1@2-"])
def test_crashes_that_cannot_be_read_are_refused(spec: str) -> None:
    with pytest.raises(ScenarioError):
        parse_crash(spec)


@pytest.mark.parametrize("spec", ["", "2@20", "diskful:2@20-30"])
def test_full_disks_that_cannot_be_read_are_refused(spec: str) -> None:
    with pytest.raises(ScenarioError):
        parse_disk_full(spec)


@pytest.mark.parametrize(
    ("scenario", "says"),
    [
        (Scenario(nodes=0), "0 nodes"),
        (Scenario(nodes=10**6), "1 to 20000"),
        (Scenario(seconds=0), "more than 0"),
        (Scenario(seconds=float("nan")), "more than 0"),
        (Scenario(start="joined"), "Did you mean 'join'?"),  # type: ignore[arg-type]  # what a person may type
        (Scenario(link=LinkProfile(loss=5)), "For 5 % write 0.05"),
        (Scenario(link=LinkProfile(latency_ms_min=3.0)), "latency"),
        (Scenario(tasks_per_s=-1), "0 to 100000"),
        (Scenario(tasks_per_s=float("inf")), "0 to 100000"),
        (Scenario(tasks_per_s=1, handlers=()), "at least one handler"),
        (Scenario(faults=(Halves(30, 20),)), "Did you mean 20-30?"),
        (Scenario(seconds=40, faults=(Halves(30, 60),)), "the run lasts 40 s"),
        (Scenario(nodes=1, faults=(Halves(30, 60),)), "at least 2 nodes"),
        (Scenario(faults=(Isolate(1, 2, 9),)), "1 to 5"),
        (Scenario(faults=(Crash(1, 2, 0),)), "1 to 5"),
        (Scenario(faults=(Crash(1, 2, nodes=("n9",)),)), "no node 'n9'"),
        (Scenario(hold=("agrement",)), "Did you mean 'agreement'?"),
    ],
)
def test_scenarios_that_cannot_be_run_say_why(scenario: Scenario, says: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(says)):
        scenario.validate()


def test_a_scenario_survives_json() -> None:
    scenario = Scenario(faults=(Halves(1, 2), Crash(3, None, 2), OneWay(4, 5), DiskFull(6, 7)), tasks_per_s=2.0)
    assert msgspec.json.decode(msgspec.json.encode(scenario), type=Scenario) == scenario


def sides(fault: Fault, seed: int) -> list[int]:
    """For each of nine nodes, how many of the other eight it reaches while `fault` is in force."""
    small = Small(9, seed=seed)
    network = small.world.network
    undo = fault.begin(small.now, Stage(small.world, 1))
    assert undo is not None
    reach = [sum(network.reachable(a, b) for b in range(9) if b != a) for a in range(9)]
    undo(small.now)
    assert network.whole
    return sorted(reach)


@pytest.mark.parametrize("seed", range(5))
def test_cuts_have_the_sides_that_they_are_named_for(seed: int) -> None:
    assert sides(Halves(0, 1), seed) == [3] * 4 + [4] * 5
    assert sides(Isolate(0, 1, 3), seed) == [0] * 3 + [5] * 6
    assert sides(OneWay(0, 1, 2), seed) == [1] * 2 + [8] * 7
    assert sides(Isolate(0, 1, nodes=("n4",)), seed) == [0] + [7] * 8


def test_faults_draw_from_streams_of_their_own() -> None:
    alone = run(Scenario(nodes=5, seconds=30, faults=(Crash(5, 8, salt=7),)))
    joined = run(Scenario(nodes=5, seconds=30, faults=(Isolate(20, 22, salt=3), Crash(5, 8, salt=7))))
    assert alone.held
    assert joined.held
    assert {f.salt for f in joined.expanded.faults} == {3, 7}


def test_every_fault_kind_happens_and_is_counted() -> None:
    scenario = Scenario(
        nodes=6,
        seconds=30,
        tasks_per_s=3,
        link=LinkProfile(loss=0.02, duplicate=0.02, reorder=0.02),
        faults=(
            Halves(1, 3),
            Isolate(4, 6, 2),
            OneWay(7, 9, 2),
            Crash(10, 14, 2),
            Crash(20, None),
            DiskFull(15, 18, 2),
        ),
    )
    report = run(scenario)
    for kind, times in {"halves": 1, "isolate": 1, "oneway": 1, "crash": 2, "diskfull": 1, "restart": 2}.items():
        assert report.faults[kind] == times
    for mishap in ("loss", "duplicate", "reorder"):
        assert report.faults[mishap] > 0
    assert all(fault.describe() for fault in scenario.faults)


def crash_report(fault: Crash) -> tuple[Report, Run]:
    one = Run(Scenario(nodes=4, seconds=20, faults=(fault,)))
    one.start()
    one.faults_phase()
    one.heal()
    one.settle()
    one.finish()
    return one.report(1.0, 0.0), one


def test_a_crash_without_an_end_is_for_good_and_the_rest_agree_on_it() -> None:
    report, one = crash_report(Crash(5, None, 1))
    assert len(one.world.running()) == 3
    assert report.held
    assert report.facts["MemberChanged"] == 6  # three nodes, each: suspect, dead


def test_all_nodes_may_crash_and_come_back() -> None:
    report, one = crash_report(Crash(5, 8, 4))
    assert len(one.world.running()) == 4
    assert report.held
