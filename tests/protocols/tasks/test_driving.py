"""Driving a task to its one outcome: where it is started again, and what is recorded (DESIGN 6, first form)."""

from __future__ import annotations

import pytest

from protocols.config import HandlerSpec, TaskConfig
from protocols.core import NANOS_PER_MS, NANOS_PER_S
from protocols.limits import DETAIL_CHARS_MAX
from protocols.membership.member import State
from protocols.membership.messages import Gossip
from protocols.membership.views import Leave
from protocols.tasks.messages import Assign, CheckRuns, RefusalCode, RunEnded, RunRefused, Standing
from protocols.tasks.task import (
    BodyEnded,
    BodyStatus,
    GetTask,
    Submit,
    TaskFinished,
    TaskState,
)
from tests.protocols.harness import World, accuse, alive, config_of, endpoint_of, id_of
from tests.protocols.tasks_kit import (
    QUIET,
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
    submitted,
    view,
    worker_of,
)

# The plain course.


def test_a_run_that_ends_well_is_recorded_and_the_worker_may_forget_it() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    ends(host, "b", task_id)
    done = view(host, task_id)
    assert (done.state, done.output, done.detail, done.worker_name, done.run_ms) == (
        TaskState.SUCCEEDED,
        '"done"',
        "",
        "b",
        5,
    )
    assert concluded(host, "b") == [task_id]
    assert [(fact.task_id, fact.state) for fact in host.facts_of(TaskFinished)] == [(task_id, TaskState.SUCCEEDED)]


@pytest.mark.parametrize(
    "status",
    [
        BodyStatus.ERROR,
        BodyStatus.CRASHED,
        BodyStatus.TIMED_OUT,
        BodyStatus.OUTPUT_LIMIT,
        BodyStatus.UNAVAILABLE,
    ],
)
def test_a_body_that_fails_is_recorded_as_failed_with_the_reason_and_not_tried_again(status: BodyStatus) -> None:
    host = coordinator("b")
    task_id = submitted(host)
    ends(host, "b", task_id, status=status)
    done = view(host, task_id)
    assert (done.state, done.output) == (TaskState.FAILED, "")
    assert done.detail == f"{status.name.lower()}: it broke"
    host.world.run(60)
    assert assigned(host) == [("b", 1)]


@pytest.mark.parametrize("length", [DETAIL_CHARS_MAX - 5, DETAIL_CHARS_MAX])
def test_the_longest_detail_is_recorded_in_a_form_that_a_restart_can_read(length: int) -> None:
    host = coordinator("b")
    task_id = submitted(host)
    host.hears(endpoint_of("b"), RunEnded(task_id, 1, BodyStatus.ERROR, "", "d" * length, 1))
    settle(host)
    host.restart()
    settle(host)
    assert view(host, task_id).detail.startswith("error: ddd")


def test_nothing_is_said_of_an_outcome_before_it_is_durable() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    waiting = host.request(GetTask(task_id, wait_ms=60_000))
    host.hold_saves = True
    ends(host, "b", task_id)
    asked = host.request(GetTask(task_id))
    host.world.run(20)
    assert not host.outcomes.keys() & {waiting, asked}
    assert concluded(host, "b") == []
    assert host.facts_of(TaskFinished) == []
    host.crash()
    host.hold_saves = False
    host.start()
    settle(host)
    assert view(host, task_id).state is TaskState.RUNNING


# The first outcome wins.


def test_the_first_outcome_wins_and_later_ones_are_told_concluded() -> None:
    host = coordinator("b", "c")
    task_id = submitted(host)
    first = worker_of(host, task_id)
    loses(host, first)
    second = worker_of(host, task_id)
    assert first != second
    ends(host, second, task_id, attempt=2)
    ends(host, first, task_id, attempt=1, status=BodyStatus.ERROR)
    assert view(host, task_id).state is TaskState.SUCCEEDED
    assert len(host.facts_of(TaskFinished)) == 1
    assert concluded(host, first) == [task_id]


def test_an_older_attempt_may_be_the_first_to_end_and_the_newer_run_is_stopped() -> None:
    host = coordinator("b", "c")
    task_id = submitted(host)
    first = worker_of(host, task_id)
    loses(host, first)
    second = worker_of(host, task_id)
    ends(host, first, task_id, attempt=1)
    assert (view(host, task_id).state, view(host, task_id).worker_name) == (TaskState.SUCCEEDED, first)
    assert (concluded(host, first), concluded(host, second)) == ([task_id], [task_id])


