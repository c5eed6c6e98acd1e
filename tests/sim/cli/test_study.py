"""`meshsim study`: what it writes, what it says of wrong options, and that it can be broken off."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from sim.cli import Exit, main
from sim.errors import ScenarioError
from sim.study import plan as plans
from sim.study import pool
from sim.study.plan import EXPERIMENTS, chosen, plan
from sim.study.trial import Figures, StudyError, Trial

SMALL = ["study", "membership", "--nodes", "5", "--seeds", "0..2", "--only", "detection"]


def test_it_writes_a_page_and_a_document_and_says_the_goals(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = main([*SMALL, "--out", "r.html", "--json", "r.json"])
    output = capsys.readouterr()
    assert status == Exit.HELD
    assert "met survivors that never came to know" in output.out
    assert "goals met" in output.out
    assert (folder / "r.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    told = json.loads((folder / "r.json").read_text(encoding="utf-8"))
    assert told["trials"] == told["planned"] == 2
    assert [section["name"] for section in told["sections"]] == ["detection"]


def test_the_same_seeds_give_the_same_document_in_any_number_of_processes(folder: Path) -> None:
    options = ["study", "membership", "--nodes", "5,8", "--seeds", "3..5", "--only", "detection", "--only", "traffic"]
    assert main([*options, "--json", "one.json"]) == Exit.HELD
    assert main([*options, "--json", "two.json", "--jobs", "2"]) == Exit.HELD
    assert (folder / "one.json").read_bytes() == (folder / "two.json").read_bytes()


def test_a_missed_goal_is_the_exit_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def nobody_knows(trial: Trial) -> Figures:
        return {"survivors": [4.0], "knowing": [3.0]}

    monkeypatch.setattr(pool, "run_trial", nobody_knows)
    assert main(SMALL) == Exit.VIOLATED
    assert "MISSED       survivors that never came to know" in capsys.readouterr().out


def test_a_goal_that_cannot_be_told_is_not_held(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing_comes_of_it(trial: Trial) -> Figures:
        return {"survivors": [4.0], "knowing": [4.0]}

    monkeypatch.setattr(pool, "run_trial", nothing_comes_of_it)
    assert main(SMALL) == Exit.VIOLATED
    assert "1 of 3 goals met; 2 not measured" in capsys.readouterr().out


def test_ctrl_c_keeps_what_there_is(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure = pool.measure

    def interrupted(trials: Sequence[Trial], jobs: int) -> Iterator[tuple[Trial, Figures]]:
        yield from measure(trials[:1], jobs)
        raise KeyboardInterrupt

    monkeypatch.setattr(pool, "measure", interrupted)
    assert main([*SMALL, "--out", "r.html"]) == Exit.INTERRUPTED
    assert "1 of 2 runs: it was broken off" in capsys.readouterr().out
    assert (folder / "r.html").exists()


def test_a_trial_that_breaks_off_is_told_and_the_rest_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_trial = plans.run_trial

    def breaks(trial: Trial) -> Figures:
        if trial.seed:
            raise StudyError("invariant: two and two are five")
        return run_trial(trial)

    monkeypatch.setattr(pool, "run_trial", breaks)
    assert main(SMALL) == Exit.UNUSABLE
    output = capsys.readouterr()
    assert "1 of 2 runs" in output.out
    assert "two and two are five" in output.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["study", "membershp"], "Did you mean 'membership'?"),
        (["study", "membership", "--only", "detektion"], "There are: detection, false-positives, dissemination"),
        (["study", "membership", "--nodes", "5,x"], "numbers of nodes are written 5,20,100"),
        (["study", "membership", "--nodes", "1"], "each from 2 to 20000"),
        (["study", "membership", "--nodes", "2", "--only", "stability"], "Name 20 or more"),
        (["study", "membership", "--nodes", "1000", "--only", "stability"], "Name --seeds"),
        (["study", "membership", "--seeds", "5..5"], "there are no seeds"),
        (["study", "membership", "--jobs", "-1"], "--jobs -1"),
        (["study", "membership", "--out", "nowhere/r.html"], "there is no directory nowhere"),
        (["study", "membership", "--json", "nowhere/r.json"], "there is no directory nowhere"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_run(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options) == Exit.UNUSABLE
    assert said in capsys.readouterr().err


def test_the_plan_goes_seed_by_seed_through_all_experiments() -> None:
    trials = list(plan(chosen("", ()), (5, 20), range(7, 9)))
    assert {trial.experiment for trial in trials[: len(EXPERIMENTS)]} == set(EXPERIMENTS)
    assert {trial.seed for trial in trials} == {7, 8}
    seeds = [trial.seed for trial in trials if trial.experiment == "detection"]
    assert seeds == sorted(seeds)
    assert len(set(trials)) == len(trials)


def test_the_whole_has_every_arm_and_the_usual_share_fewer() -> None:
    whole = {(trial.arm, trial.nodes) for trial in plan(chosen("", ()), (100, 1000), range(1))}
    usual = {(trial.arm, trial.nodes) for trial in plan(chosen("", ()), (100, 1000), None)}
    assert usual < whole
    assert ("half | half, forgotten", 1000) in whole - usual


def test_experiments_are_chosen_in_their_own_order() -> None:
    assert [experiment.name for experiment in chosen("", ["traffic", "detection"])] == ["detection", "traffic"]
    with pytest.raises(ScenarioError, match="There are: detection"):
        chosen("--only", ["nothing"])
