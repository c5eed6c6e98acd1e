"""A failing seed in words, beside the test's own traceback: what was violated, how to see it again, what came before.

`tell` is the only thing that the rest knows of. The pieces are those of `sim/failure`, where `meshsim` has them from.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from sim.checkers import BY_NAME
from sim.checkers.checker import Violation
from sim.failure.changes import fault_line, unusual_options
from sim.failure.github import github_error, on_github
from sim.failure.lines import LINES, around
from sim.failure.page import listed, row, table, wrapped
from sim.failure.render import FAULTS_SHOWN, meaning, violation_line
from sim.failure.source import PACKAGE, commit_line
from sim.testing.drive import Ended
from sim.testing.errors import PropertyViolated
from sim.testing.frames import frames_of
from sim.testing.options import Options

VIOLATIONS_SHOWN = 10
DRAWS_SHOWN = 20


def tell(ended: Ended, again: Ended | None, options: Options) -> str:
    """The report on `ended`, a seed that failed; `again` is its second run, recorded."""
    sections = [
        _what(ended),
        _again(ended, again, options),
        _events(ended, again),
        _as_run(ended),
        _github(ended, options),
    ]
    return "\n".join(line.rstrip() for section in sections for line in section) + "\n"


def headline(ended: Ended) -> str:
    """The failure in one line."""
    error = ended.error
    assert error is not None
    if isinstance(error, PropertyViolated):
        return f"{error.violation.property} violated by seed {ended.seed}"
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__} with seed {ended.seed}{': ' if first else ''}{first}"


def _what(ended: Ended) -> list[str]:
    violations = ended.report.violations
    if not violations:
        return [f"Seed {ended.seed} failed at {ended.ended_s:.6f} virtual seconds, by the test itself (see above)."]
    lines: list[str] = []
    for violation in violations[:VIOLATIONS_SHOWN]:
        lines += wrapped(f"{violation.property} violated {violation_line(violation)}", "")
    if len(violations) > VIOLATIONS_SHOWN:
        lines.append(f"… and {len(violations) - VIOLATIONS_SHOWN} more")
    sentence = meaning(violations[0].property)
    if sentence and violations[0].property in BY_NAME:
        lines += wrapped(f"{violations[0].property} means: {sentence}", "  ")
    return lines


def _again(ended: Ended, again: Ended | None, options: Options) -> list[str]:
    lines = ["", "See it again"]
    if options.test:
        lines += [f"  {repro(ended.seed, options)}", ""]
    same = again is not None and again.report.trace_hash == ended.report.trace_hash
    rows = {
        "seed": str(ended.seed),
        "commit": commit_of(ended),
        "trace hash": ended.report.trace_hash + (", and the same when run again" if same else ""),
    }
    lines += table(rows)
    if not same:
        other = "did not fail in a way that can be compared" if again is None else f"gave {again.report.trace_hash}"
        lines += wrapped(
            f"THE TEST IS NOT DETERMINED BY ITS SEED: run again, it {other}. Find this first. Something outlives a run "
            "(a module's, a class's or a fixture's state: make it inside of the test), or follows the order of a set.",
            "  !! ",
        )
    return lines


def repro(seed: int, options: Options) -> str:
    """The one command that shows the failure again."""
    return f"pytest {options.test} --sim-seed={seed}"


def commit_of(ended: Ended) -> str:
    """Which code was run: the test's, and the simulator's where that is of another repository."""
    ours = commit_line()
    test = test_file(ended.error)
    theirs = commit_line(test) if test is not None else ours
    if theirs == ours or theirs.startswith(PACKAGE):
        return f"{ours}, of the simulator" if theirs != ours else ours
    return f"{theirs}; the simulator: {ours}"


def test_file(error: BaseException | None) -> Path | None:
    """The file in which the traceback begins."""
    for frame in frames_of(error) if error is not None else ():
        file = inspect.getsourcefile(frame)
        if file is not None and Path(file).exists():
            return Path(file).resolve()
    return None


def _events(ended: Ended, again: Ended | None) -> list[str]:
    if again is None or again.recording is None:
        return []
    violations = again.report.violations
    if violations:
        violation = violations[0]
        title = f"Last {LINES} events around the violation (> it), +N: events left out between"
    else:
        violation = Violation("the test", ended.ended_s, "", str(ended.error))
        title = f"Last {LINES} events before the test failed, +N: events left out between"
    return ["", title, *around(again.recording, violation, LINES)]


def _as_run(ended: Ended) -> list[str]:
    scenario = ended.report.expanded
    told = [(name, value) for name, value in unusual_options(scenario) if name not in ("seconds", "name")]
    options = ", ".join(f"{name} {value}" for name, value in told)
    return [
        "",
        "As it was run, with all that was drawn from the seed",
        *row("options", options),
        *listed("sim.some", ended.drawn, DRAWS_SHOWN),
        *listed("faults", [fault_line(fault) for fault in scenario.faults], FAULTS_SHOWN),
    ]


def _github(ended: Ended, options: Options) -> list[str]:
    if not on_github():
        return []
    text = "\n".join([str(ended.error), f"Again: {repro(ended.seed, options)}" if options.test else ""]).strip()
    return ["", github_error(headline(ended), f"{text}\nCommit: {commit_of(ended)}", options.file)]
