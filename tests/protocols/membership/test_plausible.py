"""Lies that no later word could outdo: lives that a member never had, as others tell of them (DESIGN 4, bad input)."""

from __future__ import annotations

import pytest

from protocols.membership.facts import Refuted
from protocols.membership.member import (
    GENERATION_MAX,
    INCARNATION_MAX,
    Alive,
    Believed,
    Refutation,
    State,
    Update,
    precedence_of,
)
from protocols.membership.messages import NO_PROBE, Ack, Gossip, Ping, PushPull
from protocols.membership.plausible import LIFE_TOLD_MAX, LIVES_AHEAD_MAX, PATIENCE, TO_ASK_MAX
from tests.protocols.harness import Host, World, accuse, alive, endpoint_of, id_of

FAR = LIVES_AHEAD_MAX * PATIENCE + 2
BEYOND = (FAR, LIFE_TOLD_MAX, LIFE_TOLD_MAX + 1, GENERATION_MAX - 1, GENERATION_MAX)
MEMBERS = ("a", "b", "c")


def lone_node(*known: str) -> Host:
    host = World().add("a").start()
    host.world.run(0.01)
    if known:
        host.hears(endpoint_of("z"), Gossip(tuple(alive(name) for name in known)))
    host.hush()
    return host


def refutes(name: str, generation: int, incarnation: int) -> Refutation:
    return Refutation(id_of(name), precedence_of(generation, incarnation, State.ALIVE))


def asked(host: Host) -> list[str]:
    """Where members are that were shown what is believed of them, beside all probes."""
    return [to.address for to, message in host.said if isinstance(message, Ping) and message.probe == NO_PROBE]


def lies_about(name: str, generation: int) -> tuple[Update, ...]:
    """It lives so far ahead, and is dead there in the last incarnation that there is."""
    return alive(name, generation), accuse(name, State.DEAD, generation, INCARNATION_MAX, by="z")


# What others say.


@pytest.mark.parametrize("generation", BEYOND)
def test_a_life_far_ahead_is_not_believed_of_others_and_is_counted(generation: int) -> None:
    host = lone_node("b")
    host.hears(endpoint_of("z"), Gossip(lies_about("b", generation)))
    row = host.row("b")
    assert row is not None
    assert (row.generation, row.incarnation, row.state) == (1, 0, State.ALIVE)
    assert host.node.swim.refused == 2


@pytest.mark.parametrize("generation", BEYOND)
def test_it_is_not_believed_of_tables_either(generation: int) -> None:
    host = lone_node("b")
    announced = alive("b", generation)
    dead = precedence_of(generation, 0, State.DEAD)
    host.hears(endpoint_of("z"), PushPull((announced, Believed(announced, dead, id_of("z"), 1)), answer=False))
    row = host.row("b")
    assert row is not None
    assert (row.generation, row.state) == (1, State.ALIVE)
    assert host.node.swim.refused > 0


@pytest.mark.parametrize("generation", [1 + LIVES_AHEAD_MAX * PATIENCE + 1, *BEYOND])
def test_the_accused_makes_no_leap_that_nobody_believes(generation: int) -> None:
    host = lone_node("b")
    host.hears(endpoint_of("z"), Gossip(lies_about("a", generation)))
    host.hears(endpoint_of("z"), PushPull((alive("a", generation, at="elsewhere:1"),), answer=False))
    host.world.run(5)
    assert host.node.generation == 1
    assert host.node.swim.refused >= 2


def test_lives_within_reach_are_believed_and_outdone() -> None:
    world = World()
    a, b, c = world.mesh(*MEMBERS)
    for host in (a, b, c):
        host.hears(endpoint_of("z"), Gossip(lies_about("b", 1 + LIVES_AHEAD_MAX)))
    assert a.sees("b") is State.DEAD
    world.run_until(lambda: a.sees("b") is c.sees("b") is State.ALIVE, 5)
    assert b.node.generation == LIVES_AHEAD_MAX + 2


def test_whoever_was_led_on_to_the_end_of_what_is_told_still_refutes() -> None:
    """What is said of it in its own life is no leap, however late a life that is."""
    host = World().add("a").start()
    host.world.run(0.01)
    host.hears(endpoint_of("b"), Gossip((alive("b", LIFE_TOLD_MAX),)))
    host.hears(endpoint_of("c"), Gossip((accuse("b", State.SUSPECT, LIFE_TOLD_MAX, 5),)))
    assert host.sees("b") is State.SUSPECT
    host.hears(endpoint_of("b"), Gossip((refutes("b", LIFE_TOLD_MAX, 6),)))
    assert host.sees("b") is State.ALIVE


def test_no_lie_keeps_a_node_from_refuting_what_is_honest() -> None:
    world = World()
    a, b, _ = world.mesh(*MEMBERS)
    for generation in BEYOND:
        for host in (a, b):
            host.hears(endpoint_of("z"), Gossip(lies_about("b", generation)))
    world.run(3)
    b.hush()
    a.hears(endpoint_of("c"), Gossip((accuse("b", State.SUSPECT, b.node.generation, by="c"),)))
    world.run_until(lambda: b.facts_of(Refuted) != [] and a.sees("b") is State.ALIVE, 5)


