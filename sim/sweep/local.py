"""A sweep over the processes of this machine.

Processes are spawned, not forked: a run in a child starts from the same clean interpreter as one in a fresh shell.
Each worker does its jobs in order and sends every report at once, so when one dies the first of its jobs without a
report is the one that it died with. That job is run again in a new worker, and given up at its third death; the jobs
behind it are handed to others without blame.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait

from sim.errors import ScenarioError
from sim.scenario import Report, Scenario
from sim.sweep.seed import Work, lost, run_seed, run_whatever_comes
from sim.sweep.window import DEATHS_MAX, Job, Pace, Window
from sim.sweep.worker import Told, serve

STILLBORN_MAX = 3
"""Workers in a row that die before they are up."""
END_PATIENCE_S = 1.0

_context = multiprocessing.get_context("spawn")


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C during a sweep. `finished` seeds were done, `wanted` (−1: unknown) were asked for."""

    def __init__(self, window: Window) -> None:
        super().__init__(f"interrupted: {window.progress} were done")
        self.finished = window.finished
        self.wanted = window.wanted


def sweep(scenario: Scenario, seeds: Iterable[int], jobs: int, work: Work = run_seed) -> Iterator[Report]:
    """The report of every seed, in the order of `seeds`, as soon as it and all before it are there.

    At most `jobs` processes work at a time; with one job everything happens in this process. A seed that cannot be run
    to its end is reported as a violation. Raises `ScenarioError` for a scenario that cannot be run, before anything has
    been, and `SweepInterrupted` (a `KeyboardInterrupt`) on Ctrl-C. One that comes while the caller deals with a report
    is the caller's, as any other; to close this iterator, or to let go of it, ends the workers then.
    """
    scenario.validate()
    window = Window(seeds)
    if window.wanted >= 0:
        jobs = min(jobs, window.wanted)
    try:
        if jobs > 1:
            yield from _Pool(scenario, window, jobs, work).reports()
            return
        while not window.over:
            for job in window.take(1):
                window.done(job.position, run_whatever_comes(work, scenario, job.seed))
            yield from window.ready()
    except KeyboardInterrupt:
        raise SweepInterrupted(window) from None


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker:
    """One process. `jobs` are those it has been sent and has not reported, in the order in which it does them."""

    def __init__(self, work: Work, scenario: Scenario) -> None:
        ours, theirs = _context.Pipe()
        self.pipe: Connection[list[Job], Told] = ours
        self.jobs: deque[Job] = deque()
        self.up = False
        self.process = _context.Process(target=serve, args=(theirs, work, scenario), daemon=True)
        with no_interrupt():
            self.process.start()
        theirs.close()

    def send(self, jobs: list[Job]) -> None:
        """Hand over more jobs. Should it be dead, that shows at the next `receive`."""
        self.jobs.extend(jobs)
        try:
            self.pipe.send(jobs)
        except OSError:
            return

    def receive(self) -> tuple[int, Report, float] | None:
        """What it tells next; None: it is up.

        Raises `EOFError` or `OSError` when it is dead, `ScenarioError` when it says that the scenario cannot be run.
        """
        told = self.pipe.recv()
        if isinstance(told, ScenarioError):
            raise told
        if told is None:
            self.up = True
            return None
        self.jobs.popleft()
        return told

    def how_it_ended(self) -> str:
        """In words."""
        self.process.join(END_PATIENCE_S)
        status = self.process.exitcode
        if status is None:
            return "it closed its pipe"
        if status >= 0:
            return f"exit status {status}"
        hint = ", as the system does where memory runs out" if -status == signal.SIGKILL else ""
        return f"killed by {signal.Signals(-status).name}{hint}"


class _Pool:
    """The workers of one sweep."""

    def __init__(self, scenario: Scenario, window: Window, jobs: int, work: Work) -> None:
        self._scenario = scenario
        self._window = window
        self._count = jobs
        self._work = work
        self._pace = Pace()
        self._workers: list[_Worker] = []
        self._stillborn = 0

    def reports(self) -> Iterator[Report]:
        """Run everything; end the workers however this ends."""
        window = self._window
        try:
            while True:
                self._hand_out()
                yield from window.ready()
                if window.over:
                    break
                self._listen()
            self._dismiss()
        finally:
            self._end()

    def _hand_out(self) -> None:
        """Give every worker as much as it should hold, and replace the dead while there is something to do."""
        for worker in self._workers:
            self._top_up(worker)
        while len(self._workers) < self._count:
            jobs = self._window.take(1)
            if not jobs:
                return
            worker = _Worker(self._work, self._scenario)
            self._workers.append(worker)
            worker.send(jobs)

    def _top_up(self, worker: _Worker) -> None:
        room = self._pace.ahead - len(worker.jobs)
        # In lists of some size: not one message per job, once they are short.
        if worker.up and room > 0 and (not worker.jobs or room >= self._pace.ahead // 2):
            jobs = self._window.take(room)
            if jobs:
                worker.send(jobs)

    def _listen(self) -> None:
        pipes = {worker.pipe: worker for worker in self._workers}
        for pipe in wait(list(pipes)):
            worker = pipes[pipe]  # type: ignore[index]  # only pipes were asked for
            try:
                while True:
                    self._heard(worker)
                    if not worker.pipe.poll():
                        break
            except (EOFError, OSError):
                self._bury(worker)

    def _heard(self, worker: _Worker) -> None:
        told = worker.receive()
        if told is None:
            self._stillborn = 0
            return
        position, report, seconds = told
        self._pace.took(seconds)
        self._window.done(position, report)

    def _bury(self, worker: _Worker) -> None:
        """See to the jobs of a worker that has died."""
        self._workers.remove(worker)
        how = worker.how_it_ended()
        worker.pipe.close()
        if not worker.up:
            self._stillborn += 1
            if self._stillborn >= STILLBORN_MAX:
                raise ScenarioError(
                    f"Worker processes end before they begin to work ({how}). A program that sweeps must keep its own "
                    'start behind `if __name__ == "__main__":`, because workers import it; or use one job.'
                )
        elif worker.jobs:
            job = worker.jobs.popleft()
            deaths = self._window.died(job)
            if deaths >= DEATHS_MAX:
                self._window.done(job.position, lost(self._scenario, job.seed, deaths, how))
            else:
                self._window.again(job)
        for job in worker.jobs:
            self._window.again(job)

    def _dismiss(self) -> None:
        """Let the workers end by themselves: their pipes close."""
        for worker in self._workers:
            worker.pipe.close()
        for worker in self._workers:
            worker.process.join(END_PATIENCE_S)

    def _end(self) -> None:
        """End what still runs, at once."""
        for worker in self._workers:
            worker.pipe.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(END_PATIENCE_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()


@contextmanager
def no_interrupt() -> Iterator[None]:
    """A child that starts in here never sees Ctrl-C, not even while it is still importing."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
