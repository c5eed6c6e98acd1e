"""Which seeds are to be run, which are under way, and in which order their reports go out. Pure bookkeeping.

At most `WINDOW` seeds are between the one whose report goes out next and the last one handed out: however long a sweep
is, and however slow one seed, this many reports wait at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from operator import length_hint
from typing import NamedTuple

from sim.scenario import Report

WINDOW = 512
DEATHS_MAX = 3
"""A seed that has killed its worker this often is given up."""


class Job(NamedTuple):
    """A seed, and its place in the sweep."""

    position: int
    seed: int


class Window:
    """The jobs of one sweep. Every job that `take` gives comes back by `done` or by `again`."""

    def __init__(self, seeds: Iterable[int], size: int = WINDOW) -> None:
        self.wanted = length_hint(seeds, -1)
        """How many seeds there are; −1 where that cannot be told."""
        self.yielded = 0
        self.finished = 0
        self._size = size
        self._source = enumerate(seeds)
        self._exhausted = False
        self._taken = 0
        self._again: list[Job] = []
        self._reports: dict[int, Report] = {}
        self._deaths: dict[int, int] = {}

    def take(self, count: int) -> list[Job]:
        """Up to `count` jobs that may be started now; those that come again first."""
        jobs: list[Job] = []
        while len(jobs) < count:
            if self._again:
                jobs.append(heappop(self._again))
                continue
            if self._exhausted or self._taken >= self.yielded + self._size:
                break
            following = next(self._source, None)
            if following is None:
                self._exhausted = True
                break
            self._taken += 1
            jobs.append(Job(*following))
        return jobs

    def done(self, position: int, report: Report) -> None:
        """A job has its report. What comes a second time, of a worker taken for dead, is dropped."""
        if position >= self.yielded and position not in self._reports:
            self._reports[position] = report
            self.finished += 1

    def again(self, job: Job) -> None:
        """A job was not done, and is to be."""
        if job.position >= self.yielded and job.position not in self._reports:
            heappush(self._again, job)

    def died(self, job: Job) -> int:
        """The worker died of, or at least with, this job. How often that has happened to it."""
        deaths = self._deaths[job.position] = self._deaths.get(job.position, 0) + 1
        return deaths

    def ready(self) -> Iterator[Report]:
        """The reports that may go out now, in the order of the seeds."""
        while self.yielded in self._reports:
            report = self._reports.pop(self.yielded)
            self._deaths.pop(self.yielded, None)
            self.yielded += 1
            yield report

    @property
    def over(self) -> bool:
        """Every report has gone out."""
        return self._exhausted and self.yielded == self._taken

    @property
    def progress(self) -> str:
        """`17 of 500 seeds`."""
        return f"{self.finished} of {self.wanted} seeds" if self.wanted >= 0 else f"{self.finished} seeds"


class Pace:
    """How many jobs a worker should hold: enough that it never waits for more, few enough that none waits for it."""

    AHEAD_S = 0.5
    AHEAD_MAX = 64

    def __init__(self) -> None:
        self._seconds = 0.0

    def took(self, seconds: float) -> None:
        """A job took so long."""
        self._seconds = seconds if not self._seconds else 0.8 * self._seconds + 0.2 * seconds

    @property
    def ahead(self) -> int:
        """Jobs for one worker; 1 until the first one is done."""
        if not self._seconds:
            return 1
        return max(1, min(self.AHEAD_MAX, int(self.AHEAD_S / self._seconds)))
