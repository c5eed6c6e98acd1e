"""What can go wrong in a test of the simulator, by type: each says what happened and what to do next.

A test fails by an `AssertionError` (its own, or one of those here that derive from it). What is wrong with how the test
is written is a `ScenarioError` (`sim/errors.py`), an `AwaitError` or a `Stuck`.
"""

from __future__ import annotations

from sim.checkers.checker import Checker, Violation


class Cancelled(BaseException):
    """Raised at an `await` inside of a scope that was cancelled. Let it pass: the scope catches it."""


class NotReached(AssertionError):
    """What `until` or `eventually` waited for did not come within its time."""


class PropertyViolated(AssertionError):
    """A property that is checked all along did not hold; the test is told at its present `await`."""

    def __init__(self, violation: Violation) -> None:
        where = f", {violation.node}" if violation.node else ""
        super().__init__(f"{violation.property}, at {violation.time_s:.6f} s{where}: {violation.text}")
        self.violation = violation


class NeverHappened(AssertionError):
    """All seeds passed, but in none of them a `sometimes` held, or a fault that was asked for ever struck."""


class Stuck(Exception):
    """The test waits for what can never happen, or is not over at its time limit."""


class Endless(BaseException):
    """Raised where the test computes without end (`watchdog.py`). No `Exception`, so that no loop swallows it by the
    way; users see a `Stuck` in its place."""


class AwaitError(Exception):
    """Something was awaited that does not run in virtual time, or was not awaited at all."""


class StartAgain(BaseException):
    """Leaves a run that must be run again from its first event with `checker` watching, or the handler
    `host` (its name and concurrency) offered.

    A checker must see all of a run, and a node announces its handlers as it boots; the test names both when it is
    under way already. Not for users: `sim/testing/drive.py` catches it.
    """

    def __init__(self, checker: type[Checker] | None = None, host: tuple[str, int] | None = None) -> None:
        super().__init__("the run starts again")
        self.checker = checker
        self.host = host


for _public in (NotReached, PropertyViolated, NeverHappened, Stuck, AwaitError):
    _public.__module__ = "sim"  # where users import them from, and how tracebacks are to call them
