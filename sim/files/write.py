"""Writes scenarios as TOML that a person can read and change: defaults are left out, one line is one fault.

What is written loads back to an equal scenario. A fault is one line, so that to drop it is to comment the line out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct
from msgspec import inspect as typing_of

from sim.files.spelling import Key, Section, default_of, is_handlers, spelling_of
from sim.scenario import Scenario

WIDTH = 110
INTEGRAL_MAX = 1e15
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}
_BARE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")

_UNSEEN = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
"""What a comment may not hold."""


def dumps(scenario: Scenario, comment: str = "") -> str:
    """The TOML text of a scenario, `comment` at its head. Raises `ScenarioError` for one that cannot be run."""
    scenario.validate()
    head = [f"# {_UNSEEN.sub(' ', line)}".rstrip() for line in comment.splitlines()]
    lines = [*head, ""] if head else []
    lines += _lines((), _tree(scenario))
    return "\n".join(lines).strip("\n") + "\n"


def _tree(value: Struct) -> dict[str, Any]:
    """A struct as the tables, arrays and plain values that stand for it, defaults left out."""
    tree: dict[str, Any] = {}
    config = value.__struct_config__
    if config.tag is not None and config.tag_field is not None:
        tree[config.tag_field] = config.tag
    for name, key in spelling_of(type(value)).items():
        if isinstance(key, Key):
            _put(tree, name, key, value)
            continue
        assert isinstance(key, Section)
        inner: dict[str, Any] = {}
        for each, field in key.keys.items():
            _put(inner, each, field, value)
        if inner:
            tree[name] = inner
    return tree


def _put(tree: dict[str, Any], name: str, key: Key, value: Struct) -> None:
    values = [getattr(value, field.name) for field in key.fields]
    if values == [default_of(field) for field in key.fields] or values == [None]:
        return
    tree[name] = [_plain(each) for each in values] if key.is_range else _plain(values[0], key.fields[0].type)


def _plain(value: Any, written_as: typing_of.Type | None = None) -> Any:
    if is_handlers(written_as):
        return {handler.name: handler.concurrency for handler in value}
    if isinstance(value, Struct):
        return _tree(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def _lines(at: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[str]:
    """A table: first what belongs to it, then, as TOML wants it, the tables in it."""
    inner = {name: value for name, value in table.items() if isinstance(value, dict)}
    own = {name: value for name, value in table.items() if name not in inner}
    if not at:
        own = dict(sorted(own.items(), key=_rank))
    if at and (own or not inner):
        yield ""
        yield f"[{'.'.join(map(_key, at))}]"
    for name, value in own.items():
        yield f"{_key(name)} = {_value(value)}"
    for name, value in inner.items():
        yield from _lines((*at, name), value)


def _rank(item: tuple[str, Any]) -> int:
    """What a thing is called comes first, and long lists of tables come last; all else in the order of the fields."""
    name, value = item
    if name == "name":
        return 0
    return 2 if isinstance(value, list) and any(isinstance(each, dict) for each in value) else 1


def _value(value: Any, indent: str = "") -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < INTEGRAL_MAX else repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return _array(value, indent)
    if isinstance(value, dict):
        inside = ", ".join(f"{_key(key)} = {_value(each, indent)}" for key, each in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    assert isinstance(value, int), f"{value!r} is nothing that TOML has"
    return str(value)


def _array(values: list[Any], indent: str) -> str:
    """On one line where there is room; tables one a line; plain values filled up to the width."""
    deeper = indent + "  "
    parts = [_value(each, deeper) for each in values]
    tables = any(isinstance(each, dict) for each in values)
    if not tables and len(indent) + sum(len(part) + 2 for part in parts) <= WIDTH:
        return f"[{', '.join(parts)}]"
    lines: list[str] = []
    for part in parts:
        if not tables and lines and len(lines[-1]) + len(part) + 2 <= WIDTH:
            lines[-1] += f" {part},"
        else:
            lines.append(f"{deeper}{part},")
    return "\n".join(["[", *lines, f"{indent}]"])


def _key(name: str) -> str:
    return name if name and _BARE.issuperset(name) else _text(name)


def _text(value: str) -> str:
    """A basic string: quotes, backslashes and what cannot be seen are escaped."""
    escaped = (
        _ESCAPES.get(character)
        or (f"\\u{ord(character):04x}" if ord(character) < 32 or ord(character) == 127 else character)
        for character in value
    )
    return f'"{"".join(escaped)}"'