def test_an_outcome_that_is_repeated_changes_nothing() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    ends(host, "b", task_id)
    before = progress(host, task_id)
    for status in (BodyStatus.OK, BodyStatus.ERROR, BodyStatus.CANCELLED):
        ends(host, "b", task_id, status=status)
    assert progress(host, task_id) == before
    assert concluded(host, "b") == [task_id] * 4


def test_an_attempt_that_was_never_given_out_counts_for_nothing() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    ends(host, "b", task_id, attempt=2)
    assert view(host, task_id).state is TaskState.RUNNING


def test_a_result_of_an_unknown_task_is_told_concluded() -> None:
    host = coordinator("b")
    ends(host, "b", "nosuchtask22.aaaaaaaa")
    assert concluded(host, "b") == ["nosuchtask22.aaaaaaaa"]


# A run is given up.


def test_a_dead_workers_tasks_are_started_elsewhere() -> None:
    host = coordinator("b", "c")
    task_id = submitted(host)
    first = worker_of(host, task_id)
    loses(host, first)
    assert [attempt for _, attempt in assigned(host, task_id)] == [1, 2]
    assert worker_of(host, task_id) != first
    assert reasons(host) == ["worker_dead"]


def test_a_suspect_keeps_its_tasks() -> None:
    host = coordinator("b", "c")
    task_id = submitted(host)
    host.hears(endpoint_of("z"), Gossip((accuse(worker_of(host, task_id), State.SUSPECT),)))
    settle(host)
    assert reasons(host) == []


def test_a_worker_that_left_gives_its_tasks_up() -> None:
    host = coordinator("b", "c")
    task_id = submitted(host)
    first = worker_of(host, task_id)
    loses(host, first, State.LEFT)
    assert worker_of(host, task_id) != first
    assert reasons(host) == ["worker_left"]


def test_a_restarted_worker_has_lost_its_runs() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    meet(host, "b", generation=2)
    assert assigned(host, task_id) == [("b", 1), ("b", 2)]
    assert progress(host, task_id).worker_generation == 2
    assert reasons(host) == ["worker_restarted"]


@pytest.mark.parametrize("code", list(RefusalCode))
def test_a_worker_that_refuses_is_left_out_and_another_is_tried(code: RefusalCode) -> None:
    host = coordinator("b", "c")
    task_id = submitted(host)
    first = worker_of(host, task_id)
    host.hears(endpoint_of(first), RunRefused(task_id, 1, code))
    settle(host)
    assert worker_of(host, task_id) != first
    assert reasons(host) == ["refused"]


def test_when_all_refuse_the_task_waits_with_a_reason_and_is_tried_again() -> None:
    host = coordinator("b", "c")
    task_id = submitted(host)
    for attempt in (1, 2):
        host.hears(endpoint_of(worker_of(host, task_id)), RunRefused(task_id, attempt, RefusalCode.BUSY))
        settle(host)
    waiting = view(host, task_id)
    assert (waiting.state, waiting.worker) == (TaskState.QUEUED, "")
    assert waiting.detail == "every live node that offers work is busy or refused it for now"
    host.world.run_until(lambda: len(assigned(host, task_id)) == 3, 6)


def test_one_that_is_busy_is_given_nothing_new_for_a_moment() -> None:
    host = coordinator("b", "c")
    task_id = submitted(host)
    busy = worker_of(host, task_id)
    host.hears(endpoint_of(busy), RunRefused(task_id, 1, RefusalCode.BUSY))
    host.hush()
    for _ in range(20):
        submitted(host)
    assert busy not in {name for name, _ in assigned(host)}
    host.world.run(0.5)
    host.hush()
    for _ in range(20):
        submitted(host)
    assert busy in {name for name, _ in assigned(host)}


def test_waits_between_tries_grow_and_stay_bounded() -> None:
    host = coordinator("b", tasks=TaskConfig(retry_max=5 * NANOS_PER_S))
    task_id = submitted(host)
    times: list[int] = []
    for attempt in range(1, 40):
        host.hears(endpoint_of("b"), RunRefused(task_id, attempt, RefusalCode.NO_HANDLER))
        since = host.world.now
        host.world.run_until(lambda: len(assigned(host, task_id)) == attempt + 1, 10)  # noqa: B023  (used at once)
        times.append(host.world.now - since)
    assert max(times) <= 5.2 * NANOS_PER_S
    assert min(times) >= 100 * NANOS_PER_MS
    assert sum(times[:4]) < sum(times[-4:])


