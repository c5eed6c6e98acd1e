"""How the fields of a scenario are spelt in TOML: one table, for reading and for writing.

A field is a key of the same name, and a struct in a field is a table of its own, but for what stands here:

| in `Scenario`                        | in TOML                                                                    |
|--------------------------------------|----------------------------------------------------------------------------|
| `tasks_per_s`, `events_per_s`,       | keys of `[workload]`: they say what callers do, not what the mesh is       |
| `inquiries_per_s`, `handlers`        |                                                                            |
| `handlers`, a tuple of `HandlerSpec` | `[workload.handlers]`, `name = concurrency`, in the order of the file      |
| any two fields `X_min` and `X_max`   | one key `X = [min, max]`, or `X = both`                                    |
| a fault                              | a table with a `kind`, or the short form of the command line, as text      |
| None                                 | the key is left out                                                        |

What is left out has its default. A whole number may stand for the float that it equals.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from msgspec import NODEFAULT, Struct
from msgspec import inspect as typing_of

from protocols.config import HandlerSpec
from sim.scenario import Scenario

MOVED: dict[type[Struct], dict[str, str]] = {
    Scenario: dict.fromkeys(("tasks_per_s", "events_per_s", "inquiries_per_s", "handlers"), "workload")
}
"""Fields that stand in a table with others, by struct: field → table."""


class Key(Struct, frozen=True):
    """One key of TOML and the field that it gives, or the two fields of a range."""

    fields: tuple[typing_of.Field, ...]

    @property
    def is_range(self) -> bool:
        return len(self.fields) == 2


class Section(Struct, frozen=True):
    """A table of TOML that holds some fields of the struct around it."""

    keys: dict[str, Key]


def struct_info(cls: type[Struct]) -> typing_of.StructType:
    """What msgspec knows of a struct."""
    info = typing_of.type_info(cls)
    assert isinstance(info, typing_of.StructType)
    return info


@cache
def spelling_of(cls: type[Struct]) -> dict[str, Key | Section]:
    """The keys that a table for `cls` may have, in the order of its fields."""
    fields = {field.name: field for field in struct_info(cls).fields}
    moved = MOVED.get(cls, {})
    spelt: dict[str, Key | Section] = {}
    for name, field in fields.items():
        stem, _, bound = name.rpartition("_")
        if bound == "max" and f"{stem}_min" in fields:
            continue
        key = Key((field,))
        if bound == "min" and f"{stem}_max" in fields:
            name, key = stem, Key((field, fields[f"{stem}_max"]))
        if name not in moved:
            spelt[name] = key
            continue
        section = spelt.setdefault(moved[name], Section({}))
        assert isinstance(section, Section), f"{moved[name]} is both a key and a table"
        section.keys[name] = key
    return spelt


@cache
def homes() -> dict[str, str]:
    """Where a key that is in the wrong table belongs, in words, for the keys of a scenario and of its tables."""
    tables: dict[str, list[str]] = {}
    for name, key in spelling_of(Scenario).items():
        if isinstance(key, Section):
            tables[name] = list(key.keys)
        elif (cls := table_in(key.fields[0].type)) is not None:
            tables[name] = list(spelling_of(cls))
    found: dict[str, str] = {}
    for table, names in tables.items():
        for name in names:
            found.setdefault(name, f"under [{table}]")
    for name in spelling_of(Scenario):
        found[name] = f"in a table of its own, [{name}]" if name in tables else "at the top, before the first [table]"
    return found


def table_in(wanted: typing_of.Type) -> type[Struct] | None:
    """The struct that a field holds, or may hold, as a table; None where it holds none, or one of several kinds."""
    types = wanted.types if isinstance(wanted, typing_of.UnionType) else (wanted,)
    structs = [each.cls for each in types if isinstance(each, typing_of.StructType)]
    return structs[0] if len(structs) == 1 else None


def default_of(field: typing_of.Field) -> Any:
    """The default of a field, or `NODEFAULT`."""
    return field.default if field.default_factory is NODEFAULT else field.default_factory()


def is_handlers(wanted: typing_of.Type | None) -> bool:
    """Whether a field holds handlers, which are a table of name = how many at once."""
    if not isinstance(wanted, typing_of.VarTupleType) or not isinstance(wanted.item_type, typing_of.StructType):
        return False
    return wanted.item_type.cls is HandlerSpec
