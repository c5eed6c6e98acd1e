"""Probes that nobody answers: over a stream, where datagrams are lost, and once more, where this node was cut off."""

from __future__ import annotations

import pytest

from protocols.config import SwimConfig
from protocols.core import Carrier, Endpoint, Message
from protocols.membership.facts import MemberChanged, ReachedByStreamOnly
from protocols.membership.member import State
from protocols.membership.messages import Ack, Gossip, Nack, Ping, PingReq, PushPull, StreamAck, StreamPing
from tests.protocols.detector.probe_kit import host_among, next_ping
from tests.protocols.harness import Host, World, alive, config_of, endpoint_of, id_of

# Over a stream, where datagrams are lost.


def test_a_target_that_does_not_ack_in_time_is_asked_over_a_stream_as_well() -> None:
    host = host_among("b", "c", "d", "e", "f")
    to, ping = next_ping(host)
    host.world.run(0.49)
    assert host.said_of(StreamPing) == []
    host.world.run(0.02)
    assert [(target, message) for target, message in host.said if isinstance(message, StreamPing)] == [
        (to, StreamPing(ping.probe))
    ]


def test_whoever_is_asked_over_a_stream_answers_over_a_stream() -> None:
    host = host_among("b")
    host.hears(endpoint_of("stranger"), StreamPing(77))
    assert host.said_of(StreamAck, "stranger") == [StreamAck(77)]


def test_one_that_answers_over_a_stream_alone_is_not_suspected_and_that_is_told_when_the_interval_is_over() -> None:
    host = host_among("b", "c", "d", "e", "f")
    to, ping = next_ping(host)
    host.world.run(0.6)
    host.hears(to, StreamAck(ping.probe))
    host.world.run(0.35)
    assert host.facts_of(ReachedByStreamOnly) == []
    host.world.run(0.06)
    assert host.facts_of(ReachedByStreamOnly) == [ReachedByStreamOnly(to.node_id)]
    assert host.facts_of(MemberChanged) == []
    assert host.node.swim.health.score == 0


def test_one_that_acks_by_datagram_after_all_is_reached_by_both() -> None:
    host = host_among("b", "c", "d", "e", "f")
    to, ping = next_ping(host)
    host.world.run(0.6)
    host.hears(to, StreamAck(ping.probe))
    host.hears(to, Ack(ping.probe))
    host.world.run(0.5)
    assert host.facts_of(ReachedByStreamOnly) == []
    assert host.facts_of(MemberChanged) == []


@pytest.mark.parametrize(("sender", "off"), [("target", 1), ("target", -1), ("stranger", 0), ("helper", 0)])
def test_an_answer_over_a_stream_counts_from_the_target_alone_and_for_this_probe(sender: str, off: int) -> None:
    host = host_among("b", "c", "d", "e", "f")
    to, ping = next_ping(host)
    host.world.run(0.6)
    helper = next(to for to, message in host.said if isinstance(message, PingReq))
    said_by = {"target": to, "stranger": endpoint_of("stranger"), "helper": helper}[sender]
    host.hears(said_by, StreamAck(ping.probe + off))
    host.world.run(0.5)
    assert [(fact.node_id, fact.state) for fact in host.facts_of(MemberChanged)] == [(to.node_id, State.SUSPECT)]
    assert host.facts_of(ReachedByStreamOnly) == []


def test_an_answer_over_a_stream_speaks_for_one_probe_and_not_for_the_next() -> None:
    host = host_among("b")
    to, ping = next_ping(host)
    host.world.run(0.6)
    host.hears(to, StreamAck(ping.probe))
    host.hears(to, Ack(ping.probe))
    next_ping(host)
    host.world.run(1.01)
    assert host.sees("b") is State.SUSPECT


def test_where_it_is_turned_off_nobody_is_asked_over_a_stream() -> None:
    host = World().add("a", config_of("a", swim=SwimConfig(stream_probe=False))).start()
    host.world.run(0.001)
    host.hears(endpoint_of("z"), Gossip(tuple(alive(name) for name in "bcdef")))
    host.world.run(5)
    assert host.said_of(PingReq)
    assert host.said_of(StreamPing) == []


