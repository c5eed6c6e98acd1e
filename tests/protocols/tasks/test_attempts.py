"""Attempts: they grow through deaths, restarts and slow disks, are durable first, and can be called off (DESIGN 6)."""

from __future__ import annotations

import pytest

from protocols.core import NANOS_PER_S, Refused
from protocols.membership.member import State
from protocols.tasks.messages import CheckRuns, Standing
from protocols.tasks.task import (
    BodyStatus,
    CancelTask,
    Submit,
    TaskState,
    TaskView,
)
from tests.protocols.harness import World
from tests.protocols.tasks_kit import (
    assigned,
    concluded,
    coordinator,
    ends,
    loses,
    meet,
    progress,
    reasons,
    settle,
    stands,
    started_at,
    submitted,
    view,
    worker_of,
)

# Deaths.


def test_three_deaths_under_a_started_body_are_enough() -> None:
    host = coordinator("b", "c", "d", "e")
    task_id = submitted(host)
    for deaths in (1, 2):
        loses(host, started_at(host, task_id))
        assert progress(host, task_id).worker_deaths == deaths
    loses(host, started_at(host, task_id))
    done = view(host, task_id)
    assert done.state is TaskState.DEAD
    assert "3 nodes died" in done.detail
    assert len(assigned(host, task_id)) == 3


def test_deaths_of_workers_that_had_not_started_it_do_not_count() -> None:
    host = coordinator("b", "c", "d", "e", "f")
    task_id = submitted(host)
    for _ in range(4):
        loses(host, worker_of(host, task_id))
    assert view(host, task_id).state is TaskState.RUNNING
    assert progress(host, task_id).worker_deaths == 0


def test_restarts_of_the_worker_count_as_deaths_and_leaving_does_not() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    for generation in (2, 3):
        started_at(host, task_id)
        meet(host, "b", generation=generation)
    assert progress(host, task_id).worker_deaths == 2
    started_at(host, task_id)
    loses(host, "b", State.LEFT, generation=3)
    assert view(host, task_id).state is TaskState.QUEUED
    assert progress(host, task_id).worker_deaths == 2


def test_deaths_are_counted_across_restarts_of_the_coordinator() -> None:
    host = coordinator("b", "c", "d", "e")
    task_id = submitted(host)
    for _ in range(2):
        loses(host, started_at(host, task_id))
        host.restart()
        meet(host, "b", "c", "d", "e")
    loses(host, started_at(host, task_id))
    assert view(host, task_id).state is TaskState.DEAD


# Attempts.


def test_attempts_grow_strictly_across_all_kinds_of_trouble_and_are_durable_first() -> None:
    host = coordinator("b", "c")
    task_id = submitted(host)
    for generation in range(2, 12):
        stands(host, worker_of(host, task_id), task_id, view(host, task_id).attempt, Standing.UNKNOWN)
        durable = progress(host, task_id).attempt
        host.crash(unsaved_survives=generation % 2 == 0)
        host.start()
        meet(host, "b", "c", generation=generation)
        assert progress(host, task_id).attempt > durable
    attempts = [attempt for _, attempt in assigned(host, task_id)]
    assert attempts == sorted(set(attempts))
    assert len(attempts) >= 20


def test_an_attempt_that_was_not_durable_when_the_node_crashed_was_not_handed_out() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    host.hold_saves = True
    stands(host, "b", task_id, 1, Standing.UNKNOWN)
    assert assigned(host, task_id) == [("b", 1)]
    host.crash()
    host.hold_saves = False
    host.start()
    meet(host, "b", generation=2)
    assert assigned(host, task_id) == [("b", 1), ("b", 2)]


def test_a_coordinator_goes_on_with_a_run_that_outlived_its_restart() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    host.restart()
    host.hush()
    meet(host, "b")
    assert assigned(host) == []
    host.world.run(1.1)
    assert [ref.attempt for check in host.said_of(CheckRuns, "b") for ref in check.runs] == [1]
    ends(host, "b", task_id)
    assert view(host, task_id).state is TaskState.SUCCEEDED


