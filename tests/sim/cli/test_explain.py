"""`meshsim explain`: a scenario in words, with nothing left out that matters and nothing run."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.checkers import DEFAULT
from sim.cli import Exit, main
from sim.scenario import Run

FILE = """\
name = "everything"
nodes = 6
seconds = 50
start = "join"
sometimes = ["false_death"]

[zones]
north = ["n0", "n1"]
south = ["n2", "n3"]

[between_zones]
latency_ms = [40, 60]
loss = 0.02

[[links]]
between = ["n4", "n5"]
latency_ms = 7

[workload]
tasks_per_s = 3
handlers = { count = 4 }

[[faults]]
kind = "crash"
start_s = 20
end_s = 25
count = 2

[[faults]]
kind = "halves"
start_s = 5
end_s = 9.5

[mix.kinds.pause]
per_minute = 4
lasts_s = [1, 3]
count = [1, 2]

[mix.swarm]
nodes = [6, 8]

[liveness]
rest = "broken"
bound_s = 77
"""


def explained(text: str, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """What it says, on one line."""
    Path("x.toml").write_text(f"{text}\n")
    assert main(["explain", "x.toml", *options]) == Exit.HELD
    return " ".join(capsys.readouterr().out.split())


def test_it_tells_everything(capsys: pytest.CaptureFixture[str]) -> None:
    words = explained(FILE, capsys)
    for what in (
        "everything: 6 nodes for 50 virtual seconds",
        "6 nodes, n0 to n5. They start knowing only the addresses of the first few",
        "Zone north: n0, n1.",
        "Links between zones: 40 to 60 ms one way, 2 % of datagrams are lost.",
        "Links between n4 and n5: 7 ms one way.",
        "Callers hand in 3 tasks a second, for the handlers count (4 at once).",
        "5 s halves cut apart at 5-9.5 s 20 s 2 node(s) down",
        "50 s every fault that is still in force ends",
        "pause: about 4 a minute, for 1 to 3 s, 1 to 2 node(s) each time",
        "how many nodes there are (6 to 8 nodes)",
        "only a core, a majority drawn from the seed, is healed",
        "the core do not come to rest in time: they have 77 s to agree, as the scenario says.",
        "never struck: crash, halves, pause.",
        "A sweep that never got to false_death: A node that runs was declared dead.",
        "50 virtual seconds, then until the mesh has come to rest",
    ):
        assert what in words
    assert "As seed" not in words


def test_it_tells_each_property_that_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    words = explained("", capsys)
    for checker in DEFAULT:
        assert f"{checker.name}: " in words
    assert "Nothing is set to go wrong." in words
    assert "Nobody hands in tasks." in words
    words = explained("hold = ['one_reply']", capsys)
    assert "one_reply: Every request" in words
    assert "agreement: " not in words


def test_it_tells_what_a_seed_draws(capsys: pytest.CaptureFixture[str]) -> None:
    mix = "[mix.kinds.pause]\nper_minute = 9\n[mix.swarm]\nkinds = 1.0\nnodes = [6, 40]\ntasks_per_s_max = 4\n"
    three = explained(mix, capsys, "--seed", "3")
    assert "As seed 3 draws it" in three
    assert "nodes " in three.partition("As seed 3 draws it")[2]
    assert "node(s) stopped at" in three
    assert three == explained(mix, capsys, "--seed", "3")
    assert three.partition("draws it")[2] != explained(mix, capsys, "--seed", "4").partition("draws it")[2]


def test_it_runs_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def start(self: Run) -> None:
        raise AssertionError("it runs")

    monkeypatch.setattr(Run, "start", start)
    explained(FILE, capsys, "--seed", "3")
