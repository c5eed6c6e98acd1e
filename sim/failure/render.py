"""A failure in words, for somebody who has never seen this project: what broke, how to see it again, where to look.

Plain text of at most about 100 columns, the most useful first. `render` gives the text, `show` prints it, with GitHub's
folds and annotations where the run is one of theirs.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sim.checkers import BY_NAME
from sim.checkers.checker import Checker, Violation
from sim.failure.changes import fault_line, unusual_options
from sim.failure.github import github_error, github_group, on_github
from sim.failure.lines import LINES
from sim.failure.page import listed, row, table, wrapped
from sim.failure.report import Failure, replay_command
from sim.failure.shrink import End
from sim.scenario import Scenario

if TYPE_CHECKING:
    from rich.console import Console

FAULTS_SHOWN = 40

RULES: dict[str, str] = {
    "invariant": "A node's own check of its state failed.",
    "no_exception": "A node's code raised an exception.",
    "promises_wait_for_the_disk": "What binds a node after a restart is said only once it is durable.",
    "saves_are_numbered": "A node numbers its saves upwards.",
    "one_reply": "Every request gets exactly one outcome.",
    "one_performed": "Every action has an id of its own while it is under way.",
}
"""Rules between a node and its driver, which no checker file states."""


def render(failure: Failure, checkers: Sequence[type[Checker]] = ()) -> str:
    """The whole report as plain text, ending in a newline. `checkers` are those that `sim.checkers` does not list."""
    sections = [
        _what(failure, checkers),
        _again(failure),
        _smallest(failure),
        _events(failure),
        _divergence(failure),
        _as_run(failure),
        _notes(failure),
    ]
    return "\n".join(line.rstrip() for section in sections for line in section) + "\n"


def show(failure: Failure, console: Console, checkers: Sequence[type[Checker]] = ()) -> None:
    """Print the report; on GitHub, folded, with an annotation in front."""
    lines: Iterable[str] = render(failure, checkers).splitlines()
    if on_github():
        title = headline(failure)
        lines = [annotation(failure), *github_group(title, lines)]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def headline(failure: Failure) -> str:
    """The failure in one line."""
    return f"{failure.report.violations[0].property} violated by seed {failure.report.seed}{_of(failure.scenario)}"


def annotation(failure: Failure) -> str:
    """The line that puts the failure on the page of a GitHub run."""
    text = f"{violation_line(failure.report.violations[0])}\nAgain: {failure.repro}\nCommit: {failure.commit}"
    return github_error(headline(failure), text)


def meaning(property_name: str, checkers: Sequence[type[Checker]] = ()) -> str:
    """What a property says, in one sentence; empty where nobody states it."""
    known = BY_NAME | {checker.name: checker for checker in checkers}
    if property_name in known:
        return (known[property_name].__doc__ or "").strip().partition("\n\n")[0].replace("\n    ", " ")
    return RULES.get(property_name, "")


def violation_line(violation: Violation) -> str:
    """When, where and what."""
    where = f"{violation.node}: " if violation.node else ""
    return f"at {violation.time_s:.6f} s, {where}{violation.text}"


def file_comment(failure: Failure, path: Path, scenario: Scenario) -> str:
    """The head of a replay file: whoever finds it alone knows what it is and how to use it."""
    small = failure.shrunk is not None and scenario == failure.shrunk.scenario
    violation = failure.shrunk.violation if small and failure.shrunk is not None else failure.report.violations[0]
    lines = [
        f"{'The smallest form that was found of a failure' if small else 'A failure'} of the simulator meshsim.",
        f"violates  {violation.property}: {violation_line(violation)}",
        f"seed      {scenario.seed}{_of(scenario)}; every option that the seed drew is written out below",
        f"commit    {failure.commit}",
        f"run it    {replay_command(path)}",
    ]
    return "\n".join(" ".join(line.split("\n")) for line in lines)


def _of(scenario: Scenario) -> str:
    return f" of {scenario.name}" if scenario.name else ""


def _what(failure: Failure, checkers: Sequence[type[Checker]]) -> list[str]:
    first = failure.report.violations[0]
    lines = [f"FAILED: {headline(failure)}", ""]
    lines += wrapped(violation_line(first), "  ")
    sentence = meaning(first.property, checkers)
    if sentence:
        lines += wrapped(f"{first.property} means: {sentence}", "  ")
    others = Counter(violation.property for violation in failure.report.violations[1:])
    if others:
        count = sum(others.values())
        listed = ", ".join(f"{name} × {times}" for name, times in others.items())
        lines += wrapped(f"{count} more violation{'s' if count > 1 else ''} followed: {listed}.", "  ")
    if not failure.repeats:
        lines += ["", *_not_deterministic(failure)]
    return lines


def _not_deterministic(failure: Failure) -> list[str]:
    text = (
        "THE RUN IS NOT DETERMINISTIC. The same seed and code were run twice, and the two runs were not the same "
        f"(trace hashes {failure.report.trace_hash} and {failure.again_hash}). Find this before anything else: nothing "
        "below can be relied on. Something in the run reads what the seed does not decide: a clock, a global random, "
        "the order of a set, id(), the environment, or state that outlives a run, such as a module's or a class's "
        "variable."
    )
    lines = wrapped(text, "  !! ")
    if failure.files:
        command = shlex.join(["meshsim", "diff", str(failure.files[0]), str(failure.files[0])])
        lines += ["  !! To see where two runs part, the second in a fresh process, under another hash seed:"]
        lines += [f"  !!   {command}"]
    return lines


def _again(failure: Failure) -> list[str]:
    commands = [failure.repro, *(replay_command(path) for path in failure.files[:1])]
    commands += [shlex.join(["meshsim", "view", str(path)]) + "  # as a picture" for path in failure.files[-1:]]
    trace_hash = failure.report.trace_hash or "none: the run did not come to its end"
    if failure.report.trace_hash and failure.repeats:
        trace_hash += ", and the same when run again"
    lines = ["", "See it again", *(f"  {command}" for command in dict.fromkeys(commands) if command), ""]
    lines += table({"seed": str(failure.report.seed), "commit": failure.commit, "trace hash": trace_hash})
    lines += listed("written to", [str(path) for path in failure.files] or ["no file"], FAULTS_SHOWN)
    return lines


def _smallest(failure: Failure) -> list[str]:
    shrunk = failure.shrunk
    if shrunk is None:
        return []
    if not shrunk.changes:
        return ["", f"Smallest form: as it is. {shrunk.runs} smaller ones were tried, and did not fail ({shrunk.end})."]
    small = list(failure.files[1:])
    lines = ["", f"Smallest form that still violates {shrunk.violation.property}"]
    lines += [f"  {replay_command(path)}" for path in small]
    if small:
        lines.append("")
    lines += _options(shrunk.scenario)
    lines += row("it gives", violation_line(shrunk.violation))
    lines += row("found by", f"{shrunk.runs} runs in {shrunk.wall_s:.1f} s; {shrunk.end}")
    if shrunk.end in (End.TIME, End.INTERRUPTED):
        lines += row("", "meshsim shrink goes on for as long as you like")
    return lines


def _events(failure: Failure) -> list[str]:
    if not failure.events:
        return []
    return [
        "",
        f"Last {LINES} events around the violation (> it; +N: events left out before this one)",
        *failure.events,
    ]


def _divergence(failure: Failure) -> list[str]:
    told = [f"  {line}" if line else "" for line in failure.divergence_lines]
    if not failure.repeats:
        return ["", "Where two more runs of this seed part", *(told or ["  They do not: it takes a fresh process."])]
    if failure.passing_seed is None:
        return []
    title = f"First divergence from seed {failure.passing_seed}, the nearest that passes"
    if failure.divergence is None:
        return ["", title, "  Before the violation, both show the same kinds of things."]
    return ["", title, *told]


def _as_run(failure: Failure) -> list[str]:
    title = "As it was run, with all that was drawn from the seed"
    struck = failure.report.struck if failure.report.trace_hash else None
    return ["", title, *_options(failure.scenario, struck)]


def _options(scenario: Scenario, struck: Mapping[int, str] | None = None) -> list[str]:
    """What is not usual of a scenario. `struck` tells, by salt, whom each fault has hit; None: nobody knows."""
    options = ", ".join(f"{name} {value}" for name, value in unusual_options(scenario))
    lines = row("options", options)
    if not scenario.faults:
        return lines + row("faults", "none")
    faults = sorted(scenario.faults, key=lambda fault: fault.start_s)
    return lines + listed("faults", [fault_line(fault, struck) for fault in faults], FAULTS_SHOWN)


def _notes(failure: Failure) -> list[str]:
    lines = [line for note in failure.notes for line in wrapped(note, "Note: ", "      ")]
    return ["", *lines] if lines else []
