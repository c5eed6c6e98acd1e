"""Same scenario, same hash: in any process, under any PYTHONHASHSEED, on any number of jobs, behind the strict fence.

And what depends on the process is found out by running the seed again in another one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from protocols.core import Effect, Event, Instant, InvariantViolation, Send, Step
from protocols.node import Node
from scripts.rerun_seeds import main as rerun_seeds
from scripts.rerun_seeds import sample
from sim.checkers import DEFAULT, Agreement
from sim.faults import KINDS, Crash, Halves
from sim.network import LinkProfile
from sim.scenario import Scenario, run
from sim.sweep.rerun import Difference, RerunFailed, rerun

SCENARIO = Scenario(
    nodes=6,
    seconds=30,
    seed=7,
    tasks_per_s=4,
    link=LinkProfile(loss=0.02, duplicate=0.02, reorder=0.02),
    faults=(Halves(5, 15), Crash(8, 14, 2)),
)
ARGUMENTS = ["--nodes", "6", "--seconds", "30", "--partition", "halves@5-15", "--crash", "2@8-14", "--tasks", "4"]
ARGUMENTS += ["--loss", "0.02", "--duplicate", "0.02", "--reorder", "0.02"]

ITERATES_A_SET = """
import sys
from protocols.membership.table import MemberTable
from sim.scenario import Scenario, run

def sample(self, rng, count, wanted):
    return [self.rows[node_id] for node_id in set(self.rows) if wanted(self.rows[node_id])][:count]

if sys.argv[1] == "planted":
    MemberTable.sample = sample
