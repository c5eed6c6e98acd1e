"""Asking about tasks: now or when they are final, here or at another node, and what silence comes back as."""

from __future__ import annotations

import pytest

from protocols.core import Outcome, Refused, Unknown
from protocols.limits import FINISHED_BYTES_MAX
from protocols.membership.member import State
from protocols.membership.messages import Gossip
from protocols.tasks.messages import Answer, Ask, RunEnded
from protocols.tasks.task import (
    BodyStatus,
    CancelTask,
    GetTask,
    ListTasks,
    Submit,
    TaskList,
    TaskState,
    TaskView,
)
from tests.protocols.harness import Host, World, accuse, endpoint_of, id_of
from tests.protocols.tasks_kit import coordinator, ends, loses, meet, settle, submitted, view

MISSING = "aaaaaaaaaaaa."


def code_of(outcome: Outcome) -> str:
    assert isinstance(outcome, Refused), outcome
    return outcome.code


def mesh_with_a_task() -> tuple[World, Host, Host, str]:
    """Two nodes; the first keeps a task whose body does not end by itself."""
    world = World()
    keeper, other = world.mesh("a", "b")
    keeper.hold_bodies = other.hold_bodies = True
    return world, keeper, other, submitted(keeper)


# Waiting.


def test_without_a_wait_the_answer_is_how_it_stands() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    request = host.request(GetTask(task_id))
    outcome = host.outcomes[request]
    assert isinstance(outcome, TaskView)
    assert (outcome.state, outcome.attempt, outcome.worker_name) == (TaskState.RUNNING, 1, "b")


def test_a_wait_ends_with_the_task() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    requests = [host.request(GetTask(task_id, wait_ms=wait)) for wait in (5000, 60_000)]
    host.world.run(4)
    assert not host.outcomes.keys() & set(requests)
    ends(host, "b", task_id)
    for request in requests:
        outcome = host.outcomes[request]
        assert isinstance(outcome, TaskView)
        assert outcome.state is TaskState.SUCCEEDED


def test_a_wait_that_is_over_is_answered_with_how_it_stands() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    waits = {wait: host.request(GetTask(task_id, wait_ms=wait)) for wait in (3000, 1000, 2000)}
    for elapsed in (1000, 2000, 3000):
        assert waits[elapsed] not in host.outcomes
        host.world.run(1)
        outcome = host.outcomes[waits[elapsed]]
        assert isinstance(outcome, TaskView)
        assert outcome.state is TaskState.RUNNING


def test_a_wait_for_what_has_ended_is_answered_at_once() -> None:
    host = coordinator("b")
    done, cancelled = submitted(host), submitted(host)
    ends(host, "b", done)
    host.ask(CancelTask(cancelled))
    for task_id in (done, cancelled):
        assert host.request(GetTask(task_id, wait_ms=60_000)) in host.outcomes


def test_a_cancelled_task_ends_the_waits_for_it() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    request = host.request(GetTask(task_id, wait_ms=60_000))
    host.ask(CancelTask(task_id))
    outcome = host.outcomes[request]
    assert isinstance(outcome, TaskView)
    assert outcome.state is TaskState.CANCELLED


# Lists.


def test_tasks_are_listed_newest_first_by_state_and_without_output() -> None:
    host = coordinator("b")
    ids = [submitted(host, Submit("work", submitted_unix_ms=stamp)) for stamp in (10, 30, 20)]
    ends(host, "b", ids[0])
    everything = host.ask(ListTasks())
    assert isinstance(everything, TaskList)
    assert [row.task_id for row in everything.tasks] == [ids[1], ids[2], ids[0]]
    assert everything.tasks[2].output == ""
    running = host.ask(ListTasks((TaskState.RUNNING,)))
    assert isinstance(running, TaskList)
    assert ({row.task_id for row in running.tasks}, running.total) == ({ids[1], ids[2]}, 2)
    one = host.ask(ListTasks(limit=1))
    assert isinstance(one, TaskList)
    assert ([row.task_id for row in one.tasks], one.total) == ([ids[1]], 3)


def test_a_task_that_is_not_durable_is_not_listed() -> None:
    host = coordinator("b")
    host.hold_saves = True
    host.request(Submit("work"))
    assert host.ask(ListTasks()) == TaskList((), 0)