def test_what_ran_on_the_coordinator_itself_is_started_again_after_its_restart() -> None:
    world = World()
    host = world.add("a").start()
    world.run(0.01)
    host.hold_bodies = True
    task_id = submitted(host)
    host.restart()
    settle(host)
    assert [(start.task_id, start.attempt) for start in host.starts] == [(task_id, 1), (task_id, 2)]
    assert reasons(host) == ["coordinator_restarted"]


# A slow disk.


def test_a_run_whose_attempt_is_not_durable_yet_is_not_asked_about_or_given_up() -> None:
    """The worker can not know it yet: taking its ignorance for a loss would start the task again every second."""
    host = coordinator("b")
    host.save_takes = 15 * NANOS_PER_S
    request = host.request(Submit("work"))
    host.world.run(14.9)
    assert host.said_of(CheckRuns) == []
    assert reasons(host) == []
    host.world.run(1)
    assert request in host.outcomes
    assert assigned(host) == [("b", 1)]
    host.world.run(8)
    assert reasons(host) == [], "the lease begins when the run is handed out"


def test_a_death_while_the_attempt_is_being_saved_is_acted_on_afterwards() -> None:
    host = coordinator("b", "c")
    host.hold_saves = True
    host.request(Submit("work"))
    for name in ("b", "c"):
        loses(host, name)
    meet(host, "d")
    assert reasons(host) == []
    host.release_saves()
    settle(host)
    settle(host)
    assert assigned(host)[-1] == ("d", 2)


def test_a_submission_that_fails_leaves_nothing_behind_whatever_happened_meanwhile() -> None:
    """Its worker died before the disk gave up: no second attempt may outlive the refusal."""
    host = coordinator("b", "c")
    before = dict(host.disk)
    host.hold_saves = True
    host.disk_error = "full"
    request = host.request(Submit("work"))
    for name in ("b", "c"):
        loses(host, name)
    meet(host, "d")
    host.release_saves()
    settle(host)
    assert isinstance(host.outcomes[request], Refused)
    host.disk_error = ""
    host.world.run(30)
    assert assigned(host) == []
    assert host.disk.keys() - before.keys() <= {"membership/peers"}


# Cancelling.


def test_cancelling_is_recorded_answered_and_told_to_the_worker() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    outcome = host.ask(CancelTask(task_id))
    assert isinstance(outcome, TaskView)
    assert (outcome.state, outcome.detail) == (TaskState.CANCELLED, "cancelled by a caller")
    assert concluded(host, "b") == [task_id]
    assert progress(host, task_id).state is TaskState.CANCELLED


def test_a_result_that_comes_after_the_cancelling_is_not_recorded() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    host.ask(CancelTask(task_id))
    ends(host, "b", task_id)
    assert view(host, task_id).state is TaskState.CANCELLED


def test_a_task_that_waits_for_a_worker_can_be_cancelled_and_is_not_started_later() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    loses(host, "b")
    assert isinstance(host.ask(CancelTask(task_id)), TaskView)
    meet(host, "c")
    host.world.run(10)
    assert assigned(host, task_id) == [("b", 1)]


@pytest.mark.parametrize("status", [BodyStatus.OK, BodyStatus.ERROR])
def test_what_has_ended_can_not_be_cancelled(status: BodyStatus) -> None:
    host = coordinator("b")
    task_id = submitted(host)
    ends(host, "b", task_id, status=status)
    refused = host.ask(CancelTask(task_id))
    assert isinstance(refused, Refused)
    assert refused.code == "already_final"
    assert ("succeeded" if status is BodyStatus.OK else "failed") in refused.message


def test_cancelling_twice_is_refused_once() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    requests = [host.request(CancelTask(task_id)) for _ in range(2)]
    settle(host)
    outcomes = [host.outcomes[request] for request in requests]
    assert isinstance(outcomes[0], TaskView)
    assert isinstance(outcomes[1], Refused)
