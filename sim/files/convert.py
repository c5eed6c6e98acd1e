"""Turns what `tomllib` gives into a struct, by the struct's own types, and tells everything that does not fit.

Nothing is guessed: a number is not text, a boolean is not a number, a key that is not known is a mistake. Whether what
fits can also happen (a fault that ends before it begins) is found in `sim/files/blame.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NoReturn, TypeAlias

from msgspec import Struct
from msgspec import inspect as typing_of

from protocols.config import HandlerSpec
from sim.errors import ScenarioError, nearest
from sim.faults import Fault
from sim.faults.short import parse_fault
from sim.files.locate import TomlPath
from sim.files.spelling import Key, Section, default_of, homes, is_handlers, spelling_of

ITEMS_MAX = 50_000
"""Elements of one array."""
INTEGER_MAX = 2**63 - 1
SHOWN_MAX = 60
"""Characters of a value that an error repeats."""

FORMS: dict[type[typing_of.Type], type] = {
    typing_of.StructType: dict,
    typing_of.DictType: dict,
    typing_of.VarTupleType: list,
    typing_of.IntType: int,
    typing_of.StrType: str,
    typing_of.LiteralType: str,
}
"""What a value must be in TOML to be meant as one of several types that a field may have."""

FieldPath: TypeAlias = tuple[str | int, ...]
"""The way to a value in a struct: names of fields, places in tuples, keys of dicts."""


class Mistake(Struct, frozen=True):
    """One thing that is wrong: where it stands, and what to do about it."""

    path: TomlPath
    text: str


class Bad(Exception):
    """A value that cannot be used. What is wrong with it has been noted."""


class Converter:
    """Reads one document. `mistakes` is all that was wrong; `places` says from where each field was read."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []
        self.places: dict[FieldPath, TomlPath] = {}

    def struct(self, cls: type[Struct], table: Mapping[str, Any], at: TomlPath, into: FieldPath, label: str) -> Any:
        """A `cls` from a table at `at`, of which errors speak as `label`. Raises `Bad`, after a look at every key."""
        before = len(self.mistakes)
        spelling = spelling_of(cls)
        found: dict[str, Any] = {}
        for name, value in table.items():
            path = (*at, name)
            key = spelling.get(name)
            if isinstance(key, Section):
                for inner, each in self._section(value, path).items():
                    self._key(key.keys, inner, each, (*path, inner), into, found, f"[{name}]")
            elif name != cls.__struct_config__.tag_field:
                self._key(spelling, name, value, path, into, found, label)
        if len(self.mistakes) == before:
            missing = [field.name for key in spelling.values() if isinstance(key, Key) for field in key.fields
                       if field.required and field.name not in found]  # fmt: skip
            for name in missing:
                self._note(at, f"{label} needs a key {name!r}.")
        if len(self.mistakes) > before:
            raise Bad
        return cls(**found)

    def _section(self, value: Any, path: TomlPath) -> Mapping[str, Any]:
        try:
            return self._table(value, path, header(path))
        except Bad:
            return {}

    def _key(
        self,
        spelling: Mapping[str, Key | Section],
        name: str,
        value: Any,
        path: TomlPath,
        into: FieldPath,
        found: dict[str, Any],
        label: str,
    ) -> None:
        """Read one key into the fields that it stands for; or note what is wrong with it."""
        key = spelling.get(name)
        if not isinstance(key, Key):
            home = homes().get(name)
            hint = f"It belongs {home}." if home is not None else nearest(name, spelling)
            self._note(path, f"{label} has no key {name!r}. {hint}")
            return
        try:
            values = [value]
            if key.is_range:
                values = value if isinstance(value, list) else [value, value]
                if len(values) != 2:
                    self._bad(path, f"{name} must be [least, most], or one number for both.")
            for field, each in zip(key.fields, values, strict=True):
                self.places[(*into, field.name)] = path
                usual = f" Usual: {written}." if (written := _as_written(name, key)) else ""
                found[field.name] = self._value(field.type, each, path, (*into, field.name), name, usual)
        except Bad:
            return

    def _value(
        self, wanted: typing_of.Type, value: Any, path: TomlPath, into: FieldPath, name: str, usual: str = ""
    ) -> Any:
        """A value of one of the types that fields of scenarios have. `usual` ends what is said of a wrong one."""
        match wanted:
            case typing_of.BoolType():
                return self._is(bool, value, path, name, "true or false", usual)
            case typing_of.IntType():
                return self._integer(value, path, name, usual)
            case typing_of.FloatType():
                return self._number(value, path, name, usual)
            case typing_of.StrType():
                return self._is(str, value, path, name, "text, in quotes")
            case typing_of.LiteralType(values=choices):
                if value not in choices:
                    self._bad(path, f"There is no {name} {shown(value)}. {nearest(str(value), map(str, choices))}")
                return value
            case typing_of.StructType(cls=cls):
                table = self._table(value, path, header(path), _way_to_write(cls, path))
                return self.struct(cls, table, path, into, header(path))
            case typing_of.DictType(value_type=inner):
                way = (
                    _way_to_write(inner.cls, (*path, _first(value))) if isinstance(inner, typing_of.StructType) else ""
                )
                table = self._table(value, path, header(path), way)
                self.places.update({(*into, key): (*path, key) for key in table})
                return {key: self._value(inner, each, (*path, key), (*into, key), key) for key, each in table.items()}
            case typing_of.VarTupleType() if is_handlers(wanted):
                table = self._table(value, path, header(path))
                self.places.update({(*into, place): (*path, key) for place, key in enumerate(table)})
                return tuple(HandlerSpec(key, self._integer(each, (*path, key), key)) for key, each in table.items())
            case typing_of.VarTupleType(item_type=inner):
                return self._tuple(inner, value, path, into, name)
            case typing_of.UnionType(types=types):
                structs = {str(each.tag): each for each in types if isinstance(each, typing_of.StructType)}
                if len(structs) > 1:
                    return self._tagged(structs, value, path, into)
                present = [each for each in types if not isinstance(each, typing_of.NoneType)]
                fitting = [each for each in present if isinstance(value, FORMS.get(type(each), object))]
                return self._value((fitting or present)[0], value, path, into, name, usual)
        raise AssertionError(f"no field of a scenario is a {wanted}")

    def _tagged(self, structs: Mapping[str, typing_of.StructType], value: Any, path: TomlPath, into: FieldPath) -> Any:
        """One of several structs, as its tag says. A fault may also be written in its short form."""
        are_faults = all(issubclass(each.cls, Fault) for each in structs.values())
        if are_faults and isinstance(value, str):
            try:
                return parse_fault(value)
            except ScenarioError as error:
                self._bad(path, str(error))
        short = " or text such as 'halves@20-40'" if are_faults else ""
        table = self._is(dict, value, path, "a fault" if are_faults else "this", f"a table {{ … }}{short}")
        tag_field = str(next(iter(structs.values())).tag_field)
        if tag_field not in table:
            self._bad(path, f"There is no {tag_field} here. {nearest('', structs)}")
        tag = table[tag_field]
        if not isinstance(tag, str) or tag not in structs:
            self._bad((*path, tag_field), f"There is no {tag_field} {shown(tag)}. {nearest(str(tag), structs)}")
        label = f"A fault of kind {tag!r}" if are_faults else f"{tag_field} {tag!r}"
        return self.struct(structs[tag].cls, table, path, into, label)

    def _tuple(self, inner: typing_of.Type, value: Any, path: TomlPath, into: FieldPath, name: str) -> tuple[Any, ...]:
        values = self._is(list, value, path, name, "an array, in [ ]")
        if len(values) > ITEMS_MAX:
            self._bad(path, f"{name} has {len(values)} elements; at most {ITEMS_MAX} can be used.")
        found: list[Any] = []
        for index, each in enumerate(values):
            self.places[(*into, index)] = (*path, index)
            try:
                found.append(self._value(inner, each, (*path, index), (*into, index), f"each of {name}"))
            except Bad:
                continue
        if len(found) < len(values):
            raise Bad
        return tuple(found)

    def _integer(self, value: Any, path: TomlPath, name: str, usual: str = "") -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            self._bad(path, f"{name} must be a whole number, not {shown(value)}.{usual}")
        if abs(value) > INTEGER_MAX:
            self._bad(path, f"{name} is too large: whole numbers go up to {INTEGER_MAX}.")
        return value

    def _number(self, value: Any, path: TomlPath, name: str, usual: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._bad(path, f"{name} must be a number, not {shown(value)}.{usual}")
        if abs(value) > INTEGER_MAX or not math.isfinite(value):
            self._bad(path, f"{name} must be a number up to {INTEGER_MAX}, not {shown(value)}.")
        return float(value)

    def _table(self, value: Any, path: TomlPath, name: str, way: str = "") -> dict[str, Any]:
        table: dict[str, Any] = self._is(dict, value, path, name, "a table of keys", way)
        return table

    def _is(self, kind: type[Any], value: Any, path: TomlPath, name: str, form: str, way: str = "") -> Any:
        if not isinstance(value, kind):
            self._bad(path, f"{name} must be {form}, not {shown(value)}.{way}")
        return value

    def _note(self, path: TomlPath, text: str) -> None:
        self.mistakes.append(Mistake(path, text))

    def _bad(self, path: TomlPath, text: str) -> NoReturn:
        self._note(path, text)
        raise Bad


def header(path: TomlPath) -> str:
    """A table as its header names it: `[mix.swarm]`, or `[[links]]` for an element."""
    name = ".".join(str(part) for part in path if not isinstance(part, int))
    return f"[[{name}]]" if isinstance(path[-1], int) else f"[{name}]"


def _way_to_write(cls: type[Struct], path: TomlPath) -> str:
    """How a table for a `cls` is begun, for an error: its header, and its first key with the value that is usual."""
    for name, key in spelling_of(cls).items():
        if isinstance(key, Key) and (written := _as_written(name, key)):
            return f" Write {header(path)}, and below it keys such as {written}."
    return ""


def _as_written(name: str, key: Key) -> str:
    """A key with the value that is usual, where that is a number, or true or false; else empty."""
    usual = [default_of(field) for field in key.fields]
    if not all(isinstance(each, int | float) for each in usual):
        return ""
    numbers = [str(each).lower().removesuffix(".0") for each in usual]
    written = f"[{', '.join(numbers)}]" if key.is_range else numbers[0]
    return f"{name} = {written}"


def _first(names: Any) -> str:
    """The first of the names that were given as an array where they should be keys, if it can be one; else NAME."""
    one = names[0] if isinstance(names, list) and names else None
    is_key = isinstance(one, str) and len(one) <= SHOWN_MAX and one.isascii() and one.replace("-", "").isalnum()
    return str(one) if is_key else "NAME"


def shown(value: object) -> str:
    """A value as an error repeats it: much as TOML has it, and not all of a long one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, int) and abs(value) > INTEGER_MAX:
        return "a number that large"
    text = repr(value) if isinstance(value, str | int | float) else str(value)
    return text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "…"
