"""Accusations and refutations: what a node says for itself, and believes of others (SWIM section 4.2, DESIGN 4)."""

from __future__ import annotations

import pytest

from protocols.limits import MEMBERS_PER_FRAME_MAX
from protocols.membership.facts import MemberChanged, NameConflict, Refuted
from protocols.membership.member import (
    GENERATION_MAX,
    INCARNATION_MAX,
    Accusation,
    Alive,
    Believed,
    State,
    generation_of,
    incarnation_of,
    precedence_of,
)
from protocols.membership.messages import NO_PROBE, Ack, Gossip, Ping, PushPull
from protocols.membership.records import GENERATION_KEY, Generation
from protocols.membership.views import Leave
from tests.protocols.harness import Host, World, accuse, address_of, alive, endpoint_of, id_of


def lone_node(*known: str) -> Host:
    """A node that serves and has heard of `known`, which do not exist."""
    host = World().add("a").start()
    host.world.run(0.01)
    host.hears(endpoint_of("b"), Gossip(tuple(alive(name) for name in known)))
    host.hush()
    return host


def lives_told_of(host: Host, name: str) -> set[tuple[int, int]]:
    """The (generation, incarnation) pairs of `name` that the host has spoken of."""
    return {(generation_of(update.precedence), incarnation_of(update.precedence)) for update in host.told(name)}


def incarnation(host: Host, name: str) -> int:
    row = host.row(name)
    assert row is not None
    return row.incarnation


# The accused.


@pytest.mark.parametrize("state", [State.SUSPECT, State.DEAD, State.LEFT])
def test_the_accused_raises_its_incarnation_above_the_accusation(state: State) -> None:
    host = lone_node("b")
    host.hears(endpoint_of("b"), Gossip((accuse("a", state, 1, 4, by="b"),)))
    assert incarnation(host, "a") == 5
    assert host.sees("a") is State.ALIVE
    assert [(fact.accuser, fact.incarnation) for fact in host.facts_of(Refuted)] == [(id_of("b"), 5)]
    host.world.run(1)
    assert alive("a", incarnation=5) in host.told("a")


def test_stale_accusations_of_oneself_are_not_answered() -> None:
    host = lone_node("b")
    host.hears(endpoint_of("b"), Gossip((accuse("a", State.DEAD, 1, 4),)))
    host.hush()
    for stale in (accuse("a", State.DEAD, 1, 4), accuse("a", State.LEFT, 1, 0), accuse("a", State.SUSPECT, 0, 9)):
        host.hears(endpoint_of("b"), Gossip((stale,)))
    assert incarnation(host, "a") == 5
    assert host.facts_of(Refuted) == []


def test_nobody_else_raises_an_incarnation() -> None:
    """Over a life with a suspicion, a death and a return, incarnations of others are only ever repeated."""
    world = World(3)
    a, b, _ = world.mesh("a", "b", "c")
    b.crash()
    world.run_until(lambda: a.sees("b") is State.DEAD)
    assert incarnation(a, "b") == 0
    b.start()
    world.run_until(lambda: a.sees("b") is State.ALIVE)
    own = {(1, 0)} | lives_told_of(b, "b")
    assert lives_told_of(a, "b") | lives_told_of(world.hosts["c"], "b") <= own


def test_a_suspect_that_answers_is_not_cleared_by_its_ack_alone() -> None:
    """An ack refutes nothing: only the suspect's own higher incarnation does, so all nodes agree on it."""
    host = lone_node("b")
    host.hears(endpoint_of("c"), Gossip((accuse("b", State.SUSPECT),)))
    host.hears(endpoint_of("b"), Ack(1))
    host.hears(endpoint_of("b"), Ping(1))
    assert host.sees("b") is State.SUSPECT
    host.hears(endpoint_of("b"), Ack(2, (alive("b", incarnation=1),)))
    assert host.sees("b") is State.ALIVE


@pytest.mark.parametrize("state", [State.SUSPECT, State.DEAD])
def test_a_sender_that_is_taken_for_suspect_or_dead_is_told_so(state: State) -> None:
    host = lone_node("b")
    host.hears(endpoint_of("c"), Gossip((accuse("b", state, by="c"),)))
    host.hush()
    host.hears(endpoint_of("b"), Ping(7))
    (ack,) = host.said_of(Ack)
    assert accuse("b", state, by="c") in ack.updates


def test_who_is_falsely_accused_is_alive_again_everywhere_within_seconds() -> None:
    world = World()
    a, b, c = world.mesh("a", "b", "c")
    for liar in (a, c):
        liar.hears(endpoint_of("z"), Gossip((accuse("b", State.DEAD, by="z"),)))
    assert a.sees("b") is State.DEAD
    world.run_until(lambda: all(host.sees("b") is State.ALIVE for host in (a, b, c)), 5)
    assert incarnation(b, "b") == 1


# Accusations of others.


def test_accusations_of_strangers_are_ignored() -> None:
    host = lone_node()
    host.hears(endpoint_of("b"), Gossip((accuse("c", State.DEAD),)))
    assert host.row("c") is None


