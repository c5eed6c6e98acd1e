"""Finds out all there is to say of a failure: `investigate` runs the seed again, watched, and gathers a `Failure`.

Nothing here prints, and nothing here fails because something else does: what could not be found out, or written, is one
of the notes. `sim/failure/render.py` puts a `Failure` in words.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from protocols.core import NANOS_PER_S
from protocols.node import Node
from sim.checkers.checker import Checker
from sim.errors import ScenarioError
from sim.failure.divergence import Divergence, first_divergence, show_divergence
from sim.failure.lines import LINES, around
from sim.failure.shrink import RUNS_MAX, NothingToShrink, OnProgress, Shrunk, shrink
from sim.failure.source import commit_line
from sim.failure.watched import BROKE_OFF, BreaksOff, Watched, watched
from sim.files import dumps, load
from sim.files.whole import write_whole
from sim.process import CoreFactory
from sim.record.happening import Recording
from sim.scenario import Report, Scenario

SHRINK_S = 20.0
NEIGHBOURS = 8
"""How many seeds next to the failing one are tried."""
ALSO = 3
"""How many more passing seeds are looked at: what they show too is no difference."""
NEIGHBOURS_S = 20.0
"""Wall time for neighbours; a report should not keep its reader waiting."""
AFTER_S = 1.0
"""Virtual seconds that are recorded after the violation."""


class Failure(Struct, frozen=True):
    """A failing seed, investigated."""

    scenario: Scenario
    """As it was run: every drawn option is in it."""
    report: Report
    commit: str
    repro: str
    """One command that shows the failure again."""
    again_hash: str
    """The trace hash of the second run; the same as the report's, or something in the run is not determined."""
    events: tuple[str, ...]
    """The last events around the first violation, as lines."""
    passing_seed: int | None
    divergence: Divergence | None
    divergence_lines: tuple[str, ...]
    shrunk: Shrunk | None
    files: tuple[Path, ...]
    """What was written: the failing scenario, and its smallest form where one was found."""
    notes: tuple[str, ...]
    """What could not be done, and why."""

    @property
    def repeats(self) -> bool:
        """Whether the second run was the same as the first."""
        return self.again_hash == self.report.trace_hash


def investigate(
    scenario: Scenario,
    failing: Report,
    *,
    passing: Report | None = None,
    checkers: Sequence[type[Checker]] | None = None,
    core_factory: CoreFactory = Node,
    shrink_budget: float = SHRINK_S,
    shrink_runs: int = RUNS_MAX,
    out: Path | None = None,
    repro: str = "",
    commit: str = "",
    on_progress: OnProgress | None = None,
) -> Failure:
    """Find out about `failing`, the report of one seed of `scenario` (as it was written: its own seed does not matter).

    `passing` is the nearest seed that was seen to hold; without one, a few neighbours are tried. Shrinking may take
    `shrink_budget` seconds (0: it is left out). Files go to the folder `out` (None: none are written). `repro` is the
    command of a front end that has one of its own. Raises `ValueError` for a report without a violation.
    """
    if failing.held:
        raise ValueError(f"seed {failing.seed} held: there is nothing to investigate")
    scenario = replace(scenario, seed=failing.seed)
    made = _Findings(failing)
    how = _How(checkers, core_factory)
    if failing.trace_hash or failing.violations[0].property == BROKE_OFF:
        _run_again(scenario, failing, how, made)
        if made.repeats:
            _compare(scenario, failing, passing, how, made)
            if shrink_budget > 0:
                _shrink(scenario, failing, how, made, shrink_runs, shrink_budget, on_progress)
    else:
        made.notes.append("It was not run again in here, because it may end this process, too.")
    failure = Failure(
        scenario=failing.expanded,
        report=failing,
        commit=commit or commit_line(),
        repro=repro,
        again_hash=made.again_hash,
        events=tuple(made.events),
        passing_seed=made.passing_seed,
        divergence=made.divergence,
        divergence_lines=tuple(made.divergence_lines),
        shrunk=made.shrunk,
        files=(),
        notes=tuple(made.notes),
    )
    return _with_files(failure, out)


class _How(NamedTuple):
    """How a scenario is run."""

    checkers: Sequence[type[Checker]] | None
    core_factory: CoreFactory

    def watched(self, scenario: Scenario, until_s: float | None = None) -> Watched:
        return watched(scenario, until_s=until_s, checkers=self.checkers, core_factory=self.core_factory)


class _Findings:
    """What has been found out so far."""

    def __init__(self, failing: Report) -> None:
        self.again_hash = failing.trace_hash
        self.repeats = True
        self.recording: Recording | None = None
        self.events: list[str] = []
        self.passing_seed: int | None = None
        self.divergence: Divergence | None = None
        self.divergence_lines: list[str] = []
        self.shrunk: Shrunk | None = None
        self.notes: list[str] = []


def _run_again(scenario: Scenario, failing: Report, how: _How, made: _Findings) -> None:
    """The way to the violation; and whether the run is the same again."""
    until_s = failing.violations[0].time_s + AFTER_S if failing.trace_hash else None
    again = how.watched(scenario, until_s)
    recording = again.recording
    violation = (recording.violations or failing.violations)[0]
    if again.broke:
        violation = replace(violation, time_s=recording.end / NANOS_PER_S)
    made.recording = recording
    made.events = around(recording, violation, LINES)
    made.again_hash = again.trace_hash
    made.repeats = again.trace_hash == failing.trace_hash
    if made.repeats:
        return
    third = how.watched(scenario, until_s)
    made.divergence = first_divergence(recording, third.recording)
    if made.divergence is not None:
        names = "the second run", "the third run, of the same seed"
        made.divergence_lines = show_divergence(made.divergence, recording, third.recording, *names)


