"""`one_result`: what it remembers, for how long, and of whom it asks what."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from protocols.tasks.book import PROGRESS_PREFIX
from protocols.tasks.task import TaskState
from sim.checkers import OneReply, OneResult, one_result
from sim.faults import Crash, Isolate, Lossy, Restart, Wipe
from sim.network import LinkProfile
from sim.scenario import Run, Scenario, run
from tests.sim.planted.tasks import ForgetsItsTasks

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


def test_a_coordinator_owes_nothing_for_tasks_that_were_destroyed_and_all_for_those_that_were_not() -> None:
    one = Run(replace(WORK, faults=()), (OneResult, OneReply))
    one.start()
    one.world.run(one.end)
    world = one.world
    checker = world.watch.checkers[0]
    assert isinstance(checker, OneResult)

    def owed() -> list[str]:
        return [task_id for task_id in checker._open if checker._is_owed(checker.tasks[task_id])]

    coordinator = checker.tasks[owed()[0]].coordinator
    mine = [task_id for task_id in owed() if checker.tasks[task_id].coordinator is coordinator]
    others = [task_id for task_id in owed() if task_id not in mine]
    assert len(mine) > 1
    world.crash(coordinator)
    coordinator.lost_data = True
    del coordinator.disk.records[PROGRESS_PREFIX + mine[0]]
    checker.finish(one.end)
    assert owed() == others
    world.boot(coordinator)
    assert sorted(owed()) == sorted([*mine[1:], *others])
    one.settle()
    one.finish()
    assert world.watch.violations == []
    assert all(checker.tasks[task_id].final for task_id in mine[1:])


def test_what_a_node_takes_in_after_its_data_was_destroyed_is_owed_like_any_other() -> None:
    wiped = replace(WORK, nodes=2, seconds=30, faults=(Wipe(5, 6, nodes=("n0",)), Crash(20, 22, nodes=("n0",))))
    assert run(wiped).violations == ()
    broken = run(wiped, core_factory=ForgetsItsTasks)
    assert {violation.property for violation in broken.violations} == {"one_result"}
    assert any(" of n0: " in violation.text for violation in broken.violations)


def test_a_wiped_node_that_stays_down_has_lost_no_task_that_it_owes() -> None:
    one = Run(replace(WORK, nodes=2, seconds=30, faults=(Crash(1, None, nodes=("n1",)),)), (OneResult,))
    one.start()
    one.faults_phase()
    victim = one.world.processes[0]
    one.world.crash(victim)
    one.world.wipe(victim)
    one.heal()
    one.settle()
    one.finish()
    checker = one.world.watch.checkers[0]
    assert isinstance(checker, OneResult)
    assert checker._open
    assert one.world.watch.violations == []
    victim.lost_data = False
    checker.finish(one.end)
    assert {violation.property for violation in one.world.watch.violations} == {"one_result"}


def test_every_end_is_told() -> None:
    states = done(replace(WORK, tasks_per_s=20)).states()
    assert states[TaskState.SUCCEEDED] > states[TaskState.FAILED] > 0


def test_a_worker_that_was_cut_off_does_not_do_first_what_others_have_done_meanwhile() -> None:
    """Found by a soak (seed 6837): 288 runs waited at one worker, most of them taken back, and for two minutes it did
    nothing that anybody still wanted."""
    faults = (
        Isolate(45.325, 46.66, 2, salt=390957310),
        Restart(46.66, 58.553, salt=1195530916),
        Restart(65.553, 66.053, 2, down_s=0.2, salt=1249680960),
        Lossy(66.053, 70.737, 2, way="out", loss=0.8, salt=16781306),
    )
    link = LinkProfile(loss=0.006074322864404147, duplicate=0.08103502403986083, reorder=0.006674327210849396)
    report = run(Scenario(nodes=3, seconds=72.191, seed=6837, faults=faults, link=link, tasks_per_s=10))
    assert report.violations == ()
