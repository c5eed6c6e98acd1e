"""Sweeps: what they add up, what fails one, how they go on in memory that does not grow, and how they are cut short."""

from __future__ import annotations

import errno
import json
import signal
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

import pytest
from msgspec.structs import replace

from sim.checkers import Violation
from sim.cli import Exit, main
from sim.cli.options import Changes
from sim.cli.sweeping import Sweep
from sim.errors import ScenarioError
from sim.scenario import Report, Scenario, run
from sim.show.progress import with_progress
from sim.sweep import dask
from tests.sim.test_sweep_dask import CLUSTER, started

QUICK = Scenario(nodes=3, seconds=5)
NEVER = """\
name = "never"
nodes = 3
seconds = 10
sometimes = ["everybody_was_down"]
"""


@pytest.fixture(scope="module")
def report() -> Report:
    return run(QUICK)


def sweep_of(total: int, *, as_json: bool = False, junit: Path | None = None) -> Sweep:
    return Sweep(
        QUICK,
        range(total),
        file=None,
        changes=Changes(),
        as_json=as_json,
        out=None,
        junit=junit,
        shrink_s=0,
        whole=True,
    )


def test_a_state_that_was_never_reached_fails_a_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    Path("never.toml").write_text(NEVER)
    sweep = ["run", "never.toml", "--seeds", "0..2", "--jobs", "1"]
    assert main(sweep) == Exit.VIOLATED
    output = capsys.readouterr().out
    assert "every property held" in output
    assert "'everybody_was_down'" in output
    assert "Run more seeds" in output
    assert main([*sweep, "--json", "--junit", "x.xml"]) == Exit.VIOLATED
    document = json.loads(capsys.readouterr().out)
    assert document["held"] is False
    assert document["violated"] == 0
    assert document["sometimes"] == {"everybody_was_down": 0}
    [gap] = document["gaps"]
    [suite] = ElementTree.parse("x.xml").getroot()
    assert [case.attrib["name"] for case in suite.iter("testcase")] == [
        "seed 0",
        "seed 1",
        "what must happen sometimes",
    ]
    assert [failure.text for failure in suite.iter("failure")] == [gap]


def test_one_seed_need_not_get_anywhere(capsys: pytest.CaptureFixture[str]) -> None:
    Path("never.toml").write_text(NEVER)
    assert main(["run", "never.toml", "--seed", "1"]) == Exit.HELD
    assert "everybody_was_down: not in this run" in capsys.readouterr().out
    assert main(["run", "never.toml", "--seed", "1", "--junit", "x.xml"]) == Exit.HELD


