"""What a table says against a member is shown to that member before anybody else hears of it (DESIGN 4, healing)."""

from __future__ import annotations

import pytest

from protocols.membership.facts import MemberChanged, Refuted
from protocols.membership.hearsay import HEARSAY_MAX, Hearsay
from protocols.membership.member import Accusation, Alive, Believed, Profile, Refutation, State, precedence_of
from protocols.membership.messages import NO_PROBE, Ack, Gossip, Ping, PushPull
from protocols.outbox import NEVER
from tests.protocols.harness import Host, World, accuse, alive, endpoint_of, id_of

SHOWN_FOR_S = 1.0
"""The probe interval."""


def node_among(*names: str) -> Host:
    """A node that has heard of `names`, none of which exists, and passes nothing on at present."""
    host = World().add("a").start()
    host.world.run(0.001)
    host.hears(endpoint_of("z"), PushPull(tuple(alive(name) for name in names), answer=False))
    while host.node.swim.queue.take(10**6, 10**6):
        pass
    host.hush()
    return host


def row_of(name: str, state: State, by: str = "z", incarnation: int = 0) -> Believed:
    return Believed(alive(name), precedence_of(1, incarnation, state), id_of(by), 1)


def accused_to(host: Host) -> dict[str, set[str]]:
    """By member that was accused, the ids of those that the host has told so."""
    told: dict[str, set[str]] = {}
    for to, update in host.told_to():
        if isinstance(update, Accusation):
            told.setdefault(update.node_id, set()).add(to.node_id)
    return told


@pytest.mark.parametrize("state", [State.SUSPECT, State.DEAD])
def test_the_accused_is_pinged_with_the_accusation_and_nobody_else_hears_of_it(state: State) -> None:
    host = node_among("b", "c", "d")
    host.hears(endpoint_of("z"), PushPull((row_of("b", state),), answer=False))
    (ping,) = host.said_of(Ping, "b")
    assert ping.updates == (accuse("b", State.SUSPECT, by="z"),)
    assert host.sees("b") is State.SUSPECT
    host.world.run(SHOWN_FOR_S - 0.01)
    assert accused_to(host).get(id_of("b"), set()) <= {id_of("b")}


def test_the_ping_that_shows_it_is_none_of_the_probes() -> None:
    host = node_among("b", "c", "d")
    host.world.run(0.99)
    assert [ping.probe for ping in host.said_of(Ping)] == [1]
    host.hush()
    host.hears(endpoint_of("z"), PushPull((row_of("b", State.DEAD),), answer=False))
    shown = [ping.probe for ping in host.said_of(Ping, "b") if accuse("b", State.SUSPECT) in ping.updates]
    assert shown == [NO_PROBE]


def test_what_is_refuted_meanwhile_is_never_passed_on() -> None:
    host = node_among("b", "c", "d")
    host.hears(endpoint_of("z"), PushPull((row_of("b", State.DEAD),), answer=False))
    (ping,) = host.said_of(Ping, "b")
    refutation = Refutation(id_of("b"), precedence_of(1, 1, State.ALIVE))
    host.hears(endpoint_of("b"), Ack(ping.probe, (refutation,)))
    assert host.sees("b") is State.ALIVE
    assert [fact.state for fact in host.facts_of(MemberChanged)] == [State.SUSPECT, State.ALIVE]
    host.world.run(0.9)
    assert id_of("b") not in accused_to(host) or accused_to(host)[id_of("b")] == {id_of("b")}
    assert refutation in host.told("b")


def test_what_still_stands_is_passed_on_and_ends_in_a_death() -> None:
    host = node_among("b", "c", "d", "e", "f")
    host.hears(endpoint_of("z"), PushPull((row_of("b", State.DEAD),), answer=False))
    host.world.run(SHOWN_FOR_S + 2)
    assert accused_to(host)[id_of("b")] > {id_of("b")}
    host.world.run_until(lambda: host.sees("b") is State.DEAD, 30)


