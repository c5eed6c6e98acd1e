"""`sim_test`: makes a test for pytest, or any runner of plain functions, of an `async def` over virtual time.

The result is a plain function without the parameter `sim`: fixtures, parametrization, marks and classes work as ever,
and no plugin for trio or asyncio takes it for its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeAlias, overload

import msgspec
from msgspec.structs import replace

from protocols.membership.settings import MembershipSettings
from protocols.node import Node
from sim.checkers import BY_NAME, Checker
from sim.clock import ClockProfile
from sim.disk import DiskProfile
from sim.errors import ScenarioError, nearest
from sim.faults import AnyFault
from sim.faults.mix import Mix, Preset
from sim.faults.short import parse_fault
from sim.network import LinkProfile
from sim.process import CoreFactory
from sim.scenario import Scenario
from sim.scenario.model import Start
from sim.scenario.run import checkers_of
from sim.seeds import SEEDS_MAX
from sim.testing.drive import Plan
from sim.testing.handlers import Handler, as_handler
from sim.testing.options import options
from sim.testing.sim import Sim
from sim.testing.sweep import run_test

PARAMETER = "sim"
LIMIT_S_MAX = 30 * 24 * 3600.0
SHORTEST_S = 1.0
"""How long a test lasts at least, so that an empty one is a run too."""

OWN_OPTIONS = ("seeds", "scenario", "handlers", "checkers", "settle", "limit_s", "core_factory")

AsyncTest: TypeAlias = Callable[..., Coroutine[Any, Any, Any]]
PlainTest: TypeAlias = Callable[..., None]


@overload
def sim_test(function: AsyncTest, /) -> PlainTest: ...


@overload
def sim_test(
    *,
    nodes: int = ...,
    seeds: int | range | None = ...,
    seconds: float = ...,
    start: Start = ...,
    link: LinkProfile = ...,
    membership: MembershipSettings = ...,
    disk: DiskProfile = ...,
    clock: ClockProfile = ...,
    tasks_per_s: float = ...,
    faults: Iterable[AnyFault | str] = ...,
    mix: Mix | Preset | None = ...,
    scenario: Scenario = ...,
    handlers: Mapping[str, Handler | Callable[..., Any]] = ...,
    checkers: Sequence[type[Checker] | str] | None = ...,
    settle: bool = ...,
    limit_s: float = ...,
    core_factory: CoreFactory = ...,
) -> Callable[[AsyncTest], PlainTest]: ...


def sim_test(
    function: AsyncTest | None = None,
    /,
    *,
    seeds: int | range | None = None,
    scenario: Scenario | None = None,
    handlers: Mapping[str, Handler | Callable[..., Any]] | None = None,
    checkers: Sequence[type[Checker] | str] | None = None,
    settle: bool = True,
    limit_s: float = 600.0,
    core_factory: CoreFactory = Node,
    **options_of_scenario: Any,
) -> PlainTest | Callable[[AsyncTest], PlainTest]:
    """Decorate `async def test_…(sim, …)`: it is run once for every seed, each time in a fresh mesh.

    - `nodes` (5), `start` ("converged", or "join"), `link`, `membership`, `disk`, `clock`: the mesh, as in
      `sim.scenario.Scenario`.
    - `faults` (objects, or short texts such as "halves@20-40"), `tasks_per_s`: what happens beside the test, by
      timeline, and until it is over.
    - `mix` ("full", "swarm" or a `Mix`): what strikes at random beside the test, over `seconds`.
    - `seconds` (1; with a mix 60): how long that phase lasts at least; it lasts until the test returns and all faults
      are over.
    - `scenario`: a whole `Scenario` in place of all of these.
    - `seeds`: how many, from 0, or a range. Without it the ini option `sim_seeds` says (50).
    - `handlers`: task handlers by name, functions or `Handler(function, concurrency=…, crashes=…, …)`.
    - `checkers`: what is checked beside the test's own properties, classes or names of `sim.checkers.BY_NAME`; all of
      `sim.checkers.DEFAULT` without it.
    - `settle`: whether the mesh, healed, must come to rest afterwards as the checkers demand.
    - `limit_s`: virtual seconds after which a test that is not over has failed.

    Raises `ScenarioError` for what cannot be run.
    """

    def decorate(function: AsyncTest) -> PlainTest:
        plan = plan_of(
            scenario, options_of_scenario, handlers, checkers, settle=settle, limit_s=limit_s, core_factory=core_factory
        )
        return _test(function, plan, seeds_declared(seeds))

    return decorate if function is None else decorate(function)


def plan_of(
    scenario: Scenario | None,
    given: Mapping[str, Any],
    handlers: Mapping[str, Handler | Callable[..., Any]] | None = None,
    checkers: Sequence[type[Checker] | str] | None = None,
    *,
    settle: bool = True,
    limit_s: float = 600.0,
    core_factory: CoreFactory = Node,
) -> Plan:
    """What is to be run for one test; `given` are options of a `Scenario`. Raises `ScenarioError`."""
    if scenario is not None and given:
        raise ScenarioError(f"sim_test takes scenario=, or {', '.join(given)}, not both. Put it into the scenario.")
    if scenario is None:
        scenario = _scenario(given)
    elif isinstance(scenario, Scenario):
        scenario = _of_right_types({name: getattr(scenario, name) for name in Scenario.__struct_fields__})
    else:
        raise ScenarioError(f"sim_test(scenario={scenario!r}): it must be a Scenario, as in Scenario(nodes=3).")
    scenario.validate()
    if isinstance(limit_s, bool) or not isinstance(limit_s, int | float):
        raise ScenarioError(f"sim_test(limit_s={limit_s!r}): it must be a number of virtual seconds.")
    if handlers is not None and not isinstance(handlers, Mapping):
        raise ScenarioError(f"sim_test(handlers={handlers!r}): give functions by name, as in {{'deposit': deposit}}.")
    if not scenario.seconds <= limit_s <= LIMIT_S_MAX:
        raise ScenarioError(
            f"limit_s {limit_s:g}: it must be at least as long as the scenario, {scenario.seconds:g} s, "
            f"and at most {LIMIT_S_MAX:g}."
        )
    return Plan(
        scenario=scenario,
        checkers=checkers_of(scenario) if checkers is None else _checkers(checkers),
        handlers={name: as_handler(name, handler) for name, handler in (handlers or {}).items()},
        settle=settle,
        limit_s=limit_s,
        core_factory=core_factory,
    )


def _scenario(given: Mapping[str, Any]) -> Scenario:
    known = [name for name in Scenario.__struct_fields__ if name not in ("seed", "sometimes")]
    for name in given:
        if name not in known:
            raise ScenarioError(f"sim_test has no option {name!r}. {nearest(name, [*known, *OWN_OPTIONS])}")
    faults = _each("faults", given.get("faults", ()), "faults, as in [Halves(20, 40)] or ['halves@20-40']")
    parsed = tuple(parse_fault(fault) if isinstance(fault, str) else fault for fault in faults)
    usual = Scenario().seconds if given.get("mix") is not None else SHORTEST_S
    scenario = _of_right_types({"seconds": usual, **given, "faults": parsed})
    last = max((fault.end_s or fault.start_s for fault in scenario.faults), default=0.0)
    return replace(scenario, seconds=max(scenario.seconds, last, SHORTEST_S))


def _of_right_types(given: Mapping[str, Any]) -> Scenario:
    """The scenario of these options. A struct that is called checks no types, so all go through plain data and back."""
    checked = dict(given)
    for name, value in given.items():
        try:
            checked[name] = getattr(msgspec.convert({name: msgspec.to_builtins(value)}, Scenario), name)
        except (msgspec.ValidationError, TypeError) as error:  # a TypeError: what is no data at all, as a class
            reason, _, place = str(error).partition(" - at `$.")
            if reason.startswith("Invalid enum value"):
                continue  # a word that is misspelt: `validate` points to the nearest
            inner = "" if place.rstrip("`") in ("", name) else f" (in {place.rstrip('`')}: {reason.lower()})"
            kind = Scenario.__annotations__[name]
            raise ScenarioError(f"sim_test({name}={value!r:.120}): it must be of type {kind}{inner}.") from None
    return Scenario(**checked)


def _each(option: str, given: object, wanted: str) -> tuple[Any, ...]:
    """The members of an option that is a list. A text is not taken for its characters."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ScenarioError(f"sim_test({option}={given!r}): it must be a list of {wanted}.")
    return tuple(given)


