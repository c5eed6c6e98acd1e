"""Bounded sweeps of the real protocol code under mixed faults, and sweeps over processes."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sim.disk import DiskProfile
from sim.errors import ScenarioError
from sim.faults import Crash, DiskFull, Halves, Isolate, OneWay
from sim.network import LinkProfile
from sim.scenario import Report, Scenario
from sim.sweep import sweep

ROUGH = LinkProfile(loss=0.03, duplicate=0.03, reorder=0.05)
SLOW_DISK = DiskProfile(commit_ms_min=5.0, commit_ms_max=400.0)

SCENARIOS = {
    "cuts and crashes": Scenario(
        nodes=5,
        seconds=60,
        tasks_per_s=4,
        faults=(Halves(5, 20), Crash(12, 25, 2), Isolate(30, 38, 1), Crash(36, 50, 1)),
    ),
    "rough links": Scenario(
        nodes=5, seconds=60, tasks_per_s=4, link=ROUGH, faults=(OneWay(10, 25, 2), Crash(20, 40, 2), Halves(45, 48))
    ),
    "joining": Scenario(nodes=7, seconds=60, start="join", tasks_per_s=3, faults=(Crash(1, 20, 3), Isolate(3, 30, 2))),
    "slow and full disks": Scenario(
        nodes=4, seconds=50, tasks_per_s=4, disk=SLOW_DISK, faults=(DiskFull(8, 20, 2), Crash(15, 22, 3))
    ),
    "all at once, again and again": Scenario(
        nodes=3, seconds=50, tasks_per_s=3, faults=(Crash(8, 10, 3), Crash(20, 25, 3), Crash(30, None, 2), Halves(5, 9))
    ),
}


def failures(reports: list[Report]) -> list[str]:
    return [
        f"seed {report.seed}: {violation.property}: {violation.text}"
        for report in reports
        for violation in report.violations
    ]


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_property_holds(name: str) -> None:
    reports = list(sweep(SCENARIOS[name], range(40), jobs=1))
    assert failures(reports) == []
    assert all(report.tasks["now succeeded"] > 0 for report in reports)
    assert all(report.faults["crash"] > 0 for report in reports)


def test_larger_meshes_agree_after_every_kind_of_cut() -> None:
    for faults in ((Halves(5, 40),), (Isolate(5, 60, 1),), (Isolate(5, 25, 20),), (OneWay(5, 40, 12),)):
        scenario = Scenario(nodes=40, seconds=90, faults=faults)
        reports = list(sweep(scenario, range(2), jobs=1))
        assert failures(reports) == []
        assert all(report.agreed_after_s is not None for report in reports)


def test_the_number_of_jobs_changes_nothing() -> None:
    scenario = replace(SCENARIOS["rough links"], seconds=50.0)
    alone = list(sweep(scenario, range(3, 7), jobs=1))
    together = list(sweep(scenario, range(3, 7), jobs=2))
    assert [report.seed for report in together] == [3, 4, 5, 6]
    assert [report.trace_hash for report in together] == [report.trace_hash for report in alone]


def test_a_scenario_that_cannot_be_run_is_refused_before_anything_is() -> None:
    with pytest.raises(ScenarioError, match="0 nodes"):
        list(sweep(Scenario(nodes=0), range(3), jobs=2))