def test_an_outcome_that_is_not_durable_is_listed_once_it_is() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    host.hold_saves = True
    ends(host, "b", task_id)
    request = host.request(ListTasks())
    assert request not in host.outcomes
    host.release_saves()
    settle(host)
    listed = host.outcomes[request]
    assert isinstance(listed, TaskList)
    assert [row.state for row in listed.tasks] == [TaskState.SUCCEEDED]


# Unknown tasks.


@pytest.mark.parametrize("task_id", ["", "x", "x.", ".abcdefgh", "aaaaaaaaaaaa.zzzzzzz", "a.b.c", "a.zzzzzzzz"])
def test_an_id_that_names_no_node_is_unknown(task_id: str) -> None:
    host = coordinator("b")
    for command in (GetTask(task_id), GetTask(task_id, wait_ms=1000), CancelTask(task_id)):
        assert code_of(host.ask(command)) == "unknown_task"


def test_an_unknown_task_of_this_node_is_unknown_at_once_even_with_a_wait() -> None:
    host = coordinator("b")
    for command in (GetTask(MISSING + id_of("a")[:8], wait_ms=9000), CancelTask(MISSING + id_of("a")[:8])):
        request = host.request(command)
        assert code_of(host.outcomes[request]) == "unknown_task"


# Tasks of other coordinators.


def test_any_node_can_be_asked_about_any_task() -> None:
    world, keeper, other, task_id = mesh_with_a_task()
    asked = other.ask(GetTask(task_id))
    assert asked == view(keeper, task_id)
    waiting = other.request(GetTask(task_id, wait_ms=20_000))
    world.run(10)
    assert waiting not in other.outcomes
    (keeper if keeper.running else other).end_body()
    world.run(1)
    outcome = other.outcomes[waiting]
    assert isinstance(outcome, TaskView)
    assert outcome.state is TaskState.SUCCEEDED


def test_any_node_can_cancel_any_task() -> None:
    world, keeper, other, task_id = mesh_with_a_task()
    outcome = other.ask(CancelTask(task_id))
    assert isinstance(outcome, TaskView)
    assert outcome.state is TaskState.CANCELLED
    world.run(1)
    assert not keeper.running
    assert not other.running
    assert code_of(other.ask(CancelTask(task_id))) == "already_final"


def test_another_node_that_does_not_know_the_task_says_so() -> None:
    world = World()
    _, b = world.mesh("a", "b")
    assert code_of(b.ask(GetTask(MISSING + id_of("a")[:8]))) == "unknown_task"


def test_a_wait_at_another_node_is_over_in_time() -> None:
    world, _, other, task_id = mesh_with_a_task()
    since = world.now
    outcome = other.ask(GetTask(task_id, wait_ms=5000), within_s=6)
    assert isinstance(outcome, TaskView)
    assert outcome.state is TaskState.RUNNING
    assert 5 <= (world.now - since) / 1e9 < 5.5


@pytest.mark.parametrize("state", [State.DEAD, State.LEFT])
def test_a_coordinator_that_is_gone_is_said_to_be(state: State) -> None:
    host = coordinator("b")
    loses(host, "b", state)
    outcome = host.ask(GetTask(MISSING + id_of("b")[:8]))
    assert code_of(outcome) == "coordinator_unreachable"
    assert isinstance(outcome, Refused)
    assert "node b (b.test:7000)" in outcome.message
    assert state.name.lower() in outcome.message
    assert outcome.retry_after_s > 0


@pytest.mark.parametrize(("command", "seconds"), [(GetTask, 3), (CancelTask, 3)])
def test_a_coordinator_that_is_silent_makes_an_unknown(command: type[GetTask | CancelTask], seconds: float) -> None:
    host = coordinator("b")
    request = host.request(command(MISSING + id_of("b")[:8]))
    host.world.run(seconds - 0.1)
    assert request not in host.outcomes
    host.world.run(0.2)
    outcome = host.outcomes[request]
    assert isinstance(outcome, Unknown)
    assert "Node b" in outcome.message


