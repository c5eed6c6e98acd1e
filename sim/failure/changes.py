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
from sim.files.spelling import Key, spelling_of
from sim.files.spelling import default_of as default_of_key
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
    """(name, value) of every option of an expanded scenario that is not the default, faults apart; sizes always.

    What stands in a table of the TOML file is told key by key, as it is spelt there: `link.latency_ms`.
    """
    always = {"nodes", "seconds", "start"}
    apart = {"faults", "seed", "name"}
    found: list[tuple[str, str]] = []
    for field in fields(scenario):
        value, default = getattr(scenario, field.name), default_of(field)
        if field.name in apart:
            continue
        if isinstance(value, Struct) and value != default and (written := _written(value)):
            found += [(f"{field.name}.{key}", text) for key, text in written.items()]
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
    if value is None or value == ():
        return "(none)"
    return _as_toml(value)


def _written(value: Struct) -> dict[str, str]:
    """What a TOML table for `value` holds, key by key; what has its default is left out."""
    written: dict[str, str] = {}
    for name, key in spelling_of(type(value)).items():
        assert isinstance(key, Key), f"{name} of {type(value).__name__} is a table of its own"
        now = tuple(getattr(value, field.name) for field in key.fields)
        if now != tuple(default_of_key(field) for field in key.fields):
            written[name] = _as_toml(now if key.is_range else now[0])
    return written


def _as_toml(value: Any) -> str:
    """A value inside of another, on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return msgspec.json.encode(value).decode()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_as_toml, value))}]"
    if isinstance(value, Struct | Mapping):
        inner = _written(value) if isinstance(value, Struct) else {key: _as_toml(each) for key, each in value.items()}
        return f"{{ {', '.join(f'{key} = {text}' for key, text in inner.items())} }}" if inner else "{}"
    return show_value(value)
