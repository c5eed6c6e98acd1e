"""A scenario as data: the object model behind every front end (DESIGN 10).

`Scenario` is a frozen struct. It says what a person wrote, or what was drawn from it: `expand` turns the first into the
second. The same scenario and code give the same run on any machine, in any process.
"""

from __future__ import annotations

from math import isfinite
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from protocols.config import HandlerSpec
from protocols.membership.settings import MembershipSettings
from sim.checkers import BY_NAME
from sim.clock import ClockProfile
from sim.disk import DiskProfile
from sim.errors import ScenarioError, nearest
from sim.faults import AnyFault
from sim.faults.mix import PRESETS, Mix, Preset
from sim.faults.rest import WAYS, Way
from sim.marks import MARKS
from sim.network import LinkProfile
from sim.scenario.zones import LinkBetween, check_places, check_sizes, check_zones, zones_of
from sim.seeds import SEED_MAX

NODES_MAX = 20_000
SECONDS_MAX = 30 * 24 * 3600.0
TASKS_PER_S_MAX = 100_000.0
EVENTS_PER_S_MAX = 1_000.0
INQUIRIES_PER_S_MAX = 100.0
DEFAULT_HANDLERS = (HandlerSpec("count", 2), HandlerSpec("digest", 1))

Start = Literal["converged", "join"]
STARTS = ("converged", "join")
Rest = Literal["well", "broken"]
RESTS = ("well", "broken")


class Liveness(Struct, frozen=True, forbid_unknown_fields=True):
    """The second phase: what is asked of the mesh once the faults are over.

    With `rest = "broken"` only a core, a majority drawn from the seed, is healed; every other node stays broken, each
    in a way that is drawn. Liveness is asked of the core alone. `bound_s` (0: the checkers' own bounds, which are
    derived in their files) is how long it may take, in virtual seconds from the end of the faults.
    """

    rest: Rest = "well"
    bound_s: float = 0.0
    core: tuple[str, ...] = ()
    """Who is healed, where that is not to be drawn."""
    broken: dict[str, Way] = {}
    """How nodes of the rest stay broken, where that is not to be drawn."""

    def check(self, names: tuple[str, ...]) -> None:
        """Raise `ScenarioError` for the first thing that is wrong in a mesh of nodes `names`."""
        if self.rest not in RESTS:
            raise ScenarioError(f"There is no rest {self.rest!r}. {nearest(self.rest, RESTS)}")
        if not (isfinite(self.bound_s) and self.bound_s >= 0):
            raise ScenarioError(f"liveness: bound_s {self.bound_s:g} must be 0 (the checkers' own) or more.")
        if self.rest == "well":
            if self.core or self.broken:
                raise ScenarioError('liveness: core and broken say who stays broken. They need rest = "broken".')
            return
        if len(names) < 3:
            raise ScenarioError(f"liveness: of {len(names)} node(s) a majority is all. Use at least 3 nodes.")
        for name in (*self.core, *self.broken):
            if name not in names:
                raise ScenarioError(f"liveness: there is no node {name!r}. {nearest(name, names)}")
            if name in self.core and name in self.broken:
                raise ScenarioError(f"liveness: {name} is in the core and broken. It can be one of the two.")
        if len(self.broken) == len(names):
            raise ScenarioError("liveness: every node is broken, and nobody is left to be asked for progress.")
        for way in self.broken.values():
            if way not in WAYS:
                raise ScenarioError(f"liveness: nodes cannot be broken {way!r}. {nearest(way, WAYS)}")