def test_silence_is_borne_for_the_wait_and_the_time_to_answer() -> None:
    host = coordinator("b")
    request = host.request(GetTask(MISSING + id_of("b")[:8], wait_ms=10_000))
    host.world.run(12.9)
    assert request not in host.outcomes
    host.world.run(0.2)
    assert isinstance(host.outcomes[request], Unknown)


def test_an_answer_counts_once_and_only_from_the_node_that_was_asked() -> None:
    host = coordinator("b", "c")
    request = host.request(GetTask(MISSING + id_of("b")[:8]))
    (ask,) = host.said_of(Ask, "b")
    host.hears(endpoint_of("c"), Answer(ask.ask_id, Unknown("from another")))
    assert request not in host.outcomes
    host.hears(endpoint_of("b"), Answer(ask.ask_id, Unknown("the answer")))
    host.hears(endpoint_of("b"), Answer(ask.ask_id, Unknown("once more")))
    assert host.outcomes[request] == Unknown("the answer")
    host.world.run(10)
    assert host.outcomes[request] == Unknown("the answer")


def test_an_answer_that_nobody_asked_for_is_ignored() -> None:
    host = coordinator("b")
    host.hears(endpoint_of("b"), Answer(1, Unknown("what?")))
    host.hears(endpoint_of("stranger"), Answer(2, Unknown("what?")))


def test_what_another_node_is_told_is_durable() -> None:
    host = coordinator("b")
    task_id = submitted(host)
    host.hold_saves = True
    ends(host, "b", task_id)
    host.hears(endpoint_of("c"), Ask(5, GetTask(task_id)))
    host.world.run(5)
    assert host.said_of(Answer) == []
    host.release_saves()
    settle(host)
    (answer,) = host.said_of(Answer, "c")
    assert isinstance(answer.outcome, TaskView)
    assert (answer.ask_id, answer.outcome.state) == (5, TaskState.SUCCEEDED)


def test_a_suspect_coordinator_is_asked_all_the_same() -> None:
    host = coordinator("b")
    host.hears(endpoint_of("z"), Gossip((accuse("b", State.SUSPECT),)))
    host.request(GetTask(MISSING + id_of("b")[:8]))
    assert len(host.said_of(Ask, "b")) == 1


# What is remembered.


def test_the_oldest_finished_tasks_are_forgotten_past_the_bound_of_bytes_and_their_records_with_them() -> None:
    host = coordinator("b")
    host.checked = False
    output = '"' + "o" * (256 * 1024 - 2) + '"'
    kept = FINISHED_BYTES_MAX // len(output)
    ids = []
    for number in range(kept + 5):
        ids.append(submitted(host, Submit("work", idempotency_key=str(number))))
        host.hears(endpoint_of("b"), RunEnded(ids[-1], 1, BodyStatus.OK, output, "", 1))
        settle(host)
    gone = [task_id for task_id in ids if code_of_or_none(host.ask(GetTask(task_id))) == "unknown_task"]
    assert gone == ids[: len(gone)]
    assert 5 <= len(gone) <= 6
    stored = {key.partition("/")[2] for key in host.disk if key.startswith(("task/", "progress/"))}
    assert stored == set(ids) - set(gone)
    assert submitted(host, Submit("work", idempotency_key="0")) not in ids, "the key went with the task"
    host.restart()
    settle(host)
    assert isinstance(host.ask(GetTask(ids[-1])), TaskView)
    assert code_of(host.ask(GetTask(ids[0]))) == "unknown_task"


def code_of_or_none(outcome: Outcome) -> str | None:
    return outcome.code if isinstance(outcome, Refused) else None


def test_after_a_restart_tasks_are_forgotten_in_the_order_in_which_they_finished() -> None:
    host = coordinator("b")
    ids = [submitted(host) for _ in range(4)]
    for task_id in reversed(ids):
        ends(host, "b", task_id)
    host.restart()
    settle(host)
    listed = list(host.node.tasks.book.finished)
    assert listed == list(reversed(ids))
    meet(host, "b")
    later = submitted(host)
    ends(host, "b", later)
    assert list(host.node.tasks.book.finished)[-1] == later
    assert view(host, later).state is TaskState.SUCCEEDED
