"""A scenario as data: the object model behind every front end (DESIGN 10).

`Scenario` is a frozen struct. It says what a person wrote, or what was drawn from it: `expand` turns the first into the
second. The same scenario and code give the same run on any machine, in any process.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from protocols.config import HandlerSpec
from sim.checkers import BY_NAME
from sim.disk import DiskProfile
from sim.errors import ScenarioError, nearest
from sim.faults import AnyFault
from sim.network import LinkProfile

NODES_MAX = 20_000
SECONDS_MAX = 30 * 24 * 3600.0
TASKS_PER_S_MAX = 100_000.0
DEFAULT_HANDLERS = (HandlerSpec("count", 2), HandlerSpec("digest", 1))

Start = Literal["converged", "join"]
STARTS = ("converged", "join")
Rest = Literal["well", "broken"]


class Liveness(Struct, frozen=True, forbid_unknown_fields=True):
    """The second phase: what is asked of the mesh once the faults are over.

    With `rest = "broken"` only a core, a majority drawn from the seed, is healed; every other node stays broken, each
    in a way that is drawn. Liveness is asked of the core alone. `bound_s` (0: the checkers' own bounds, which are
    derived in their files) is how long it may take, in virtual seconds from the end of the faults.
    """

    rest: Rest = "well"
    bound_s: float = 0.0


class Scenario(Struct, frozen=True, forbid_unknown_fields=True):
    """What to simulate. `validate` says whether it can be."""

    nodes: int = 5
    seconds: float = 60.0
    seed: int = 0
    start: Start = "converged"
    link: LinkProfile = LinkProfile()
    disk: DiskProfile = DiskProfile()
    faults: tuple[AnyFault, ...] = ()
    tasks_per_s: float = 0.0
    handlers: tuple[HandlerSpec, ...] = DEFAULT_HANDLERS
    name: str = ""
    hold: tuple[str, ...] = ()
    """Names of the properties to check; empty: all of `sim.checkers.DEFAULT`."""
    liveness: Liveness = Liveness()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its nodes, by index."""
        return tuple(f"n{index}" for index in range(self.nodes))

    def validate(self) -> None:
        """Raise `ScenarioError` for the first thing that is wrong."""
        if not 1 <= self.nodes <= NODES_MAX:
            raise ScenarioError(f"{self.nodes} nodes: there must be 1 to {NODES_MAX}.")
        if not 0 < self.seconds <= SECONDS_MAX:
            raise ScenarioError(f"{self.seconds:g} seconds: a run lasts more than 0 and at most {SECONDS_MAX:g}.")
        if self.start not in STARTS:
            raise ScenarioError(f"There is no start {self.start!r}. {nearest(self.start, STARTS)}")
        self.link.check()
        self.disk.check()
        if not 0 <= self.tasks_per_s <= TASKS_PER_S_MAX:
            raise ScenarioError(f"{self.tasks_per_s:g} tasks per second: the rate must be 0 to {TASKS_PER_S_MAX:g}.")
        if self.tasks_per_s and not self.handlers:
            raise ScenarioError("Tasks need at least one handler that a node offers.")
        for name in self.hold:
            if name not in BY_NAME:
                raise ScenarioError(f"There is no property {name!r}. {nearest(name, BY_NAME)}")
        for fault in self.faults:
            fault.check(self.names, self.seconds)