def _compare(scenario: Scenario, failing: Report, passing: Report | None, how: _How, made: _Findings) -> None:
    """The first divergence from the nearest seed that passes."""
    others = _passing(scenario, failing, passing, how)
    if not others or made.recording is None:
        made.notes.append("No seed near this one was seen to pass, so there is nothing to compare it with.")
        return
    made.passing_seed = others[0].scenario.seed
    made.divergence = first_divergence(made.recording, others[0], also=others[1:])
    if made.divergence is not None:
        names = f"seed {failing.seed}, which fails", f"seed {made.passing_seed}, which passes"
        made.divergence_lines = show_divergence(made.divergence, made.recording, others[0], *names)


def _shrink(
    scenario: Scenario,
    failing: Report,
    how: _How,
    made: _Findings,
    runs: int,
    seconds: float,
    on_progress: OnProgress | None,
) -> None:
    """The smallest form of it."""
    trial = None if failing.trace_hash else BreaksOff(how.checkers, how.core_factory)
    try:
        made.shrunk = shrink(
            scenario,
            checkers=how.checkers,
            core_factory=how.core_factory,
            failing=failing,
            property_name=failing.violations[0].property,
            budget_runs=runs,
            budget_s=seconds,
            on_progress=on_progress,
            trial=trial,
        )
    except NothingToShrink as error:
        made.notes.append(f"It could not be made smaller. {error}")


def _passing(scenario: Scenario, failing: Report, passing: Report | None, how: _How) -> list[Recording]:
    """Recordings of seeds that pass: the nearest first, then a few more where a run costs little."""
    begun = time.monotonic()
    found: list[Recording] = []
    for seed in _neighbours(failing, passing):
        if len(found) > ALSO or (found and time.monotonic() - begun > NEIGHBOURS_S / 2):
            break
        if time.monotonic() - begun + failing.wall_seconds > NEIGHBOURS_S and (passing is None or found):
            break
        seen = how.watched(replace(scenario, seed=seed))
        if not seen.broke and not seen.recording.violations:
            found.append(seen.recording)
    return found


def _neighbours(failing: Report, passing: Report | None) -> list[int]:
    """The seed that is known to pass, then those around the one that fails, the nearest first."""
    known = [] if passing is None else [passing.seed]
    around_it = [failing.seed + sign * step for step in range(1, NEIGHBOURS // 2 + 1) for sign in (1, -1)]
    return known + [seed for seed in around_it if seed not in known and seed >= 0]


def nearest_passing(seed: int, passed: Sequence[int]) -> int | None:
    """Of the seeds that passed, the one nearest in number; of two, the smaller. None where none did."""
    return min(passed, key=lambda other: (abs(other - seed), other), default=None)


# Files.


def file_name(scenario: Scenario, seed: int) -> str:
    """`failure-<scenario>-<seed>`, of characters that every file system takes."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", scenario.name).strip("-.")[:60] or "scenario"
    return f"failure-{name}-{seed}"


def _with_files(failure: Failure, out: Path | None) -> Failure:
    """`failure` with its replay files written, and with the command that replays the first of them."""
    from sim.failure.render import file_comment

    if out is None:
        return failure
    written: list[Path] = []
    for path, scenario in _replay_files(failure, out):
        try:
            out.mkdir(parents=True, exist_ok=True)
            if not path.exists():  # one that is there holds this very run, and whoever keeps it may have written in it
                write_whole(path, dumps(scenario, comment=file_comment(failure, path, scenario)))
        except OSError as error:
            note = f"{path} could not be written: {error.strerror or error}. Name another folder with --out."
            return replace(failure, files=tuple(written), notes=(*failure.notes, note))
        written.append(path)
    return replace(failure, files=tuple(written), repro=failure.repro or replay_command(written[0]))


def _replay_files(failure: Failure, out: Path) -> list[tuple[Path, Scenario]]:
    """What to write where: under the first name at which no file stands that holds another run, which would be lost."""
    stem = file_name(failure.scenario, failure.report.seed)
    for number in count(1):
        numbered = stem if number == 1 else f"{stem}-{number}"
        wanted = [(out / f"{numbered}.toml", failure.scenario)]
        if failure.shrunk is not None and failure.shrunk.changes:
            wanted.append((out / f"{numbered}-small.toml", failure.shrunk.scenario))
        if all(is_free(path, scenario) for path, scenario in wanted):
            return wanted
    raise AssertionError("numbers do not end")


def is_free(path: Path, scenario: Scenario) -> bool:
    """Whether there is no file `path`, or one that holds `scenario`."""
    try:
        return not path.exists() or load(path) == scenario
    except ScenarioError:
        return False
    except OSError:
        return True  # it cannot be looked at; that it cannot be written either is told when that is tried


def replay_command(path: Path) -> str:
    """The command that runs a replay file, as typed in the folder that this process runs in."""
    return shlex.join(["meshsim", "replay", str(path)])
