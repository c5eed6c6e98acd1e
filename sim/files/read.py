"""Reads scenario files. Every error names the file, the line, the nearest valid name and what to do; several at once.

A file is foreign input: its size, the length of its lines, its depth and its counts are bounded before they are used.
"""

from __future__ import annotations

import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sim.errors import ScenarioError
from sim.files.blame import impossible
from sim.files.convert import Bad, Converter, Mistake
from sim.files.locate import TomlPath, locate
from sim.scenario import Scenario

FILE_BYTES_MAX = 4 << 20
"""Room for all that a random mix may draw, written out."""
LINE_CHARACTERS_MAX = 4096
"""A longer line could hold a dotted key on which `tomllib` spends time that is quadratic in its parts."""
DEPTH_MAX = 12
MISTAKES_SHOWN = 5

_POSITION = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")


def load(path: str | Path) -> Scenario:
    """The scenario in a file. Raises `ScenarioError`."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise ScenarioError(f"There is no file {path}. {_nearest_file(path)}") from None
    except IsADirectoryError:
        raise ScenarioError(f"{path} is a directory. {_files_in(path)}") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ScenarioError(f"Cannot read {str(path)!r}: {why}.") from None
    if not content:
        raise ScenarioError(f"{path} is empty. Was it cut off? To leave all as it usually is, write nodes = 5.")
    if len(content) > FILE_BYTES_MAX:
        raise ScenarioError(f"{path} is larger than {FILE_BYTES_MAX} bytes: that is no scenario.")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ScenarioError(f"{path}:{line}: this is not UTF-8, as TOML must be. Save it as UTF-8.") from None
    return loads(text, str(path))


def loads(text: str, name: str = "scenario") -> Scenario:
    """The scenario in a TOML text; `name` is what errors call it. Raises `ScenarioError`."""
    document = _parse(text, name)
    converter = Converter()
    scenario: Scenario | None = None
    try:
        scenario = converter.struct(Scenario, document, (), (), "A scenario")
        mistakes = impossible(scenario, converter.places)
    except Bad:
        mistakes = converter.mistakes
    if mistakes or scenario is None:
        raise ScenarioError(_told(mistakes, locate(text.replace("\r\n", "\n")), name))
    return scenario


def _parse(text: str, name: str) -> dict[str, Any]:
    if len(text) > FILE_BYTES_MAX:
        raise ScenarioError(f"{name} is longer than {FILE_BYTES_MAX} characters: that is no scenario.")
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > LINE_CHARACTERS_MAX:
            raise ScenarioError(
                f"{name}:{number}: the line has more than {LINE_CHARACTERS_MAX} characters. Arrays may go over lines."
            )
    too_deep = f"{name}: tables and arrays lie more than {DEPTH_MAX} deep in each other: that is no scenario."
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(_syntax(str(error), text, name)) from None
    except RecursionError:
        raise ScenarioError(too_deep) from None
    if _deeper_than(document, DEPTH_MAX):
        raise ScenarioError(too_deep)
    return document


def _syntax(complaint: str, text: str, name: str) -> str:
    """What `tomllib` says of a text that is no TOML, with the line up front."""
    position = _POSITION.search(complaint)
    what = complaint[: position.start()] if position else complaint
    line = text.rstrip("\n").count("\n") + 1
    where = "at the end of the file"
    if position and position["line"]:
        line, where = int(position["line"]), f"at column {position['column']}"
    return f"{name}:{line}: this is not TOML: {what[:1].lower()}{what[1:]}, {where}. {_advice(what)}".rstrip()


def _advice(what: str) -> str:
    if "Cannot overwrite" in what or "Cannot declare" in what or "Cannot mutate" in what:
        return "A key or table may be there only once; a further fault begins with [[faults]]."
    if "Invalid value" in what:
        return 'Text stands in quotes, as in name = "halves"; numbers and true do not.'
    return "A key is written name = value, a table [name], a list of tables [[name]]."


def _deeper_than(document: dict[str, Any], depth_max: int) -> bool:
    level: list[Any] = [document]
    for _ in range(depth_max):
        inner: list[Any] = []
        for each in level:
            inner += each.values() if isinstance(each, dict) else each
        level = [each for each in inner if isinstance(each, dict | list)]
        if not level:
            return False
    return True


def _told(mistakes: list[Mistake], lines: dict[TomlPath, int], name: str) -> str:
    """The first few mistakes, in the order of their lines, each with its own. What cannot be seen is escaped."""
    placed = sorted((lines.get(mistake.path, 0), _visible(mistake.text)) for mistake in mistakes)
    told = [f"{name}:{line}: {text}" if line else f"{name}: {text}" for line, text in placed[:MISTAKES_SHOWN]]
    if len(placed) > MISTAKES_SHOWN:
        told.append(f"… and {len(placed) - MISTAKES_SHOWN} more.")
    return "\n".join(told)


def _visible(text: str) -> str:
    """A key or name that an error repeats may hold line breaks, or what a terminal obeys."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _nearest_file(path: Path) -> str:
    """A sentence about the scenario that may have been meant."""
    try:
        here = sorted(each.name for each in path.parent.iterdir() if each.suffix == ".toml")
    except OSError:
        return f"There is no directory {path.parent} either."
    near = get_close_matches(path.name, here, n=1, cutoff=0.5) or get_close_matches(f"{path.name}.toml", here, n=1)
    return f"Did you mean {path.parent / near[0]}?" if near else _files_in(path.parent)


def _files_in(path: Path) -> str:
    here = sorted(each.name for each in path.iterdir() if each.suffix == ".toml")
    listed = ", ".join(here[:12]) + (", …" if len(here) > 12 else "")
    return f"Scenarios in {path}: {listed}." if here else f"There is no .toml file in {path}."