def _checkers(given: object) -> tuple[type[Checker], ...]:
    """Checkers by class or by name. Raises `ScenarioError`."""
    chosen: list[type[Checker]] = []
    for each in _each("checkers", given, "Checker classes or their names, as in ['agreement']"):
        if isinstance(each, str) and each not in BY_NAME:
            raise ScenarioError(f"sim_test(checkers=…): there is no property {each!r}. {nearest(each, BY_NAME)}")
        checker = BY_NAME[each] if isinstance(each, str) else each
        if not (isinstance(checker, type) and issubclass(checker, Checker)):
            raise ScenarioError(f"sim_test(checkers=…): {each!r} is no Checker class, and no name of one.")
        chosen.append(checker)
    return tuple(chosen)


def seeds_declared(seeds: int | range | None) -> range | None:
    """The seeds that a test asks for; None where it leaves that to the options. Raises `ScenarioError`."""
    if seeds is None:
        return None
    chosen = range(seeds) if isinstance(seeds, int) else seeds
    if not isinstance(chosen, range) or not 1 <= len(chosen) <= SEEDS_MAX:
        raise ScenarioError(f"seeds={seeds!r}: a number of seeds, 1 to {SEEDS_MAX}, or a range, as range(100, 200).")
    return chosen


def _test(function: AsyncTest, plan: Plan, seeds: range | None) -> PlainTest:
    name = getattr(function, "__qualname__", repr(function))
    if not inspect.iscoroutinefunction(function):
        raise ScenarioError(f"sim_test: {name} is no `async def`. Write `async def {name}(sim):`.")
    signature = inspect.signature(function)
    if PARAMETER not in signature.parameters:
        raise ScenarioError(f"sim_test: {name} takes no `sim`. Write `async def {name}(sim):`.")
    if not plan.scenario.name:
        plan = replace(plan, scenario=replace(plan.scenario, name=name))

    position = list(signature.parameters).index(PARAMETER)
    code = inspect.unwrap(function).__code__
    place = (code.co_filename, code.co_firstlineno, code.co_firstlineno, code.co_name)

    @wraps(function)
    def test(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True

        async def body(sim: Sim) -> None:
            __tracebackhide__ = True
            if len(args) < position:
                await function(*args, **kwargs, **{PARAMETER: sim})
            else:
                await function(*args[:position], sim, *args[position:], **kwargs)

        asked = options.get()
        run_test(plan, seeds if seeds is not None else range(asked.seeds_usually), body, asked, place)

    others = [each for each in signature.parameters.values() if each.name != PARAMETER]
    test.__signature__ = signature.replace(parameters=others, return_annotation=None)  # type: ignore[attr-defined]  # what pytest and inspect read
    return test
