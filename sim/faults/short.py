"""The short form in which a person writes a fault on the command line, or on one line of a file.

KIND[:COUNT]@START[-END][,OPTION=VALUE…]      seconds of virtual time, decimals allowed; no end: till all faults end

halves@30-60                      two random halves that cannot reach each other
isolate:2@10-40                   2 random nodes, each cut off from everybody
oneway@10-40,nodes=n0,to=n1+n2    what n0 says does not reach n1 and n2
lossy:3@10-40,loss=0.5            the links of 3 random nodes lose half of the datagrams
groups@10-40,groups=n0+n1/n2+n3   two named groups that cannot reach each other
crash:3@20-35                     3 random running nodes crash at 20 s and start again at 35 s
crash:3@20                        … and stay down

Every kind in `KINDS` is read and written here, with every option that it has: `parse_fault(spec_of(fault))` is `fault`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from decimal import Decimal
from typing import Any, get_args

import msgspec
from msgspec import inspect as typing_of
from msgspec.structs import fields

from sim.errors import ScenarioError, nearest
from sim.faults import KINDS, AnyFault, Fault, Partition

PARTITIONS = tuple(cls.kind() for cls in get_args(Partition))
SPEC_CHARACTERS_MAX = 10_000
_NUMBER = r"\d{1,12}(?:\.\d{1,12})?"
_SPEC = re.compile(
    rf"(?P<kind>[a-z]+(?:-[a-z]+)*)(?::(?P<count>\d{{1,9}}))?@(?P<start>{_NUMBER})(?:-(?P<end>{_NUMBER}))?"
    r"(?P<options>(?:,[^,]*)*)",
    re.ASCII,
)
_PLACE = re.compile(r" - at `\$\.(\w+)")
_WORDS = {True: "true", False: "false"}


def parse_fault(spec: str) -> AnyFault:
    """Read a fault of any kind. Raises `ScenarioError`."""
    return _parse(spec, KINDS, "Fault", "halves@30-60")


def parse_partition(spec: str) -> AnyFault:
    """Read `halves@30-60` and its like, which must say when they heal. Raises `ScenarioError`."""
    fault = _parse(spec, PARTITIONS, "Partition", "halves@30-60")
    if fault.end_s is None:
        raise ScenarioError(f"Partition {spec!r} never heals: say until when, as in {fault.kind()}@30-60.")
    return fault


def parse_crash(spec: str) -> AnyFault:
    """Read `crash:3@20-35`, `3@20-35` or `crash:3@20`. Raises `ScenarioError`."""
    return _parse(_with_kind(spec, "crash"), ("crash",), "Crash", "crash:3@20-35")


def parse_disk_full(spec: str) -> AnyFault:
    """Read `diskfull:2@20-40` or `2@20-40`. Raises `ScenarioError`."""
    fault = _parse(_with_kind(spec, "diskfull"), ("diskfull",), "Full disk", "diskfull:2@20-40")
    if fault.end_s is None:
        raise ScenarioError(f"Full disk {spec!r} never ends: say until when, as in 2@20-40.")
    return fault


def spec_of(fault: Fault) -> str:
    """The short form of a fault: what is not the default of its kind is in it."""
    count: int | None = getattr(fault, "count", None)
    words = [fault.kind() if count is None else f"{fault.kind()}:{count}", f"@{_number(fault.start_s)}"]
    if fault.end_s is not None:
        words.append(f"-{_number(fault.end_s)}")
    for field in fields(fault):
        value = getattr(fault, field.name)
        if field.name not in ("start_s", "end_s", "count") and value != field.default:
            words.append(f",{field.name}={_value(value)}")
    return "".join(words)


def _with_kind(spec: str, kind: str) -> str:
    """`spec`, which may leave out the only kind that it can be of."""
    return f"{kind}:{spec.strip()}" if re.match(r"\s*\d+@", spec, re.ASCII) else spec


def _parse(spec: str, kinds: Collection[str], what: str, example: str) -> AnyFault:
    match = _SPEC.fullmatch(spec.strip()) if len(spec) <= SPEC_CHARACTERS_MAX else None
    if match is None:
        form = "KIND[:COUNT]@START-END[,OPTION=VALUE]"
        raise ScenarioError(f"Cannot read the fault {spec[:80]!r}: it is written {form}, as in {example}.")
    kind = match["kind"]
    if kind not in kinds:
        raise ScenarioError(f"{what} {spec!r}: there is no kind {kind!r}. {nearest(kind, kinds)}")
    cls = KINDS[kind]
    raw: dict[str, Any] = {"kind": kind, "start_s": float(match["start"])}
    if match["end"] is not None:
        raw["end_s"] = float(match["end"])
    options = {field.name: field for field in _info(cls).fields if field.name not in raw and field.name != "end_s"}
    if match["count"] is not None:
        if "count" not in options:
            instead = ", or name the nodes, as in nodes=n0+n1" if "nodes" in options else ""
            raise ScenarioError(
                f"{what} {spec!r}: the kind {kind!r} takes no count. Leave out ':{match['count']}'{instead}."
            )
        raw["count"] = int(match["count"])
    for option in match["options"].split(",")[1:]:
        name, equals, text = option.partition("=")
        if name not in options:
            valid = nearest(name, options)
            raise ScenarioError(f"{what} {spec!r}: {kind} has no option {name!r}. {valid} Written name=value.")
        if not equals:
            example = f"{name}={_example(options[name])}"
            raise ScenarioError(f"{what} {spec!r}: {name} needs a value. Written name=value, as in {example}.")
        if name in raw:
            raise ScenarioError(f"{what} {spec!r}: {name} is given twice.")
        choices = _choices(options[name].type)
        if choices and text not in choices:
            near = nearest(text, choices)
            valid = "" if near.startswith("Valid") else f" Valid: {', '.join(choices)}."
            raise ScenarioError(f"{what} {spec!r}: there is no {name} {text!r}. {near}{valid}")
        raw[name] = _split(options[name].type, text)
    try:
        return msgspec.convert(raw, cls, strict=False)  # type: ignore[return-value]  # all in KINDS are of `AnyFault`
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{what} {spec!r}: {_wrong(cls, error)}.") from None


def check_types(fault: Fault) -> None:
    """Raise `ScenarioError` where an option is of a type that it cannot have: a struct that is called checks none."""
    try:
        msgspec.convert(msgspec.to_builtins(fault), type(fault))
    except (msgspec.ValidationError, TypeError) as error:  # a TypeError: what is no data at all
        raise ScenarioError(f"The fault {fault.kind()}: {_wrong(type(fault), error)}.") from None


def _wrong(cls: type[Fault], error: Exception) -> str:
    """Which option is of a wrong type, what it should be, and how it is written."""
    place = _PLACE.search(str(error))
    options = {field.name: field for field in _info(cls).fields}
    if place is None or place[1] not in options:
        return f"{str(error)[:1].lower()}{str(error)[1:]}".rstrip(".")
    option = options[place[1]]
    return f"{option.name} must be {_form(option.type)}, as in {option.name}={_example(option)}"


def _form(wanted: typing_of.Type) -> str:
    """What a value of a type is, in words."""
    match wanted:
        case typing_of.BoolType():
            return "true or false"
        case typing_of.IntType():
            return "a whole number"
        case typing_of.FloatType():
            return "a number"
        case typing_of.UnionType(types=types):
            return " or ".join(_form(each) for each in types if not isinstance(each, typing_of.NoneType))
        case typing_of.VarTupleType(item_type=typing_of.VarTupleType()):
            return "groups of nodes, by name"
        case typing_of.VarTupleType():
            return "nodes, by name"
    return "text"


def _info(cls: type[Fault]) -> typing_of.StructType:
    info = typing_of.type_info(cls)
    assert isinstance(info, typing_of.StructType)
    return info


def _choices(wanted: typing_of.Type) -> tuple[str, ...]:
    """The words that an option may be; none where it may be anything of its type."""
    return tuple(map(str, wanted.values)) if isinstance(wanted, typing_of.LiteralType) else ()


def _example(option: typing_of.Field) -> str:
    """A value that an option may have: its usual one, or names of nodes where it wants names."""
    if isinstance(option.type, typing_of.VarTupleType):
        return "n0/n1" if isinstance(option.type.item_type, typing_of.VarTupleType) else "n0+n1"
    return "1" if option.default in (None, msgspec.NODEFAULT) else _value(option.default)


def _split(wanted: typing_of.Type, text: str) -> Any:
    """The text of an option, as the lists that its type asks for: `+` between names, `/` between groups of them."""
    if not isinstance(wanted, typing_of.VarTupleType):
        return text
    if isinstance(wanted.item_type, typing_of.VarTupleType):
        return [part.split("+") for part in text.split("/")]
    return text.split("+")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return _WORDS[value]
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, tuple):
        inner = [_value(each) for each in value]
        return ("/" if value and isinstance(value[0], tuple) else "+").join(inner)
    return str(value)


def _number(value: float) -> str:
    """A number in digits, exactly: no exponent, no `.0`."""
    return format(Decimal(repr(float(value))), "f").removesuffix(".0")