def test_it_takes_the_place_of_the_older_word_of_the_accused_that_is_still_being_passed_on() -> None:
    host = node_among("b", "c", "d")
    host.hears(endpoint_of("z"), PushPull((row_of("b", State.DEAD),), answer=False))
    host.world.run(0.9)
    host.node.swim.queue.put(alive("b"))
    host.hush()
    host.world.run(0.4)
    assert accused_to(host)[id_of("b")] > {id_of("b")}


def test_more_than_are_held_back_go_the_way_of_all_news_at_once() -> None:
    names = [f"n{number}" for number in range(HEARSAY_MAX + 5)]
    host = node_among(*names)
    host.hears(endpoint_of("z"), PushPull(tuple(row_of(name, State.DEAD) for name in names), answer=False))
    assert {to for to, message in host.said if isinstance(message, Ping)} == {
        endpoint_of(name) for name in names[:HEARSAY_MAX]
    }
    host.hush()
    host.world.run(0.4)
    gossiped = [update for gossip in host.said_of(Gossip) for update in gossip.updates]
    assert {update.node_id for update in gossiped} == {id_of(name) for name in names[HEARSAY_MAX:]}


def test_there_is_room_again_once_what_was_held_back_has_been_said() -> None:
    names = [f"n{number}" for number in range(HEARSAY_MAX + 1)]
    host = node_among(*names)
    host.hears(endpoint_of("z"), PushPull(tuple(row_of(name, State.DEAD) for name in names[:-1]), answer=False))
    host.world.run(SHOWN_FOR_S + 0.1)
    host.hush()
    host.hears(endpoint_of("z"), PushPull((row_of(names[-1], State.DEAD),), answer=False))
    assert len(host.said_of(Ping, names[-1])) == 1


def test_each_accusation_is_held_back_for_its_own_time() -> None:
    hearsay = Hearsay(10)
    early, later = accuse("b", State.SUSPECT), accuse("c", State.SUSPECT)
    assert hearsay.deadline == NEVER
    assert hearsay.hold(100, early)
    assert hearsay.hold(103, later)
    assert hearsay.deadline == 110
    assert hearsay.due(109) == []
    assert hearsay.due(110) == [early]
    assert hearsay.deadline == 113
    assert hearsay.due(113) == [later]
    assert hearsay.deadline == NEVER


def test_those_of_one_table_are_said_together() -> None:
    hearsay = Hearsay(10)
    accusations = [accuse(name, State.SUSPECT) for name in "bcd"]
    assert all(hearsay.hold(100, accusation) for accusation in accusations)
    assert hearsay.due(110) == accusations


def test_the_accused_is_shown_an_accusation_once_however_many_tables_say_it() -> None:
    host = node_among("b", "c", "d")
    for name in ("b", "b", "c"):
        host.hears(endpoint_of("z"), PushPull((row_of(name, State.DEAD),), answer=False))
    shown = [ping.updates for ping in host.said_of(Ping)]
    assert shown == [(accuse("b", State.SUSPECT),), (accuse("c", State.SUSPECT),)]


def test_a_member_that_left_is_not_asked_and_the_word_that_it_has_goes_to_it_as_well() -> None:
    host = node_among("b", "c", "d")
    host.hears(endpoint_of("z"), PushPull((row_of("b", State.LEFT, by="b"),), answer=False))
    assert host.said_of(Ping) == []
    assert host.sees("b") is State.LEFT
    host.world.run(0.4)
    assert accuse("b", State.LEFT, by="b") in host.told("b")
    assert (endpoint_of("b"), accuse("b", State.LEFT, by="b")) in host.told_to()


def test_an_accusation_of_this_node_itself_is_refuted_at_once() -> None:
    host = node_among("b", "c", "d")
    host.hears(endpoint_of("z"), PushPull((row_of("a", State.DEAD),), answer=False))
    assert [fact.incarnation for fact in host.facts_of(Refuted)] == [1]
    assert host.said_of(Ping) == []


