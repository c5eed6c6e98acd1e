"""A node that did not run accuses nobody by what expired meanwhile (`asleep.py`)."""

from __future__ import annotations

import pytest

from protocols.config import SwimConfig
from protocols.core import NANOS_PER_MS, NANOS_PER_S
from protocols.detector.asleep import asleep_min, late_min, worse_by
from protocols.detector.messages import AskReach, Reach, Reached
from protocols.detector.suspicion import Suspicions
from protocols.membership.facts import MemberChanged, Overslept
from protocols.membership.member import Believed, State
from protocols.membership.messages import Ack, Gossip, Ping, PingReq, PushPull
from protocols.tasks.task import ListTasks, Submit, TaskList, TaskReassigned, TaskView
from tests.protocols.detector.probe_kit import host_among, next_ping
from tests.protocols.harness import Host, World, accuse, alive, endpoint_of, id_of

S = NANOS_PER_S
MS = NANOS_PER_MS
T_MIN_S = 4.0
"""In a mesh of up to ten, with the defaults."""
NAMES = ("a", "b", "c", "d", "e", "f")


def verdicts(host: Host) -> list[tuple[str, State]]:
    """Whom `host` has accused by its own word."""
    me = id_of(host.name)
    return [
        (fact.name, fact.state)
        for fact in host.facts_of(MemberChanged)
        if fact.by == me and fact.state is not State.ALIVE
    ]


def sleep(host: Host, seconds: float, *, loses_packets: bool = False) -> None:
    """Stop `host` for so long; what was sent to it waits for it, or is lost."""
    world = host.world
    host.hush()
    host.stop()
    if loses_packets:
        world.lets_through = lambda source, target, message: target is not host
    world.run(seconds)
    world.lets_through = lambda source, target, message: True
    host.go_on()


@pytest.mark.parametrize("loses_packets", [False, True])
@pytest.mark.parametrize("seconds", [0.3, 0.8, 1.3, 3.0, 60.0])
def test_who_was_stopped_at_any_moment_accuses_nobody(seconds: float, loses_packets: bool) -> None:
    world = World(7)
    hosts = world.mesh(*NAMES)
    world.latency = 20 * MS
    for moment in range(9):
        host = hosts[moment % len(hosts)]
        world.run(3.083 * (1 + moment % 3))
        sleep(host, seconds, loses_packets=loses_packets)
        world.run_until(lambda: all(each.sees(name) is State.ALIVE for each in hosts for name in NAMES), 200)
        assert verdicts(host) == []


def tasks_of(host: Host) -> tuple[TaskView, ...]:
    listed = host.ask(ListTasks())
    assert isinstance(listed, TaskList)
    return listed.tasks


def doubting(moment_s: float = 1.0) -> tuple[World, Host]:
    """A node that has heard `moment_s` ago that b is suspected, and gives it 24 s less that; nobody else runs."""
    world = World(1)
    host, *others = world.mesh(*NAMES)
    for other in others:
        other.stop()
    host.hears(endpoint_of("c"), Gossip((accuse("b", State.SUSPECT, by="c"),)))
    assert host.sees("b") is State.SUSPECT
    world.run(moment_s)
    return world, host


def test_a_suspicion_whose_time_ran_out_meanwhile_is_no_verdict_and_the_suspect_is_asked_once_more() -> None:
    world, host = doubting()
    host.stop()
    world.run(120)
    host.hush()
    world.hosts["b"].go_on()
    host.go_on()
    assert host.sees("b") is State.SUSPECT
    shown = [ping for ping in host.said_of(Ping, "b") if accuse("b", State.SUSPECT, by="c") in ping.updates]
    assert shown
    world.run(0.1)
    assert host.sees("b") is State.ALIVE
    assert verdicts(host) == []


def test_a_suspect_that_is_dead_is_declared_so_once_it_had_its_time_again() -> None:
    world, host = doubting()
    host.stop()
    world.run(120)
    went_on = world.now
    host.go_on()
    world.run(T_MIN_S - 0.1)
    assert host.sees("b") is State.SUSPECT
    world.run_until(lambda: host.sees("b") is State.DEAD, 30)
    assert (world.now - went_on) / S >= T_MIN_S


def test_an_accusation_that_was_not_said_yet_is_shown_to_the_accused_first() -> None:
    world, host = doubting(0)
    host.stop()
    world.run(30)
    host.hush()
    host.go_on()
    world.run(0.9)
    told = {to.node_id for to, update in host.told_to() if update == accuse("b", State.SUSPECT, by="c")}
    assert told == {id_of("b")}
    world.run(2)
    others = {to.node_id for to, update in host.told_to() if update == accuse("b", State.SUSPECT, by="c")}
    assert others > {id_of("b")}  # it still stands, and goes the way of all news


def test_a_sleep_is_told_and_costs_health_by_its_length() -> None:
    world = World(2)
    host, *_ = world.mesh(*NAMES)
    host.hush()
    sleep(host, 60)
    (told,) = host.facts_of(Overslept)
    assert 58 * S < told.late <= 60 * S
    assert host.node.swim.health.score >= 3
    assert [worse_by(SwimConfig(), late) for late in (500 * MS, 1 * S, 2 * S, 3600 * S)] == [1, 2, 3, 3]
    assert late_min(SwimConfig()) < asleep_min(SwimConfig()) == SwimConfig().probe_timeout


def test_a_node_that_runs_on_time_is_never_late_however_quiet_it_was() -> None:
    world = World(3)
    hosts = world.mesh(*NAMES)
    world.run(100)
    for host in hosts:
        host.hears(endpoint_of("z"), Gossip((accuse("b", State.SUSPECT, by="z"),)))
        world.run(50)
    assert all(host.facts_of(Overslept) == [] for host in hosts)
    assert all(host.node.swim.health.score == 0 for host in hosts if host.name != "b")


