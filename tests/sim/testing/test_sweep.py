"""Many seeds of one test: their order, the first failure, what never came, processes, determinism."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sim import NeverHappened, ScenarioError, Sim
from sim.faults import Crash
from sim.testing.drive import Plan
from sim.testing.frames import frames_of
from sim.testing.jobs import in_processes
from sim.testing.options import Options
from sim.testing.sweep import run_test, seeds_of
from tests.sim.testing.kit import plan

PLACE = (__file__, 1, 1, "here")


def sweep(body: Callable[[Sim], Any], seeds: int = 6, options: Options | None = None, its: Plan | None = None) -> int:
    async def run(sim: Sim) -> None:
        await body(sim)

    return run_test(its or plan(), range(seeds), run, options or Options(), PLACE)


def test_which_seeds_are_run() -> None:
    declared = range(200)
    assert seeds_of(declared, Options()) == declared
    assert seeds_of(declared, Options(seed=17)) == range(17, 18)
    assert seeds_of(declared, Options(seeds=range(5, 9))) == range(5, 9)


@pytest.mark.parametrize("jobs", [1, 2])
def test_seeds_run_up_to_the_first_that_fails_whose_error_and_report_are_raised(jobs: int) -> None:
    async def body(sim: Sim) -> None:
        await sim.sleep(1)
        assert sim.seed not in (3, 4, 5), f"seed {sim.seed}"

    with pytest.raises(AssertionError, match="seed 3") as caught:
        sweep(body, options=Options(jobs=jobs, test="test_x.py::test_y"))
    report = caught.value.sim_report  # type: ignore[attr-defined]  # what the plugin prints
    assert "pytest test_x.py::test_y --sim-seed=3\n" in report
    assert "and the same when run again" in report
    assert sweep(body, seeds=3, options=Options(jobs=jobs)) == 3


@pytest.mark.parametrize("jobs", [1, 3])
def test_what_came_in_one_seed_has_come(jobs: int) -> None:
    async def body(sim: Sim) -> None:
        sim.sometimes("the fourth seed", lambda s: s.seed == 4)
        await sim.sleep(1)

    assert sweep(body, options=Options(jobs=jobs)) == 6
    with pytest.raises(NeverHappened, match="'the fourth seed' held in none of them"):
        sweep(body, seeds=4, options=Options(jobs=jobs))


def test_what_never_came_is_no_matter_where_not_all_seeds_were_run() -> None:
    async def body(sim: Sim) -> None:
        sim.sometimes("pigs fly", lambda s: False)

    assert sweep(body, options=Options(seed=2)) == 1
    assert sweep(body, options=Options(seeds=range(100, 103))) == 3
    with pytest.raises(NeverHappened):
        sweep(body, options=Options(seeds=range(100, 106)))


def test_a_fault_that_never_struck_fails_too() -> None:
    async def body(sim: Sim) -> None:
        for node in sim.nodes:
            node.crash()
        async with sim.fault(Crash):
            await sim.sleep(1)

    async def fine(sim: Sim) -> None:
        await sim.sleep(1)

    with pytest.raises(NeverHappened, match="the fault 'crash' never struck"):
        sweep(body, 2, its=plan(nodes=2, settle=False))
    sweep(fine, 2, its=plan(nodes=2, faults=[Crash(0.5, 1)]))


def test_an_error_without_a_line_of_the_test_is_raised_at_the_test() -> None:
    async def body(sim: Sim) -> None:
        sim.sometimes("pigs fly", lambda s: False)

    with pytest.raises(NeverHappened) as caught:
        sweep(body)
    last = list(frames_of(caught.value))[-1]
    assert (last.f_code.co_filename, last.f_code.co_name) == (__file__, "here")


def test_a_test_whose_state_outlives_a_seed_is_told_so() -> None:
    runs: list[int] = []

    async def flaky(sim: Sim) -> None:
        runs.append(sim.seed)
        await sim.sleep(len(runs))
        assert sim.seed != 1

    async def once(sim: Sim) -> None:
        runs.append(sim.seed)
        assert runs.count(1) != 1

    with pytest.raises(AssertionError) as caught:
        sweep(flaky)
    assert "THE TEST IS NOT DETERMINED BY ITS SEED" in caught.value.sim_report  # type: ignore[attr-defined]  # as above
    runs.clear()
    with pytest.raises(AssertionError) as caught:
        sweep(once)
    assert "THE TEST IS NOT DETERMINED BY ITS SEED" in caught.value.sim_report  # type: ignore[attr-defined]  # as above


# Processes.


def test_results_come_in_the_order_of_the_seeds_and_stop_at_the_first_failure() -> None:
    results = list(in_processes(lambda seed: seed * 10, lambda result: result == 70, range(20), 3))
    assert results == [seed * 10 for seed in range(8)]
    assert list(in_processes(lambda seed: seed, lambda result: False, range(5), 9)) == list(range(5))


def test_no_process_goes_on_behind_a_failure(tmp_path: Path) -> None:
    def begun() -> int:
        return len(list(tmp_path.iterdir()))

    def one(seed: int) -> int:
        (tmp_path / str(seed)).touch()
        time.sleep(0.01)
        while seed == 0:  # until the other process has done all of its seeds, or does no more
            before = begun()
            time.sleep(1.0)
            if begun() == before:
                break
        return seed

    assert list(in_processes(one, lambda seed: seed == 1, range(2000), 2)) == [0, 1]
    assert begun() < 1000


def test_what_a_child_raises_is_raised_here() -> None:
    def one(seed: int) -> int:
        if seed == 3:
            raise ScenarioError("no such node")
        return seed

    results = in_processes(one, lambda result: False, range(20), 2)
    with pytest.raises(ScenarioError, match="no such node"):
        list(results)


def test_a_child_that_dies_is_missed() -> None:
    def one(seed: int) -> int:
        if seed == 1:
            import os

            os._exit(3)
        return seed

    with pytest.raises(RuntimeError, match="died without a word"):
        list(in_processes(one, lambda result: False, range(4), 2))


# Determinism.


HASH = """
from sim import all_agree
from tests.sim.testing.kit import passes

async def work(job):
    await job.sleep(job.random.random())
    return job.attempt

async def body(sim):
    sim.handler("work", work, duplicate_starts=0.5, crashes=0.2)
    sim.sometimes("something", lambda s: s.now > 5)
    for number in range(5):
        await sim.some(1)[0].submit("work", number)
    async with sim.net.partition(sim.some(2), sim.rest), sim.net.link(loss=0.1):
        await sim.sleep(10)
    await sim.eventually(all_agree, within=100)

print(passes(body, 11, nodes=5, tasks_per_s=2).report.trace_hash)
"""


def test_a_seed_is_the_same_run_under_every_hash_seed() -> None:
    hashes = {
        subprocess.run(
            [sys.executable, "-c", HASH],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(hashes) == 1
    assert len(hashes.pop().strip()) == 32
