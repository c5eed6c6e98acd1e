"""What is found out of a failing seed, and what is told of it: complete, true, and of use to a stranger."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace
from rich.console import Console

from protocols.config import NodeConfig
from protocols.core import Event, Instant, Put, Step
from protocols.node import Node
from sim.checkers.checker import Violation
from sim.failure.lines import LINES, WIDTH
from sim.failure.render import RULES, meaning, render, show
from sim.failure.report import Failure, file_name, investigate, nearest_passing
from sim.faults import Crash, Halves
from sim.files import load
from sim.scenario import Report, Scenario, run
from tests.sim.failure.planted import TWELVE, AnswersBeforeSaving, ForgetsItsGeneration


def only_one_forgets(config: NodeConfig, saved: Iterable[Put], rng: Random) -> Node:
    """Of all nodes, n1 forgets its generation: seeds in which n1 does not crash pass."""
    return ForgetsItsGeneration(config, saved, rng) if config.name == "n1" else Node(config, saved, rng)


SOMETIMES = Scenario(name="restarts of one", nodes=4, seconds=25, tasks_per_s=1, faults=(Halves(2, 5), Crash(8, 14)))


@pytest.fixture(scope="module")
def reports() -> list[Report]:
    """Eight seeds of `SOMETIMES`, some of which fail."""
    return [run(replace(SOMETIMES, seed=seed), core_factory=only_one_forgets) for seed in range(8)]


@pytest.fixture(scope="module")
def failing(reports: list[Report]) -> Report:
    return next(report for report in reports if not report.held)


@pytest.fixture(scope="module")
def failure(reports: list[Report], failing: Report, tmp_path_factory: pytest.TempPathFactory) -> Failure:
    passed = nearest_passing(failing.seed, [report.seed for report in reports if report.held])
    assert passed is not None
    return investigate(
        SOMETIMES,
        failing,
        passing=reports[passed],
        core_factory=only_one_forgets,
        shrink_budget=600,
        out=tmp_path_factory.mktemp("out") / "made when needed",
    )


def test_the_replay_file_is_the_very_run(failure: Failure, failing: Report) -> None:
    again = run(load(failure.files[0]), core_factory=only_one_forgets)
    assert again.trace_hash == failing.trace_hash
    assert again.violations == failing.violations
    assert failure.files[0].name == f"failure-restarts-of-one-{failing.seed}.toml"


def test_the_small_file_fails_in_the_same_way(failure: Failure) -> None:
    assert failure.shrunk is not None
    small = load(failure.files[1])
    assert small == failure.shrunk.scenario
    assert [fault.kind() for fault in small.faults] == ["crash"]
    assert failure.shrunk.violation in run(small, core_factory=only_one_forgets).violations


def test_a_file_that_is_found_alone_explains_itself(failure: Failure) -> None:
    for path in failure.files:
        head = [line for line in path.read_text().splitlines() if line.startswith("#")]
        text = "\n".join(head)
        assert "incarnations_grow" in text
        assert f"seed      {failure.report.seed}" in text
        assert failure.commit in text
        assert f"meshsim replay '{path}'" in text


def test_the_report_has_all_that_is_asked_of_it(failure: Failure, failing: Report) -> None:
    text = render(failure)
    first = failing.violations[0]
    assert text.startswith(f"FAILED: incarnations_grow violated by seed {failing.seed} of restarts of one\n")
    assert f"at {first.time_s:.6f} s, n1: {first.text}" in text
    assert meaning("incarnations_grow").split(",")[0] in text
    assert failure.repro in text
    assert f"commit      {failure.commit}" in text
    assert f"{failing.trace_hash}, and the same when run again" in text
    assert "Smallest form that still violates incarnations_grow" in text
    assert f"Last {LINES} events" in text
    assert len(failure.events) == LINES
    assert f"First divergence from seed {failure.passing_seed}, the nearest that passes" in text
    assert re.search(r"^  never in seeds? \d+[^:]*: ", text, re.MULTILINE)
    for option in ("nodes 4", "seconds 25", "start converged", "tasks_per_s 1", *failing.struck.values()):
        assert option in " ".join(text.split())
    assert "n1 down from 8 s until 14 s" in failing.struck.values()
    assert "nobody to hit" not in text


def test_a_fault_that_did_not_strike_is_told_as_such(failing: Report) -> None:
    fault = replace(failing.expanded.faults[0], salt=99)
    report = replace(failing, expanded=replace(failing.expanded, faults=(*failing.expanded.faults, fault)))
    text = render(investigate(SOMETIMES, report, core_factory=only_one_forgets, shrink_budget=0))
    assert text.count("there was nobody to hit") == 1


def test_the_report_fits_a_page(failure: Failure) -> None:
    long = [line for line in render(failure).splitlines() if len(line) > WIDTH and "meshsim" not in line]
    assert [line for line in long if str(failure.files[0].parent) not in line] == []


def test_github_gets_an_annotation_and_a_fold(
    failure: Failure, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "false")
    show(failure, Console(width=40))
    assert capsys.readouterr().out == render(failure)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    show(failure, Console(width=40))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("::error title=incarnations_grow violated by seed")
    assert "%0AAgain" in lines[0]
    assert lines[1].startswith("::group::")
    assert lines[-1] == "::endgroup::"
    assert lines[2:-1] == render(failure).splitlines()


def test_without_a_passing_seed_neighbours_are_tried(failing: Report) -> None:
    failure = investigate(SOMETIMES, failing, core_factory=only_one_forgets, shrink_budget=0)
    assert failure.passing_seed is not None
    assert abs(failure.passing_seed - failing.seed) <= 4
    assert failure.shrunk is None
    assert failure.files == ()
    assert "no file" in render(failure)


def test_where_every_seed_fails_there_is_nothing_to_compare() -> None:
    report = run(TWELVE, core_factory=ForgetsItsGeneration)
    failure = investigate(TWELVE, report, core_factory=ForgetsItsGeneration, shrink_budget=0)
    assert failure.divergence is None
    assert "No seed near this one was seen to pass" in render(failure)


def test_a_folder_that_cannot_be_written_is_told_and_not_fatal(failing: Report, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    failure = investigate(
        SOMETIMES, failing, core_factory=only_one_forgets, shrink_budget=0, out=tmp_path / "file", repro="do this"
    )
    assert failure.files == ()
    assert "could not be written" in render(failure)
    assert "--out" in render(failure)
    assert "  do this\n" in render(failure)


class RemembersEarlierRuns(AnswersBeforeSaving):
    """Not determined: whether it answers too early depends on how many nodes this process has ever made."""

    made = 0

    def __init__(self, config: NodeConfig, saved: Iterable[Put], rng: Random) -> None:
        super().__init__(config, saved, rng)
        type(self).made += 1
        self.odd = type(self).made // 4 % 2 == 1

    def step(self, now: Instant, event: Event) -> Step:
        return super().step(now, event) if self.odd else Node.step(self, now, event)


def test_a_run_that_does_not_repeat_is_told_loudly(tmp_path: Path) -> None:
    scenario = Scenario(nodes=4, seconds=10, tasks_per_s=3)
    runs = [run(scenario, core_factory=RemembersEarlierRuns) for _ in range(2)]
    report = next(report for report in runs if not report.held)
    if runs[0] is report:
        run(scenario, core_factory=RemembersEarlierRuns)
    failure = investigate(scenario, report, core_factory=RemembersEarlierRuns, out=tmp_path)
    assert not failure.repeats
    assert failure.shrunk is None
    text = render(failure)
    assert "THE RUN IS NOT DETERMINISTIC" in text
    assert "Find this before anything else" in text
    assert f"meshsim diff {failure.files[0]} {failure.files[0]}" in text
    assert "Where two more runs of this seed part" in text
    assert failure.divergence is not None


class BreaksOnRestart(Node):
    """Its second life cannot begin: the exception comes out of the run, as one of the simulator's own would."""

    def __init__(self, config: NodeConfig, saved: Iterable[Put], rng: Random) -> None:
        puts = list(saved)
        if puts:
            raise KeyError("no such thing")
        super().__init__(config, puts, rng)


