"""Bounded sweeps of the real protocol code under mixed faults, and sweeps over processes that die and are stopped."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from sim.disk import DiskProfile
from sim.errors import ScenarioError
from sim.faults import Crash, DiskFull, Halves, Isolate, OneWay
from sim.network import LinkProfile
from sim.scenario import Report, Scenario
from sim.sweep import run_seed, sweep
from sim.sweep.window import WINDOW, Job, Pace, Window

ROOT = Path(__file__).resolve().parent.parent.parent
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


# Workers.

SHORT = Scenario(nodes=3, seconds=8, tasks_per_s=1)

INTERRUPTED = """
import sys
from functools import partial
from sim.scenario import Scenario
from sim.sweep import SweepInterrupted, sweep
from tests.sim.test_sweep import telling

if __name__ == "__main__":
    jobs, endless = map(int, sys.argv[1:])
    try:
        for report in sweep(Scenario(nodes=3, seconds=20), range(1000), jobs, partial(telling, endless)):
            pass
    except SweepInterrupted as interrupted:
        print(interrupted, flush=True)
"""

WITHOUT_A_GUARD = """
from sim.scenario import Scenario
from sim.sweep import sweep
print(len(list(sweep(Scenario(nodes=2, seconds=1), range(4), 2))))
"""


def hashes(reports: list[Report]) -> list[str]:
    return [report.trace_hash for report in reports]


def children() -> list[int]:
    return [child.pid for child in multiprocessing.active_children() if child.pid is not None]


def deadly(scenario: Scenario, seed: int) -> Report:
    """Dies of seed 3, as it would of want of memory."""
    if seed == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return run_seed(scenario, seed)


def broken(scenario: Scenario, seed: int) -> Report:
    """A checker with a bug that shows at seed 2."""
    if seed == 2:
        raise ZeroDivisionError("no nodes")
    return run_seed(scenario, seed)


def telling(endless: int, scenario: Scenario, seed: int) -> Report:
    """Says when it begins, in one write: under PYTHONUNBUFFERED, `print` makes two, and those of two workers mix.

    From seed `endless` on, runs take days: an interrupt cannot come too late.
    """
    os.write(sys.stdout.fileno(), f"running {seed}\n".encode())
    return run_seed(scenario if seed < endless else replace(scenario, seconds=1e6), seed)


def unusable(scenario: Scenario, seed: int) -> Report:
    """Finds out late that the scenario cannot be run."""
    raise ScenarioError(f"not with seed {seed}")


def test_a_killed_worker_loses_no_seed() -> None:
    alone = list(sweep(SHORT, range(40), jobs=1))
    together: list[Report] = []
    killed = 0
    for report in sweep(SHORT, range(40), jobs=2):
        together.append(report)
        if len(together) in (1, 10):
            os.kill(children()[0], signal.SIGKILL)
            killed += 1
    assert killed == 2
    assert hashes(together) == hashes(alone)
    assert children() == []


def test_a_seed_that_kills_its_worker_is_named_and_the_others_finish() -> None:
    alone = list(sweep(SHORT, [*range(3), *range(4, 12)], jobs=1))
    together = list(sweep(SHORT, range(12), jobs=2, work=deadly))
    assert [report.seed for report in together] == list(range(12))
    dead = together.pop(3)
    assert [violation.property for violation in dead.violations] == ["worker_survives"]
    assert "died 3 times (killed by SIGKILL" in dead.violations[0].text
    assert dead.expanded.seed == 3
    assert hashes(together) == hashes(alone)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_breaks_off_is_a_failed_seed(jobs: int) -> None:
    reports = list(sweep(SHORT, range(5), jobs, broken))
    assert [report.held for report in reports] == [True, True, False, True, True]
    text = reports[2].violations[0].text
    assert "ZeroDivisionError: no nodes" in text
    assert "in broken" in text


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_shows_late_to_be_unusable_ends_the_sweep(jobs: int) -> None:
    with pytest.raises(ScenarioError, match="not with seed"):
        list(sweep(SHORT, range(5), jobs, unusable))
    assert children() == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_long_sweep_holds_a_window_of_seeds_only(jobs: int) -> None:
    drawn = 0

    def seeds() -> Iterator[int]:
        nonlocal drawn
        for seed in range(100_000):
            drawn += 1
            yield seed

    reports = sweep(replace(SHORT, seconds=1.0), seeds(), jobs)
    assert [next(reports).seed for _ in range(5)] == [0, 1, 2, 3, 4]
    assert 5 <= drawn <= 5 + WINDOW
    reports.close()  # type: ignore[attr-defined]  # a generator
    assert children() == []


@pytest.mark.parametrize(("jobs", "seed"), [(1, 3), (2, 0)])
def test_an_interrupt_ends_the_workers_and_says_how_far_it_got(jobs: int, seed: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(jobs), str(seed)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        assert program.stdout is not None
        # While a seed runs it is the sweep that is interrupted, and not the loop around it.
        while program.stdout.readline() != f"running {seed}\n":
            assert program.poll() is None
        os.killpg(program.pid, signal.SIGINT)  # as a terminal does: parent and workers alike
        output, errors = program.communicate(timeout=60)  # until the last worker has closed its end, too
    assert output.splitlines()[-1] == f"interrupted: {seed} of 1000 seeds were done"
    assert errors == ""


def test_a_program_that_its_workers_cannot_import_is_told_why(tmp_path: object) -> None:
    script = f"{tmp_path}/sweeps.py"
    with open(script, "w", encoding="utf-8") as file:
        file.write(WITHOUT_A_GUARD)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert 'if __name__ == "__main__"' in done.stderr.splitlines()[-1]


# The bookkeeping of a sweep.


def fake_report(seed: int) -> Report:
    return replace(run_seed(Scenario(nodes=1, seconds=1), 0), seed=seed)


def test_a_window_gives_reports_in_order_and_no_more_seeds_than_fit() -> None:
    window = Window(range(10, 20), size=3)
    jobs = window.take(100)
    assert jobs == [Job(0, 10), Job(1, 11), Job(2, 12)]
    window.done(2, fake_report(12))
    window.done(1, fake_report(11))
    assert list(window.ready()) == []
    assert window.take(1) == []
    window.done(0, fake_report(10))
    assert [report.seed for report in window.ready()] == [10, 11, 12]
    assert window.progress == "3 of 10 seeds"
    assert [job.seed for job in window.take(2)] == [13, 14]
    assert not window.over


def test_what_comes_again_goes_first_and_counts_once() -> None:
    window = Window(iter([5, 6, 7]))
    first, second = window.take(2)
    assert window.wanted == 3
    window.again(second)
    window.again(first)
    assert window.take(1) == [first]
    assert [window.died(first), window.died(first)] == [1, 2]
    window.done(0, fake_report(5))
    window.done(0, fake_report(5))
    window.again(first)
    assert window.take(5) == [second, Job(2, 7)]
    assert [report.seed for report in window.ready()] == [5]
    window.done(0, fake_report(5))
    assert list(window.ready()) == []
    assert window.finished == 1


def test_a_worker_holds_half_a_second_of_work() -> None:
    pace = Pace()
    assert pace.ahead == 1
    pace.took(0.02)
    assert pace.ahead == 25
    for _ in range(100):
        pace.took(3.0)
    assert pace.ahead == 1
    for _ in range(100):
        pace.took(0.0001)
    assert pace.ahead == Pace.AHEAD_MAX
