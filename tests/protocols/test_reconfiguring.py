"""Another configuration for a node that runs: all of it or nothing, told in an incarnation of its own, no task lost."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from protocols.config import HandlerSpec
from protocols.core import Outcome, Refused
from protocols.limits import HANDLERS_MAX, OWN_TAGS_MAX, WEIGHT_MAX
from protocols.membership.facts import Announced, TagsLeftOut
from protocols.membership.member import Profile
from protocols.membership.tagging import ANNOUNCE_INTERVAL, GetTags, NodeTags, Reconfigured, SetTags
from protocols.membership.tags import Tags, own_tags
from protocols.membership.views import GetStatus, Leave, Left, NodeStatus
from protocols.reconfiguring import Reconfigure
from protocols.tasks.messages import Assign, CheckRuns, Concluded, RefusalCode, RunEnded, RunRef, RunRefused, RunStates
from protocols.tasks.task import Accepted, GetTask, Submit, TaskState, TaskView
from tests.protocols.harness import Host, World, config_of, endpoint_of
from tests.protocols.tasks_kit import assign, worker

BOSS = endpoint_of("boss")
WORK = HandlerSpec("work", 4)
OTHER = HandlerSpec("other", 2)


def handlers(host: Host, *specs: HandlerSpec, zone: str = "", weight: int = 1, tags: Tags = ()) -> Outcome:
    return host.ask(Reconfigure(specs, zone, weight, tags))


def profile(host: Host) -> Profile:
    row = host.row(host.name)
    assert row is not None
    return row.alive.profile


def incarnation(host: Host) -> int:
    row = host.row(host.name)
    assert row is not None
    return row.incarnation


def told(host: Host, *messages: Assign | CheckRuns | Concluded) -> None:
    for message in messages:
        host.hears(BOSS, message)


def refusals(host: Host) -> list[tuple[str, int, RefusalCode]]:
    return [(each.task_id, each.attempt, each.code) for each in host.said_of(RunRefused, "boss")]


# What is announced.


def test_everybody_comes_to_know_the_handlers_the_zone_and_the_weight() -> None:
    world = World(3)
    hosts = world.mesh("a", "b", "c")
    outcome = handlers(hosts[0], WORK, OTHER, zone="north", weight=3, tags=own_tags({"gpu": ""}))
    assert outcome == Reconfigured(1, 1)
    announced = profile(hosts[0])
    assert announced.handlers == ("work", "other")
    assert (announced.zone, announced.weight, announced.tags) == ("north", 3, (("gpu", ""),))

    def known(host: Host) -> bool:
        row = host.row("a")
        return row is not None and row.alive.profile == announced

    world.run_until(lambda: all(known(host) for host in hosts), 5)
    assert [host.node.owner_of("other", "any") for host in hosts] == [hosts[0].config.node_id] * 3


def test_what_announces_nothing_new_costs_no_incarnation() -> None:
    host = worker(concurrency=2)
    assert handlers(host, HandlerSpec("work", 9)) == Reconfigured(1, 0)
    assert incarnation(host) == 0
    status = host.ask(GetStatus())
    assert isinstance(status, NodeStatus)
    assert host.node.vitals.own.capacity == 9


def test_many_in_a_row_are_announced_at_most_once_an_interval_and_the_last_one_counts() -> None:
    host = worker()
    host.hush()
    requests = []
    for weight in range(2, 22):
        requests.append(host.request(Reconfigure((WORK,), "", weight)))
        host.world.run(0.1)
    host.world.run(2)
    assert profile(host).weight == 21
    assert all(isinstance(host.outcomes[request], Reconfigured) for request in requests)
    assert len(host.facts_of(Announced)) <= 2 * 1_000_000_000 // ANNOUNCE_INTERVAL + 1


def test_it_is_announced_with_the_tags_that_are_being_saved() -> None:
    host = worker()
    handlers(host, WORK, weight=2)
    set_tags = host.request(SetTags({"gpu": ""}))
    configured = host.request(Reconfigure((WORK,), "", 3))
    host.world.run(2)
    assert isinstance(host.outcomes[set_tags], NodeTags)
    assert host.outcomes[configured] == Reconfigured(1, 2)
    assert incarnation(host) == 2
    assert (profile(host).weight, profile(host).tags) == (3, (("gpu", ""),))


def test_a_disk_that_is_slow_or_refuses_tags_holds_up_no_configuration() -> None:
    host = worker()
    handlers(host, WORK, weight=2)
    host.hold_saves = True
    stuck = host.request(SetTags({"gpu": ""}))
    assert handlers(host, WORK, weight=3) == Reconfigured(1, 2)
    assert stuck not in host.outcomes
    assert profile(host).weight == 3
    host.disk_error = "disk full"
    host.release_saves()
    host.world.run(1)
    assert isinstance(host.outcomes[stuck], Refused)
    refused = host.request(SetTags({"gpu": ""}))
    assert handlers(host, WORK, weight=4) == Reconfigured(1, 3)
    host.world.run(1)
    assert isinstance(host.outcomes[refused], Refused)


def test_tags_that_were_set_win_over_configured_ones_and_what_does_not_fit_is_told() -> None:
    host = worker()
    host.ask(SetTags({f"set{number}": "" for number in range(OWN_TAGS_MAX)}))
    outcome = handlers(host, WORK, tags=own_tags({"gpu": "", "set0": "configured"}))
    assert outcome == Reconfigured(1, 1, ("gpu",))
    assert host.facts_of(TagsLeftOut)[-1].keys == ("gpu",)
    shown = host.ask(GetTags())
    assert isinstance(shown, NodeTags)
    assert shown.tags["set0"] == ""
    host.ask(SetTags(unset=("set0", "set1")))
    assert dict(profile(host).tags)["set0"] == "configured"


def test_nothing_of_it_is_saved() -> None:
    host = worker()
    before = dict(host.disk)
    handlers(host, OTHER, zone="north", weight=3)
    assert host.disk == before
    host.restart()
    host.world.run(0.1)
    assert (profile(host).handlers, profile(host).zone, profile(host).weight) == (("work",), "", 1)


# What is refused.


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (Reconfigure(tuple(HandlerSpec(f"h{number}") for number in range(HANDLERS_MAX + 1))), "bad_config"),
        (Reconfigure(tuple(HandlerSpec(f"{number}" * 30) for number in range(1, 10)) * 2), "bad_config"),
        (Reconfigure(tuple(HandlerSpec(f"{number}" + "x" * 60) for number in range(9))), "bad_config"),
        (Reconfigure((HandlerSpec("x" * 65),)), "bad_config"),
        (Reconfigure((HandlerSpec(""),)), "bad_config"),
        (Reconfigure((WORK,), "z" * 500), "bad_config"),
        (Reconfigure((HandlerSpec("work", 0),)), "bad_config"),
        (Reconfigure((WORK,), "", 0), "bad_config"),
        (Reconfigure((WORK,), "", WEIGHT_MAX + 1), "bad_config"),
        (Reconfigure((WORK,), "", 1, (("b", ""), ("a", ""))), "bad_tags"),
        (Reconfigure((WORK,), "", 1, (("GPU", ""),)), "bad_tag_key"),
    ],
)
def test_what_cannot_be_is_refused_as_a_whole_and_changes_nothing(command: Reconfigure, code: str) -> None:
    host = worker(concurrency=1)
    told(host, assign("t1"), assign("t2"))
    before = profile(host)
    refused = host.ask(replace(command, zone=command.zone or "elsewhere"))
    assert isinstance(refused, Refused)
    assert refused.code == code
    host.world.run(2)
    assert profile(host) == before
    assert refusals(host) == []
    assert len(host.running) == host.node.worker.waiting == 1


def test_a_node_that_starts_or_leaves_takes_none() -> None:
    host = World().add("a")
    host.hold_saves = True
    host.start()
    refused = host.ask(Reconfigure((OTHER,)))
    assert isinstance(refused, Refused)
    assert refused.code == "starting"
    host.release_saves()
    host.world.run(0.1)
    leaving = host.request(Leave())
    refused = host.ask(Reconfigure((OTHER,)))
    assert isinstance(refused, Refused)
    assert refused.code == "leaving"
    host.world.run(10)
    assert isinstance(host.outcomes[leaving], Left)
    assert profile(host).handlers == ("work",)


def test_what_waits_to_be_announced_when_the_node_leaves_is_answered() -> None:
    host = worker()
    handlers(host, WORK, weight=2)
    waiting = host.request(Reconfigure((WORK,), "", 3))
    assert waiting not in host.outcomes
    host.request(Leave())
    host.world.run(0.1)
    assert waiting in host.outcomes


# The worker.


def test_of_a_handler_that_is_removed_bodies_run_on_and_what_waits_is_handed_back() -> None:
    host = worker(concurrency=1)
    told(host, assign("t1"), assign("t2", 3), assign("t3"))
    handlers(host, OTHER)
    assert refusals(host) == [("t2", 3, RefusalCode.NO_HANDLER), ("t3", 1, RefusalCode.NO_HANDLER)]
    assert host.node.worker.waiting == 0
    told(host, assign("t4"))
    assert refusals(host)[-1] == ("t4", 1, RefusalCode.NO_HANDLER)
    host.end_body()
    assert [ended.task_id for ended in host.said_of(RunEnded, "boss")] == ["t1"]
    assert len(host.starts) == 1
    told(host, Concluded("t1"))
    handlers(host, WORK)
    told(host, assign("t2", 3))  # a late copy of what was handed back
    assert len(host.starts) == 1
    told(host, assign("t2", 4))
    assert [(start.task_id, start.attempt) for start in host.starts] == [("t1", 1), ("t2", 4)]


def test_a_body_of_a_removed_handler_can_still_be_stopped() -> None:
    host = worker(concurrency=1)
    told(host, assign("t1"))
    handlers(host, OTHER)
    told(host, Concluded("t1"))
    host.world.run(0.1)
    assert host.running == {}
    assert host.node.worker.active == 0


def test_a_handler_that_comes_back_counts_the_bodies_that_still_run() -> None:
    host = worker(concurrency=2)
    told(host, assign("t1"), assign("t2"))
    handlers(host, OTHER)
    handlers(host, HandlerSpec("work", 2))
    told(host, assign("t3"))
    assert len(host.running) == 2
    host.end_body()
    assert [body.task_id for body in host.running.values()] == ["t2", "t3"]


def test_more_concurrency_starts_what_waits_at_once() -> None:
    host = worker(concurrency=1)
    told(host, *(assign(f"t{number}") for number in range(5)))
    handlers(host, HandlerSpec("work", 3))
    assert [body.task_id for body in host.running.values()] == ["t0", "t1", "t2"]
    assert host.node.worker.waiting == 2


def test_less_concurrency_stops_nothing_and_holds_as_bodies_end() -> None:
    host = worker(concurrency=4)
    told(host, *(assign(f"t{number}") for number in range(6)))
    handlers(host, HandlerSpec("work", 2))
    assert len(host.running) == 4
    for left in (3, 2):
        host.end_body()
        assert len(host.running) == left
    assert host.node.worker.waiting == 2
    host.end_body()
    assert [body.task_id for body in host.running.values()] == ["t3", "t4"]


def test_handlers_that_stay_are_not_disturbed() -> None:
    host = World().add("w", config_of("w", handlers=(HandlerSpec("work", 1), OTHER))).start()
    host.hold_bodies = True
    host.world.run(0.1)
    told(host, assign("t1"), assign("t2"))
    handlers(host, HandlerSpec("work", 1))
    assert refusals(host) == []
    assert (len(host.running), host.node.worker.waiting) == (1, 1)
    host.end_body()
    assert [body.task_id for body in host.running.values()] == ["t2"]


# The mesh.


def submit(host: Host, handler: str) -> str:
    accepted = host.ask(Submit(handler, "null"))
    assert isinstance(accepted, Accepted), accepted
    return accepted.task_id


def outcome(host: Host, task_id: str) -> TaskView:
    view = host.ask(GetTask(task_id, 20_000))
    assert isinstance(view, TaskView)
    return view


def test_what_waited_for_a_removed_handler_runs_elsewhere_and_what_ran_ends_where_it_is() -> None:
    world = World(5)
    one, two, three = world.mesh("one", "two", "three")
    for host in (two, three):
        handlers(host, HandlerSpec("work", 1))
    handlers(one)
    world.run(5)
    for host in (two, three):
        host.hold_bodies = True
    tasks = [submit(one, "work") for _ in range(12)]
    world.run_until(lambda: bool(two.running and three.running and two.node.worker.waiting))
    (running,) = [body.task_id for body in two.running.values()]
    handlers(two)
    assert two.node.worker.waiting == 0
    two.end_body()
    three.hold_bodies = False
    three.end_body()
    views = [outcome(one, task_id) for task_id in tasks]
    assert {view.state for view in views} == {TaskState.SUCCEEDED}
    assert [view.task_id for view in views if view.worker_name == "two"] == [running]


def test_a_handler_that_is_added_is_used_by_others_at_once() -> None:
    world = World(5)
    one, two, _ = world.mesh("one", "two", "three")
    refused = two.ask(Submit("other", "null"))
    assert isinstance(refused, Refused)
    handlers(one, WORK, OTHER)
    world.run_until(lambda: two.node.owner_of("other", "any") is not None, 5)
    view = outcome(two, submit(two, "other"))
    assert (view.state, view.worker_name) == (TaskState.SUCCEEDED, "one")


def test_a_check_after_a_run_that_was_handed_back_finds_it_unknown() -> None:
    host = worker(concurrency=1)
    told(host, assign("t1"), assign("t2"))
    handlers(host, OTHER)
    host.hush()
    told(host, CheckRuns((RunRef("t1", 1), RunRef("t2", 1))))
    (states,) = host.said_of(RunStates, "boss")
    assert [state.standing.name for state in states.runs] == ["RUNNING", "UNKNOWN"]
