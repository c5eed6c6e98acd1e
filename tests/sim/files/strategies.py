"""Scenarios drawn at random, of every kind of fault there is, whatever its options: each is one that can be run."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from msgspec import Struct
from msgspec import inspect as typing_of
from msgspec.structs import replace

from protocols.config import HandlerSpec
from sim.checkers import BY_NAME
from sim.errors import ScenarioError
from sim.faults import KINDS, AnyFault, Chance
from sim.faults.mix import PRESETS, Mix, Swarm
from sim.files.spelling import struct_info
from sim.marks import MARKS
from sim.scenario import Scenario

NODES = 7
SECONDS = 120.0
NAMES = st.sampled_from([f"n{index}" for index in range(NODES)])
TIMES = st.floats(0, SECONDS, allow_nan=False).map(lambda value: value + 0.0) | st.integers(0, int(SECONDS)).map(float)
NUMBERS = st.floats(0, 1) | st.integers(0, 50).map(float) | st.floats(-1e18, 1e18)
TEXTS = st.text(max_size=20) | st.sampled_from(['"', "\\", "# x", "a\nb", "\x00\x7f", "é🙂", "'''", '"""'])


def values(field: typing_of.Field) -> st.SearchStrategy[Any]:
    """Values of the type of a field; whether they make sense is seen later."""
    if field.name == "nodes":
        return st.lists(NAMES, max_size=NODES, unique=True).map(tuple)
    if field.name == "groups":
        return st.permutations([f"n{index}" for index in range(NODES)]).map(
            lambda order: (tuple(order[:2]), tuple(order[2:5]))
        )
    return values_of(field.type)


def values_of(wanted: typing_of.Type) -> st.SearchStrategy[Any]:
    match wanted:
        case typing_of.BoolType():
            return st.booleans()
        case typing_of.IntType():
            return st.integers(0, 5) | st.integers(-(2**63) + 1, 2**63 - 1)
        case typing_of.FloatType():
            return NUMBERS
        case typing_of.StrType():
            return TEXTS | NAMES
        case typing_of.LiteralType(values=choices):
            return st.sampled_from(choices)
        case typing_of.NoneType():
            return st.none()
        case typing_of.VarTupleType(item_type=item):
            return st.lists(values_of(item), max_size=4).map(tuple)
        case typing_of.DictType(value_type=item):
            return st.dictionaries(TEXTS, values_of(item), max_size=3)
        case typing_of.StructType(cls=cls):
            return structs(cls)
        case typing_of.UnionType(types=types):
            return st.one_of([values_of(each) for each in types])
    raise AssertionError(f"no scenario has a {wanted}")


@st.composite
def structs(draw: st.DrawFn, cls: type[Struct]) -> Any:
    """A struct with some fields changed."""
    given = {
        field.name: draw(values(field))
        for field in struct_info(cls).fields
        if field.required or draw(st.integers(0, 2)) == 0
    }
    return cls(**given)


@st.composite
def faults(draw: st.DrawFn) -> AnyFault:
    """A fault of any kind that can happen: options with which it could not are left at their defaults."""
    cls = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    start_s, end_s = sorted([draw(TIMES), draw(TIMES)])
    fault: Any = cls(start_s, end_s)
    fault = replace(fault, salt=draw(st.integers(0, 3)))
    for field in struct_info(cls).fields:
        if field.name in ("start_s", "end_s", "salt") or draw(st.booleans()):
            continue
        changed = replace(fault, **{field.name: draw(values(field))})
        if works(replace(EMPTY, faults=(changed,))):
            fault = changed
    return fault  # type: ignore[no-any-return]  # of a class that is known only by name


def works(scenario: Scenario) -> bool:
    try:
        scenario.validate()
    except ScenarioError:
        return False
    return True


CHANCES = st.builds(
    Chance,
    per_minute=st.floats(0.01, 4),
    lasts_s_min=st.floats(0.5, 2),
    lasts_s_max=st.floats(2, 20),
    count_max=st.integers(1, 3),
)
MIXES = st.sampled_from([None, *PRESETS]) | st.builds(
    Mix,
    kinds=st.dictionaries(st.sampled_from(sorted(KINDS)), CHANCES, max_size=3),
    at_once_max=st.integers(1, 9),
    down_max=st.none() | st.integers(0, 3),
    swarm=st.none() | st.builds(Swarm, kinds=st.floats(0, 1), nodes_min=st.just(7), nodes_max=st.integers(7, 9)),
)
"""Rates are small: what a large one draws takes long to write and to read."""

EMPTY = Scenario(nodes=NODES, seconds=SECONDS)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """A scenario that can be run: what would make it impossible is left at its default, field by field."""
    some_faults = [fault for fault in draw(st.lists(faults(), max_size=6)) if works(replace(EMPTY, faults=(fault,)))]
    scenario: Scenario = replace(EMPTY, faults=tuple(some_faults))
    special: dict[str, st.SearchStrategy[Any]] = {
        "mix": MIXES,
        "hold": st.lists(st.sampled_from(sorted(BY_NAME)), unique=True, max_size=3).map(tuple),
        "sometimes": st.lists(st.sampled_from(sorted(MARKS)), unique=True, max_size=3).map(tuple),
        "handlers": st.dictionaries(TEXTS, st.integers(1, 9), max_size=3).map(
            lambda table: tuple(HandlerSpec(name, count) for name, count in table.items())
        ),
    }
    for field in struct_info(Scenario).fields:
        if field.name in ("nodes", "seconds", "faults"):
            continue
        changed = replace(scenario, **{field.name: draw(special.get(field.name, values_of(field.type)))})
        if works(changed):
            scenario = changed
    return scenario
