"""What a sweep came to, in memory that does not grow with the number of seeds."""

from __future__ import annotations

from sim.checkers import Violation
from sim.scenario import Report
from sim.sweep import Coverage

VIOLATIONS_KEPT = 20


class Tally:
    """Adds up the reports of a sweep, in the order of its seeds. One seed alone need not get anywhere (`whole`)."""

    def __init__(self, *, whole: bool = True) -> None:
        self.coverage = Coverage()
        self._whole = whole
        self.violations: list[tuple[int, Violation]] = []
        """The first of them, with their seeds."""
        self.violations_total = 0
        self.agreed_after_s: float | None = None
        """The longest of all."""
        self.elapsed_s = 0.0
        self.broken_off = False
        """The sweep ended before its last seed."""

    @property
    def seeds(self) -> int:
        """Seeds so far."""
        return self.coverage.seeds

    def add(self, report: Report) -> None:
        """The next report."""
        self.coverage.add(report)
        self.violations_total += len(report.violations)
        room = VIOLATIONS_KEPT - len(self.violations)
        self.violations += [(report.seed, violation) for violation in report.violations[:room]]
        if report.agreed_after_s is not None:
            self.agreed_after_s = max(self.agreed_after_s or 0.0, report.agreed_after_s)

    def gaps(self) -> list[str]:
        """What the sweep never came to although it should have, and what to do. Not asked of a part of a sweep."""
        return [gap.text for gap in self.coverage.gaps()] if self._whole and not self.broken_off else []

    @property
    def held(self) -> bool:
        """Whether every seed was run, nothing was violated, and nothing was missed."""
        return not self.broken_off and not self.coverage.violated and not self.gaps()
