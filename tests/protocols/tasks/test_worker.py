"""The worker: bodies within their bounds, one run for a task, each result kept until it is recorded."""

from __future__ import annotations

import pytest

from protocols.config import HandlerSpec
from protocols.core import Perform, Received
from protocols.limits import QUEUED_RUNS_MAX
from protocols.membership.member import State
from protocols.membership.messages import Gossip
from protocols.membership.views import GetStatus, Leave, NodeStatus
from protocols.tasks.messages import (
    Assign,
    CheckRuns,
    Concluded,
    RefusalCode,
    RunEnded,
    RunRef,
    RunRefused,
    RunStates,
    Standing,
)
from protocols.tasks.task import BodyEnded, BodyStatus, RunBody, RunStarted, StopBody
from protocols.tasks.worker import ENDED_BYTES_MAX, SEEN_MAX
from tests.protocols.harness import Host, World, accuse, alive, config_of, endpoint_of
from tests.protocols.tasks_kit import QUIET, assign, meet, settle, submitted, worker

OK = BodyEnded(BodyStatus.OK, '"out"', "", 7)
BOSS = endpoint_of("boss")


def told(host: Host, *messages: Assign | Concluded | CheckRuns) -> None:
    for message in messages:
        host.hears(BOSS, message)


def started(host: Host) -> list[tuple[str, int]]:
    return [(start.task_id, start.attempt) for start in host.starts]


def standing(host: Host, task_id: str, attempt: int = 1) -> Standing | RunEnded:
    """What the worker says when it is asked how a run stands."""
    host.hush()
    told(host, CheckRuns((RunRef(task_id, attempt),)))
    states = [state for message in host.said_of(RunStates, "boss") for state in message.runs]
    if states:
        (state,) = states
        assert (state.task_id, state.attempt) == (task_id, attempt)
        return state.standing
    (ended,) = host.said_of(RunEnded, "boss")
    return ended


# Running.


def test_a_body_gets_what_the_coordinator_sent_with_the_attempt_as_its_token() -> None:
    host = worker()
    told(host, Assign("t", 3, "work", '{"n": 1}', 1234))
    assert host.starts == [RunBody("t", 3, "work", '{"n": 1}', 1234)]
    assert host.facts_of(RunStarted) == [RunStarted("t", 3, "work")]
    host.end_body(OK)
    assert host.said_of(RunEnded, "boss") == [RunEnded("t", 3, BodyStatus.OK, '"out"', "", 7)]


def test_no_more_bodies_run_than_the_handler_allows_and_the_rest_follow_in_order() -> None:
    host = worker(concurrency=2)
    told(host, *(assign(f"t{number}") for number in range(5)))
    assert len(host.running) == 2
    for _ in range(5):
        host.end_body(OK)
        assert len(host.running) <= 2
    assert [task_id for task_id, _ in started(host)] == [f"t{number}" for number in range(5)]


def test_handlers_do_not_wait_for_each_other() -> None:
    handlers = (HandlerSpec("one", 1), HandlerSpec("two", 1))
    host = World().add("w", config_of("w", handlers=handlers, swim=QUIET)).start()
    host.world.run(0.01)
    host.hold_bodies = True
    told(host, assign("a", handler="one"), assign("b", handler="one"), assign("c", handler="two"))
    assert [task_id for task_id, _ in started(host)] == ["a", "c"]


def test_the_queue_is_bounded_and_past_it_runs_are_refused_as_busy() -> None:
    host = worker()
    host.checked = False
    told(host, *(assign(f"t{number}") for number in range(QUEUED_RUNS_MAX + 3)))
    refused = host.said_of(RunRefused, "boss")
    assert [(refusal.task_id, refusal.code) for refusal in refused] == [
        (f"t{QUEUED_RUNS_MAX + 1}", RefusalCode.BUSY),
        (f"t{QUEUED_RUNS_MAX + 2}", RefusalCode.BUSY),
    ]
    status = host.ask(GetStatus())
    assert isinstance(status, NodeStatus)
    assert (status.runs_active, status.runs_waiting) == (1, QUEUED_RUNS_MAX)
    host.end_body(OK)
    host.hush()
    told(host, assign("late"))
    assert host.said_of(RunRefused) == []


