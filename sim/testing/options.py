"""What was asked for from outside of a test: which seeds, how many jobs, and how to call the test again.

The pytest plugin sets it for each test; without the plugin (a test called as a plain function) there are the defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from msgspec import Struct

SEEDS = 50
"""Seeds of a test that does not say how many."""


def _nobody(seeds: int) -> None:
    return None


class Options(Struct, frozen=True, kw_only=True):
    """`seed` replays one; `seeds` replaces the test's own range."""

    seed: int | None = None
    seeds: range | None = None
    seeds_usually: int = SEEDS
    jobs: int = 1
    test: str = ""
    """How to name the test to pytest, quoted for a shell; empty where it does not run under pytest."""
    file: str = ""
    """The file that the test is in, relative to the folder that pytest was started in."""
    ran: Callable[[int], None] = _nobody
    """Told how many seeds of a test were run, the one that failed included."""


USUAL = Options()
options: ContextVar[Options] = ContextVar("sim_testing_options", default=USUAL)
