"""Taking tasks in: durable before anybody is told, refused with a reason, the same once for one idempotency key."""

from __future__ import annotations

import pytest

from protocols.config import HandlerSpec
from protocols.core import Refused
from protocols.limits import OPEN_TASKS_MAX, PAYLOAD_BYTES_MAX
from protocols.membership.member import State
from protocols.membership.messages import Gossip
from protocols.tasks.book import coordinator_prefix
from protocols.tasks.messages import Assign
from protocols.tasks.task import Accepted, ListTasks, Submit, TaskAccepted, TaskList, TaskSpec, TaskState
from tests.protocols.harness import Host, World, accuse, endpoint_of
from tests.protocols.tasks_kit import assigned, coordinator, ends, meet, progress, settle, submitted, view


def refused(host: Host, command: Submit) -> Refused:
    outcome = host.ask(command)
    assert isinstance(outcome, Refused), outcome
    return outcome


# Durable first.


def test_nobody_is_told_before_the_task_is_durable() -> None:
    host = coordinator("b")
    host.hold_saves = True
    request = host.request(Submit("work", "1"))
    host.world.run(20)
    assert request not in host.outcomes
    assert assigned(host) == []
    assert host.facts_of(TaskAccepted) == []
    host.release_saves()
    settle(host)
    accepted = host.outcomes[request]
    assert isinstance(accepted, Accepted)
    assert assigned(host) == [("b", 1)]
    assert [fact.task_id for fact in host.facts_of(TaskAccepted)] == [accepted.task_id]


def test_what_is_asked_for_is_what_is_kept_and_handed_out() -> None:
    host = coordinator("b")
    command = Submit("work", '{"n": [1]}', "the key", "once", 1234, 99)
    task_id = submitted(host, command)
    assert host.stored(f"task/{task_id}") == TaskSpec(task_id, "work", '{"n": [1]}', "the key", "once", 1234, 99)
    assert host.said_of(Assign, "b") == [Assign(task_id, 1, "work", '{"n": [1]}', 1234)]
    assert progress(host, task_id).attempt == 1


def test_the_id_names_the_coordinator() -> None:
    host = coordinator("b")
    assert host.config.node_id.startswith(coordinator_prefix(submitted(host)))


def test_ids_differ() -> None:
    host = coordinator("b")
    assert len({submitted(host) for _ in range(50)}) == 50


def test_tasks_of_one_key_go_to_one_worker_and_others_spread() -> None:
    host = coordinator("b", "c", "d")
    keyed = {assigned(host, submitted(host, Submit("work", key="k")))[0][0] for _ in range(10)}
    spread = {assigned(host, submitted(host))[0][0] for _ in range(40)}
    assert len(keyed) == 1
    assert spread == {"b", "c", "d"}


def test_a_task_that_nobody_can_take_now_is_accepted_and_waits() -> None:
    host = coordinator("b")
    host.hears(endpoint_of("b"), Gossip((accuse("b", State.LEFT, by="b"),)))
    host.hears(endpoint_of("c"), Gossip((accuse("b", State.LEFT, by="b"),)))
    assert refused(host, Submit("work")).code == "unknown_handler"
    host = coordinator("b")
    host.hears(endpoint_of("c"), Gossip((accuse("b", State.DEAD, by="c"),)))
    task_id = submitted(host)
    waiting = view(host, task_id)
    assert waiting.state is TaskState.QUEUED
    assert waiting.detail == "no live node offers work at the moment"
    meet(host, "c")
    assert assigned(host) == [("c", 1)]


# Refusals.


def test_an_unknown_handler_is_refused_with_the_names_of_those_there_are() -> None:
    host = coordinator("b", handlers=(HandlerSpec("checksum"), HandlerSpec("mcp:files")))
    refusal = refused(host, Submit("wrok"))
    assert refusal.code == "unknown_handler"
    assert "'wrok'" in refusal.message
    assert "checksum, work" in refusal.next_step
    assert "files" not in refusal.next_step


def test_an_unknown_mcp_server_is_refused_with_the_names_of_those_there_are() -> None:
    host = coordinator("b", handlers=(HandlerSpec("mcp:files"),))
    refusal = refused(host, Submit("mcp:flies"))
    assert "MCP server 'flies'" in refusal.message
    assert "MCP servers in this mesh: files." in refusal.next_step


def test_a_mesh_without_handlers_says_so() -> None:
    assert "none yet" in refused(coordinator(), Submit("work")).next_step


@pytest.mark.parametrize("payload", ["", "nul", "{", "[1,]", "'x'", "\ud800", '"\ud800"', "[" * 100_000])
def test_a_payload_that_is_no_json_is_refused(payload: str) -> None:
    assert refused(coordinator("b"), Submit("work", payload)).code == "bad_payload"