def test_an_unknown_handler_is_refused() -> None:
    host = worker()
    told(host, assign("t", handler="other"))
    assert host.said_of(RunRefused, "boss") == [RunRefused("t", 1, RefusalCode.NO_HANDLER)]


def test_a_leaving_worker_takes_nothing_new_and_finishes_what_it_has() -> None:
    host = worker()
    told(host, assign("old"))
    host.request(Leave())
    told(host, assign("new"))
    assert host.said_of(RunRefused, "boss") == [RunRefused("new", 1, RefusalCode.LEAVING)]
    host.end_body(OK)
    assert [ended.task_id for ended in host.said_of(RunEnded, "boss")] == ["old"]


# One run for a task.


def test_a_copy_of_an_assignment_starts_nothing() -> None:
    host = worker(concurrency=3)
    told(host, assign("t"), assign("t"))
    host.end_body(OK)
    told(host, assign("t"))
    assert started(host) == [("t", 1)]


def test_a_newer_attempt_takes_over_the_run_that_is_there() -> None:
    host = worker(concurrency=3)
    told(host, assign("t", 1), assign("t", 4))
    assert started(host) == [("t", 1)]
    assert (standing(host, "t", 1), standing(host, "t", 4)) == (Standing.UNKNOWN, Standing.RUNNING)
    host.hush()
    host.end_body(OK)
    assert [ended.attempt for ended in host.said_of(RunEnded, "boss")] == [4]


def test_a_newer_attempt_takes_over_a_run_that_waits() -> None:
    host = worker()
    told(host, assign("first"), assign("t", 1), assign("t", 2))
    assert standing(host, "t", 2) is Standing.WAITING
    host.end_body(OK)
    assert started(host) == [("first", 1), ("t", 2)]


def test_a_newer_attempt_of_what_has_ended_gets_the_result_at_once() -> None:
    host = worker()
    told(host, assign("t", 1))
    host.end_body(OK)
    host.hush()
    told(host, assign("t", 2))
    assert host.said_of(RunEnded, "boss") == [RunEnded("t", 2, BodyStatus.OK, '"out"', "", 7)]
    assert started(host) == [("t", 1)]


def test_a_run_goes_over_to_the_coordinator_of_the_newer_attempt() -> None:
    host = worker()
    told(host, assign("t", 1))
    host.hears(endpoint_of("heir"), assign("t", 2))
    host.end_body(OK)
    assert host.said_of(RunEnded, "boss") == []
    assert len(host.said_of(RunEnded, "heir")) == 1


def test_an_older_attempt_is_stale_whatever_has_become_of_the_newer_one() -> None:
    host = worker(concurrency=3)
    told(host, assign("t", 5), assign("t", 4))
    assert standing(host, "t", 5) is Standing.RUNNING
    host.end_body(OK)
    told(host, assign("t", 4), Concluded("t"), assign("t", 4), assign("t", 5))
    assert started(host) == [("t", 5)]


def test_the_last_attempts_of_concluded_tasks_are_remembered_up_to_a_bound() -> None:
    host = worker()
    host.checked = False
    for number in range(SEEN_MAX + 1):
        told(host, assign(f"t{number}"))
        host.end_body(OK)
        told(host, Concluded(f"t{number}"))
    host.starts.clear()
    told(host, assign(f"t{SEEN_MAX}"), assign("t1"))
    assert started(host) == []
    told(host, assign("t0"))
    assert started(host) == [("t0", 1)]


def test_an_assignment_for_another_handler_does_not_confuse_the_places() -> None:
    """No honest coordinator sends this; the counts must not go wrong by it."""
    handlers = (HandlerSpec("one", 1), HandlerSpec("two", 1))
    host = World().add("w", config_of("w", handlers=handlers, swim=QUIET)).start()
    host.world.run(0.01)
    host.hold_bodies = True
    told(host, assign("t", 1, "one"), assign("t", 2, "two"), assign("u", 1, "two"), assign("t", 3, "nothing"))
    for _ in range(2):
        host.end_body(OK)
    host.node.check()
    told(host, assign("v", 1, "one"), assign("x", 1, "two"))
    assert [task_id for task_id, _ in started(host)] == ["t", "u", "v", "x"]