def test_a_fault_that_never_struck_fails_a_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    faults = ["--fault", "mass-restart@1-3,down_s=5", "--fault", "diskfull:1@2-3"]
    assert main(["run", "--nodes", "3", "--seconds", "9", *faults, "--seeds", "0..2", "--jobs", "1"]) == Exit.VIOLATED
    assert "The fault diskfull is enabled and did not happen" in capsys.readouterr().out


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_ends_a_sweep_with_what_there_is(
    as_json: bool, report: Report, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> Iterator[Report]:
        yield from (replace(report, seed=seed) for seed in range(3))
        raise KeyboardInterrupt

    assert sweep_of(10, as_json=as_json, junit=folder / "x.xml").run(interrupted()) == Exit.INTERRUPTED
    output = capsys.readouterr().out
    if as_json:
        document = json.loads(output)
        assert document["interrupted"] is True
        assert [row["seed"] for row in document["runs"]] == [0, 1, 2]
    else:
        assert "3 of 10 seeds in" in output
        assert "interrupted after 3 of 10 seeds" in output
    [suite] = ElementTree.parse(folder / "x.xml").getroot()
    assert (suite.attrib["tests"], suite.attrib["failures"], suite.attrib["errors"]) == ("4", "0", "1")
    [error] = suite.iter("error")
    assert error.attrib["message"] == "interrupted after 3 of 10 seeds: 3..10 were not run"
    assert {each.attrib["name"]: each.attrib["value"] for each in suite.find("properties") or ()}["seeds"] == "0..3"


@pytest.mark.parametrize(
    ("held", "nearest"),
    [({0, 1, 9}, 1), ({0, 6, 7, 8}, 6), ({3, 5}, 3), ({0, 9}, 0), ({9}, 9), (set(), None)],
)
def test_a_failure_is_compared_with_the_nearest_seed_that_held(
    held: set[int], nearest: int | None, report: Report, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of seeds 0 to 9; those before 4 that are not in `held` are not in the sweep, and 4 is the first that fails."""
    given: list[int | None] = []

    def look(scenario: Scenario, failing: Report, *, passing: Report | None, **_: object) -> None:
        assert failing.seed == 4
        given.append(None if passing is None else passing.seed)

    monkeypatch.setattr("sim.cli.sweeping.look_into", look)
    fell = (Violation("agreement", 1.0, "n1", "no"),)
    seeds = [seed for seed in range(10) if seed in held or seed >= 4]
    reports = (replace(report, seed=seed, violations=() if seed in held else fell) for seed in seeds)
    assert sweep_of(10, junit=folder / "x.xml").run(reports) == Exit.VIOLATED
    assert given == [nearest]
    [suite] = ElementTree.parse(folder / "x.xml").getroot()
    assert sorted(case.attrib["name"] for case in suite.iter("testcase")) == [f"seed {seed}" for seed in seeds]


def test_a_sweep_that_is_cut_short_still_looks_into_what_failed(
    report: Report, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> Iterator[Report]:
        yield replace(report, violations=(Violation("agreement", 1.0, "n1", "no"),))
        raise KeyboardInterrupt

    seen: list[int] = []
    monkeypatch.setattr("sim.cli.sweeping.look_into", lambda _, failing, **__: seen.append(failing.seed))
    assert sweep_of(10).run(interrupted()) == Exit.INTERRUPTED
    assert seen == [0]


def test_ctrl_c_in_the_search_for_the_smallest_form_ends_the_sweep_and_loses_nothing(
    report: Report, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def look(*_: object, **__: object) -> str:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return "what was found by then"

    monkeypatch.setattr("sim.cli.sweeping.look_into", look)
    monkeypatch.setattr("sim.cli.sweeping.show", lambda failure, console: print(failure))
    reports = (
        replace(report, seed=seed, violations=(Violation("agreement", 1.0, "n1", "no"),) * (seed == 1))
        for seed in range(10)
    )
    assert sweep_of(10).run(reports) == Exit.INTERRUPTED
    output = capsys.readouterr().out
    assert "interrupted after 2 of 10 seeds" in output
    assert "what was found by then" in output


def test_a_part_of_a_sweep_need_not_get_anywhere(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> Iterator[Report]:
        yield replace(report, sometimes={"everybody_was_down": False})
        raise KeyboardInterrupt

    assert sweep_of(10).run(interrupted()) == Exit.INTERRUPTED
    assert "Run more seeds" not in capsys.readouterr().out


def test_ctrl_c_before_the_first_seed_is_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> Iterator[Report]:
        yield from ()
        raise KeyboardInterrupt

    assert sweep_of(10, as_json=True).run(interrupted()) == Exit.INTERRUPTED
    assert json.loads(capsys.readouterr().out)["runs"] == []


def test_a_sweep_that_breaks_off_tells_and_writes_what_it_had(
    report: Report, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost() -> Iterator[Report]:
        yield report
        raise ScenarioError("the cluster is gone")

    with pytest.raises(ScenarioError, match="gone"):
        sweep_of(10, as_json=True, junit=folder / "x.xml").run(lost())
    document = json.loads(capsys.readouterr().out)
    assert document["held"] is False
    assert document["seeds"] == 1
    [suite] = ElementTree.parse(folder / "x.xml").getroot()
    assert [case.attrib["name"] for case in suite.iter("testcase")] == ["seed 0", "every seed is run"]
    [error] = suite.iter("error")
    assert (error.text or "").splitlines() == [
        "interrupted after 1 of 10 seeds: 1..10 were not run",
        "the cluster is gone",
    ]


def test_a_sweep_that_cannot_begin_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def lost() -> Iterator[Report]:
        yield from ()
        raise ScenarioError("there is no cluster")

    with pytest.raises(ScenarioError, match="no cluster"):
        sweep_of(10, as_json=True, junit=folder / "x.xml").run(lost())
    assert capsys.readouterr().out == ""
    assert not list(folder.iterdir())


@pytest.mark.parametrize("moment", ["write", "rename"])
def test_a_sweep_whose_junit_cannot_be_written_is_run_and_told_all_the_same(
    moment: str, report: Report, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if moment == "write":
        monkeypatch.setattr("sim.failure.junit._write_case", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    reports = (replace(report, seed=seed) for seed in range(3))
    with pytest.raises(ScenarioError, match=r"--junit .*x\.xml cannot be written: No space left on device"):
        sweep_of(3, as_json=True, junit=folder / "x.xml").run(reports)
    document = json.loads(capsys.readouterr().out)
    assert document["held"] is True
    assert document["seeds"] == 3
    assert not list(folder.iterdir())


def test_trouble_of_the_sweep_is_not_taken_for_trouble_with_junit(folder: Path) -> None:
    def gone() -> Iterator[Report]:
        yield from ()
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        sweep_of(3, junit=folder / "x.xml").run(gone())


def test_memory_does_not_grow_with_the_number_of_seeds(
    report: Report, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def peak(total: int) -> int:
        tracemalloc.start()
        with (tmp_path / "out").open("w") as out:
            monkeypatch.setattr("sys.stdout", out)
            reports = (replace(report, seed=seed) for seed in range(total))
            assert sweep_of(total, as_json=True, junit=tmp_path / "x.xml").run(reports) == Exit.HELD
            monkeypatch.undo()
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(500)
    assert peak(8000) < peak(2000) + 200_000


def test_a_log_gets_a_line_now_and_then(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    times = iter(range(0, 1000, 10))
    reports = (replace(report, seed=seed) for seed in range(10))
    passed = list(with_progress(reports, 10, quiet=False, clock=lambda: next(times), every_s=30))
    assert [each.seed for each in passed] == list(range(10))
    assert capsys.readouterr().err.splitlines() == [
        "3 of 10 seeds, 0.1 seeds/s, 70 s left",
        "6 of 10 seeds, 0.1 seeds/s, 40 s left",
        "9 of 10 seeds, 0.1 seeds/s, 10 s left",
    ]


def test_a_quiet_sweep_says_nothing(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    times = iter(range(0, 1000, 100))
    list(with_progress(iter([report] * 5), 5, quiet=True, clock=lambda: next(times)))
    assert capsys.readouterr().err == ""


def test_a_cluster_that_is_not_there_is_unusable_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--seeds", "0..3", "--dask", "nowhere", "--json"]) == Exit.UNUSABLE
    output = capsys.readouterr()
    assert "tcp://10.0.0.5:8786" in output.err
    assert output.out == ""


def test_a_cluster_gives_what_this_machine_gives(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask, "WORKERS_S", 300)
    Path("never.toml").write_text(NEVER.replace("everybody_was_down", "false_suspicion") + "faults = ['halves@1-9']")
    sweep = ["run", "never.toml", "--seeds", "0..6", "--json"]
    assert main([*sweep, "--jobs", "1"]) == Exit.HELD
    here = json.loads(capsys.readouterr().out)
    with started([*CLUSTER, "2"]) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert main([*sweep, "--dask", address]) == Exit.HELD
    there = json.loads(capsys.readouterr().out)
    assert there["trace_hash"] == here["trace_hash"]
    assert [row["seed"] for row in there["runs"]] == list(range(6))