@pytest.mark.parametrize(("incarnation", "generation"), [(0, 2), (0, 0)])
def test_a_life_that_nobody_here_has_met_is_not_asked_about(incarnation: int, generation: int) -> None:
    host = node_among("b")
    row = Believed(alive("b"), precedence_of(generation, incarnation, State.DEAD), id_of("z"), 1)
    host.hears(endpoint_of("z"), PushPull((row,), answer=False))
    assert host.said_of(Ping) == []
    assert host.sees("b") is State.ALIVE


def test_a_life_whose_announcement_is_not_taken_in_is_not_asked_about() -> None:
    host = node_among("b")
    oversized = Profile("b", endpoint_of("b").address, tuple(f"{number:064}" for number in range(20)))
    announced = Alive(id_of("b"), precedence_of(2, 0, State.ALIVE), oversized)
    row = Believed(announced, precedence_of(2, 0, State.DEAD), id_of("z"), 1)
    host.hears(endpoint_of("z"), PushPull((row,), answer=False))
    assert host.said_of(Ping) == []
    assert host.sees("b") is State.ALIVE


def test_a_doubt_that_was_refuted_before_it_came_is_not_held_back_though_its_announcement_is_news() -> None:
    host = node_among("b", "c", "d")
    host.hears(endpoint_of("c"), Gossip((Refutation(id_of("b"), precedence_of(1, 5, State.ALIVE)),)))
    row = Believed(alive("b", 1, 3), precedence_of(1, 4, State.SUSPECT), id_of("z"), 1)
    host.hears(endpoint_of("z"), PushPull((row,), answer=False))
    assert host.said_of(Ping) == []
    known = host.row("b")
    assert known is not None
    assert known.precedence == precedence_of(1, 5, State.ALIVE)
    assert known.alive == alive("b", 1, 3)


def test_a_table_that_repeats_a_doubt_does_not_put_off_the_verdict() -> None:
    host = node_among("b", "c", "d", "e", "f")
    for _ in range(60):
        host.hears(endpoint_of("z"), PushPull((row_of("b", State.DEAD),), answer=False))
        host.world.run(0.5)
    assert host.sees("b") is State.DEAD


def test_what_somebody_else_said_aloud_meanwhile_is_not_said_again() -> None:
    host = node_among("b", "c", "d", "e", "f")
    host.hears(endpoint_of("z"), PushPull((row_of("b", State.SUSPECT),), answer=False))
    host.world.run(0.9)
    host.hears(endpoint_of("c"), Gossip((accuse("b", State.SUSPECT, by="c"),)))
    host.hush()
    host.world.run(0.5)
    assert accuse("b", State.SUSPECT, by="c") in host.told("b")
    others = [update for to, update in host.told_to() if to.node_id != id_of("b")]
    assert accuse("b", State.SUSPECT, by="z") not in others


def test_who_was_cut_off_comes_back_without_anybody_else_being_doubted() -> None:
    """One of twelve hears nobody for a minute; when it is back, its accusations reach those that can refute them."""
    names = [f"n{number}" for number in range(12)]
    world = World(5)
    lost, *others = world.mesh(*names)
    world.run(20)
    world.lets_through = lambda source, target, message: lost not in (source, target)
    world.run(60)
    assert sum(lost.sees(name) is not State.ALIVE for name in names) >= 3
    for host in others:
        host.hush()
    world.lets_through = lambda source, target, message: True
    world.run_until(lambda: all(host.sees(name) is State.ALIVE for host in (lost, *others) for name in names), 120)
    doubted = [
        (host.name, fact.name)
        for host in others
        for fact in host.facts_of(MemberChanged)
        if fact.state is State.SUSPECT and fact.node_id != id_of(lost.name)
    ]
    assert len(doubted) <= len(others)  # each is doubted by the one that was shown the table, and a few at that
