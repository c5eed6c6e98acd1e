"""`meshsim view`: what it writes, what it says, and its exit status."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from sim.cli import Exit, main
from sim.record import recorder
from tests.sim.view.recordings import ForgetsItsGeneration

SPLIT = """\
nodes = 4
seconds = 20
seed = 3

[[faults]]
kind = "halves"
start_s = 5
end_s = 12
"""
CRASHES = """\
nodes = 4
seconds = 30
[workload]
tasks_per_s = 3

[[faults]]
kind = "crash"
start_s = 8
end_s = 14
count = 2
"""


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scenario file, in the folder that the command runs in."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "split.toml"
    path.write_text(SPLIT, encoding="utf-8")
    return path


def test_a_file_is_written_and_where_is_said(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(scenario)]) == Exit.HELD
    written = scenario.parent / "split-3.html"
    said = capsys.readouterr().out
    assert "seed 3: every property held" in said
    assert f"wrote split-3.html; open it in any browser: {written.as_uri()}" in said
    assert '"seed":"3"' in written.read_text(encoding="utf-8")


def test_a_disk_that_is_full_is_told_and_no_half_of_a_page_is_left(
    scenario: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert main(["view", str(scenario)]) == Exit.UNUSABLE
    assert capsys.readouterr().err.endswith("cannot be written: No space left on device. Name another place.\n")
    assert list(scenario.parent.iterdir()) == [scenario]


def test_seed_and_file_may_be_named(scenario: Path) -> None:
    assert main(["view", str(scenario), "--seed", "8", "--out", "here.html"]) == Exit.HELD
    assert '"seed":"8"' in (scenario.parent / "here.html").read_text(encoding="utf-8")


def test_a_stretch_of_time_may_be_asked_for(scenario: Path) -> None:
    assert main(["view", str(scenario), "--from", "6", "--to", "7.5", "--out", "part.html"]) == Exit.HELD
    assert '"begin":6000000000,"end":7500000000,' in (scenario.parent / "part.html").read_text(encoding="utf-8")


def test_what_did_not_fit_is_counted(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(scenario), "--limit", "50"]) == Exit.HELD
    said = capsys.readouterr().out
    assert "50 events" in said
    assert "earlier events did not fit" in said


def test_a_violated_run_is_written_too(
    scenario: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario.write_text(CRASHES, encoding="utf-8")
    record = recorder.record
    monkeypatch.setattr(
        recorder, "record", lambda scenario, **options: record(scenario, core_factory=ForgetsItsGeneration, **options)
    )
    assert main(["view", str(scenario)]) == Exit.VIOLATED
    assert "violations" in capsys.readouterr().out
    assert "incarnations_grow" in (scenario.parent / "split-0.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--from", "9", "--to", "8"], "--to 8 is not after --from 9"),
        (["--from", "-1"], "virtual time starts at 0 s"),
        (["--from", "9000"], "the run is over at"),
        (["--limit", "0"], "a number of events"),
        (["--out", "no/such/folder/x.html"], "no directory"),
        (["--limits", "3"], "Did you mean --limit?"),
    ],
)
def test_what_cannot_be_used_is_told_and_nothing_is_written(
    scenario: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", str(scenario), *arguments]) == Exit.UNUSABLE
    assert says in capsys.readouterr().err
    assert list(scenario.parent.glob("*.html")) == []