@pytest.mark.parametrize("char", ["a", "é", "漢", "🜁"])
def test_the_payload_is_bounded_in_bytes(char: str) -> None:
    host = coordinator("b")
    fits = (PAYLOAD_BYTES_MAX - 2) // len(char.encode())
    assert refused(host, Submit("work", f'"{char * (fits + 1)}"')).code == "payload_too_large"
    submitted(host, Submit("work", f'"{char * fits}"'))


def test_no_more_tasks_are_open_than_the_bound() -> None:
    host = coordinator("b")
    host.checked = False
    for _ in range(OPEN_TASKS_MAX):
        host.request(Submit("work"))
    busy = refused(host, Submit("work"))
    assert busy.code == "busy"
    assert busy.retry_after_s > 0
    settle(host)
    taken = [outcome for outcome in host.outcomes.values() if isinstance(outcome, Accepted)]
    assert len(taken) == OPEN_TASKS_MAX
    ends(host, "b", taken[0].task_id)
    submitted(host)


def test_nothing_is_kept_of_what_was_refused() -> None:
    host = coordinator("b")
    before = dict(host.disk)
    for command in (Submit("nothing"), Submit("work", "{")):
        refused(host, command)
    host.world.run(1)
    assert host.disk == before
    assert host.ask(ListTasks()) == TaskList((), 0)


# Idempotency.


def test_the_same_key_is_the_same_task() -> None:
    host = coordinator("b")
    first = host.ask(Submit("work", "1", idempotency_key="k"))
    again = host.ask(Submit("work", "2", idempotency_key="k"))
    assert isinstance(first, Accepted)
    assert again == Accepted(first.task_id, host.config.node_id, existing=True)
    assert not first.existing
    settle(host)
    assert len(host.said_of(Assign)) == 1


def test_without_a_key_every_submission_is_a_new_task() -> None:
    host = coordinator("b")
    assert submitted(host) != submitted(host)


def test_the_second_answer_waits_for_the_first_save_too() -> None:
    host = coordinator("b")
    host.hold_saves = True
    requests = [host.request(Submit("work", idempotency_key="k")) for _ in range(3)]
    host.world.run(1)
    assert not host.outcomes.keys() & set(requests)
    host.release_saves()
    settle(host)
    outcomes = [host.outcomes[request] for request in requests]
    assert [isinstance(outcome, Accepted) and outcome.existing for outcome in outcomes] == [False, True, True]


def test_the_same_key_is_the_same_task_after_a_restart_and_after_its_end() -> None:
    host = coordinator("b")
    task_id = submitted(host, Submit("work", idempotency_key="k"))
    host.restart()
    settle(host)
    assert host.ask(Submit("work", idempotency_key="k")) == Accepted(task_id, host.config.node_id, existing=True)
    meet(host, "b")
    ends(host, "b", task_id)
    assert host.ask(Submit("work", idempotency_key="k")) == Accepted(task_id, host.config.node_id, existing=True)
    host.restart()
    settle(host)
    assert host.ask(Submit("work", idempotency_key="k")) == Accepted(task_id, host.config.node_id, existing=True)


def test_a_key_whose_first_save_failed_is_free_again() -> None:
    host = coordinator("b")
    host.disk_error = "full"
    requests = [host.request(Submit("work", idempotency_key="k")) for _ in range(2)]
    settle(host)
    codes = [getattr(host.outcomes[request], "code", "") for request in requests]
    assert codes == ["storage_failed", "storage_failed"]
    host.disk_error = ""
    again = host.ask(Submit("work", idempotency_key="k"))
    assert isinstance(again, Accepted)
    assert not again.existing


def test_an_acknowledged_task_survives_a_crash_right_after_the_acknowledgement() -> None:
    for loses in (False, True):
        host = coordinator("b")
        accepted = host.ask(Submit("work", "5"))
        assert isinstance(accepted, Accepted)
        host.crash(unsaved_survives=not loses)
        host.start()
        settle(host)
        assert view(host, accepted.task_id).attempt >= 1


def test_a_task_whose_save_reached_the_disk_unnoticed_is_driven_as_any_other() -> None:
    """The caller was never answered, so it knows nothing; whoever asks again with the key gets the same task."""
    host = coordinator("b")
    host.hold_saves = True
    host.request(Submit("work", idempotency_key="k"))
    host.crash(unsaved_survives=True)
    host.hold_saves = False
    host.start()
    settle(host)
    again = host.ask(Submit("work", idempotency_key="k"))
    assert isinstance(again, Accepted)
    assert again.existing


def test_every_node_of_a_mesh_takes_tasks_in() -> None:
    world = World()
    hosts = world.mesh("a", "b", "c")
    for number, host in enumerate(hosts):
        accepted = host.ask(Submit("work", str(number)))
        assert isinstance(accepted, Accepted)
        assert accepted.coordinator == host.config.node_id
