"""Departures that nobody takes for failures (DESIGN 4)."""

from __future__ import annotations

import pytest

from protocols.core import Carrier, Message
from protocols.membership.facts import MemberChanged
from protocols.membership.member import Accusation, State, Update
from protocols.membership.messages import Ack, Gossip, Ping, PingReq, PushPull, StreamAck
from protocols.membership.views import Leave, Left
from tests.protocols.harness import Host, World, accuse, alive, endpoint_of, id_of

WORD = accuse("b", State.LEFT, by="b")


def lone_node_that_b_left() -> Host:
    """It has heard of `b`, which has left, and of `c`; neither exists."""
    host = World().add("a").start()
    host.world.run(0.01)
    host.hears(endpoint_of("c"), Gossip((alive("b"), alive("c"))))
    host.hears(endpoint_of("c"), Gossip((WORD,)))
    host.world.run(30)
    host.hush()
    return host


def words_to(host: Host, name: str) -> list[Update]:
    """What was said about `b` to the node `name` in gossip."""
    return [each for message in host.said_of(Gossip, name) for each in message.updates if each.node_id == id_of("b")]


# Who leaves.


def test_the_word_arrives_over_a_stream_where_every_datagram_is_lost() -> None:
    world = World()
    a, b, c = world.mesh("a", "b", "c")
    world.lets_through = lambda source, target, message: message.carrier is Carrier.STREAM
    assert a.ask(Leave()) == Left(0)
    a.crash()
    world.run(60)
    for host in (b, c):
        assert host.sees("a") is State.LEFT
        told = [fact.state for fact in host.facts_of(MemberChanged) if fact.node_id == id_of("a")]
        assert State.DEAD not in told


def test_who_leaves_stays_until_somebody_has_the_word() -> None:
    world = World()
    a, b = world.mesh("a", "b")
    silent_until = world.now + 10**9
    world.lets_through = lambda source, target, message: world.now >= silent_until or not isinstance(message, StreamAck)
    request = a.request(Leave())
    world.run(0.99)
    assert request not in a.outcomes
    assert b.sees("a") is State.LEFT
    b.hush()
    a.hears(b.endpoint, StreamAck(0))
    world.run(0.001)
    assert a.outcomes[request] == Left(0)


@pytest.mark.parametrize("lost", [StreamAck, Message], ids=["older members do not answer", "nothing arrives"])
def test_who_leaves_waits_no_longer_than_it_lingers(lost: type[Message]) -> None:
    world = World()
    a, _ = world.mesh("a", "b")
    world.lets_through = lambda source, target, message: not isinstance(message, lost)
    request = a.request(Leave())
    world.run(1.99)
    assert request not in a.outcomes
    world.run(0.02)
    assert a.outcomes[request] == Left(0)


def test_who_leaves_judges_nobody_any_more() -> None:
    """The suspect's word may well be on its way to one who does not stay to hear it."""
    world = World()
    a, _ = world.mesh("a", "b")
    world.lets_through = lambda source, target, message: False
    world.run_until(lambda: a.sees("b") is State.SUSPECT, 10)
    world.run(3)
    request = a.request(Leave())
    world.run(1.99)
    assert request not in a.outcomes
    assert a.sees("b") is State.SUSPECT


def test_what_is_said_over_streams_is_one_row_however_large_the_mesh() -> None:
    host = lone_node_that_b_left()
    host.hears(endpoint_of("c"), Gossip(tuple(alive(f"n{number}") for number in range(10))))
    host.hush()
    host.request(Leave())
    tables = host.said_of(PushPull)
    assert len(tables) == host.config.swim.gossip_fanout
    assert [[row.node_id for row in table.rows] for table in tables] == [[id_of("a")]] * len(tables)
    assert not any(table.answer for table in tables)


def test_the_answer_to_another_probe_is_not_taken_for_that_to_the_word() -> None:
    world = World()
    a, b = world.mesh("a", "b")
    world.lets_through = lambda source, target, message: not isinstance(message, StreamAck)
    request = a.request(Leave())
    world.run(0.99)
    a.hears(b.endpoint, StreamAck(7))
    world.run(0.001)
    assert request not in a.outcomes


