"""`meshsim`: what it prints, and its exit status for what held, what was violated and what cannot be used."""

from __future__ import annotations

import json
import re
import shlex

import msgspec
import pytest
from msgspec.structs import replace

from protocols.core import Instant
from protocols.membership.member import Member, Update
from protocols.membership.swim import Swim
from sim.cli import Exit, main
from sim.faults import Crash, DiskFull, Halves, Isolate
from sim.network import LinkProfile
from sim.scenario import Scenario
from sim.show import repro

SMALL = ["run", "--nodes", "4", "--seconds", "20"]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol in which nobody refutes."""

    def refute(self: Swim, now: Instant, row: Member, update: Update) -> None:
        return None

    monkeypatch.setattr(Swim, "_refute", refute)


def test_json_is_one_document_with_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    status = main([*SMALL, "--seed", "7", "--partition", "halves@5-10", "--tasks", "3", "--json"])
    output = capsys.readouterr()
    document = json.loads(output.out)
    assert status == Exit.HELD
    assert output.err == ""
    assert document["held"] is True
    assert document["violations"] == []
    assert re.fullmatch("[0-9a-f]{32}", document["trace_hash"])
    assert document["events"] > 100
    assert document["virtual_seconds"] >= 20
    assert {"wall_seconds", "times_real_time", "messages", "drops", "faults", "tasks"} <= document.keys()
    assert document["messages"]["Ping"] > 0
    assert document["faults"]["halves"] == 1
    assert document["scenario"]["seed"] == 7


def test_tables_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--partition", "isolate:2@5-10", "--crash", "1@6-9"]) == Exit.HELD
    output = capsys.readouterr().out
    assert "2 node(s) isolated at 5-10 s" in output
    assert "every property held" in output


@pytest.mark.usefixtures("broken")
def test_a_violation_is_exit_1_and_says_how_to_see_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*SMALL, "--seed", "3", "--partition", "halves@2-18"]
    assert main(arguments) == Exit.VIOLATED
    output = capsys.readouterr().out
    assert "agreement" in output
    [line] = [line for line in output.splitlines() if "meshsim run" in line]
    assert main(shlex.split(line)[1:]) == Exit.VIOLATED
    assert capsys.readouterr().out.splitlines()[-1] == line
    assert main([*arguments, "--json"]) == Exit.VIOLATED
    document = json.loads(capsys.readouterr().out)
    assert document["held"] is False
    assert document["violations"][0]["property"] == "agreement"


@pytest.mark.usefixtures("broken")
def test_a_sweep_names_the_seeds_that_failed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--partition", "halves@2-18", "--seeds", "5..7", "--jobs", "1", "--json"]) == Exit.VIOLATED
    document = json.loads(capsys.readouterr().out)
    assert document["violated_seeds"] == [5, 6]
    assert [run["seed"] for run in document["runs"]] == [5, 6]


def test_a_sweep_runs_every_seed_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--seeds", "0..4", "--jobs", "2", "--json"]) == Exit.HELD
    document = json.loads(capsys.readouterr().out)
    assert [run["seed"] for run in document["runs"]] == [0, 1, 2, 3]
    assert document["seeds"] == 4
    assert main([*SMALL, "--seeds", "0..4", "--jobs", "1"]) == Exit.HELD
    assert document["trace_hash"] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--partition", "halfs@3-9"], "Did you mean 'halves'?"),
        (["--partition", "halves@30-60"], "the run lasts 20 s"),
        (["--crash", "9@3-4"], "must be 1 to 4"),
        (["--disk-full", "2@3"], "never ends"),
        (["--start", "joined"], "Did you mean 'join'?"),
        (["--loss", "5"], "For 5 % write 0.05"),
        (["--loss", "much"], "--help"),
        (["--seeds", "5"], "as in 0..500"),
        (["--seeds", "9..3"], "Did you mean 3..9?"),
        (["--seeds", "3..3"], "Did you mean 3..4?"),
        (["--seeds", "0..99999999999"], "at most"),
        (["--jobs", "-1"], "number of processes"),
        (["--nodes", "0"], "0 nodes"),
        (["--sed", "3"], "Did you mean --seed"),
        (["--xyzzy"], "--help"),
    ],
)
def test_unusable_input_is_exit_2_with_a_next_step(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SMALL, *arguments]) == Exit.UNUSABLE
    output = capsys.readouterr()
    assert says in output.err
    assert output.out == ""
    assert len(output.err.splitlines()) == 1


def test_an_unknown_command_is_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rnu"]) == Exit.UNUSABLE
    assert "run" in capsys.readouterr().err


def test_the_repro_line_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    scenario = Scenario(
        nodes=4,
        seconds=20,
        start="join",
        link=LinkProfile(loss=0.05, duplicate=0.25, reorder=0.125),
        faults=(Halves(1, 2), Isolate(3, 4, 2), Crash(5, None, 2), DiskFull(6, 7, 1)),
        tasks_per_s=2.5,
    )
    words = shlex.split(repro(scenario, 11))
    assert words[0] == "meshsim"
    assert main([*words[1:], "--json"]) == Exit.HELD
    document = json.loads(capsys.readouterr().out)
    assert msgspec.convert(document["scenario"], Scenario) == replace(scenario, seed=11)
