"""Which keys are to blame for a scenario that cannot be run.

`Scenario.validate` and `Fault.check` say in words what is wrong, and know nothing of files. So the key to blame is
found by trial: it is the one without which the complaint is gone. New options and faults need no word here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import NODEFAULT, Struct
from msgspec.structs import replace

from sim.errors import ScenarioError
from sim.files.convert import FieldPath, Mistake
from sim.files.locate import TomlPath
from sim.files.spelling import default_of, struct_info
from sim.scenario import Scenario

MISTAKES_MAX = 20
TRIED_MAX = 2_000
"""Keys that are tried for one complaint."""

MEASURES = ("nodes", "seconds", "zones")
"""What faults are measured against: while it is wrong itself, nothing can be said of them."""

Places = Mapping[FieldPath, TomlPath]


def impossible(scenario: Scenario, places: Places) -> list[Mistake]:
    """Everything for which `scenario` cannot be run, up to a bound, each with the key that is most likely wrong."""
    whole = _complaint(scenario)
    if whole is None:
        return []
    rest = {path: place for path, place in places.items() if path[0] != "faults"}
    found: list[Mistake] = []
    calm: Scenario = replace(scenario, faults=())
    sound = True
    while len(found) < MISTAKES_MAX and (complaint := _complaint(calm)) is not None:
        path = _to_blame(calm, complaint, rest)
        if path is None:
            return [*found, Mistake((), complaint)]
        found.append(Mistake(rest[path], complaint))
        sound = sound and path[0] not in MEASURES
        gone = path[: next((depth for depth, part in enumerate(path, 1) if isinstance(part, int)), len(path))]
        calm = _without(calm, gone)  # a whole element of an array: what is left of it could be wrong in new ways
        rest = _places_without(rest, gone)
    if sound:
        found += _impossible_faults(scenario, calm, places)
    return found or [Mistake((), whole)]


def _impossible_faults(scenario: Scenario, calm: Scenario, places: Places) -> list[Mistake]:
    """What cannot happen among the faults, each looked at by itself in an otherwise sound scenario."""
    found: list[Mistake] = []
    of_fault: dict[str | int, dict[FieldPath, TomlPath]] = {}
    for path, place in places.items():
        if path[0] == "faults" and len(path) > 1:
            of_fault.setdefault(path[1], {})[("faults", 0, *path[2:])] = place
    for index, fault in enumerate(scenario.faults):
        alone: Scenario = replace(calm, faults=(fault,))
        complaint = _complaint(alone)
        if complaint is None:
            continue
        own = {path: place for path, place in of_fault[index].items() if len(path) > 2}
        blamed = _to_blame(alone, complaint, own)
        found.append(Mistake(places[("faults", index)] if blamed is None else own[blamed], complaint))
        if len(found) == MISTAKES_MAX:
            break
    return found


def _to_blame(scenario: Scenario, complaint: str, places: Places) -> FieldPath | None:
    """The key without which `complaint` is gone. The deepest first: a wrong element, before the array it stands in.

    Among keys of one depth, one without which there is no complaint at all comes before one that leaves another, and
    what may be left out before what may not, and the later in the file before the earlier: of a beginning and an end
    that do not fit, the end is likelier wrong.
    Without a wrong element there may be a complaint about too few of them. So where every element leaves a complaint,
    another key of the same table, without which there is none, is to blame.
    """
    told = _gist(scenario, complaint)
    second: FieldPath | None = None
    for path in sorted(places, key=lambda path: (len(path), _has_default(scenario, path)))[: -TRIED_MAX - 1 : -1]:
        if second is not None and len(path) < len(second) and not _beside(path, second):
            continue
        changed = _without(scenario, path)
        if changed == scenario:
            continue
        other = _complaint(changed)
        if other is None:
            return path
        if second is None and _gist(changed, other) != told:
            second = path
    return second


def _beside(path: FieldPath, other: FieldPath) -> bool:
    """Whether `path` is a key of a table that `other` leads into by another key."""
    return len(path) > 1 and path[:-1] == other[: len(path) - 1] and path[-1] != other[len(path) - 1]


def _complaint(scenario: Scenario) -> str | None:
    try:
        scenario.validate()
    except ScenarioError as error:
        return str(error)
    return None


def _gist(scenario: Scenario, complaint: str) -> str:
    """A complaint without the description of the fault that it is about, which any of its options may change."""
    for fault in scenario.faults:
        complaint = complaint.replace(fault.describe(), "")
    return complaint


def _without(subject: Any, path: FieldPath) -> Any:
    """`subject` with the field at `path` back at its default (a number without one: 0), or without that element."""
    head, *rest = path
    if isinstance(subject, Struct):
        now = getattr(subject, str(head))
        return replace(subject, **{str(head): _without(now, tuple(rest)) if rest else _default(subject, str(head))})
    if isinstance(subject, dict):
        inner = {head: _without(subject[head], tuple(rest))} if rest else {}
        return {key: inner.get(key, value) for key, value in subject.items() if rest or key != head}
    assert isinstance(subject, tuple), f"a path goes through structs, tuples and dicts, not {subject!r}"
    assert isinstance(head, int), f"{head!r} is no place in a tuple"
    middle = (_without(subject[head], tuple(rest)),) if rest else ()
    return (*subject[:head], *middle, *subject[head + 1 :])


def _default(subject: Struct, name: str) -> Any:
    [field] = [field for field in struct_info(type(subject)).fields if field.name == name]
    default = default_of(field)
    if default is not NODEFAULT:
        return default
    value = getattr(subject, name)
    return 0 * value if isinstance(value, int | float) else value


def _has_default(subject: Any, path: FieldPath) -> bool:
    """Whether what stands at `path` may be left out."""
    *way, last = path
    for part in way:
        subject = getattr(subject, str(part)) if isinstance(subject, Struct) else subject[part]
    if not isinstance(subject, Struct):
        return True
    return any(field.name == last and not field.required for field in struct_info(type(subject)).fields)


def _places_without(places: Places, gone: FieldPath) -> dict[FieldPath, TomlPath]:
    """Where the fields are once the one at `gone` is not there; later elements of its tuple have moved up."""
    depth = len(gone) - 1
    place = gone[depth]
    kept: dict[FieldPath, TomlPath] = {}
    for path, toml_path in places.items():
        if path[: depth + 1] == gone:
            continue
        if isinstance(place, int) and path[:depth] == gone[:depth] and len(path) > depth:
            here = path[depth]
            if isinstance(here, int) and here > place:
                path = (*path[:depth], here - 1, *path[depth + 1 :])
        kept[path] = toml_path
    return kept