# Results.


def test_a_result_is_told_again_at_every_check_until_it_is_concluded() -> None:
    host = worker()
    told(host, assign("t"))
    assert standing(host, "t") is Standing.RUNNING
    host.end_body(OK)
    for _ in range(3):
        assert standing(host, "t") == RunEnded("t", 1, BodyStatus.OK, '"out"', "", 7)
    told(host, Concluded("t"))
    assert standing(host, "t") is Standing.UNKNOWN


def test_a_result_is_told_again_by_itself_while_its_coordinator_lives_and_has_not_concluded_it() -> None:
    host = worker()
    told(host, assign("t"))
    host.end_body(OK)
    host.hush()
    host.world.run(25)
    assert not host.said_of(RunEnded), "the coordinator is not known to be alive"
    meet(host, "boss")
    host.hush()
    host.world.run(25)
    told_again = [ended.task_id for ended in host.said_of(RunEnded, to="boss")]
    assert told_again in (["t", "t"], ["t", "t", "t"]), "every ten seconds or so"
    told(host, Concluded("t"))
    host.hush()
    host.world.run(60)
    assert not host.said_of(RunEnded)


def test_only_the_coordinator_of_a_run_concludes_it() -> None:
    host = worker()
    told(host, assign("t"))
    host.hears(endpoint_of("stranger"), Concluded("t"))
    assert standing(host, "t") is Standing.RUNNING
    assert host.running


def test_concluding_what_is_unknown_changes_nothing() -> None:
    host = worker()
    told(host, Concluded("t"))
    told(host, assign("t"))
    assert started(host) == [("t", 1)]


def test_concluding_a_running_body_stops_it_and_frees_its_place_when_it_has_stopped() -> None:
    host = worker()
    told(host, assign("t"), assign("next"))
    told(host, Concluded("t"))
    assert started(host) == [("t", 1)], "the body holds its place until it has really stopped"
    settle(host)
    assert started(host) == [("t", 1), ("next", 1)]
    assert [ended.task_id for ended in host.said_of(RunEnded)] == []


def test_a_body_that_ends_by_itself_while_it_is_being_stopped_is_not_reported() -> None:
    host = worker()
    told(host, assign("t"), Concluded("t"))
    host.end_body(OK)
    settle(host)
    assert host.said_of(RunEnded) == []
    told(host, assign("next"))
    assert started(host)[-1] == ("next", 1)


def test_concluding_a_waiting_run_takes_it_out_of_the_queue() -> None:
    host = worker()
    told(host, assign("first"), assign("t"), assign("last"), Concluded("t"))
    host.end_body(OK)
    assert [task_id for task_id, _ in started(host)] == ["first", "last"]


def test_a_body_that_was_stopped_leaves_nothing_and_a_newer_attempt_starts_it_afresh() -> None:
    host = worker()
    told(host, assign("t", 1))
    host.end_body(BodyEnded(BodyStatus.CANCELLED, detail="stopped"))
    assert [ended.status for ended in host.said_of(RunEnded, "boss")] == [BodyStatus.CANCELLED]
    assert standing(host, "t") is Standing.UNKNOWN
    told(host, assign("t", 1))
    assert started(host) == [("t", 1)]
    told(host, assign("t", 2))
    assert started(host) == [("t", 1), ("t", 2)]


def test_kept_results_are_bounded_in_bytes_and_the_oldest_runs_again() -> None:
    host = worker()
    host.checked = False
    output = '"' + "o" * (256 * 1024 - 2) + '"'
    count = ENDED_BYTES_MAX // len(output) + 1
    for number in range(count):
        told(host, assign(f"t{number}"))
        host.end_body(BodyEnded(BodyStatus.OK, output))
    assert standing(host, "t0") is Standing.UNKNOWN
    assert isinstance(standing(host, f"t{count - 1}"), RunEnded)
    told(host, assign("t0", 2))
    assert started(host)[-1] == ("t0", 2)


