"""Runs the trials of a study, here or in several processes, and hands their figures back in the order of the plan.

Processes are spawned, as for sweeps. Ctrl-C is the parent's business: what is done by then is kept.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from sim.errors import ScenarioError
from sim.study.plan import run_trial
from sim.study.trial import Figures, StudyError, Trial
from sim.sweep.local import no_interrupt

AHEAD = 4
"""Trials that are handed out for each process at a time."""


def measure(trials: Sequence[Trial], jobs: int) -> Iterator[tuple[Trial, Figures]]:
    """Each trial with its figures. Raises `ScenarioError` where one broke off or a process died."""
    jobs = min(jobs, len(trials))
    try:
        if jobs > 1:
            yield from _in_processes(trials, jobs)
            return
        for trial in trials:
            yield trial, run_trial(trial)
    except StudyError as error:
        raise ScenarioError(
            f"A trial broke off, and the study with it: {error}. That is a bug of the mesh or of this."
        ) from error


def _in_processes(trials: Sequence[Trial], jobs: int) -> Iterator[tuple[Trial, Figures]]:
    before = multiprocessing.active_children()
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_ignore_interrupts)
    try:
        under_way: deque[tuple[Trial, Future[Figures]]] = deque()
        for trial in trials:
            with no_interrupt():  # the first ones start processes
                under_way.append((trial, pool.submit(run_trial, trial)))
            if len(under_way) >= AHEAD * jobs:
                first, figures = under_way.popleft()
                yield first, figures.result()
        for first, figures in under_way:
            yield first, figures.result()
    except BrokenProcessPool:
        raise ScenarioError(
            "A process of the study died, as happens where memory runs out. Take fewer --jobs, or smaller --nodes."
        ) from None
    finally:
        for process in multiprocessing.active_children():
            if process not in before:
                process.terminate()  # nobody waits for what is still under way
        pool.shutdown(wait=True, cancel_futures=True)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
