"""Every mark is reached by a scenario made for it, and not by a mesh in which nothing happens."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sim.errors import ScenarioError
from sim.faults import Crash, CrashLoop, DiskFull, Halves, Isolate, OneWay, Wipe
from sim.marks import MARKS, meaning
from sim.scenario import Scenario, run
from sim.scenario.mesh import SEEDS

QUIET = Scenario(nodes=5, seconds=20)
WORK = Scenario(nodes=5, seconds=40, tasks_per_s=5)
CUT = Scenario(nodes=5, seconds=40, faults=(Halves(5, 35),))
CRASHES = replace(WORK, faults=(Crash(10, 30, 2), Crash(32, 35, 3)))
SAVING = replace(
    WORK, tasks_per_s=40.0, faults=tuple(Crash(start, start + 3, 2, moment="saving") for start in (8, 14, 20, 26))
)
UNHEARD = replace(WORK, faults=(OneWay(5, 38, 2),))
POISON = replace(WORK, seconds=80, tasks_per_s=10.0, faults=(CrashLoop(5, 79, 4, up_s=5.0, down_s=1.0),))

REACHED_BY = {
    "suspicion_refuted": replace(CUT, faults=(Halves(5, 12),)),
    "false_suspicion": CUT,
    "false_death": CUT,
    "dead_came_back": CUT,
    "member_held_back": replace(CUT, faults=(CrashLoop(5, 39, nodes=("n2",)),)),
    "generation_outgrown": replace(CRASHES, faults=(Crash(5, 8, 1), Wipe(15, 20, 2))),
    "minority_was_alone": CUT,
    "seed_was_isolated": replace(CUT, faults=(Isolate(5, 20, nodes=("n0",)),)),
    "stream_reset": CRASHES,
    "save_failed": replace(WORK, faults=(DiskFull(5, 15, 1),)),
    "commit_interrupted": SAVING,
    "commit_outlived_its_node": SAVING,
    "everybody_was_down": replace(QUIET, faults=(Crash(5, 8, 5),)),
    "body_lost_with_its_node": CRASHES,
    "task_retried": CRASHES,
    "coordinator_crashed_with_open_tasks": CRASHES,
    "submission_unknown": SAVING,
    "submission_repeated": WORK,
    "lease_expired": UNHEARD,
    "worker_died_with_run": CRASHES,
    "task_cancelled": WORK,
    "task_buried": POISON,
}
NOT_REACHED_BY = {
    "seed_was_isolated": replace(CUT, faults=(Isolate(5, 20, nodes=("n4",)),)),
    "everybody_was_down": replace(QUIET, faults=(Crash(5, 8, 4),)),
    "minority_was_alone": replace(CUT, nodes=6),
    "false_death": replace(CUT, faults=(Crash(5, None, 1),)),
    "generation_outgrown": CRASHES,
    "task_buried": CRASHES,
    "commit_outlived_its_node": replace(WORK, faults=(DiskFull(5, 15, 5),)),
}
SEEDS_TRIED = 6


def test_every_mark_has_a_scenario_made_for_it() -> None:
    assert REACHED_BY.keys() == MARKS.keys()
    assert SEEDS == 3, "n4 is taken for no seed above"


@pytest.mark.parametrize("name", MARKS)
def test_a_mark_is_reached_where_it_should_be_and_nowhere_else(name: str) -> None:
    wanted = replace(REACHED_BY[name], sometimes=(name,))
    assert any(run(replace(wanted, seed=seed), checkers=()).sometimes[name] for seed in range(SEEDS_TRIED))
    elsewhere = replace(NOT_REACHED_BY.get(name, QUIET), sometimes=(name,))
    assert not any(run(replace(elsewhere, seed=seed), checkers=()).sometimes[name] for seed in range(2))


def test_marks_change_nothing_and_only_those_that_are_named_are_reported() -> None:
    bare = run(CRASHES)
    marked = run(replace(CRASHES, sometimes=tuple(MARKS)))
    assert bare.sometimes == {}
    assert marked.sometimes.keys() == MARKS.keys()
    assert marked.trace_hash == bare.trace_hash


def test_a_misspelt_mark_names_the_nearest() -> None:
    with pytest.raises(ScenarioError, match="task_retried"):
        replace(QUIET, sometimes=("task_retryed",)).validate()


def test_every_mark_says_in_one_sentence_what_it_means() -> None:
    for mark in MARKS.values():
        assert meaning(mark).endswith(".")