def test_kept_results_are_bounded_in_number_however_small_they_are() -> None:
    """A coordinator that is gone for ever concludes nothing; a worker must not grow with every run it did for it."""
    host = worker()
    host.checked = False
    bound = ENDED_BYTES_MAX // 1024
    for number in range(bound + 50):
        told(host, assign(f"t{number}"))
        host.end_body(BodyEnded(BodyStatus.OK, "1"))
    assert standing(host, "t0") is Standing.UNKNOWN
    assert isinstance(standing(host, f"t{bound + 49}"), RunEnded)
    assert host.node.worker.held_for(BOSS.node_id) <= bound


def test_a_worker_that_restarts_has_lost_its_runs() -> None:
    host = worker()
    told(host, assign("t"))
    host.restart()
    settle(host)
    assert standing(host, "t") is Standing.UNKNOWN
    told(host, assign("t", 2))
    assert started(host) == [("t", 1), ("t", 2)]


# Runs that nobody wants any more.


def worker_of_boss(*task_ids: str) -> Host:
    """A worker of one place that has been given these runs, by a coordinator that it knows to be alive."""
    host = worker(concurrency=1)
    host.hears(BOSS, Gossip((alive("boss"),)))
    told(host, *(assign(task_id) for task_id in task_ids))
    return host


def asked_after(host: Host, *task_ids: str, seconds: int = 12) -> None:
    """Time passes in which the coordinator asks after these runs each second, and after no other."""
    for _ in range(seconds):
        host.world.run(1)
        told(host, CheckRuns(tuple(RunRef(task_id, 1) for task_id in task_ids)))


@pytest.mark.parametrize("still_wanted", [("a", "d"), ("d",)])
def test_a_waiting_run_that_its_coordinator_asks_after_no_more_is_dropped_when_its_turn_comes(
    still_wanted: tuple[str, ...],
) -> None:
    host = worker_of_boss("a", "b", "c", "d")
    asked_after(host, *still_wanted)
    host.end_body(OK)
    assert started(host) == [("a", 1), ("d", 1)]
    assert standing(host, "b") is Standing.UNKNOWN
    told(host, assign("b", 2))
    host.end_body(OK)
    assert started(host)[-1] == ("b", 2)
    host.node.check()


def test_where_all_that_wait_are_unwanted_the_place_is_free_again() -> None:
    host = worker_of_boss("a", "b", "c")
    host.world.run(12)
    host.end_body(OK)
    assert not host.running
    host.node.check()
    told(host, assign("e"))
    assert started(host)[-1] == ("e", 1)


def test_what_a_coordinator_wanted_that_is_down_is_done_all_the_same() -> None:
    host = worker_of_boss("a", "b")
    host.hears(endpoint_of("other"), Gossip((accuse("boss", State.DEAD),)))
    host.world.run(600)
    host.end_body(OK)
    assert started(host) == [("a", 1), ("b", 1)]


def test_a_run_that_was_spoken_of_a_moment_ago_is_wanted() -> None:
    host = worker_of_boss("a", "b")
    asked_after(host, "a", "b", seconds=20)
    asked_after(host, "a", seconds=9)
    host.end_body(OK)
    assert started(host) == [("a", 1), ("b", 1)]


def test_an_older_attempt_that_is_asked_after_does_not_make_a_run_wanted_but_a_newer_one_does() -> None:
    host = worker_of_boss("a")
    told(host, assign("b", 2), assign("c"))
    asked_after(host, "a", "b")
    told(host, assign("c", 2))
    host.end_body(OK)
    assert started(host) == [("a", 1), ("c", 2)]


def test_stopping_is_asked_for_once_with_the_run_that_is_meant() -> None:
    host = worker(concurrency=2)
    stops: list[int] = []
    told(host, assign("t"), assign("u"))
    runs = {action.task_id: perform_id for perform_id, action in host.running.items()}
    for task_id in ("t", "u"):
        effects, _ = host.node.step(host.world.now, Received(BOSS, Concluded(task_id)))
        stops += [e.action.run for e in effects if isinstance(e, Perform) and isinstance(e.action, StopBody)]
    assert stops == [runs["t"], runs["u"]]


def test_a_mesh_runs_no_body_twice_when_nothing_goes_wrong() -> None:
    world = World()
    hosts = world.mesh("a", "b", "c")
    ids = [submitted(host) for host in hosts for _ in range(20)]
    world.run(5)
    runs = [start.task_id for host in hosts for start in host.starts]
    assert sorted(runs) == sorted(ids)