def test_a_run_that_breaks_off_is_told_up_to_there(tmp_path: Path) -> None:
    whole = run(SOMETIMES)
    text = "the run broke off: KeyError: 'no such thing'"
    report = replace(whole, trace_hash="", violations=(Violation("no_exception", 0.0, "", text),))
    failure = investigate(SOMETIMES, report, core_factory=BreaksOnRestart, shrink_budget=600, out=tmp_path)
    assert len(failure.events) == LINES
    assert 13 < float(failure.events[-1].strip("> ").split()[0]) <= 14
    assert failure.shrunk is not None
    assert [fault.kind() for fault in failure.shrunk.scenario.faults] == ["crash"]
    assert "none: the run did not come to its end" in render(failure)


def test_what_kills_its_process_is_not_run_in_this_one() -> None:
    whole = run(SOMETIMES)
    dead = replace(whole, trace_hash="", violations=(Violation("worker_survives", 0.0, "", "it died"),))

    def deadly(config: NodeConfig, saved: Iterable[Put], rng: Random) -> Node:
        pytest.fail("it was run")

    failure = investigate(SOMETIMES, dead, core_factory=deadly)
    assert "was not run again" in render(failure)


def test_what_held_is_no_failure() -> None:
    report = run(Scenario(nodes=2, seconds=2))
    with pytest.raises(ValueError, match="held"):
        investigate(report.expanded, report)


def test_every_property_has_a_meaning() -> None:
    from sim.checkers import BY_NAME

    for name in (*BY_NAME, *RULES):
        assert meaning(name).endswith("."), name
        assert "\n" not in meaning(name)
    assert meaning("nobody has heard of it") == ""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("split halves", "failure-split-halves-7"),
        ("", "failure-scenario-7"),
        ("../../etc/passwd", "failure-etc-passwd-7"),
        ("ä", "failure-scenario-7"),
        ("x" * 300, f"failure-{'x' * 60}-7"),
    ],
)
def test_a_name_of_any_kind_becomes_a_file_name(name: str, expected: str) -> None:
    assert file_name(Scenario(name=name), 7) == expected


def test_of_the_seeds_that_pass_the_nearest_is_chosen() -> None:
    assert nearest_passing(7, [0, 5, 9, 20]) == 5
    assert nearest_passing(7, [8, 20]) == 8
    assert nearest_passing(7, []) is None