# What a member says itself.


@pytest.mark.parametrize("generation", [FAR, GENERATION_MAX - 1])
def test_the_members_own_word_counts_however_far_ahead(generation: int) -> None:
    host = lone_node("b")
    host.hears(endpoint_of("b"), Gossip((alive("b", generation),)))
    row = host.row("b")
    assert row is not None
    assert row.generation == generation


def test_its_own_table_counts_as_its_word() -> None:
    host = lone_node("b")
    host.hears(endpoint_of("c"), PushPull((alive("b", FAR),), answer=False))
    assert host.node.swim.refused == 1
    host.hears(endpoint_of("b"), PushPull((alive("b", FAR),), answer=False))
    row = host.row("b")
    assert row is not None
    assert row.generation == FAR


def test_one_that_is_gone_here_and_lives_far_ahead_elsewhere_is_asked_once() -> None:
    host = lone_node("b", "c")
    host.hears(endpoint_of("b"), Gossip((accuse("b", State.LEFT, by="b"),)))
    host.hush()
    host.hears(endpoint_of("c"), Gossip((alive("b", FAR),)))
    host.hears(endpoint_of("c"), Gossip((refutes("b", FAR, 1),)))
    host.world.run(5)
    shown = [ping for ping in host.said_of(Ping, "b") if ping.probe == 0]
    assert [ping.updates for ping in shown] == [(accuse("b", State.LEFT, by="b"),)]


def test_it_is_asked_at_the_address_at_which_it_is_said_to_live() -> None:
    host = lone_node("b", "c")
    host.hears(endpoint_of("b"), Gossip((accuse("b", State.LEFT),)))
    host.hush()
    host.hears(endpoint_of("c"), Gossip((alive("b", FAR, at="moved.test:7000"),)))
    host.world.run(3)
    assert asked(host) == ["moved.test:7000"]


def test_of_many_that_are_said_to_live_so_few_are_remembered() -> None:
    host = lone_node()
    for name in [f"n{number}" for number in range(TO_ASK_MAX + 1)]:
        host.hears(endpoint_of("z"), Gossip((alive(name), accuse(name, State.DEAD), alive(name, FAR))))
    assert len(host.node.swim.to_ask) == TO_ASK_MAX


def test_who_was_away_for_many_lives_is_met_again() -> None:
    """It was cut off and crashed in a loop: nobody can believe others who tell of its present life."""
    world = World()
    a, b, c = world.mesh(*MEMBERS)
    world.split(("a",), ("b", "c"))
    for _ in range(LIVES_AHEAD_MAX + 5):
        b.restart()
        world.run(0.05)
    world.run_until(lambda: a.sees("b") is State.DEAD and c.sees("b") is State.ALIVE)
    world.heal()
    world.run_until(lambda: a.sees("b") is State.ALIVE, 90)


# Where a liar came first.


@pytest.mark.parametrize("state", [State.SUSPECT, State.DEAD, State.LEFT])
def test_a_newcomer_that_met_a_member_through_a_liar_takes_the_members_own_word(state: State) -> None:
    world = World()
    a, b, c = world.mesh(*MEMBERS)
    world.split(("a",), ("b", "c"))
    a.restart()
    world.run(0.01)
    poison = Alive(id_of("b"), precedence_of(GENERATION_MAX - 1, INCARNATION_MAX - 1, State.ALIVE), alive("b").profile)
    gone = precedence_of(GENERATION_MAX - 1, INCARNATION_MAX - 1, state)
    a.hears(endpoint_of("z"), PushPull((Believed(poison, gone, id_of("z"), 1),), answer=False))
    assert a.sees("b") is state
    world.heal()
    world.run_until(lambda: a.sees("b") is State.ALIVE, 60)
    row = a.row("b")
    assert row is not None
    assert row.generation == b.node.generation
    assert c.sees("b") is State.ALIVE


def test_the_member_insists_over_a_stream_to_whoever_says_so() -> None:
    host = lone_node("b")
    for kind in (Ping, Ack):
        host.hush()
        host.hears(endpoint_of("b"), kind(7, (accuse("a", State.DEAD, GENERATION_MAX - 1),)))
        me = host.node.swim.me
        assert me is not None
        assert [message.rows for message in host.said_of(PushPull, "b")] == [(me.alive,)]


def test_nobody_else_insists_in_its_name() -> None:
    """A table of a third member that says less of it than is believed changes nothing."""
    host = lone_node()
    host.hears(endpoint_of("z"), Gossip((alive("b", FAR),)))
    host.hears(endpoint_of("z"), Gossip((accuse("b", State.DEAD, FAR),)))
    host.hears(endpoint_of("c"), PushPull((alive("b"),), answer=False))
    assert host.sees("b") is State.DEAD
    host.hears(endpoint_of("b"), PushPull((alive("b"),), answer=False))
    assert host.sees("b") is State.ALIVE


