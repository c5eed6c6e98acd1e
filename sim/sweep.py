"""Many seeds of one scenario, over processes. Results come in the order of the seeds, whatever finishes first.

A seed is a whole run in one process; nothing is shared, so the number of jobs cannot change a result. Processes are
spawned, not forked: a run in a child starts from the same clean interpreter as one in a fresh shell.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

from msgspec.structs import replace

from sim.scenario import Report, Scenario, run


def run_seed(scenario: Scenario, seed: int) -> Report:
    """One seed of a scenario, in this process."""
    return run(replace(scenario, seed=seed))


def sweep(scenario: Scenario, seeds: Iterable[int], jobs: int) -> Iterator[Report]:
    """The report of every seed, in the order of `seeds`, as soon as it and all before it are there.

    At most `jobs` processes work at a time; with one job everything happens in this process. Raises `ScenarioError` for
    a scenario that cannot be run, before anything has been.
    """
    scenario.validate()
    wanted = list(seeds)
    jobs = min(jobs, len(wanted))
    if jobs <= 1:
        for seed in wanted:
            yield run_seed(scenario, seed)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(run_seed, [scenario] * len(wanted), wanted)


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
