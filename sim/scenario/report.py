"""What came of a run, as data."""

from __future__ import annotations

from msgspec import Struct

from sim.checkers.checker import Violation
from sim.scenario.model import Scenario


class Report(Struct, frozen=True):
    """All but the three wall-clock figures is determined by the scenario."""

    seed: int
    nodes: int
    trace_hash: str
    events: int
    virtual_seconds: float
    """The settling phase included."""
    wall_seconds: float
    setup_seconds: float
    """Wall time for building the mesh, not counted in `wall_seconds`."""
    times_real_time: float
    messages: dict[str, int]
    """Sent, by kind; lost ones included."""
    drops: dict[str, int]
    """Messages that never arrived, by reason."""
    faults: dict[str, int]
    """How often each kind of fault, and of mishap, happened; 0 for one that was enabled and never did."""
    facts: dict[str, int]
    tasks: dict[str, int]
    agreed_after_s: float | None
    """Virtual seconds from the last disturbance until all tables were seen to agree (asked once a second)."""
    violations: tuple[Violation, ...]
    expanded: Scenario
    """The scenario as it was run: every option that was drawn from the seed is in it."""
    sometimes: dict[str, bool]
    """Interesting states that the scenario named: whether this run reached them."""
    struck: dict[int, str] = {}
    """Every fault that struck, by salt, in words, with the names of those whom it hit, in the order of striking."""

    @property
    def held(self) -> bool:
        return not self.violations