def test_an_accusation_of_a_life_that_was_not_announced_is_ignored() -> None:
    host = lone_node("b")
    host.hears(endpoint_of("c"), Gossip((accuse("b", State.DEAD, generation=2),)))
    assert host.sees("b") is State.ALIVE


def test_stale_accusations_are_ignored() -> None:
    host = lone_node()
    host.hears(endpoint_of("b"), Gossip((alive("b", 3, 5),)))
    host.hush()
    for state in (State.SUSPECT, State.DEAD, State.LEFT):
        host.hears(endpoint_of("c"), Gossip((accuse("b", state, 3, 4), accuse("b", state, 2, 99))))
    assert host.sees("b") is State.ALIVE
    assert host.facts_of(MemberChanged) == []


def test_the_last_generation_there_is_is_not_believed() -> None:
    """Nobody could restart after it, so nobody honest is in it."""
    host = lone_node("b")
    host.hears(endpoint_of("c"), Gossip((alive("b", GENERATION_MAX), alive("d", GENERATION_MAX))))
    host.hears(
        endpoint_of("c"),
        PushPull(
            (Believed(alive("e", GENERATION_MAX), precedence_of(GENERATION_MAX, 0, State.DEAD), id_of("c")),), False
        ),
    )
    row = host.row("b")
    assert row is not None
    assert row.generation == 1
    assert host.row("d") is None
    assert host.row("e") is None


def test_an_update_whose_state_does_not_go_with_its_kind_is_ignored() -> None:
    host = lone_node("b")
    host.hears(endpoint_of("c"), Gossip((Alive(id_of("b"), precedence_of(1, 9, State.DEAD), alive("b").profile),)))
    host.hears(endpoint_of("c"), Gossip((Accusation(id_of("b"), precedence_of(1, 9, State.ALIVE), id_of("c")),)))
    host.hears(endpoint_of("c"), Gossip((Alive(id_of("d"), precedence_of(1, 9, State.LEFT), alive("d").profile),)))
    assert host.sees("b") is State.ALIVE
    assert incarnation(host, "b") == 0
    assert host.row("d") is None


@pytest.mark.parametrize(
    ("announced", "believed"),
    [
        (precedence_of(1, 5, State.ALIVE), precedence_of(1, 4, State.DEAD)),
        (precedence_of(1, 5, State.ALIVE), precedence_of(3, 5, State.DEAD)),
        (precedence_of(1, 5, State.DEAD), precedence_of(1, 6, State.DEAD)),
    ],
)
def test_rows_that_no_honest_table_has_are_ignored(announced: int, believed: int) -> None:
    host = lone_node()
    row = Believed(Alive(id_of("b"), announced, alive("b").profile), believed, id_of("c"))
    host.hears(endpoint_of("c"), PushPull((row,), answer=False))
    host.node.check()
    assert host.row("b") is None


# Absurd numbers about oneself.


def test_the_last_incarnation_there_is_makes_a_new_life() -> None:
    """There is no incarnation above it to refute with; only a new generation outranks it, once that is durable."""
    world = World()
    a, b = world.mesh("a", "b")
    a.hears(b.endpoint, Gossip((accuse("a", State.DEAD, 1, INCARNATION_MAX),)))
    b.hears(a.endpoint, Gossip((accuse("a", State.DEAD, 1, INCARNATION_MAX),)))
    world.run(5)
    row = b.row("a")
    assert row is not None
    assert row.state is State.ALIVE
    assert row.generation > 1
    assert a.stored(GENERATION_KEY) == Generation(row.generation)


def test_the_last_but_one_incarnation_is_refuted_as_any_other() -> None:
    host = lone_node("b")
    host.hears(endpoint_of("b"), Gossip((accuse("a", State.SUSPECT, 1, INCARNATION_MAX - 1),)))
    assert incarnation(host, "a") == INCARNATION_MAX
    row = host.row("a")
    assert row is not None
    assert row.generation == 1


# Push-pull and the dead.


def test_a_remote_dead_becomes_a_suspect_and_can_refute() -> None:
    world = World()
    a, b, c = world.mesh("a", "b", "c")
    a.hears(c.endpoint, PushPull((Believed(alive("b"), precedence_of(1, 0, State.DEAD), id_of("c")),), answer=False))
    assert a.sees("b") is State.SUSPECT
    world.run_until(lambda: a.sees("b") is State.ALIVE, 5)
    assert incarnation(b, "b") == 1
    assert not [fact for fact in a.facts_of(MemberChanged) if fact.state is State.DEAD]


def test_an_unknown_dead_is_remembered_and_not_revived() -> None:
    host = lone_node("b")
    dead = Believed(alive("c"), precedence_of(1, 0, State.DEAD), id_of("b"))
    host.hears(endpoint_of("b"), PushPull((dead,), answer=False))
    assert host.sees("c") is State.DEAD
    host.hears(endpoint_of("b"), Gossip((alive("c"),)))
    assert host.sees("c") is State.DEAD
    host.world.run(30)
    assert not [fact for fact in host.facts_of(MemberChanged) if fact.state is State.ALIVE]
    host.hears(endpoint_of("b"), Gossip((alive("c", incarnation=1),)))
    assert host.sees("c") is State.ALIVE


