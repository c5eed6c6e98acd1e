"""The soak: what it draws, when it stops, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import soak_run
from scripts.soak_run import EXAMPLE_EVERY, Soak, drawn, examples, main
from sim.faults import Crash
from sim.scenario import Liveness, Scenario
from tests.sim.planted.every import EVERY
from tests.sim.planted.mutant import QUIET, Tampered, mutant_of


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One process, few bugs, and files that do not stay."""
    monkeypatch.setattr(soak_run, "usable_cores", lambda: 1)
    monkeypatch.setattr(soak_run, "EVERY", EVERY[:2])
    monkeypatch.setattr(soak_run, "BUGS", {})
    monkeypatch.setattr(soak_run, "FAILURES", tmp_path)


def test_a_seed_is_always_the_same_run_and_every_fourth_is_an_example() -> None:
    names = {drawn(seed)[0] for seed in range(0, EXAMPLE_EVERY * len(examples()), EXAMPLE_EVERY)}
    assert names == {name for name, _ in examples()}
    others = [drawn(seed) for seed in range(200) if seed % EXAMPLE_EVERY]
    assert all(name == "" for name, _ in others)
    assert others == [drawn(seed) for seed in range(200) if seed % EXAMPLE_EVERY]
    for _, scenario in others:
        scenario.validate()
    assert len({fault.kind() for _, scenario in others for fault in scenario.faults}) > 15
    assert {scenario.liveness.rest for _, scenario in others} == {"well", "broken"}


def test_it_proves_runs_and_ends_when_the_time_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    assert Soak(5, 0.001).run() == 0
    told = capsys.readouterr().out
    assert told.splitlines()[0] == "soak of 0.001 min; again: scripts/soak --base 5 0.001"
    assert "all 2 planted bugs are caught" in told
    assert told.splitlines()[-1] == "every property held"


def test_it_stops_at_a_bug_that_is_not_caught(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(soak_run, "EVERY", (mutant_of(Tampered, QUIET, "agreement", seeds=1),))
    assert Soak(5, 1).run() == 1
    assert "NOT PROVEN  tampered" in capsys.readouterr().out


def test_it_stops_at_the_first_violation_and_says_how_to_see_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hasty = Scenario(nodes=5, seconds=10, faults=(Crash(9, None, 1),), liveness=Liveness(bound_s=1.0))
    monkeypatch.setattr(soak_run, "drawn", lambda seed: ("", hasty))
    assert Soak(5, 1).run() == 1
    told = capsys.readouterr().out
    assert "VIOLATED  drawn, seed" in told
    assert "meshsim" in told


@pytest.mark.parametrize("arguments", [["0"], ["many"], ["--base", "-1"], ["--bass", "1"], ["1", "2"]])
def test_input_that_cannot_be_used_is_refused(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["scripts/soak", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
