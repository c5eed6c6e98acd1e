"""The laws of merging: beliefs depend on what was said, not on its order or how often (SWIM section 4.2)."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.membership.member import (
    GENERATION_MAX,
    INCARNATION_MAX,
    STATES,
    State,
    Update,
    generation_of,
    incarnation_of,
    precedence_of,
    state_of,
    with_state,
)
from protocols.membership.messages import Gossip, PushPull
from tests.protocols.harness import World, accuse, alive, endpoint_of, id_of

NAMES = ("b", "c", "d")
TRIPLES = st.tuples(st.integers(0, GENERATION_MAX), st.integers(0, INCARNATION_MAX), st.sampled_from(STATES))
Beliefs = dict[str, tuple[int, str]]


def update_of(name: str, generation: int, incarnation: int, state: State, by: str) -> Update:
    if state is State.ALIVE:
        return alive(name, generation, incarnation)
    return accuse(name, state, generation, incarnation, by=by)


def updates(generations: st.SearchStrategy[int]) -> st.SearchStrategy[Update]:
    by = st.sampled_from(NAMES)
    return st.builds(update_of, st.sampled_from(NAMES), generations, st.integers(0, 3), st.sampled_from(STATES), by)


def beliefs_after(said: list[Update], *, packets_of: int = 64) -> Beliefs:
    """What a node that knew everybody in generation 1 believes, once it has heard all that."""
    host = World().add("a").start()
    host.world.run(0.01)
    host.hears(endpoint_of("b"), Gossip(tuple(alive(name) for name in NAMES)))
    for start in range(0, len(said), packets_of):
        host.hears(endpoint_of("b"), Gossip(tuple(said[start : start + packets_of])))
    return {member.alive.node_id: (member.precedence, member.alive.profile.address) for member in host.node.members()}


# The order of precedence.


@given(TRIPLES, TRIPLES)
def test_precedence_compares_as_the_triple_does(one: tuple[int, int, State], other: tuple[int, int, State]) -> None:
    assert (precedence_of(*one) < precedence_of(*other)) == (one < other)


@given(TRIPLES, st.sampled_from(STATES))
def test_precedence_holds_its_three_parts(triple: tuple[int, int, State], other: State) -> None:
    packed = precedence_of(*triple)
    assert (generation_of(packed), incarnation_of(packed), state_of(packed)) == triple
    assert with_state(packed, other) == precedence_of(triple[0], triple[1], other)


def test_the_order_of_states_within_an_incarnation() -> None:
    assert State.ALIVE < State.SUSPECT < State.DEAD < State.LEFT


# What a set of statements comes to.


@given(st.lists(updates(st.just(1)), max_size=10), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_order_and_repetition_do_not_matter(said: list[Update], random: Random) -> None:
    again = [*said, *random.choices(said, k=5)] if said else []
    random.shuffle(again)
    assert beliefs_after(again) == beliefs_after(said)


@given(st.lists(updates(st.just(1)), max_size=10))
@settings(max_examples=60, deadline=None)
def test_the_largest_precedence_is_what_is_believed(said: list[Update]) -> None:
    beliefs = beliefs_after(said)
    for name in NAMES:
        spoken = [precedence_of(1, 0, State.ALIVE)]
        spoken += [update.precedence for update in said if update.node_id == id_of(name)]
        assert beliefs[id_of(name)][0] == max(spoken)


@given(st.lists(updates(st.just(1)), max_size=8), st.lists(updates(st.just(1)), max_size=8))
@settings(max_examples=40, deadline=None)
def test_merging_is_the_same_in_parts_as_at_once(one: list[Update], other: list[Update]) -> None:
    assert beliefs_after(one + other, packets_of=1) == beliefs_after(other + one)


@given(st.lists(updates(st.integers(1, 3)), max_size=10), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_over_several_lives_beliefs_agree_once_everything_was_heard_twice(said: list[Update], random: Random) -> None:
    """An accusation of a life that was not announced here yet is ignored: gossip repeats it, and the second time it
    counts. So order matters for one round, and no longer than that.
    """
    shuffled = list(said)
    random.shuffle(shuffled)
    precedences = [
        {node_id: precedence for node_id, (precedence, _) in beliefs_after(round_of * 2).items()}
        for round_of in (said, shuffled)
    ]
    assert precedences[0] == precedences[1]


@given(st.lists(updates(st.integers(1, 3)), max_size=12))
@settings(max_examples=40, deadline=None)
def test_beliefs_never_go_back(said: list[Update]) -> None:
    host = World().add("a").start()
    host.world.run(0.01)
    known: dict[str, int] = {}
    for update in said:
        host.hears(endpoint_of("b"), Gossip((update,)))
        for member in host.node.members():
            assert member.precedence >= known.get(member.alive.node_id, 0)
            known[member.alive.node_id] = member.precedence


@given(st.lists(updates(st.integers(1, 2)), max_size=8))
@settings(max_examples=40, deadline=None)
def test_tables_that_are_exchanged_both_ways_twice_agree(said: list[Update]) -> None:
    """Two nodes that heard different things agree after push-pulls, but for suspects that only one of them doubts."""
    world = World()
    one, other = world.add("a").start(), world.add("e").start()
    world.run(0.01)
    for number, update in enumerate(said):
        host = one if number % 2 else other
        host.hears(endpoint_of("b"), Gossip((alive(NAMES[0]), alive(NAMES[1]), alive(NAMES[2]), update)))
    for _ in range(3):
        one.hears(other.endpoint, PushPull(tuple(other.node.swim.rows(world.now)), answer=False))
        other.hears(one.endpoint, PushPull(tuple(one.node.swim.rows(world.now)), answer=False))
    for name in NAMES:
        rows = [host.row(name) for host in (one, other)]
        mine, theirs = rows
        if mine is None or theirs is None:
            assert mine is theirs
            continue
        assert (mine.generation, mine.incarnation) == (theirs.generation, theirs.incarnation)
        states = {mine.state, theirs.state}
        assert len(states) == 1 or states == {State.SUSPECT, State.DEAD}


@given(st.lists(updates(st.integers(1, 3)), max_size=10))
@settings(max_examples=40, deadline=None)
def test_a_restart_always_wins(said: list[Update]) -> None:
    host = World().add("a").start()
    host.world.run(0.01)
    for update in said:
        host.hears(endpoint_of("b"), Gossip((update,)))
    host.hears(endpoint_of("b"), Gossip((alive("b", generation=4),)))
    assert host.sees("b") is State.ALIVE
    for update in said:
        host.hears(endpoint_of("c"), Gossip((update,)))
    row = host.row("b")
    assert row is not None
    assert (row.generation, row.incarnation, row.state) == (4, 0, State.ALIVE)
