"""`meshsim shrink` and `meshsim diff`, as typed."""

from __future__ import annotations

import os
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import sim
from sim.checkers import Violation
from sim.cli import Exit, main
from sim.failure.trial import Trial, trial_of
from sim.files import load
from sim.scenario import Scenario, run

ROOT = Path(sim.__file__).resolve().parents[1]
TEXT = """
name = "flap"
nodes = 5
seconds = 30
faults = [
  { kind = "halves", start_s = 2, end_s = 12 },
  { kind = "crash", start_s = 15, end_s = 20 },
]
"""


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A scenario file in the present folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flap.toml").write_text(TEXT)
    return "flap.toml"


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("seed", [["flap.toml", "--seed", "3"], ["flap.toml@3"]])
def test_shrink_writes_what_fails_and_says_what_was_dropped(
    scenario: str, seed: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shrink", *seed]) == Exit.VIOLATED
    output = capsys.readouterr()
    path = tmp_path / "failure-flap-3-small.toml"
    small = load(path)
    assert small.seed == 3
    assert len(small.faults) == 1
    [fallen] = {violation.property for violation in run(small).violations} & {output.out.split(",")[0]}
    assert fallen in path.read_text()
    assert "faults: 2 → 1" in output.out
    assert "nothing more can be dropped" in output.out
    assert f"meshsim replay {path.name}" in output.out
    assert output.err == ""


@pytest.mark.usefixtures("broken")
def test_shrink_keeps_to_its_bounds_and_to_the_file_that_is_named(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shrink", scenario, "--runs", "1", "--out", "small.toml"]) == Exit.VIOLATED
    assert "1 runs" in capsys.readouterr().out
    assert load(tmp_path / "small.toml").faults


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("command", ["shrink", "replay"])
def test_ctrl_c_while_it_shrinks_tells_what_was_found(
    command: str, scenario: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(property_name: str, **how: Any) -> Trial:
        trial, asked = trial_of(property_name, **how), count()

        def one(scenario: Scenario) -> Violation | None:
            if next(asked) == 4:
                raise KeyboardInterrupt
            return trial(scenario)

        return one

    monkeypatch.setattr("sim.failure.shrink.trial_of", interrupted)
    assert main([command, scenario, "--seed", "3"]) == Exit.INTERRUPTED
    output = capsys.readouterr().out
    assert "4 runs in" in output
    assert "it was interrupted" in output
    if command == "shrink":
        assert load("failure-flap-3-small.toml").nodes < load(scenario).nodes


@pytest.mark.usefixtures("broken")
def test_shrink_writes_over_nothing_that_holds_another_run(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it has written may be made smaller in its turn, and has the very name that the smaller one would get."""
    first = tmp_path / "failure-flap-3-small.toml"
    assert main(["shrink", "flap.toml@3", "--runs", "2"]) == Exit.VIOLATED
    first.write_text(before := first.read_text() + "# mine\n")
    assert main(["shrink", first.name]) == Exit.VIOLATED
    assert first.read_text() == before
    second = tmp_path / "failure-flap-3-2-small.toml"
    assert load(second) != load(first)
    assert f"meshsim replay {second.name}" in capsys.readouterr().out
    second.write_text(before := second.read_text() + "# mine\n")
    assert main(["shrink", second.name]) == Exit.VIOLATED
    assert second.read_text() == before
    assert {path.name for path in tmp_path.iterdir()} == {"flap.toml", first.name, second.name}


@pytest.mark.parametrize("command", [["shrink", "flap.toml@3", "--out"], ["view", "flap.toml", "--out"],
                                     ["run", "flap.toml", "--junit"]])  # fmt: skip
def test_no_command_writes_over_its_own_scenario(
    command: list[str], scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link.toml").symlink_to(scenario)
    for name in (scenario, "link.toml"):
        assert main([*command, name]) == Exit.UNUSABLE
        assert "is the scenario itself" in capsys.readouterr().err
    assert (tmp_path / scenario).read_text() == TEXT


@pytest.mark.parametrize("option", [["view", "flap.toml", "--out"], ["run", "flap.toml", "--junit"]])
def test_what_is_no_regular_file_is_not_replaced_by_one(
    option: list[str], scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert main([*option, "pipe"]) == Exit.UNUSABLE
    assert "no regular file" in capsys.readouterr().err
    assert (tmp_path / "pipe").is_fifo()
    assert main([*option, "x" * 300]) == Exit.UNUSABLE
    assert "File name too long" in capsys.readouterr().err


def test_there_is_nothing_to_shrink_where_all_holds(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shrink", scenario]) == Exit.HELD
    assert "does not fail" in capsys.readouterr().out
    assert not list(Path().glob("failure*"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["shrink", "flop.toml"], "Did you mean"),
        (["shrink", "flap.toml@x"], "There is no file flap.toml@x"),
        (["shrink", "flap.toml", "--out", "absent/small.toml"], "no directory"),
        (["shrink", "flap.toml", "--property", "agreemnt"], "Did you mean 'agreement'?"),
        (["diff", "flap.toml", "flop.toml"], "Did you mean"),
        (["diff", "flap.toml@1", "flap.toml@2", "--source", "."], "no code that can be compared"),
        (["diff", "flap.toml"], "--help"),
    ],
)
def test_unusable_input_is_exit_2(
    arguments: list[str], says: str, scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == Exit.UNUSABLE
    output = capsys.readouterr()
    assert says in output.err
    assert output.out == ""


def test_diff_of_two_files_shows_where_they_part(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "late.toml").write_text(TEXT.replace("start_s = 15", "start_s = 16"))
    assert main(["diff", "flap.toml@4", "late.toml@4"]) == Exit.VIOLATED
    output = capsys.readouterr().out
    assert "First divergence: the same until here." in output
    [ours, theirs] = [line for line in output.splitlines() if line.startswith(">")]
    assert "15.000000 s" in ours
    assert "crashes" in ours
    assert "crashes" not in theirs


def test_diff_of_two_seeds_compares_kinds(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "flap.toml@4", "flap.toml@5"]) == Exit.VIOLATED
    output = capsys.readouterr().out
    assert "never in seed 5" in output or "the same kinds of things" in output


def test_a_run_is_the_same_in_a_fresh_process_under_another_hash_seed(
    scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", scenario, "flap.toml@0"]) == Exit.HELD
    assert f"The runs are the same: trace hash {run(load(scenario)).trace_hash}" in capsys.readouterr().out


def test_diff_with_the_code_of_another_checkout(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other one probes a little less often: the runs part at the first probe."""
    other = tmp_path / "other"
    for package in ("protocols", "sim"):
        shutil.copytree(ROOT / package, other / package, ignore=shutil.ignore_patterns("__pycache__"))
    assert main(["diff", scenario, scenario, "--source", "other"]) == Exit.HELD
    config = other / "protocols" / "config.py"
    before = config.read_text()
    after = before.replace("probe_interval: int = 1 * NANOS_PER_S", "probe_interval: int = 2 * NANOS_PER_S")
    assert after != before
    config.write_text(after)
    capsys.readouterr()
    assert main(["diff", scenario, scenario, "--source", "other"]) == Exit.VIOLATED
    output = capsys.readouterr().out
    assert "First divergence" in output
    assert "flap.toml in other" in output
    (other / "protocols" / "node.py").write_text("broken = ")
    assert main(["diff", scenario, scenario, "--source", "other"]) == Exit.UNUSABLE
    assert "SyntaxError" in capsys.readouterr().err