def test_it_probes_at_once_and_late_answers_to_what_it_gave_up_count_for_nothing() -> None:
    world = World(4)
    host, *others = world.mesh(*NAMES)
    host.hush()
    world.run_until(lambda: bool(host.said_of(Ping)), 5)  # and goes no further: the answer is not there yet
    host.hush()
    for other in others:
        other.stop()
    host.stop()
    world.run(10)
    host.go_on()
    probes = [ping.probe for ping in host.said_of(Ping) if ping.probe]
    assert len(probes) == 1
    assert verdicts(host) == [], "the probe that was under way is no proof"
    score = host.node.swim.health.score
    host.hears(endpoint_of("b"), Ack(probes[0] - 1))
    assert host.node.swim.health.score == score


@pytest.mark.parametrize("seconds", [0.65, 0.75, 0.9])
def test_who_is_a_little_late_reads_what_has_come_before_it_judges(seconds: float) -> None:
    """Only helpers reach b; their acks come while the node does not run, and it goes on after the end of the probe."""
    world = World(8)
    host, b, *_ = world.mesh(*NAMES)
    world.lets_through = lambda source, target, message: {source, target} != {host, b}
    host.hush()
    world.run_until(lambda: bool(host.said_of(PingReq)), 30)
    host.stop()
    world.run(seconds)
    host.go_on()
    world.run(1)
    assert host.facts_of(Overslept) == []
    assert verdicts(host) == []


def test_who_is_late_to_ask_for_help_gives_helpers_as_long_as_ever() -> None:
    """It goes on 400 ms after it would have asked them, and 100 ms before the probe would have failed."""
    host = host_among("b", "c", "d", "e", "f")
    to, ping = next_ping(host)
    host.world.run(0.49)
    host.stop()
    host.world.run(0.41)
    host.go_on()
    host.hush()
    host.world.run_until(lambda: bool(host.said_of(PingReq)), 1)
    asked_at = host.world.now
    host.world.run(0.49)
    assert host.facts_of(MemberChanged) == []
    helper = next(endpoint for endpoint, message in host.said if isinstance(message, PingReq))
    host.hears(helper, Ack(ping.probe))
    host.world.run(1)
    assert host.world.now > asked_at + S
    assert to.node_id not in [fact.node_id for fact in host.facts_of(MemberChanged)]


def test_what_was_held_back_from_others_stays_so_until_the_accused_had_its_chance() -> None:
    world, host = doubting()
    host.hears(
        endpoint_of("z"), PushPull((Believed(alive("c"), accuse("c", State.DEAD).precedence, id_of("z"), 1),), False)
    )
    host.stop()
    world.run(30)
    host.hush()
    host.go_on()
    world.run(0.9)
    assert {to.node_id for to, update in host.told_to() if update.node_id == id_of("c")} == {id_of("c")}
    world.run(2)
    assert {to.node_id for to, update in host.told_to() if update.node_id == id_of("c")} > {id_of("c")}


def test_suspects_get_the_time_back_that_was_slept_and_no_confirmation_shortens_the_last_of_it() -> None:
    suspicions = Suspicions()
    suspicions.start(0, "x", 1, "a", SwimConfig(), 6)
    assert suspicions.deadline == 24 * S
    assert suspicions.slept(60 * S, 50 * S) == ["x"]
    assert suspicions.deadline == 74 * S
    assert suspicions.due(73 * S) == []
    assert suspicions.slept(74 * S, 1 * S) == ["x"]
    assert suspicions.deadline == 75 * S
    for accuser in "bc":
        assert suspicions.confirm("x", accuser)
    assert suspicions.slept(100 * S, 20 * S) == ["x"]
    assert suspicions.due(104 * S - 1) == []
    assert [node_id for node_id, _ in suspicions.due(104 * S)] == ["x"]
    assert suspicions.slept(200 * S, 20 * S) == []


def test_confirmations_that_were_slept_through_bring_no_verdict_before_the_suspect_had_its_time() -> None:
    suspicions = Suspicions()
    suspicions.start(0, "x", 1, "a", SwimConfig(), 6)
    suspicions.slept(20 * S, 2 * S)
    assert suspicions.confirm("x", "b")
    assert suspicions.confirm("x", "c")  # with both of them it would have been over at 6 s
    assert suspicions.due(22 * S - 1) == []
    assert [node_id for node_id, _ in suspicions.due(22 * S)] == ["x"]


def test_who_asked_for_a_check_that_was_slept_through_is_told_of_no_silence_that_was_not() -> None:
    world = World(5)
    host, *_ = world.mesh(*NAMES)
    world.run(2)
    world.hosts["b"].stop()
    world.run(1.2)
    host.hears(endpoint_of("c"), AskReach(7, id_of("b")))
    host.stop()
    world.run(20)
    world.hosts["b"].go_on()
    host.hush()
    host.go_on()
    world.run(2)
    (answer,) = host.said_of(Reached, "c")
    assert answer.reach is Reach.ANSWERS


def test_workers_are_not_given_up_for_what_a_coordinator_did_not_hear_while_it_was_stopped() -> None:
    world = World(6)
    host, *others = world.mesh(*NAMES)
    for each in others:
        each.hold_bodies = True
    host.hold_bodies = True
    for number in range(12):
        host.request(Submit("work", "{}", key=f"k{number}"))
    world.run(3)
    assert len({task.worker for task in tasks_of(host)} - {id_of("a")}) >= 2
    sleep(host, 15)
    world.run(5)
    assert host.facts_of(Overslept)
    assert host.facts_of(TaskReassigned) == []
