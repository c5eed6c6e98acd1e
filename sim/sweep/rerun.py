"""Runs seeds again in fresh processes and tells where they are not the same runs: the net for what no fence can see.

The order of a set of strings, of objects by their address, a generator seeded long ago: none of it touches anything
that could be fenced, and all of it differs from process to process. So the same seeds are run here and in two other
processes, with other PYTHONHASHSEEDs, over several workers in one and behind the strict fence in the other; trace
hashes and whole reports have to be equal, all but the wall-clock figures.

`python -m sim.sweep.rerun` is what the fresh processes run: a pickled request on stdin, the pickled answer on stdout.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from protocols.node import Node
from sim.failure.divergence import first_divergence, show_divergence
from sim.fence import strictly
from sim.process import CoreFactory
from sim.record.happening import Recording
from sim.record.recorder import record
from sim.scenario import Report, Scenario, run
from sim.sweep.local import sweep

TIMEOUT_S = 1800
FIELDS_SHOWN = 8
WALL_CLOCK = ("wall_seconds", "setup_seconds", "times_real_time")
Document = dict[str, Any]


class Place(NamedTuple):
    """How a fresh process is set up."""

    name: str
    hash_seed: int
    jobs: int
    strict: bool


PLACES = (
    Place("a fresh process, PYTHONHASHSEED=1, two workers", 1, 2, False),
    Place("a fresh process, PYTHONHASHSEED=2, strict fence", 2, 1, True),
)
HERE = "this process"


class Request(NamedTuple):
    """What a fresh process is asked: the documents of some seeds of some scenarios, or a recording of one seed."""

    scenarios: tuple[Scenario, ...]
    seeds: tuple[int, ...]
    jobs: int
    strict: bool
    record: bool
    core_factory: CoreFactory


class Difference(NamedTuple):
    """A seed that was not the same run twice. `lines` say where the runs part."""

    scenario: str
    seed: int
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n  ".join((f"{self.scenario}, seed {self.seed}: not the same run in another process", *self.lines))


class RerunFailed(Exception):
    """A fresh process did not do what it was asked; the text holds the last it said."""


def rerun(
    scenarios: Mapping[str, Scenario], seeds: Sequence[int], core_factory: CoreFactory = Node
) -> Iterator[Difference]:
    """Every seed of every scenario that differs, as soon as it is known. Raises `ScenarioError` and `RerunFailed`."""
    asked = tuple(scenarios.values())
    elsewhere = [
        _ask(place, Request(asked, tuple(seeds), place.jobs, place.strict, False, core_factory)) for place in PLACES
    ]
    for number, (name, scenario) in enumerate(scenarios.items()):
        here = documents(scenario, seeds, 1, core_factory)
        for index, seed in enumerate(seeds):
            told = [(HERE, here[index])]
            told += [(place.name, answer[number][index]) for place, answer in zip(PLACES, elsewhere, strict=True)]
            lines = _differences(replace(scenario, seed=seed), told, core_factory)
            if lines:
                yield Difference(name, seed, tuple(lines))


def documents(scenario: Scenario, seeds: Sequence[int], jobs: int, core_factory: CoreFactory) -> list[Document]:
    """The reports of some seeds as plain data, without what a wall clock measured."""
    found: list[Document] = []
    for report in sweep(scenario, seeds, jobs, partial(_run_with, core_factory)):
        document: Document = msgspec.to_builtins(report)
        found.append({name: value for name, value in document.items() if name not in WALL_CLOCK})
    return found


def _run_with(core_factory: CoreFactory, scenario: Scenario, seed: int) -> Report:
    return run(replace(scenario, seed=seed), core_factory=core_factory)


def _differences(scenario: Scenario, told: list[tuple[str, Document]], core_factory: CoreFactory) -> list[str]:
    """What is not the same in the first and in some other document, and where the runs part."""
    first_name, first = told[0]
    for name, other in told[1:]:
        if msgspec.json.encode(other) == msgspec.json.encode(first):
            continue
        lines = [f"{field} in {first_name}: {a}; in {name}: {b}" for field, a, b in _unequal(first, other)]
        more = [f"… and {len(lines) - FIELDS_SHOWN} more fields"] if len(lines) > FIELDS_SHOWN else []
        return lines[:FIELDS_SHOWN] + more + _where_they_part(scenario, core_factory)
    return []


def _unequal(a: object, b: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """(path, value, other value) of what differs in two documents."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys([*a, *b]):
            yield from _unequal(a.get(key), b.get(key), f"{path}.{key}" if path else str(key))
        if a == b and list(a) != list(b):
            yield f"the order of {path}", list(a), list(b)
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        for index, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from _unequal(one, other, f"{path}[{index}]")
    elif a != b:
        yield path, a, b


def _where_they_part(scenario: Scenario, core_factory: CoreFactory) -> list[str]:
    """Record the seed in both fresh processes, and compare what happened."""
    recordings: list[Recording] = [
        _ask(place, Request((scenario,), (scenario.seed,), 1, False, True, core_factory)) for place in PLACES
    ]
    a, b = recordings
    divergence = first_divergence(a, b)
    if divergence is None:
        return [
            "Recorded once more, it was the same run in both fresh processes: what makes the difference comes and "
            "goes, as addresses of objects do. Look for a sort by id(), a set of objects, and for state that is kept "
            "from one run to the next."
        ]
    return show_divergence(divergence, a, b, "PYTHONHASHSEED=1", "PYTHONHASHSEED=2")


def _ask(place: Place, request: Request) -> Any:
    """What a fresh process answers. Raises `RerunFailed`."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "sim.sweep.rerun"],
            input=pickle.dumps(sys.path) + pickle.dumps(request),
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": str(place.hash_seed)},
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RerunFailed(f"{place.name} was not done within {TIMEOUT_S} s. Ask for fewer seeds.") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-5:]
        raise RerunFailed(f"{place.name} ended with status {done.returncode}: {' / '.join(said)}")
    return pickle.loads(done.stdout)


def answer(request: Request) -> object:
    """In a fresh process: do what was asked."""
    with strictly() if request.strict else nullcontext():
        if request.record:
            (scenario,) = request.scenarios
            return record(scenario, core_factory=request.core_factory)[1]
        return [
            documents(scenario, request.seeds, request.jobs, request.core_factory) for scenario in request.scenarios
        ]


if __name__ == "__main__":
    sys.path[:] = pickle.load(sys.stdin.buffer)
    sys.stdout.buffer.write(pickle.dumps(answer(pickle.load(sys.stdin.buffer))))