def test_a_run_that_the_worker_does_not_know_is_given_out_again() -> None:
    """The `Assign` was lost with its stream: the next check finds that out."""
    host = coordinator("b")
    task_id = submitted(host)
    host.world.run(1.1)
    (check, *_) = host.said_of(CheckRuns, "b")
    assert [(ref.task_id, ref.attempt) for ref in check.runs] == [(task_id, 1)]
    stands(host, "b", task_id, 1, Standing.UNKNOWN)
    assert assigned(host, task_id) == [("b", 1), ("b", 2)]
    assert reasons(host) == ["worker_lost_it"]


def test_answers_about_older_attempts_or_of_others_change_nothing() -> None:
    host = coordinator("b", "c")
    task_id = submitted(host)
    holder = worker_of(host, task_id)
    other = "c" if holder == "b" else "b"
    stands(host, other, task_id, 1, Standing.UNKNOWN)
    host.hears(endpoint_of(other), RunRefused(task_id, 1, RefusalCode.LEAVING))
    stands(host, holder, task_id, 2, Standing.UNKNOWN)
    stands(host, holder, "nosuchtask22.aaaaaaaa", 1, Standing.UNKNOWN)
    assert reasons(host) == []


def test_a_run_that_nobody_vouches_for_is_given_up_after_the_lease() -> None:
    host = coordinator("b", "c")
    task_id = submitted(host)
    first = worker_of(host, task_id)
    host.world.run(9.9)
    assert reasons(host) == []
    host.world.run(1.3)
    assert reasons(host) == ["lease_expired"]
    assert worker_of(host, task_id) != first


def test_a_worker_that_vouches_keeps_the_run() -> None:
    host = coordinator("b", "c")
    task_id = submitted(host)
    holder = worker_of(host, task_id)
    for number in range(12):
        host.world.run(5)
        stands(host, holder, task_id, 1, Standing.RUNNING if number % 2 else Standing.WAITING)
    assert reasons(host) == []


def test_a_body_that_the_worker_stopped_for_reasons_of_its_own_is_started_again() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    ends(host, "b", task_id, status=BodyStatus.CANCELLED)
    assert assigned(host, task_id) == [("b", 1)], "not at once: a handler that keeps doing so must not spin"
    host.world.run(1)
    assert assigned(host, task_id) == [("b", 1), ("b", 2)]
    assert reasons(host) == ["worker_stopped_it"]


def test_a_stop_of_an_older_attempt_changes_nothing() -> None:
    host = coordinator("b", "c")
    task_id = submitted(host)
    first = worker_of(host, task_id)
    loses(host, first)
    ends(host, first, task_id, attempt=1, status=BodyStatus.CANCELLED)
    assert len(assigned(host, task_id)) == 2


def test_a_task_waits_for_a_capable_node_and_goes_to_the_first_that_comes() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    loses(host, "b")
    assert view(host, task_id).state is TaskState.QUEUED
    host.world.run(100)
    meet(host, "c")
    assert assigned(host, task_id)[-1] == ("c", 2)


# Everything together, with real workers.


def test_every_task_of_a_mesh_ends_once_though_its_nodes_die_and_return() -> None:
    world = World(11)
    a, b, c = world.mesh("a", "b", "c")
    for host in (a, b, c):
        host.body_takes = 400 * NANOS_PER_MS
    ids = [(host, submitted(host, Submit("work", str(number)))) for number in range(20) for host in (a, b, c)]
    world.run(0.3)
    b.restart()
    world.run(5)
    c.crash()
    world.run(60)
    c.start()
    world.run(60)
    for host, task_id in ids:
        done = view(host, task_id)
        assert (done.state, done.output != "") == (TaskState.SUCCEEDED, True)
    for host in (a, b, c):
        finished = [fact.task_id for fact in host.facts_of(TaskFinished)]
        assert len(finished) == len(set(finished)) == 20


def test_a_body_may_fail_by_itself() -> None:
    world = World()
    a, _ = world.mesh("a", "b")
    for host in world.hosts.values():
        host.body = lambda action: BodyEnded(BodyStatus.ERROR, "", f"attempt {action.attempt} broke", 3)
    task_id = submitted(a)
    world.run(1)
    assert view(a, task_id).detail == "error: attempt 1 broke"


def test_runs_of_a_leaving_node_go_to_others() -> None:
    world = World()
    handlers = (HandlerSpec("work", 9),)
    a = world.add("a", config_of("a", handlers=handlers, swim=QUIET)).start()
    world.run(0.01)
    a.hold_bodies = True
    task_id = submitted(a)
    assert [start.task_id for start in a.starts] == [task_id]
    a.hears(endpoint_of("b"), Gossip((alive("b"),)))
    a.request(Leave())
    settle(a)
    assert assigned(a, task_id) == [("a", 1), ("b", 2)]
    assert id_of("b") == view(a, task_id).worker
    assert a.said_of(Assign, "b")