def test_an_older_word_of_its_own_that_it_goes_beyond_itself_is_not_taken() -> None:
    """A table that was under way while the member refuted, or began its next life."""
    host = lone_node("b")
    host.hears(endpoint_of("c"), Gossip((alive("b", 3),)))
    host.hears(endpoint_of("c"), Gossip((accuse("b", State.DEAD, 3),)))
    host.hears(endpoint_of("b"), PushPull((alive("b", 2),), answer=False))
    assert host.sees("b") is State.DEAD


# Who is said to have left.


def test_who_is_said_to_have_left_hears_of_it_and_refutes() -> None:
    world = World()
    a, _, c = world.mesh(*MEMBERS)
    for host in (a, c):
        host.hears(endpoint_of("z"), Gossip((accuse("b", State.LEFT, by="b"),)))
    assert a.sees("b") is State.LEFT
    world.run_until(lambda: a.sees("b") is c.sees("b") is State.ALIVE, 3)


def test_who_is_taken_for_gone_for_long_hears_of_it_with_its_next_ping() -> None:
    host = lone_node("b")
    host.hears(endpoint_of("c"), Gossip((accuse("b", State.LEFT, by="b"),)))
    host.world.run(60)
    host.hush()
    host.hears(endpoint_of("b"), Ping(7))
    (ack,) = host.said_of(Ack)
    assert accuse("b", State.LEFT, by="b") in ack.updates


def test_everybody_is_said_to_have_left_and_everybody_is_back() -> None:
    """Nobody is probed then, so who has just left has to be told news as the dead are."""
    world = World()
    hosts = world.mesh(*MEMBERS)
    for host in hosts:
        lies = tuple(accuse(name, State.LEFT, by=name) for name in MEMBERS if host.config.node_id != id_of(name))
        host.hears(endpoint_of("z"), Gossip(lies))
    world.run_until(lambda: all(host.sees(name) is State.ALIVE for host in hosts for name in MEMBERS), 10)


def test_news_goes_to_who_has_just_left_and_after_a_while_no_more() -> None:
    host = lone_node("b")
    host.hears(endpoint_of("c"), Gossip((accuse("b", State.LEFT, by="b"),)))
    host.hush()
    host.hears(endpoint_of("z"), Gossip((alive("c"),)))
    host.world.run(3)
    assert host.said_of(Gossip, "b") != []
    host.world.run(40)
    host.hush()
    host.hears(endpoint_of("z"), Gossip((alive("d"),)))
    host.world.run(3)
    assert host.said_of(Gossip) != []
    assert host.said_of(Gossip, "b") == []


# Who is alive to everybody, though not in the same life.


def test_one_that_lives_far_ahead_elsewhere_is_asked_and_says_what_it_is() -> None:
    world = World()
    a, b, c = world.mesh(*MEMBERS)
    for _ in range(LIVES_AHEAD_MAX // 10 + 2):
        b.hears(endpoint_of("z"), Gossip((alive("b", b.node.generation + 10),)))
        world.lets_through = lambda source, target, message: target is not a
        world.run(3)
    world.lets_through = lambda source, target, message: True
    row = a.row("b")
    assert row is not None
    assert b.node.generation > row.generation + LIVES_AHEAD_MAX
    a.hears(c.endpoint, PushPull((alive("b", b.node.generation),), answer=False))
    world.run_until(lambda: (row := a.row("b")) is not None and row.generation == b.node.generation, 5)


def test_one_that_is_believed_to_be_far_ahead_of_what_others_say_is_asked_and_insists() -> None:
    world = World()
    a, b, c = world.mesh(*MEMBERS)
    world.split(("a",), ("b", "c"))
    a.restart()
    world.run(0.01)
    a.hears(endpoint_of("z"), Gossip((alive("b", GENERATION_MAX - 1),)))
    world.heal()
    a.hears(c.endpoint, PushPull((alive("b", b.node.generation),), answer=False))
    world.run_until(lambda: (row := a.row("b")) is not None and row.generation == b.node.generation, 5)
    assert a.sees("b") is State.ALIVE


def test_who_is_taken_for_alive_in_its_present_life_has_nothing_to_say() -> None:
    host = lone_node("b")
    host.world.run(30)
    host.hush()
    for word in (alive("a"), refutes("a", 1, 0)):
        host.hears(endpoint_of("b"), Ping(7, (word,)))
    assert len(host.said_of(Ack)) == 2
    assert host.told("a") == []


def test_who_is_taken_for_alive_in_an_earlier_life_says_so() -> None:
    host = lone_node("b")
    host.hears(endpoint_of("c"), Gossip((alive("a", 4),)))
    host.world.run(30)
    host.hush()
    host.hears(endpoint_of("b"), Ping(7, (refutes("a", 1, 3),)))
    me = host.node.swim.me
    assert me is not None
    assert (me.generation, host.told("a")) == (5, [me.alive])