def test_others_are_asked_where_those_who_have_the_word_leave_too() -> None:
    """Seven of eight leave at once, and no datagram of theirs arrives: the last one is told by each of them."""
    world = World()
    *leavers, last = world.mesh("a", "b", "c", "d", "e", "f", "g", "h")
    world.lets_through = lambda source, target, message: message.carrier is Carrier.STREAM
    requests = [host.request(Leave()) for host in leavers]
    for host, request in zip(leavers, requests, strict=True):
        world.run_until(lambda host=host, request=request: request in host.outcomes, 5)  # type: ignore[misc]
    for host in leavers:
        host.crash()
    assert [last.sees(host.name) for host in leavers] == [State.LEFT] * 7


def test_two_who_leave_each_other_do_not_wait() -> None:
    world = World()
    a, b = world.mesh("a", "b")
    requests = [host.request(Leave()) for host in (a, b)]
    world.run(0.1)
    assert [host.outcomes.get(request) for host, request in zip((a, b), requests, strict=True)] == [Left(0)] * 2


# Who knows of it.


@pytest.mark.parametrize("doubt", [State.SUSPECT, State.DEAD])
@pytest.mark.parametrize("kind", ["ping", "ack", "gossip"])
def test_who_doubts_one_that_has_left_is_told(kind: str, doubt: State) -> None:
    host = lone_node_that_b_left()
    said = (accuse("b", doubt, by="c"),)
    host.hears(endpoint_of("c"), {"ping": Ping(9, said), "ack": Ack(9, said), "gossip": Gossip(said)}[kind])
    assert words_to(host, "c") == [WORD]
    assert host.sees("b") is State.LEFT


def test_who_cannot_reach_one_that_has_left_is_told_before_it_doubts() -> None:
    host = lone_node_that_b_left()
    host.hears(endpoint_of("c"), PingReq(9, id_of("b"), endpoint_of("b").address))
    assert words_to(host, "c") == [WORD]
    assert [ping.probe for ping in host.said_of(Ping, "b")] != [], "it may be back: whoever asks knows best"


@pytest.mark.parametrize(
    "said",
    [
        WORD,
        alive("b"),
        accuse("b", State.DEAD, 2, by="c"),
        accuse("b", State.DEAD, 0, 9, by="c"),
        accuse("c", State.DEAD, 0, 9, by="d"),
    ],
    ids=["known", "old news", "a later life", "an earlier life", "of another"],
)
def test_who_says_anything_else_is_told_nothing(said: Update) -> None:
    host = lone_node_that_b_left()
    host.hears(endpoint_of("c"), Gossip((alive("d"), said)))
    assert words_to(host, "c") == []


def test_one_who_has_left_and_is_back_is_doubted_like_anybody() -> None:
    host = lone_node_that_b_left()
    host.hears(endpoint_of("c"), Gossip((alive("b", 2),)))
    host.hears(endpoint_of("c"), Gossip((accuse("b", State.SUSPECT, 2, by="c"),)))
    assert host.sees("b") is State.SUSPECT
    assert not [update for update in words_to(host, "c") if isinstance(update, Accusation) and update == WORD]


def test_one_who_missed_the_word_never_reports_a_death() -> None:
    """`c` hears nothing at all while `a` leaves; then it probes a node that is gone."""
    world = World()
    a, b, c, d = world.mesh("a", "b", "c", "d")
    world.lets_through = lambda source, target, message: target is not c
    a.ask(Leave())
    a.crash()
    world.run(0.5)
    assert (b.sees("a"), c.sees("a"), d.sees("a")) == (State.LEFT, State.ALIVE, State.LEFT)
    for host in (b, d):
        host.hush()
    world.lets_through = lambda source, target, message: not isinstance(message, PushPull)
    world.run_until(lambda: c.sees("a") is State.LEFT, 10)
    world.run(60)
    assert State.DEAD not in [fact.state for fact in c.facts_of(MemberChanged) if fact.node_id == id_of("a")]
