"""Faults strike in their time, each from a stream of its own, and are counted; what lasts ends with their phase."""

from __future__ import annotations

from sim.faults import Crash, DiskFull, Halves, Isolate, OneWay
from sim.network import LinkProfile
from sim.scenario import Report, Run, Scenario, run


def test_faults_draw_from_streams_of_their_own() -> None:
    alone = run(Scenario(nodes=5, seconds=30, faults=(Crash(5, 8, salt=7),)))
    joined = run(Scenario(nodes=5, seconds=30, faults=(Isolate(20, 22, salt=3), Crash(5, 8, salt=7))))
    assert alone.held
    assert joined.held
    assert {f.salt for f in joined.expanded.faults} == {3, 7}
    assert joined.struck[7] == alone.struck[7]
    others = [run(Scenario(nodes=5, seconds=10, faults=(Crash(5, 8, salt=salt),))).struck[salt] for salt in range(1, 9)]
    assert len(set(others)) > 2


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
    for kind, times in {"halves": 1, "isolate": 1, "oneway": 1, "crash": 2, "diskfull": 1, "restarted": 2}.items():
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
