"""A disk that fails: nothing new is taken in, what can be read is read, what has happened is recorded afterwards."""

from __future__ import annotations

import pytest

from protocols.core import Delete, Put, Record, Refused, Unknown
from protocols.membership.tagging import SetTags
from protocols.membership.views import GetStatus, ListMembers, MemberList, NodeStatus
from protocols.tasks.messages import Answer, Ask, Standing
from protocols.tasks.task import (
    Accepted,
    BodyStatus,
    CancelTask,
    GetTask,
    ListTasks,
    Submit,
    TaskFinished,
    TaskList,
    TaskProgress,
    TaskReassigned,
    TaskState,
    TaskView,
)
from tests.protocols.harness import Host, World, endpoint_of, id_of
from tests.protocols.tasks_kit import (
    assigned,
    concluded,
    coordinator,
    ends,
    loses,
    meet,
    progress,
    settle,
    stands,
    submitted,
    view,
    worker_of,
)


def failing(*workers: str) -> tuple[Host, str]:
    """A coordinator whose disk fails, with a task that was recorded as succeeded before."""
    host = coordinator(*workers)
    done = submitted(host)
    ends(host, worker_of(host, done), done)
    host.disk_error = "no space left"
    return host, done


def storage_error(host: Host) -> str:
    status = host.ask(GetStatus())
    assert isinstance(status, NodeStatus)
    return status.storage_error


# While it fails.


def test_submissions_are_refused_with_the_reason_and_a_next_step() -> None:
    host, _ = failing("b")
    for _ in range(3):
        refused = host.ask(Submit("work"))
        assert isinstance(refused, Refused)
        assert refused.code == "storage_failed"
        assert "no space left" in refused.message
        assert refused.next_step
        assert refused.retry_after_s > 0
        host.world.run(0.3)
    assert len(assigned(host)) == 1


def test_a_disk_that_is_well_again_is_found_out_though_nobody_wants_anything_saved() -> None:
    host, _ = failing("b")
    before = dict(host.disk)
    waiting = [host.request(Submit("work")), host.request(SetTags({"gpu": ""})), host.request(Submit("work"))]
    host.world.run(5)
    assert {type(host.outcomes[request]) for request in waiting} == {Refused}
    assert storage_error(host) == "no space left"
    host.disk_error = ""
    host.world.run(3)
    assert storage_error(host) == ""
    assert host.disk == before
    submitted(host)


def test_what_is_durable_is_still_read() -> None:
    host, done = failing("b")
    host.ask(Submit("work"))
    assert view(host, done).state is TaskState.SUCCEEDED
    listed = host.ask(ListTasks())
    assert isinstance(listed, TaskList)
    assert [row.task_id for row in listed.tasks] == [done]
    assert isinstance(host.ask(ListMembers()), MemberList)
    assert storage_error(host) == "no space left"
    assert isinstance(host.ask(GetTask("aaaaaaaaaaaa." + id_of("a")[:8])), Refused)


def test_a_known_idempotency_key_is_still_answered() -> None:
    host = coordinator("b")
    task_id = submitted(host, Submit("work", idempotency_key="k"))
    host.disk_error = "no space left"
    host.ask(Submit("work"))
    assert host.ask(Submit("work", idempotency_key="k")) == Accepted(task_id, host.config.node_id, existing=True)


def test_an_outcome_that_can_not_be_recorded_is_told_to_nobody() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    host.disk_error = "no space left"
    ends(host, "b", task_id)
    host.world.run(5)
    refused = host.ask(GetTask(task_id))
    assert isinstance(refused, Refused)
    assert refused.code == "storage_failed"
    assert concluded(host, "b") == []
    assert host.facts_of(TaskFinished) == []


def test_no_wait_is_longer_than_was_asked_for() -> None:
    """The task has ended, and the disk does not take that: who waits is told so in time, not when the disk is back."""
    host = coordinator("b")
    task_id = submitted(host)
    request = host.request(GetTask(task_id, wait_ms=4000))
    host.disk_error = "no space left"
    ends(host, "b", task_id)
    host.world.run(4.1)
    refused = host.outcomes[request]
    assert isinstance(refused, Refused)
    assert refused.code == "storage_failed"


def test_a_worker_is_not_told_anything_that_is_not_durable() -> None:
    host = coordinator("b", "c")
    task_id = submitted(host)
    host.disk_error = "no space left"
    loses(host, worker_of(host, task_id))
    host.world.run(60)
    assert len(assigned(host)) == 1


