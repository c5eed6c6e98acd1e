"""Vitals: what members say of their load on pings and acks, who remembers it, and that nothing else comes of it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.config import HandlerSpec, SwimConfig
from protocols.core import NANOS_PER_S
from protocols.limits import PEERS_HEARD_MAX
from protocols.membership.member import State
from protocols.membership.messages import Ack, Gossip, Ping
from protocols.membership.views import GetStatus, ListMembers, MemberList, MemberView, NodeStatus
from protocols.membership.vitals import COUNT_MAX, VITALS_BYTES_MAX, Reported, ReportMachine, Vitals, VitalsBook
from protocols.tasks.task import Submit
from protocols.wire import BadMessage, decode_message
from tests.protocols.harness import Host, World, accuse, alive, config_of, endpoint_of, id_of
from tests.protocols.strategies import values_of


class Runs:
    """Runs of a node that has no worker."""

    def __init__(self, waiting: int = 0, active: int = 0) -> None:
        self.waiting = waiting
        self.active = active


def seen(host: Host, name: str) -> MemberView:
    listed = host.ask(ListMembers())
    assert isinstance(listed, MemberList)
    (member,) = (member for member in listed.members if member.node_id == id_of(name))
    return member


def busy(host: Host, tasks: int) -> None:
    """Give the node bodies that do not end; it has four places."""
    host.hold_bodies = True
    for number in range(tasks):
        host.request(Submit("work", str(number)))


# In a mesh.


def test_every_node_learns_how_busy_the_others_are() -> None:
    world = World()
    a, b, c = world.mesh("a", "b", "c")
    b.ask(ReportMachine(350, 620))
    world.run(5)
    for host in (a, c):
        vitals = seen(host, "b").vitals
        assert vitals is not None
        assert (vitals.queued, vitals.running, vitals.capacity, vitals.cpu, vitals.memory) == (0, 0, 4, 0.35, 0.62)
        assert 0 < vitals.age_s < 4
        unknown = seen(host, "a" if host is c else "c").vitals
        assert unknown is not None
        assert (unknown.cpu, unknown.memory) == (None, None)


def test_a_node_counts_its_runs_and_its_queue() -> None:
    world = World()
    a = world.add("a").start()
    world.run(1)
    busy(a, 7)
    world.run(1)
    vitals = seen(a, "a").vitals
    assert vitals is not None
    assert (vitals.queued, vitals.running, vitals.capacity, vitals.age_s) == (3, 4, 4, 0)
    status = a.ask(GetStatus())
    assert isinstance(status, NodeStatus)
    assert status.vitals == vitals
    a.hears(endpoint_of("b"), Ping(1))
    assert a.said_of(Ack)[-1].vitals == Vitals(3, 4, 4)


def test_vitals_change_no_incarnation_and_tell_nobody_anything_new() -> None:
    world = World()
    a, b = world.mesh("a", "b", settle_s=20)
    before = [(host.node.swim.view, [row.precedence for row in host.node.swim.table]) for host in (a, b)]
    for host in (a, b):
        host.hush()
    for load in range(10):
        a.ask(ReportMachine(100 * load, 100 * load))
        world.run(3)
    assert [(host.node.swim.view, [row.precedence for row in host.node.swim.table]) for host in (a, b)] == before
    assert a.told() == []
    assert a.said_of(Gossip) == []
    assert not a.facts
    assert not b.facts


def test_the_age_is_that_of_the_last_word() -> None:
    world = World()
    a, b = world.mesh("a", "b")
    b.crash()
    world.run(2.5)
    first = seen(a, "b").vitals
    world.run(1)
    second = seen(a, "b").vitals
    assert first is not None
    assert second is not None
    assert second.age_s - first.age_s == pytest.approx(1, abs=0.01)


def test_who_is_not_there_has_neither_vitals_nor_a_distance() -> None:
    world = World()
    a, _ = world.mesh("a", "b")
    before = seen(a, "b")
    assert before.vitals is not None
    assert before.rtt is not None
    a.hears(endpoint_of("z"), Gossip((accuse("b", State.DEAD),)))
    assert a.sees("b") is State.DEAD
    after = seen(a, "b")
    assert (after.vitals, after.rtt) == (None, None)


def test_vitals_are_dropped_with_the_member() -> None:
    world = World()
    swim = SwimConfig(remember_dead=60 * NANOS_PER_S)
    a, b = world.mesh("a", "b", swim=swim)
    assert a.node.vitals.view(world.now, id_of("b")) is not None
    b.crash()
    world.run_until(lambda: a.row("b") is None, 400)
    assert a.node.vitals.view(world.now, id_of("b")) is None


def test_a_probe_of_an_older_member_is_answered_and_leaves_what_is_known() -> None:
    host = World().add("a").start()
    host.world.run(1)
    host.hears(endpoint_of("z"), Gossip((alive("b"),)))
    assert seen(host, "b").vitals is None
    host.hears(endpoint_of("b"), Ping(1, (), Vitals(1, 2, 3)))
    host.hears(endpoint_of("b"), Ping(2))
    assert [ack.probe for ack in host.said_of(Ack, "b")] == [1, 2]
    vitals = seen(host, "b").vitals
    assert vitals is not None
    assert vitals.running == 2


def test_a_node_whose_probes_carry_nothing_keeps_nothing() -> None:
    world = World()
    config = config_of("a", handlers=(HandlerSpec("work"),))
    host = world.add("a", msgspec.structs.replace(config, probe_payloads=False)).start()
    world.run(1)
    host.hears(endpoint_of("z"), Gossip((alive("b"),)))
    host.hears(endpoint_of("b"), Ping(1, (), Vitals(1, 2, 3)))
    world.run(2)
    (ack,) = host.said_of(Ack, "b")
    assert (ack.vitals, ack.coordinate) == (None, None)
    assert host.said_of(Ping, "b")[-1].vitals is None
    assert seen(host, "b").vitals is None


# Reports of the driver.


def test_a_report_is_taken_in_at_any_time_of_life() -> None:
    host = World().add("a").start()
    assert isinstance(host.ask(ReportMachine(1, 2)), Reported)  # not serving yet
    host.world.run(1)
    assert host.node.vitals.own == Vitals(0, 0, 4, 1, 2)


def test_what_cannot_be_told_any_more_is_not_known_any_more() -> None:
    host = World().add("a").start()
    host.ask(ReportMachine(1, 2))
    host.ask(ReportMachine(None, 3))
    assert host.node.vitals.own == Vitals(0, 0, 4, None, 3)
    assert host.node.vitals.own_view().cpu is None


@given(st.integers(), st.integers(), st.integers(0), st.integers(0), st.integers(0))
@settings(max_examples=200, deadline=None)
def test_what_is_told_is_within_its_bounds_whatever_is_counted(
    cpu: int, memory: int, capacity: int, waiting: int, active: int
) -> None:
    book = VitalsBook(capacity, Runs(waiting, active))
    book.report(ReportMachine(cpu, memory))
    told = msgspec.msgpack.decode(msgspec.msgpack.encode(book.own), type=Vitals)
    assert told == book.own
    assert told.queued == min(waiting, COUNT_MAX)


def test_what_is_told_is_the_same_object_until_something_changes() -> None:
    runs = Runs()
    book = VitalsBook(4, runs)
    assert book.own is book.own
    runs.active = 1
    assert book.own.running == 1
    assert book.own is book.own


# Bounds.


def test_no_more_members_than_the_bound_are_remembered_and_the_first_heard_gives_way() -> None:
    book = VitalsBook(1, Runs())
    for number in range(PEERS_HEARD_MAX + 3):
        book.heard(number, f"m{number}", Vitals(running=7))
        book.heard(number, "m3", Vitals())
    known = [number for number in range(PEERS_HEARD_MAX + 3) if book.view(0, f"m{number}") is not None]
    assert len(known) == PEERS_HEARD_MAX
    assert known[0] == 3


@pytest.mark.parametrize("fields", [[-1], [1 << 16], [0, 1 << 62], [0, 0, 0, 1001], [0, 0, 0, 0, -1], [0.5], ["1"], 7])
def test_absurd_vitals_are_refused_with_the_message(fields: object) -> None:
    with pytest.raises(BadMessage):
        decode_message(msgspec.msgpack.encode([1, ["ping", 1, [], fields]]))


@given(values_of(Vitals))
@settings(max_examples=300, deadline=None)
def test_vitals_take_so_many_bytes_and_no_more(vitals: object) -> None:
    assert len(msgspec.msgpack.encode(vitals)) <= VITALS_BYTES_MAX
