"""The steps of shrinking: each pass proposes smaller scenarios, and keeps those that still fail.

A pass is a function of a `Search`. It proposes candidates in a fixed order and never looks at a clock or a draw. It
knows the fields of a scenario and of its faults by what they are (a struct, a count, a tuple, a default), so that new
options of either are shrunk without a word here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields, replace

from sim.checkers.checker import Violation
from sim.errors import ScenarioError
from sim.failure.trial import Trial
from sim.faults import AnyFault
from sim.scenario import Scenario, expand

KEPT_FIELDS = frozenset({"nodes", "seconds", "seed", "faults", "name", "hold"})
"""Fields of a scenario that have a pass of their own, or that say what it is and what is asked of it."""
KEPT_FAULT_FIELDS = ("start_s", "end_s", "salt", "count")
LENGTHS_S = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 300.0, 900.0, 3600.0)
RATES_PER_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1000.0)
ROUND_TO = 6
"""Decimals of the times that are computed here: microseconds."""

encode = msgspec.json.Encoder(order="deterministic").encode


class Spent(Exception):
    """A bound on the search was reached."""


class Search:
    """The smallest failing scenario so far, and the means to try a smaller one."""

    def __init__(
        self,
        scenario: Scenario,
        violation: Violation,
        trial: Trial,
        runs_max: int,
        until_s: float,
        on_progress: Callable[[int, Scenario], None] | None,
    ) -> None:
        self.best = scenario
        self.violation = violation
        """What the best one violates."""
        self.runs = 0
        self.given_up = 0
        self._trial = trial
        self._runs_max = runs_max
        self._until_s = until_s
        self._on_progress = on_progress
        self._tried = {encode(scenario)}

    def tries(self, candidate: Scenario) -> bool:
        """Run `candidate`; where it fails the same way, it is the best from now on. Raises `Spent`."""
        try:
            candidate.validate()
        except ScenarioError:
            return False
        candidate = expand(candidate)
        key = encode(candidate)
        if key in self._tried:
            return False
        self._tried.add(key)
        if self.runs >= self._runs_max or time.monotonic() >= self._until_s:
            raise Spent
        self.runs += 1
        try:
            violation = self._trial(candidate)
        except Exception:  # whatever else a candidate does, it does not fail in the way that is being looked for
            self.given_up += 1
            violation = None
        if violation is not None:
            self.best, self.violation = candidate, violation  # in one, for Ctrl-C may end the search anywhere
        if self._on_progress is not None:
            self._on_progress(self.runs, self.best)
        return violation is not None

    def changes(self, **changes: Any) -> bool:
        """Try the best one with some fields changed."""
        return self.tries(replace(self.best, **changes))


Pass: TypeAlias = Callable[[Search], None]


def drop_faults(search: Search) -> None:
    """ddmin over the list of faults: halves, then quarters, …, then each by itself."""
    if not search.best.faults or search.changes(faults=()):
        return
    pieces = 2
    while len(search.best.faults) > 1:
        faults = search.best.faults
        size = math.ceil(len(faults) / pieces)
        starts = range(0, len(faults), size)
        if any(search.changes(faults=faults[start : start + size]) for start in starts):
            pieces = 2
        elif pieces > 2 and any(search.changes(faults=faults[:start] + faults[start + size :]) for start in starts):
            pieces = max(pieces - 1, 2)
        elif size == 1:
            return
        else:
            pieces = min(2 * pieces, len(faults))


def drop_nodes(search: Search) -> None:
    """The smallest mesh that fails: small ones are tried first, because they cost next to nothing."""
    for count in _sizes(search.best.nodes):
        if search.tries(with_nodes(search.best, count)):
            return


def _sizes(below: int) -> Iterator[int]:
    size = 1
    while size < below:
        yield size
        size += 1 if size < 10 else size // 4
    if below > 11:
        yield below - 1


def with_nodes(scenario: Scenario, count: int) -> Scenario:
    """`scenario` with `count` nodes; faults that ask for more of them than there are ask for all.

    Nodes that are gone leave the lists of zones. A fault or a link that names one makes the scenario invalid, so that
    it is not tried.
    """
    names = replace(scenario, nodes=count).names
    zones = {
        zone: tuple(name for name in nodes if name in names) if isinstance(nodes, tuple) else nodes
        for zone, nodes in scenario.zones.items()
    }
    faults = [
        replace(fault, count=count) if getattr(fault, "count", 0) > count and not getattr(fault, "nodes", ()) else fault
        for fault in scenario.faults
    ]
    liveness = replace(scenario.liveness, core=(), broken={})  # who is in the core is drawn anew
    return replace(scenario, nodes=count, faults=tuple(faults), zones=zones, liveness=liveness)


def end_after_the_violation(search: Search) -> None:
    """What comes after the violation cannot have caused it. Faults that last longer end with the run."""
    happened_s = search.violation.time_s
    step_s = 1.0 if happened_s > 2 else 0.1
    end_s = round(math.ceil(happened_s / step_s) * step_s, ROUND_TO)
    if 0 < end_s < search.best.seconds:
        search.tries(_ended_at(search.best, end_s))


def _ended_at(scenario: Scenario, end_s: float) -> Scenario:
    faults = [
        replace(fault, end_s=end_s) if fault.end_s is not None and fault.end_s > end_s else fault
        for fault in scenario.faults
        if fault.start_s < end_s
    ]
    return replace(scenario, seconds=end_s, faults=tuple(faults))


def squeeze_time(search: Search) -> None:
    """Between any two moments at which a fault begins or ends, let less time pass; all that follows comes earlier."""
    position = 0
    while position + 1 < len(moments := _moments(search.best)):
        length_s = moments[position + 1] - moments[position]
        shorter = [to_s for to_s in LENGTHS_S if to_s < length_s]
        for to_s in shorter:
            candidate = _earlier(search.best, moments[position + 1], length_s - to_s)
            if all(fault.end_s != fault.start_s for fault in candidate.faults) and search.tries(candidate):
                break
        position += 1


def _moments(scenario: Scenario) -> list[float]:
    times = [0.0, scenario.seconds]
    for fault in scenario.faults:
        times += [fault.start_s] if fault.end_s is None else [fault.start_s, fault.end_s]
    return sorted(set(times))


def _earlier(scenario: Scenario, from_s: float, by_s: float) -> Scenario:
    """Everything from `from_s` on, the end of the run included, comes `by_s` sooner."""

    def moved(at_s: float) -> float:
        return round(at_s - by_s, ROUND_TO) if at_s >= from_s else at_s

    faults = [
        replace(fault, start_s=moved(fault.start_s), end_s=None if fault.end_s is None else moved(fault.end_s))
        for fault in scenario.faults
    ]
    return replace(scenario, seconds=moved(scenario.seconds), faults=tuple(faults))


def plain_options(search: Search) -> None:
    """Workload, links, disks, start, …: each back to its default, whole or field by field; then fewer tasks."""
    for field in fields(Scenario):
        if field.name not in KEPT_FIELDS:
            _plain_field(search, field)
    for rate in RATES_PER_S:
        if rate < search.best.tasks_per_s and search.changes(tasks_per_s=rate):
            break


def _plain_field(search: Search, field: FieldInfo) -> None:
    value = getattr(search.best, field.name)
    default = default_of(field)
    if default is NODEFAULT or value == default or search.changes(**{field.name: default}):
        return
    if isinstance(value, tuple):
        for each in value:
            now = getattr(search.best, field.name)
            search.changes(**{field.name: tuple(other for other in now if other is not each)})
    elif isinstance(value, Mapping):
        for key in value:
            now = getattr(search.best, field.name)
            search.changes(**{field.name: {other: now[other] for other in now if other != key}})
    elif isinstance(value, Struct) and type(value) is type(default):
        for inner in fields(value):
            now = getattr(search.best, field.name)
            plain = getattr(default, inner.name)
            if getattr(now, inner.name) != plain:
                search.changes(**{field.name: replace(now, **{inner.name: plain})})


def plain_faults(search: Search) -> None:
    """Each fault: fewer victims, and every option of its own back to its default."""
    for position in range(len(search.best.faults)):
        _fewer_victims(search, position)
        for field in fields(search.best.faults[position]):
            default = default_of(field)
            if field.name in (*KEPT_FAULT_FIELDS, *search.best.faults[position].places) or default is NODEFAULT:
                continue
            if getattr(search.best.faults[position], field.name) != default:
                _changes_fault(search, position, **{field.name: default})


def _fewer_victims(search: Search, position: int) -> None:
    fault = search.best.faults[position]
    for field in fault.places:
        for name in getattr(fault, field):
            left = tuple(other for other in getattr(search.best.faults[position], field) if other != name)
            if left:
                _changes_fault(search, position, **{field: left})
    if not getattr(fault, "nodes", ()):
        for fewer in range(1, getattr(fault, "count", 1)):
            if _changes_fault(search, position, count=fewer):
                return


def _changes_fault(search: Search, position: int, **changes: Any) -> bool:
    faults = list[AnyFault](search.best.faults)
    faults[position] = replace(faults[position], **changes)
    return search.changes(faults=tuple(faults))


def default_of(field: FieldInfo) -> Any:
    """The default of a field, or `NODEFAULT`."""
    return field.default if field.default_factory is NODEFAULT else field.default_factory()


PASSES: tuple[Pass, ...] = (
    drop_faults,
    drop_nodes,
    end_after_the_violation,
    squeeze_time,
    plain_options,
    plain_faults,
)
"""In this order, again and again: what takes the most away, and makes later runs the cheapest, comes first."""