def test_other_nodes_hear_nothing_and_report_the_state_as_unknown() -> None:
    world = World()
    keeper, other = world.mesh("a", "b")
    keeper.hold_bodies = other.hold_bodies = True
    task_id, lost = submitted(keeper), submitted(keeper)
    keeper.disk_error = "no space left"
    keeper.request(CancelTask(lost))
    world.run(0.1)
    outcome = other.ask(GetTask(task_id), within_s=4)
    assert isinstance(outcome, Unknown)


def test_a_long_failure_does_not_pile_up_work() -> None:
    """A task whose save is held back is left alone until then: an hour of failing costs what a second does."""
    host = coordinator("b", "c")
    ids = [submitted(host) for _ in range(20)]
    host.disk_error = "no space left"
    for task_id in ids:
        stands(host, worker_of(host, task_id), task_id, 1, Standing.UNKNOWN)
    host.world.run(3600)
    assert len(host.facts_of(TaskReassigned)) == 20
    durable: list[Record] = []
    host.world.on_durable = lambda _, record: durable.append(record)
    host.disk_error = ""
    host.world.run(1.5)
    assert len(durable) <= 20 + 1
    assert sorted(attempt for _, attempt in assigned(host)) == [1] * 20 + [2] * 20


# When it is back.


def test_everything_that_happened_is_recorded_and_told_when_the_disk_is_back() -> None:
    host = coordinator("b", "c")
    ids = [submitted(host) for _ in range(6)]
    waits = [host.request(GetTask(task_id, wait_ms=50_000)) for task_id in ids]
    host.disk_error = "no space left"
    for number, task_id in enumerate(ids):
        status = BodyStatus.ERROR if number % 2 else BodyStatus.OK
        ends(host, worker_of(host, task_id), task_id, status=status)
    host.world.run(20)
    assert not host.outcomes.keys() & set(waits)
    host.disk_error = ""
    host.world.run(1.5)
    for number, (task_id, wait) in enumerate(zip(ids, waits, strict=True)):
        expected = TaskState.FAILED if number % 2 else TaskState.SUCCEEDED
        assert progress(host, task_id).state is expected
        outcome = host.outcomes[wait]
        assert isinstance(outcome, TaskView)
        assert outcome.state is expected
    assert sorted(concluded(host, "b") + concluded(host, "c")) == sorted(ids)
    assert isinstance(host.ask(Submit("work")), Accepted)


def test_a_cancelling_that_could_not_be_recorded_is_answered_once_it_is() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    host.disk_error = "no space left"
    request = host.request(CancelTask(task_id))
    host.world.run(5)
    assert request not in host.outcomes
    host.disk_error = ""
    host.world.run(1.5)
    outcome = host.outcomes[request]
    assert isinstance(outcome, TaskView)
    assert outcome.state is TaskState.CANCELLED
    assert progress(host, task_id).state is TaskState.CANCELLED


def test_a_crash_while_the_disk_fails_loses_nothing_that_was_promised() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    host.disk_error = "no space left"
    ends(host, "b", task_id)
    host.world.run(5)
    host.crash()
    host.disk_error = ""
    host.start()
    meet(host, "b")
    assert view(host, task_id).state is TaskState.RUNNING
    ends(host, "b", task_id)
    assert view(host, task_id).state is TaskState.SUCCEEDED


@pytest.mark.parametrize("pattern", ["fwf", "ffw", "wfw", "fwfwfw"])
def test_records_of_one_task_reach_the_disk_in_their_order(pattern: str) -> None:
    """f: the disk fails for a second; w: it works for two. Meanwhile attempts are lost; in the end the task ends."""
    host = coordinator("b", "c")
    task_id = submitted(host)
    written: list[TaskProgress] = []

    def note(_: Host, record: Record) -> None:
        assert not isinstance(record, Delete)
        if isinstance(record, Put) and isinstance(record.value, TaskProgress):
            written.append(record.value)

    host.world.on_durable = note
    for char in pattern:
        host.disk_error = "no space left" if char == "f" else ""
        for name in ("b", "c"):
            for attempt in range(1, 20):
                stands(host, name, task_id, attempt, Standing.UNKNOWN)
        host.world.run(1 if char == "f" else 2)
    host.disk_error = ""
    host.world.run(3)
    ends(host, worker_of(host, task_id), task_id)
    host.world.run(3)
    attempts = [each.attempt for each in written]
    assert attempts == sorted(attempts)
    assert written[-1].state is TaskState.SUCCEEDED
    assert progress(host, task_id) == written[-1]


def test_an_ask_that_was_refused_by_the_disk_is_answered_the_next_time() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    host.disk_error = "no space left"
    host.hears(endpoint_of("c"), Ask(1, GetTask(task_id)))
    settle(host)
    host.disk_error = ""
    host.hears(endpoint_of("c"), Ask(2, GetTask(task_id)))
    settle(host)
    assert [answer.ask_id for answer in host.said_of(Answer, "c")] == [2]
