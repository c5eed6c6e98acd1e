"""What the options of the commands say, and how they change a scenario.

An option that is not given changes nothing: the file decides, and without a file the defaults of `Scenario`.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from sim.errors import ScenarioError
from sim.seeds import JOBS_MAX

if TYPE_CHECKING:
    from sim.scenario import Scenario

ScenarioFile = Annotated[Path, typer.Argument(metavar="SCENARIO", help="A TOML file.", show_default=False)]
OptionalFile = Annotated[
    Path | None,
    typer.Argument(metavar="SCENARIO", help="A TOML file. Options change it, and add faults.", show_default=False),
]
Seed = Annotated[
    int | None, typer.Option(help="What all chance is drawn from. The same seed is the same run.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where a failing seed is written as TOML. (default: meshsim-failures)"),
]
ShrinkSeconds = Annotated[
    float, typer.Option("--shrink", min=0.0, metavar="S", help="Seconds for making a failure smaller.")
]


class Changes(NamedTuple):
    """The options of `run` that change a scenario; None: not given."""

    nodes: int | None = None
    seconds: float | None = None
    start: str | None = None
    fault: tuple[str, ...] = ()
    partition: tuple[str, ...] = ()
    crash: tuple[str, ...] = ()
    disk_full: tuple[str, ...] = ()
    loss: float | None = None
    duplicate: float | None = None
    reorder: float | None = None
    tasks: float | None = None
    events: float | None = None

    def apply(self, scenario: Scenario) -> Scenario:
        """`scenario` with what was given instead of what it says; faults are added. Raises `ScenarioError`."""
        from msgspec.structs import replace

        from sim.faults.short import parse_crash, parse_disk_full, parse_fault, parse_partition

        faults = [parse_fault(spec) for spec in self.fault]
        faults += [parse_partition(spec) for spec in self.partition]
        faults += [parse_crash(spec) for spec in self.crash]
        faults += [parse_disk_full(spec) for spec in self.disk_full]
        link = {name: getattr(self, name) for name in ("loss", "duplicate", "reorder")}
        given = {
            "nodes": self.nodes,
            "seconds": self.seconds,
            "start": self.start,
            "tasks_per_s": self.tasks,
            "events_per_s": self.events,
            "faults": (*scenario.faults, *faults) if faults else None,
            "link": replace(scenario.link, **{name: value for name, value in link.items() if value is not None}),
        }
        changed: Scenario = replace(scenario, **{name: value for name, value in given.items() if value is not None})
        changed.validate()
        return changed

    def words(self) -> list[str]:
        """The options as they would be typed."""
        words: list[str] = []
        for name, value in zip(self._fields, self, strict=True):
            option = f"--{name.replace('_', '-')}"
            for each in value if isinstance(value, tuple) else (() if value is None else (value,)):
                short = f"{each:g}" if isinstance(each, float) else str(each)
                words += [option, str(each) if isinstance(each, float) and float(short) != each else short]
        return words


def again(file: Path | None, changes: Changes, seed: int) -> str:
    """The command that shows one seed again, as typed in the folder that this process runs in."""
    words = changes.words()
    command = ["replay"] if file is not None and not words else ["run"]
    return shlex.join(["meshsim", *command, *([] if file is None else [str(file)]), *words, "--seed", str(seed)])


def scenario_of(file: Path | None, changes: Changes, seed: int | None) -> Scenario:
    """The scenario in `file`, or the default one, changed. Raises `ScenarioError`."""
    from msgspec.structs import replace

    from sim.files import load
    from sim.scenario import Scenario

    scenario = changes.apply(Scenario() if file is None else load(file))
    return scenario if seed is None else replace(scenario, seed=seed)


def check_jobs(jobs: int) -> None:
    """Raise `ScenarioError` for a number of processes that cannot be."""
    if not 0 <= jobs <= JOBS_MAX:
        raise ScenarioError(f"--jobs {jobs}: it is a number of processes, 1 to {JOBS_MAX}, or 0 for one per core.")