class Scenario(Struct, frozen=True, forbid_unknown_fields=True):
    """What to simulate. `validate` says whether it can be."""

    nodes: int = 5
    seconds: float = 60.0
    seed: int = 0
    start: Start = "converged"
    link: LinkProfile = LinkProfile()
    """All links; where there are zones, those within them."""
    zones: dict[str, int | tuple[str, ...]] = {}
    """Zone → its nodes by name, or its share of those that no list names: 9 and 2 of five nodes are four and one.

    Where every zone lists its nodes, those that none lists share one zone without a name.
    """
    between_zones: LinkProfile | None = None
    """The links between nodes of different zones (None: like all others)."""
    links: tuple[LinkBetween, ...] = ()
    """Links that are otherwise, between two nodes or zones; of several that fit, the last one counts."""
    membership: MembershipSettings = MembershipSettings()
    """The protocol's own settings, as in the configuration of a node."""
    disk: DiskProfile = DiskProfile()
    clock: ClockProfile = ClockProfile()
    faults: tuple[AnyFault, ...] = ()
    """What goes wrong, and when. Where a fault names nodes, the name of a zone stands for all of its nodes."""
    mix: Mix | Preset | None = None
    """What goes wrong besides, drawn from the seed; "full": every kind; "swarm": some, and other options drawn too."""
    tasks_per_s: float = 0.0
    events_per_s: float = 0.0
    """User events, and a query for every nine of them."""
    inquiries_per_s: float = 0.0
    """Questions of operators, why a member is believed to be what it is."""
    handlers: tuple[HandlerSpec, ...] = DEFAULT_HANDLERS
    name: str = ""
    hold: tuple[str, ...] = ()
    """Names of the properties to check; empty: all of `sim.checkers.DEFAULT`."""
    sometimes: tuple[str, ...] = ()
    """Names of states (`sim.marks`) that a sweep of this scenario must get into at least once."""
    liveness: Liveness = Liveness()
    probe_payloads: bool | None = None
    """Whether probes carry vitals and network coordinates; None: in a small mesh (`mesh.PAYLOADS_NODES_MAX`)."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its nodes, by index."""
        return tuple(f"n{index}" for index in range(self.nodes))

    @property
    def zone_nodes(self) -> dict[str, tuple[str, ...]]:
        """The names of the nodes of every zone."""
        return zones_of(self.names, self.zones)

    @property
    def chosen_mix(self) -> Mix | None:
        """The mix, where it is given by a preset's name, too."""
        return Mix.preset(self.mix) if isinstance(self.mix, str) else self.mix

    def validate(self) -> None:
        """Raise `ScenarioError` for the first thing that is wrong."""
        if abs(self.seed) > SEED_MAX:
            raise ScenarioError(f"The seed {self.seed}: it must be from {-SEED_MAX} to {SEED_MAX}.")
        if not 1 <= self.nodes <= NODES_MAX:
            raise ScenarioError(f"{self.nodes} nodes: there must be 1 to {NODES_MAX}.")
        if not 0 < self.seconds <= SECONDS_MAX:
            raise ScenarioError(f"{self.seconds:g} seconds: a run lasts more than 0 and at most {SECONDS_MAX:g}.")
        if self.start not in STARTS:
            raise ScenarioError(f"There is no start {self.start!r}. {nearest(self.start, STARTS)}")
        try:
            self.membership.swim()
        except ValueError as error:
            raise ScenarioError(f"The membership: {error}") from None
        self.link.check()
        self.disk.check()
        self.clock.check()
        if not 0 <= self.tasks_per_s <= TASKS_PER_S_MAX:
            raise ScenarioError(f"{self.tasks_per_s:g} tasks per second: the rate must be 0 to {TASKS_PER_S_MAX:g}.")
        if not 0 <= self.events_per_s <= EVENTS_PER_S_MAX:
            raise ScenarioError(f"{self.events_per_s:g} events per second: the rate must be 0 to {EVENTS_PER_S_MAX:g}.")
        if not 0 <= self.inquiries_per_s <= INQUIRIES_PER_S_MAX:
            most = f"{INQUIRIES_PER_S_MAX:g}"
            raise ScenarioError(f"{self.inquiries_per_s:g} inquiries per second: the rate must be 0 to {most}.")
        if self.tasks_per_s and not self.handlers:
            raise ScenarioError("Tasks need at least one handler that a node offers.")
        for place, handler in enumerate(self.handlers):
            if handler.name in {other.name for other in self.handlers[:place]}:
                raise ScenarioError(f"Two handlers are called {handler.name!r}. Give each a name of its own.")
            if handler.concurrency < 1:
                raise ScenarioError(f"The handler {handler.name!r} takes {handler.concurrency} at once; at least 1.")
        for name in self.hold:
            if name not in BY_NAME:
                raise ScenarioError(f"There is no property {name!r}. {nearest(name, BY_NAME)}")
        for name in self.sometimes:
            if name not in MARKS:
                raise ScenarioError(f"There is no mark {name!r} to get to. {nearest(name, MARKS)}")
        check_zones(self)
        self.liveness.check(self.names)
        zone_nodes = self.zone_nodes
        for fault in self.faults:
            check_places(fault, self.names, zone_nodes)
            fault.in_zones(zone_nodes).check(self.names, self.seconds)
        self._check_mix()

    def _check_mix(self) -> None:
        """Raise `ScenarioError` for a mix that cannot be used at some size of the mesh that it may draw.

        All but who is in which zone can be judged at the smallest.
        """
        if isinstance(self.mix, str) and self.mix not in PRESETS:
            raise ScenarioError(f"There is no mix {self.mix!r}. {nearest(self.mix, PRESETS)}")
        mix = self.chosen_mix
        if mix is None:
            return
        mix.check(self.names, self.seconds)
        if mix.swarm is None or not mix.swarm.nodes_max:
            return
        if mix.swarm.nodes_max > NODES_MAX:
            raise ScenarioError(f"The swarm: {mix.swarm.nodes_max} nodes; there may be {NODES_MAX}.")
        if self.nodes != mix.swarm.nodes_min:
            try:
                replace(self, nodes=mix.swarm.nodes_min, mix=replace(mix, swarm=None)).validate()
            except ScenarioError as error:
                raise ScenarioError(f"The swarm: with {mix.swarm.nodes_min} nodes, {error}") from None
        check_sizes(self.faults, self.zones, range(mix.swarm.nodes_min, mix.swarm.nodes_max + 1))
