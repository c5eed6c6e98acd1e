"""How two scenarios differ, in words, and which options of one are not the usual ones.

Works on fields as it finds them, so that new options of scenarios and faults are told without a word here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from sim.failure.smaller import default_of
from sim.faults import Fault
from sim.scenario import Scenario

LISTED_MAX = 12


def changes_between(before: Scenario, after: Scenario) -> tuple[str, ...]:
    """What `after` has not, or has otherwise, one clause each. Both are expanded; faults are matched by salt."""
    clauses: list[str] = []
    kept = {fault.salt: fault for fault in after.faults}
    dropped = [fault for fault in before.faults if fault.salt not in kept]
    if dropped:
        clauses.append(f"faults: {len(before.faults)} → {len(after.faults)}")
        clauses += [f"dropped: {fault.describe()}" for fault in dropped[:LISTED_MAX]]
        if len(dropped) > LISTED_MAX:
            clauses.append(f"dropped: {len(dropped) - LISTED_MAX} more")
    clauses += [
        f"changed: {fault.describe()} → {kept[fault.salt].describe()}"
        for fault in before.faults
        if fault.salt in kept and kept[fault.salt] != fault
    ]
    clauses += [
        f"{name}: {show_value(was)} → {show_value(now)}"
        for name, was, now in _differences(before, after, "")
        if name != "faults"
    ]
    return tuple(clauses)


def _differences(before: Struct, after: Struct, prefix: str) -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    for field in fields(before):
        was, now = getattr(before, field.name), getattr(after, field.name)
        if was == now:
            continue
        if isinstance(was, Struct) and type(was) is type(now):
            found += _differences(was, now, f"{prefix}{field.name}.")
        else:
            found.append((prefix + field.name, was, now))
    return found


def unusual_options(scenario: Scenario) -> list[tuple[str, str]]:
    """(name, value) of every option of an expanded scenario that is not the default, faults apart; sizes always."""
    always = {"nodes", "seconds", "start"}
    apart = {"faults", "seed", "name"}
    found: list[tuple[str, str]] = []
    for field in fields(scenario):
        value, default = getattr(scenario, field.name), default_of(field)
        if field.name in apart:
            continue
        if isinstance(value, Struct) and type(value) is type(default):
            found += [(name, show_value(now)) for name, _, now in _differences(default, value, f"{field.name}.")]
        elif field.name in always or value != default:
            found.append((field.name, show_value(value)))
    return found


def fault_line(fault: Fault, struck: Mapping[int, str] | None = None) -> str:
    """A fault in words, and those of its options that the words may leave out: all that are not the default.

    `struck` has the words with the names of those whom it has hit, by salt; where it has none, it did not strike.
    """
    shown = {"start_s", "end_s", "count", "nodes", "salt"}
    extra = [
        f"{field.name}={show_value(getattr(fault, field.name))}"
        for field in fields(fault)
        if field.name not in shown
        and default_of(field) is not NODEFAULT
        and getattr(fault, field.name) != default_of(field)
    ]
    words = fault.describe()
    if struck is not None:
        words = struck.get(fault.salt, f"{words}: there was nobody to hit, or the run ended before")
    return f"{words}  ({', '.join(extra)})" if extra else words


def show_value(value: Any) -> str:
    """A value as a person would write it."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        return value or "(none)"
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, tuple) and not value:
        return "(none)"
    return msgspec.json.encode(value).decode()