print(run(Scenario(nodes=12, seconds=20, start="join")).trace_hash)
"""


def fresh(arguments: list[str], hash_seed: int) -> str:
    """Output of a fresh interpreter with the given PYTHONHASHSEED."""
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_fresh_process(seed: int, hash_seed: int) -> dict[str, Any]:
    command = "import sys; from sim.cli import main; sys.exit(main())"
    output = fresh(["-c", command, "run", *ARGUMENTS, "--seed", str(seed), "--json"], hash_seed)
    document: dict[str, Any] = json.loads(output)
    for clock in ("wall_seconds", "setup_seconds", "times_real_time"):
        del document[clock]
    return document


def test_two_processes_with_different_hash_seeds_tell_the_same_of_a_run() -> None:
    one = in_fresh_process(7, hash_seed=1)
    two = in_fresh_process(7, hash_seed=2)
    assert one == two
    assert one["trace_hash"] == run(SCENARIO).trace_hash


def test_another_seed_is_another_run() -> None:
    hashes = [run(replace(SCENARIO, seed=seed)).trace_hash for seed in range(8)]
    assert len(set(hashes)) == 8


@pytest.mark.parametrize(
    "other",
    [
        replace(SCENARIO, seconds=31.0),
        replace(SCENARIO, nodes=7),
        replace(SCENARIO, tasks_per_s=4.5),
        replace(SCENARIO, link=LinkProfile()),
        replace(SCENARIO, faults=(Halves(5, 15), Crash(8, 14, 1))),
    ],
)
def test_every_option_reaches_the_trace(other: Scenario) -> None:
    assert run(other).trace_hash != run(SCENARIO).trace_hash


def test_watching_does_not_change_what_is_watched() -> None:
    watched = run(SCENARIO, DEFAULT)
    assert watched.trace_hash == run(SCENARIO, DEFAULT).trace_hash
    bare = replace(SCENARIO, tasks_per_s=0.0)
    assert run(bare, DEFAULT).trace_hash == run(bare, [Agreement]).trace_hash


def test_a_run_leaves_nothing_behind_that_the_next_could_see() -> None:
    before = run(SCENARIO).trace_hash
    run(replace(SCENARIO, nodes=9, seed=3))
    assert run(SCENARIO, core_factory=Node).trace_hash == before


def test_iterating_a_set_is_found_out() -> None:
    planted = {fresh(["-c", ITERATES_A_SET, "planted"], hash_seed) for hash_seed in (1, 2, 3)}
    assert len(planted) == 3
    clean = {fresh(["-c", ITERATES_A_SET, "clean"], hash_seed) for hash_seed in (1, 2)}
    assert len(clean) == 1


# Seeds run again in fresh processes.

SMALL = Scenario(nodes=4, seconds=8, start="join", tasks_per_s=2)


class FollowsASet(Node):
    """Says what it has to say in the order of a set of strings."""

    def step(self, now: Instant, event: Event) -> Step:
        effects, wake_at = super().step(now, event)
        order = list({effect.to.address for effect in effects if isinstance(effect, Send)})
        sends = sorted(
            (effect for effect in effects if isinstance(effect, Send)), key=lambda send: order.index(send.to.address)
        )
        said = iter(sends)
        reordered: list[Effect] = [next(said) if isinstance(effect, Send) else effect for effect in effects]
        return reordered, wake_at


class TellsOfASet(Node):
    """Behaves the same, but names its peers in the order of a set when it is asked at the end."""

    def check(self) -> None:
        raise InvariantViolation(f"peers: {set('abcdefghij')}")


class Dies(Node):
    """Takes its process along."""

    def step(self, now: Instant, event: Event) -> Step:
        os._exit(7)


def differences(core_factory: type[Node], *seeds: int) -> list[Difference]:
    return list(rerun({"small": SMALL}, seeds, core_factory))


def test_seeds_are_the_same_runs_in_fresh_processes() -> None:
    assert differences(Node, 0, 1, 2) == []


def test_a_set_that_is_followed_is_caught_and_the_first_difference_is_told() -> None:
    (found,) = differences(FollowsASet, 0)
    text = str(found)
    assert "small, seed 0: not the same run in another process" in text
    assert "trace_hash in this process" in text
    assert "PYTHONHASHSEED=1:" in text
    assert "PYTHONHASHSEED=2:" in text
    assert sum(line.startswith(">") for line in found.lines) == 2


def test_a_report_that_differs_is_caught_where_the_trace_does_not() -> None:
    (found,) = differences(TellsOfASet, 0)
    assert found.lines[0].startswith("violations[0].text in this process: peers: {")
    assert not any("trace_hash in" in line for line in found.lines)


def test_a_fresh_process_that_dies_is_told_of() -> None:
    with pytest.raises(RerunFailed, match="PYTHONHASHSEED=1, two workers ended with status 7"):
        differences(Dies, 0)


def test_a_fresh_process_that_does_not_answer_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.sweep.rerun.TIMEOUT_S", 0.01)
    with pytest.raises(RerunFailed, match=r"was not done within 0\.01 s"):
        differences(Dies, 0)


def test_the_sample_has_every_kind_of_fault_and_every_example() -> None:
    scenarios = sample()
    assert {fault.kind() for scenario in scenarios.values() for fault in scenario.faults} == set(KINDS)
    assert {scenario.start for scenario in scenarios.values()} == {"converged", "join"}
    assert any(name.endswith(".toml") for name in scenarios)
    for scenario in scenarios.values():
        scenario.validate()


@pytest.mark.parametrize("arguments", [["x"], ["-1"], ["0", "0"], ["0", "1", "2"], ["0", "1001"]])
def test_a_rerun_refuses_what_it_cannot_use(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert rerun_seeds(arguments) == 2
    assert "Usage: scripts/rerun [FIRST [COUNT]]" in capsys.readouterr().err


def test_a_rerun_that_is_interrupted_is_no_difference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> Iterator[Difference]:
        yield from ()
        raise KeyboardInterrupt

    monkeypatch.setattr("scripts.rerun_seeds.rerun", interrupted)
    assert rerun_seeds([]) == 130
    assert capsys.readouterr().out == ""
