"""Runs a sweep as a stream: each report is counted, shown, written, and forgotten, so memory stays as it is.

Ctrl-C ends a sweep early, as does a cluster that is lost: what there is by then is told, and written, all the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from sim.cli.failing import failure_document, look_into
from sim.cli.interrupts import Interrupts
from sim.cli.options import Changes, again
from sim.cli.outputs import not_written
from sim.cli.status import Exit
from sim.errors import ScenarioError
from sim.failure.junit import Case, NotWritten, Suite, cases_of, suite_properties, write_junit
from sim.failure.render import render, show
from sim.failure.source import commit_line
from sim.show.documents import SweepDocument
from sim.show.progress import with_progress
from sim.show.tables import show_sweep
from sim.show.tally import Tally

if TYPE_CHECKING:
    from sim.failure.report import Failure
    from sim.scenario import Report, Scenario


class Sweep:
    """One sweep from a command line. `run` does it and gives the exit status."""

    def __init__(
        self,
        scenario: Scenario,
        seeds: range,
        *,
        file: Path | None,
        changes: Changes,
        as_json: bool,
        out: Path | None,
        junit: Path | None,
        shrink_s: float,
        whole: bool,
    ) -> None:
        """`whole`: these are seeds enough for everything to happen that the scenario is there for."""
        self.scenario = scenario
        self.seeds = seeds
        self.tally = Tally(whole=whole)
        self.failure: Failure | None = None
        """The first seed that failed; those after it are told of in one line each."""
        self._file = file
        self._changes = changes
        self._out = out
        self._junit = junit
        self._shrink_s = shrink_s
        self._document = SweepDocument(scenario) if as_json else None
        self._failed: Report | None = None
        """The first seed that failed, as long as it is not looked into: the nearest that held may be still to come."""
        self._passed: Report | None = None
        """The seed that held nearest to the first that failed; before one fails, the last that held."""
        self._interrupts = Interrupts()
        self._interrupted = False
        self._errors: list[ScenarioError] = []
        """What went wrong around the runs, once there was something to tell of: it is raised when that is told."""

    def run(self, reports: Iterator[Report]) -> int:
        """Take in `reports`, in the order of the seeds, and tell of them."""
        begun = time.monotonic()
        started = datetime.now(UTC).isoformat(timespec="seconds")
        with self._interrupts:
            quiet = self._document is not None
            shown = with_progress(reports, len(self.seeds), quiet=quiet, violated=lambda report: not report.held)
            self._take_in(shown, started)
        self._tell(time.monotonic() - begun)
        if self._errors:
            raise ScenarioError("\n".join(map(str, self._errors)))
        if self._interrupted:
            return Exit.INTERRUPTED
        return Exit.HELD if self.tally.held else Exit.VIOLATED

    def _take_in(self, reports: Iterator[Report], started: str) -> None:
        stream = self._taken_in(reports)
        if self._junit is not None:
            try:
                self._write_junit(self._junit, stream, started)
            except NotWritten as error:
                self._errors.append(not_written("--junit", self._junit, str(error)))
        for _ in stream:  # all of it, or what a document that could not be written has left
            pass

    def _taken_in(self, reports: Iterator[Report]) -> Iterator[Report]:
        """The reports, each taken in; the first that failed comes when it is looked into, which may be last."""
        while (report := self._next(reports)) is not None:
            self.tally.add(report)
            if self._document is not None:
                self._document.add(report)
            if report.held:
                if self.failure is None:
                    self._passed = report
                yield report
            elif self._failed is None and self.tally.coverage.violated == 1:
                self._failed = report
            else:
                yield report
            if self._nearest_is_known(report.seed):
                yield from self._looked_into()
        yield from self._looked_into()

    def _nearest_is_known(self, seed: int) -> bool:
        """Whether none of the seeds after `seed` can be nearer to the first that failed than the one that held."""
        if self._failed is None or self._passed is None:
            return False
        return seed + 1 - self._failed.seed >= abs(self._failed.seed - self._passed.seed)

    def _looked_into(self) -> list[Report]:
        """Look into the first seed that failed, if that is still to be done; its report."""
        failed, self._failed = self._failed, None
        if failed is None:
            return []
        self.failure = self._look_into(failed)
        return [failed]

    def _next(self, reports: Iterator[Report]) -> Report | None:
        """The next report; None after the last one, after Ctrl-C, and where a cluster was lost on the way."""
        try:
            with self._interrupts.heeded():
                return next(reports, None)
        except KeyboardInterrupt:
            self._interrupted = self.tally.broken_off = True
        except ScenarioError as error:
            if not self.tally.seeds:
                raise
            self._errors.append(error)
            self.tally.broken_off = True
        return None

    def _look_into(self, report: Report) -> Failure | None:
        """What there is to say of the first seed that failed; None where Ctrl-C ended that. It ends the sweep, too."""
        try:
            with self._interrupts.heeded():
                failure = look_into(
                    self.scenario,
                    report,
                    passing=self._passed,
                    out=self._out,
                    repro=again(self._file, self._changes, report.seed),
                    shrink_s=0.0 if self.tally.broken_off else self._shrink_s,  # who breaks off waits for nothing
                    quiet=self._document is not None,
                )
        except KeyboardInterrupt:
            self._interrupts.again()
            failure = None
        self._interrupted |= self._interrupts.pending  # there may be no next seed to tell
        return failure

    def _write_junit(self, path: Path, reports: Iterator[Report], started: str) -> None:
        name = self.scenario.name or (self._file.stem if self._file else "scenario")
        cases = chain(cases_of(reports, len(self.seeds), self._text_of), self._last_cases())
        write_junit(path, [Suite(name, cases, self._properties())], timestamp=started)

    def _properties(self) -> Iterator[tuple[str, str]]:
        """The properties of the suite: what was really run, so they are asked for once all cases are there."""
        first = self.seeds.start
        yield from suite_properties(commit_line(), {"seeds": f"{first}..{first + self.tally.seeds}"})

    def _last_cases(self) -> Iterator[Case]:
        """That the sweep was cut short, or what it never came to, as one case more; asked once all others are there."""
        if self.tally.broken_off:
            done, last = self.seeds.start + self.tally.seeds, self.seeds.stop
            text = f"interrupted after {self.tally.seeds} of {len(self.seeds)} seeds: {done}..{last} were not run"
            text = "\n".join([text, *map(str, self._errors)])
            yield Case("every seed is run", 0.0, text, kind="interrupted", is_error=True)
        gaps = self.tally.gaps()
        if gaps:
            yield Case("what must happen sometimes", 0.0, "\n".join(gaps), kind="gap")

    def _text_of(self, report: Report) -> str:
        """What JUnit tells of a failing seed."""
        if self.failure is not None and self.failure.report is report:
            return render(self.failure)
        return "Again: " + again(self._file, self._changes, report.seed)

    def _tell(self, elapsed_s: float) -> None:
        self.tally.elapsed_s = elapsed_s
        if self._document is not None:
            self._document.close(self.tally, None if self.failure is None else failure_document(self.failure))
            return
        from rich.console import Console

        console = Console()
        show_sweep(console, self.scenario, self.tally, len(self.seeds))
        if self.failure is not None:
            console.print()
            show(self.failure, console)
