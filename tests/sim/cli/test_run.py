"""`meshsim run`: what it prints, and its exit status for what held, what was violated and what cannot be used."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from sim.cli import Exit, main
from sim.cli.options import Changes, again
from sim.faults import Crash, DiskFull, Halves, Isolate, OneWay
from sim.files import load
from sim.network import LinkProfile
from sim.scenario import Scenario

SMALL = ["run", "--nodes", "4", "--seconds", "20"]
FAST = ["--shrink", "0"]

FILE = """\
name = "small"
nodes = 4
seconds = 20
seed = 5

[link]
loss = 0.02

[[faults]]
kind = "halves"
start_s = 2
end_s = 12
"""


def test_json_is_one_document_with_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    status = main([*SMALL, "--seed", "7", "--partition", "halves@5-10", "--tasks", "3", "--json"])
    output = capsys.readouterr()
    document = json.loads(output.out)
    assert status == Exit.HELD
    assert output.err == ""
    assert document["held"] is True
    assert document["violations"] == []
    assert document["failure"] is None
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


def test_a_file_says_what_to_run_and_options_change_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("small.toml").write_text(FILE)
    assert main(["run", "small.toml", "--json"]) == Exit.HELD
    document = json.loads(capsys.readouterr().out)
    assert msgspec.convert(document["scenario"], Scenario) == load("small.toml")
    changes = ["--nodes", "5", "--loss", "0.1", "--crash", "1@3-4", "--seed", "9"]
    assert main(["run", "small.toml", *changes, "--json"]) == Exit.HELD
    changed = msgspec.convert(json.loads(capsys.readouterr().out)["scenario"], Scenario)
    assert changed.nodes == 5
    assert changed.seconds == 20
    assert changed.seed == 9
    assert changed.link == LinkProfile(loss=0.1)
    assert changed.faults == (Halves(2, 12), Crash(3, 4, 1))
    assert list(folder.iterdir()) == [folder / "small.toml"]


def test_every_option_says_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        *["--start", "join", "--loss", "0.05", "--duplicate", "0.25", "--reorder", "0.125", "--tasks", "2.5"],
        *["--events", "1.5"],
        *["--partition", "halves@1-2", "--partition", "isolate:2@3-4", "--crash", "2@5", "--disk-full", "1@6-7"],
        *["--fault", "oneway:2@8-9"],
    ]
    assert main([*SMALL, *options, "--json"]) == Exit.HELD
    scenario = msgspec.convert(json.loads(capsys.readouterr().out)["scenario"], Scenario)
    assert scenario.faults == (OneWay(8, 9, 2), Halves(1, 2), Isolate(3, 4, 2), Crash(5, None, 2), DiskFull(6, 7, 1))
    assert scenario == Scenario(
        nodes=4,
        seconds=20,
        start="join",
        link=LinkProfile(loss=0.05, duplicate=0.25, reorder=0.125),
        faults=scenario.faults,
        tasks_per_s=2.5,
        events_per_s=1.5,
    )


def test_the_line_that_shows_it_again_has_every_option() -> None:
    changes = Changes(
        4, 20.0, "join", ("oneway:2@8-9",), ("halves@1-2",), ("2@5",), ("1@6-7",), 0.1, 0.0, 0.125, 2.5, 1.5
    )
    words = shlex.split(again(Path("a b.toml"), changes, 11))
    assert words[:3] == ["meshsim", "run", "a b.toml"]
    assert words[-2:] == ["--seed", "11"]
    given = dict(zip(words[3::2], words[4::2], strict=True))
    assert given["--loss"] == "0.1"
    assert given.keys() == {f"--{name.replace('_', '-')}" for name in Changes._fields} | {"--seed"}
    assert again(Path("x.toml"), Changes(), 3) == "meshsim replay x.toml --seed 3"
    assert again(None, Changes(nodes=4), 3) == "meshsim run --nodes 4 --seed 3"


@pytest.mark.usefixtures("broken")
def test_a_violation_is_exit_1_and_says_how_to_see_it_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*SMALL, *FAST, "--seed", "3", "--partition", "halves@2-18"]
    assert main(arguments) == Exit.VIOLATED
    output = capsys.readouterr().out
    assert "agreement" in output
    [line] = [line for line in output.splitlines() if "meshsim run" in line]
    assert main([*shlex.split(line)[1:], *FAST]) == Exit.VIOLATED
    assert line in capsys.readouterr().out
    [written] = sorted((folder / "meshsim-failures").iterdir())
    assert main(["replay", str(written), *FAST]) == Exit.VIOLATED
    capsys.readouterr()
    assert main([*arguments, "--json", "--out", "elsewhere"]) == Exit.VIOLATED
    document = json.loads(capsys.readouterr().out)
    assert document["held"] is False
    assert document["violations"][0]["property"] == "agreement"
    assert document["failure"]["again"] in line
    assert [Path(path).parent for path in document["failure"]["files"]] == [Path("elsewhere")]


@pytest.mark.usefixtures("broken")
def test_replay_loses_no_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faults = ["--partition", "halves@2-18", "--crash", "1@3-6"]
    assert main([*SMALL, *faults, "--seed", "3", "--out", "kept", "--shrink", "60"]) == Exit.VIOLATED
    before = {path: path.read_bytes() + b"# mine\n" for path in sorted(Path("kept").iterdir())}
    whole, small = sorted(before, key=lambda path: len(path.name))
    for path, text in before.items():
        path.write_bytes(text)
    for path in (small, whole):
        assert main(["replay", str(path), *FAST]) == Exit.VIOLATED
    assert "no file" in capsys.readouterr().out
    assert list(folder.iterdir()) == [folder / "kept"]
    assert {path: path.read_bytes() for path in Path("kept").iterdir()} == before
    for command in ("replay", "run"):
        for path in (small, whole):
            assert main([command, str(path), *FAST, "--out", "kept"]) == Exit.VIOLATED
    assert {path: path.read_bytes() for path in before} == before
    [more] = set(Path("kept").iterdir()) - before.keys()
    assert more.name == "failure-scenario-3-2.toml"
    assert load(more) == load(small)


@pytest.mark.usefixtures("broken")
def test_a_sweep_names_the_seeds_that_failed(capsys: pytest.CaptureFixture[str]) -> None:
    sweep = [*SMALL, *FAST, "--partition", "halves@2-18", "--seeds", "5..7", "--jobs", "1"]
    assert main([*sweep, "--json"]) == Exit.VIOLATED
    document = json.loads(capsys.readouterr().out)
    assert document["held"] is False
    assert document["violated_seeds"] == [5, 6]
    assert document["violated"] == 2
    assert [run["seed"] for run in document["runs"]] == [5, 6]
    assert document["runs"][0]["violations"][0]["property"] == "agreement"
    assert document["failure"]["seed"] == 5
    assert main(sweep) == Exit.VIOLATED
    output = capsys.readouterr().out
    assert "2 of 2 seeds violated a property: 5, 6" in output
    assert output.count("meshsim run --nodes 4 --seconds 20 --partition halves@2-18 --seed 5") == 1


def test_a_sweep_runs_every_seed_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--seeds", "0..4", "--jobs", "2", "--json"]) == Exit.HELD
    document = json.loads(capsys.readouterr().out)
    assert [run["seed"] for run in document["runs"]] == [0, 1, 2, 3]
    assert document["seeds"] == 4
    assert document["held"] is True
    assert main([*SMALL, "--seeds", "0..4", "--jobs", "1"]) == Exit.HELD
    assert document["trace_hash"] in capsys.readouterr().out


@pytest.mark.usefixtures("broken")
def test_junit_has_a_case_for_every_seed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("small.toml").write_text(FILE.replace("end_s = 12", "end_s = 18"))
    sweep = ["run", "small.toml", *FAST, "--seeds", "5..7", "--jobs", "1", "--junit", "results.xml", "--json"]
    assert main(sweep) == Exit.VIOLATED
    document = json.loads(capsys.readouterr().out)
    [suite] = ElementTree.parse("results.xml").getroot()
    assert suite.attrib["name"] == "small"
    assert {case.attrib["name"] for case in suite.iter("testcase")} == {"seed 5", "seed 6"}
    first, second = (
        case.find("failure") for case in sorted(suite.iter("testcase"), key=lambda each: each.attrib["name"])
    )
    assert first is not None
    assert second is not None
    assert (first.text or "").endswith(document["failure"]["text"])
    assert "Again: meshsim replay small.toml --seed 6" in (second.text or "")


def test_junit_of_one_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--seed", "8", "--junit", "one.xml"]) == Exit.HELD
    [suite] = ElementTree.parse("one.xml").getroot()
    assert [case.attrib["name"] for case in suite.iter("testcase")] == ["seed 8"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--partition", "halfs@3-9"], "Did you mean 'halves'?"),
        (["--partition", "halves@30-60"], "the run lasts 20 s"),
        (["--crash", "9@3-4"], "must be 1 to 4"),
        (["--disk-full", "2@3"], "never ends"),
        (["--fault", "halfs@3-9"], "Did you mean 'halves'?"),
        (["--start", "joined"], "Did you mean 'join'?"),
        (["--loss", "5"], "For 5 % write 0.05"),
        (["--loss", "much"], "--help"),
        (["--seeds", "5"], "as in --seeds 0..500"),
        (["--seed", "1", "--seeds", "0..3"], "--seed 1 is one run, --seeds 0..3 are many. Leave one"),
        (["--seed", "0", "--seeds", "0..3"], "Leave one of the two out"),
        (["--seeds", "9..3"], "Did you mean 3..9?"),
        (["--seeds", "3..3"], "Did you mean 3..4?"),
        (["--seeds", "0..99999999999"], "at most"),
        (["--seeds", "0.." + "9" * 5000], "0..500"),
        (["--seeds", "0..9999999999999999999"], "0..500"),
        (["--seeds=-9000000000000000000..9000000000000000000"], "at most 10000000"),
        (["--seed", "9223372036854775808"], "The seed 9223372036854775808"),
        (["--jobs", "-1"], "number of processes"),
        (["--nodes", "0"], "0 nodes"),
        (["--sed", "3"], "Did you mean --seed"),
        (["--xyzzy"], "--help"),
        (["nowhere.toml"], "There is no file nowhere.toml"),
        (["--junit", "nowhere/x.xml"], "no directory nowhere"),
        (["--junit", "."], "is a directory"),
        (["--out", "taken"], "is a file"),
        (["--out", "taken/x"], "cannot be made: Not a directory"),
    ],
)
def test_unusable_input_is_exit_2_with_a_next_step(
    arguments: list[str], says: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "taken").write_text("")
    assert main([*SMALL, *arguments]) == Exit.UNUSABLE
    output = capsys.readouterr()
    assert says in output.err
    assert output.out == ""
    assert len(output.err.splitlines()) == 1


def test_mistakes_in_a_file_are_told_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    Path("small.toml").write_text(FILE.replace("end_s", "end").replace("nodes", "node"))
    for command in (["run", "small.toml", "--seeds", "0..9"], ["explain", "small.toml"], ["replay", "small.toml"]):
        assert main(command) == Exit.UNUSABLE
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.splitlines() == [
            "meshsim: small.toml:2: A scenario has no key 'node'. Did you mean 'nodes'?",
            "small.toml:12: A fault of kind 'halves' has no key 'end'. Did you mean 'end_s'?",
        ]