def test_a_mesh_whose_datagrams_are_all_lost_stays_whole_over_streams() -> None:
    """UDP is blocked by a firewall: nobody is suspected, and everybody is told why probes fail."""
    world = World(3)
    hosts = world.mesh("a", "b", "c", "d")
    world.lets_through = lambda source, target, message: message.carrier is Carrier.STREAM
    for host in hosts:
        host.hush()
    world.run(60)
    assert [fact for host in hosts for fact in host.facts_of(MemberChanged)] == []
    assert all(host.facts_of(ReachedByStreamOnly) for host in hosts)
    hosts[3].crash()
    world.run_until(lambda: all(host.sees("d") is State.DEAD for host in hosts[:3]), 120)


# Out of touch: nobody who was asked has been heard of.


def out_of_touch() -> tuple[Host, Endpoint, Ping]:
    """A node whose probe has gone unanswered, as have the three that it asked for help; and that probe."""
    host = host_among("b", "c", "d", "e", "f")
    to, ping = next_ping(host)
    host.world.run(0.7)
    host.hush()
    return host, to, ping


def heard_as(kind: str, host: Host, sender: Endpoint) -> None:
    """Something comes in that says nothing about the probe under way."""
    messages: dict[str, Message] = {
        "ping": Ping(4711),
        "ack": Ack(4711),
        "request": PingReq(4711, id_of("b"), endpoint_of("b").address),
        "gossip": Gossip((alive("b"),)),
        "table": PushPull((), answer=False),
    }
    host.hears(sender, messages[kind])


@pytest.mark.parametrize("kind", ["ping", "ack", "request", "gossip", "table"])
def test_one_who_hears_somebody_again_pings_once_more_and_does_not_accuse_who_answers(kind: str) -> None:
    host, to, ping = out_of_touch()
    heard_as(kind, host, endpoint_of("stranger"))
    again = [(target, message) for target, message in host.said if isinstance(message, Ping) and target == to]
    assert [message.probe for _, message in again if message.probe == ping.probe] == [ping.probe]
    host.hears(to, Ack(ping.probe))
    host.world.run(0.31)
    assert host.facts_of(MemberChanged) == []
    assert host.node.swim.health.score == 0


def test_who_is_silent_even_then_is_suspected_when_the_interval_is_over_and_not_later() -> None:
    host, to, _ = out_of_touch()
    for _ in range(3):
        heard_as("gossip", host, endpoint_of("stranger"))
    assert len(host.said_of(Ping)) == 1
    host.world.run(0.29)
    assert host.facts_of(MemberChanged) == []
    host.world.run(0.02)
    assert [(fact.node_id, fact.state) for fact in host.facts_of(MemberChanged)] == [(to.node_id, State.SUSPECT)]


def test_one_whom_a_helper_has_told_that_there_is_no_answer_does_not_ping_again() -> None:
    host = host_among("b", "c", "d", "e", "f")
    _, ping = next_ping(host)
    host.world.run(0.7)
    helper = next(to for to, message in host.said if isinstance(message, PingReq))
    host.hush()
    host.hears(helper, Nack(ping.probe))
    heard_as("gossip", host, endpoint_of("stranger"))
    assert host.said_of(Ping) == []


def test_who_heard_nobody_until_the_interval_was_over_pings_the_next_target_once() -> None:
    host, _, _ = out_of_touch()
    host.world.run(0.31)
    host.hush()
    heard_as("gossip", host, endpoint_of("stranger"))
    assert host.said_of(Ping) == []


def test_the_answer_itself_is_no_reason_to_ping_again() -> None:
    host, to, ping = out_of_touch()
    host.hears(to, Ack(ping.probe))
    nothing_done = not host.node.membership.on_gossip(host.world.now, endpoint_of("b"), Gossip(()))
    assert nothing_done  # with nothing to say
    heard_as("gossip", host, endpoint_of("stranger"))
    assert host.said_of(Ping) == []


def test_one_who_has_not_asked_for_help_yet_does_not_ping_again() -> None:
    host = host_among("b", "c", "d", "e", "f")
    next_ping(host)
    host.hush()
    heard_as("gossip", host, endpoint_of("stranger"))
    assert host.said_of(Ping) == []
