"""`one_result`: what it remembers, for how long, and of whom it asks what."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from protocols.tasks.task import TaskState
from sim.checkers import OneReply, OneResult, one_result
from sim.faults import Crash
from sim.scenario import Run, Scenario

WORK = Scenario(nodes=4, seconds=40, tasks_per_s=10, faults=(Crash(10, 15, 2), Crash(20, 25, 1)))


def done(scenario: Scenario) -> OneResult:
    one = Run(scenario, (OneResult,))
    one.start()
    one.faults_phase()
    one.heal()
    one.settle()
    one.finish()
    assert one.world.watch.violations == []
    checker = one.world.watch.checkers[0]
    assert isinstance(checker, OneResult)
    return checker


def test_memory_does_not_grow_with_the_run_and_figures_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = done(WORK)
    assert len(whole.tasks) > 300
    monkeypatch.setattr(one_result, "ENDED_REMEMBERED", 50)
    bounded = done(WORK)
    assert len(bounded.tasks) == 50
    assert len(bounded._by_idempotency) <= 50
    assert bounded.states() == whole.states()
    assert bounded.started == whole.started
    assert sum(bounded.ended.values()) > 250


def test_of_a_mesh_whose_rest_is_broken_only_the_core_owes_results() -> None:
    one = Run(replace(WORK, faults=()), (OneResult,))
    one.start()
    one.world.run(one.end)
    checker = one.world.watch.checkers[0]
    assert isinstance(checker, OneResult)
    open_at = {checker.tasks[task_id].coordinator.name for task_id in checker._open}
    assert len(open_at) > 1, "the scenario leaves tasks open at several nodes"
    alone = next(process for process in one.world.processes if process.name in open_at)
    one.world.core = (alone,)
    owed = sum(checker.tasks[task_id].coordinator is alone for task_id in checker._open)
    assert checker.waits_for(one.end).startswith(f"{owed} accepted task(s)")
    one.world.core = tuple(process for process in one.world.processes if process.name not in open_at)[:1]
    assert checker.waits_for(one.end) == ""


def test_a_coordinator_whose_data_was_destroyed_owes_nothing() -> None:
    one = Run(replace(WORK, faults=()), (OneResult, OneReply))
    one.start()
    one.world.run(one.end)
    checker = one.world.watch.checkers[0]
    assert isinstance(checker, OneResult)
    assert checker.waits_for(one.end)
    for process in one.world.processes:
        process.lost_data = True
        process.disk.records.clear()
    assert checker.waits_for(one.end) == ""
    checker.finish(one.end)
    assert one.world.watch.violations == []
    for process in one.world.processes:
        process.lost_data = False
    checker.finish(one.end)
    assert {violation.property for violation in one.world.watch.violations} == {"one_result"}


def test_every_end_is_told() -> None:
    states = done(replace(WORK, tasks_per_s=20)).states()
    assert states[TaskState.SUCCEEDED] > states[TaskState.FAILED] > 0