def test_a_suspect_in_a_table_of_a_stranger_is_met_and_doubted() -> None:
    host = lone_node()
    row = Believed(alive("c"), precedence_of(1, 0, State.SUSPECT), id_of("b"))
    host.hears(endpoint_of("b"), PushPull((row,), answer=False))
    assert host.sees("c") is State.SUSPECT


def test_a_push_pull_that_asks_is_answered_with_the_whole_table_and_an_answer_is_not() -> None:
    host = lone_node("b", "c")
    host.hears(endpoint_of("b"), Gossip((accuse("c", State.DEAD, by="b"),)))
    host.hush()
    host.hears(endpoint_of("b"), PushPull((), answer=True))
    (table,) = host.said_of(PushPull)
    assert not table.answer
    assert {row.node_id for row in table.rows} == {id_of("a"), id_of("b"), id_of("c")}
    host.hush()
    host.hears(endpoint_of("b"), PushPull((), answer=False))
    assert host.said == []


def test_a_large_table_travels_in_several_frames_and_only_the_last_asks() -> None:
    host = lone_node()
    names = [f"n{number}" for number in range(2100)]
    for start in range(0, len(names), 64):
        host.hears(endpoint_of("b"), Gossip(tuple(alive(name) for name in names[start : start + 64])))
    host.hush()
    host.world.run(60)
    tables = host.said_of(PushPull)
    frames = -(-2101 // MEMBERS_PER_FRAME_MAX)
    assert frames > 1
    assert len(tables) >= frames
    assert [table.answer for table in tables[:frames]] == [False] * (frames - 1) + [True]
    assert len({row.node_id for table in tables[:frames] for row in table.rows}) == 2101


# Leaving.


def test_a_leave_is_never_reported_as_a_failure() -> None:
    world = World()
    a, b, c = world.mesh("a", "b", "c")
    b.ask(Leave())
    b.crash()
    world.run(60)
    for host in (a, c):
        assert host.sees("b") is State.LEFT
        states = [fact.state for fact in host.facts_of(MemberChanged) if fact.node_id == id_of("b")]
        assert states[-1] is State.LEFT
        assert State.SUSPECT not in states
        assert State.DEAD not in states


def test_who_has_left_is_not_taken_for_suspect_or_dead_afterwards() -> None:
    host = lone_node("b")
    host.hears(endpoint_of("b"), Gossip((accuse("b", State.LEFT, by="b"),)))
    host.hears(endpoint_of("c"), Gossip((accuse("b", State.SUSPECT), accuse("b", State.DEAD))))
    host.hears(endpoint_of("c"), PushPull((Believed(alive("b"), precedence_of(1, 0, State.DEAD), id_of("c")),), False))
    assert host.sees("b") is State.LEFT


def test_a_leaving_node_does_not_refute() -> None:
    world = World()
    a, b = world.mesh("a", "b")
    a.request(Leave())
    a.hears(b.endpoint, Gossip((accuse("a", State.DEAD, 1, 7),)))
    assert a.facts_of(Refuted) == []
    assert a.sees("a") is State.LEFT


def test_who_left_is_back_with_its_next_life() -> None:
    world = World()
    a, b = world.mesh("a", "b")
    b.ask(Leave())
    b.crash()
    world.run(5)
    b.start()
    world.run_until(lambda: a.sees("b") is State.ALIVE, 5)
    row = a.row("b")
    assert row is not None
    assert row.generation == 2


# Announcements.


def test_a_restarted_member_is_reached_at_its_new_address() -> None:
    host = lone_node("b")
    host.hears(endpoint_of("c"), Gossip((alive("b", generation=2, at="elsewhere.test:1"),)))
    row = host.row("b")
    assert row is not None
    assert row.endpoint.address == "elsewhere.test:1"
    host.world.run(30)
    assert host.said_of(Ping, "elsewhere")
    pings = [(to.address, ping.probe) for to, ping in host.said if isinstance(ping, Ping)]
    assert [probe for address, probe in pings if address == address_of("b")] == [NO_PROBE]  # whether it has moved


def test_a_name_that_is_taken_is_reported_with_who_took_it() -> None:
    host = lone_node()
    host.hears(endpoint_of("b"), Gossip((alive("b", called="a"),)))
    (conflict,) = host.facts_of(NameConflict)
    assert (conflict.other, conflict.address) == (id_of("b"), address_of("b"))


def test_changes_are_told_once_with_who_said_so() -> None:
    host = lone_node()
    for _ in range(2):
        host.hears(endpoint_of("b"), Gossip((alive("b"),)))
        host.hears(endpoint_of("c"), Gossip((accuse("b", State.DEAD, by="c"),)))
        host.hears(endpoint_of("d"), Gossip((accuse("b", State.DEAD, by="d"),)))
    changes = [(fact.state, fact.by) for fact in host.facts_of(MemberChanged)]
    assert changes == [(State.ALIVE, id_of("b")), (State.DEAD, id_of("c"))]
