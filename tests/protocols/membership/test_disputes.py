"""Who is taken for dead or gone by the word of others hears of it at once, wherever it is said to be (DESIGN 4)."""

from __future__ import annotations

import pytest

from protocols.core import Endpoint, Message
from protocols.membership.member import State, Update
from protocols.membership.messages import NO_PROBE, Ack, Gossip, Ping
from protocols.membership.plausible import TO_ASK_MAX
from protocols.membership.views import Leave
from tests.protocols.harness import Host, World, accuse, address_of, alive, endpoint_of, id_of

NOWHERE = "nowhere.test:7000"
GONE = (State.DEAD, State.LEFT)


def lone_node(*known: str) -> Host:
    """A node that knows of members that say nothing; no probe of its own comes in between."""
    host = World().add("a").start()
    host.world.run(0.01)
    host.hears(endpoint_of("z"), Gossip(tuple(alive(name) for name in known)))
    host.world.run(3)
    host.hush()
    return host


def shown(host: Host) -> list[tuple[str, tuple[Update, ...]]]:
    """Where, and what, a node has shown of its beliefs beside all probes."""
    return [(to.address, said.updates) for to, said in host.said if isinstance(said, Ping) and said.probe == NO_PROBE]


# Who believes it.


@pytest.mark.parametrize("state", GONE)
def test_who_is_said_to_be_gone_is_shown_it_within_a_gossip_interval(state: State) -> None:
    host = lone_node("b", "c")
    word = accuse("b", state, by="b")
    host.hears(endpoint_of("z"), Gossip((word,)))
    host.world.run(0.21)
    assert shown(host) == [(address_of("b"), (word,))]
    host.world.run(2)
    assert len(shown(host)) == 1


def test_who_is_said_to_be_suspect_is_left_to_the_probes() -> None:
    host = lone_node("b", "c")
    host.hears(endpoint_of("z"), Gossip((accuse("b", State.SUSPECT),)))
    host.world.run(0.21)
    assert shown(host) == []


def test_who_says_itself_that_it_leaves_is_not_asked() -> None:
    host = lone_node("b", "c")
    host.hears(endpoint_of("b"), Gossip((accuse("b", State.LEFT, by="b"),)))
    host.hush()
    host.world.run(1)
    assert shown(host) == []


def test_in_a_mesh_that_is_too_large_for_all_to_ask_gossip_has_to_do() -> None:
    names = [f"n{number}" for number in range(TO_ASK_MAX)]
    host = lone_node(*names)
    for _ in range(2):
        host.hears(endpoint_of("z"), Gossip((accuse("n1", State.DEAD), accuse("n2", State.DEAD))))
    host.world.run(1)
    assert [address for address, _ in shown(host)] == [address_of("n2")]  # one less was present then


def test_who_is_said_to_have_moved_is_asked_where_it_was() -> None:
    host = lone_node("b", "c")
    moved = alive("b", 2, at=NOWHERE)
    host.hears(endpoint_of("z"), Gossip((moved, accuse("b", State.LEFT, 2))))
    host.world.run(1)
    assert (address_of("b"), (accuse("b", State.LEFT, 2),)) in shown(host)


def test_who_has_moved_and_says_so_itself_is_not_asked() -> None:
    host = lone_node("b", "c")
    host.hears(Endpoint(id_of("b"), NOWHERE), Gossip((alive("b", 2, at=NOWHERE),)))
    host.world.run(1)
    assert shown(host) == []


# Who speaks.


@pytest.mark.parametrize("state", GONE)
def test_who_speaks_though_it_is_gone_is_told_so_where_it_speaks_from(state: State) -> None:
    host = lone_node("b", "c")
    word = accuse("b", state, 2)
    host.hears(endpoint_of("z"), Gossip((alive("b", 2, at=NOWHERE), word)))
    host.world.run(3)
    host.hush()
    host.hears(endpoint_of("b"), Gossip((alive("c"),)))
    host.world.run(0.21)
    assert shown(host) == [(address_of("b"), (word,))]


def test_who_speaks_a_lot_is_told_so_once_in_a_gossip_interval() -> None:
    host = lone_node("b", "c")
    host.hears(endpoint_of("z"), Gossip((accuse("b", State.DEAD),)))
    host.world.run(3)
    host.hush()
    for _ in range(100):
        host.hears(endpoint_of("b"), Gossip((alive("c"),)))
        host.world.run(0.01)
    assert 5 <= len(shown(host)) <= 6


def test_whose_own_word_has_just_counted_is_told_nothing() -> None:
    host = lone_node("b", "c")
    host.hears(endpoint_of("z"), Gossip((accuse("b", State.DEAD),)))
    host.world.run(3)
    host.hush()
    host.hears(endpoint_of("b"), Gossip((alive("b", incarnation=1),)))
    host.world.run(0.21)
    assert host.sees("b") is State.ALIVE
    assert shown(host) == []


def test_who_leaves_wastes_its_word_on_nobody_who_has_it() -> None:
    host = lone_node("b", "c")
    host.request(Leave())
    host.hush()
    host.hears(endpoint_of("b"), Ping(NO_PROBE, (accuse("a", State.LEFT, by="a"),)))
    assert host.said_of(Ack) == []
    host.hears(endpoint_of("b"), Ping(7))
    assert len(host.said_of(Ack)) == 1


# Both. The others pass over the death of a life that they have not met, so none of them tells the accused.


def no_probes(source: Host, target: Host, message: Message) -> bool:
    return type(message) is not Ping or message.probe == NO_PROBE


def one_alone_believes(world: World) -> tuple[Host, Host]:
    """To the first of two nodes the second has left; it is a third one's word that it lives elsewhere as well."""
    a, b, _ = world.mesh("a", "b", "c")
    a.hears(endpoint_of("z"), Gossip((alive("b", 2, 7, at=NOWHERE), accuse("b", State.LEFT, 2, 7))))
    assert a.sees("b") is State.LEFT
    return a, b


def back_in_its_next_life(a: Host) -> bool:
    row = a.row("b")
    return row is not None and row.alive == alive("b", 3)


def test_a_lie_that_one_member_alone_believes_is_outdone_before_anybody_probes() -> None:
    world = World()
    world.lets_through = no_probes
    a, _ = one_alone_believes(world)
    world.run_until(lambda: back_in_its_next_life(a), 0.5)


def test_it_is_outdone_as_soon_as_the_member_gossips_where_the_question_was_lost() -> None:
    world = World()
    world.lets_through = lambda source, target, message: type(message) is not Ping
    a, b = one_alone_believes(world)
    world.run(0.5)
    world.lets_through = no_probes
    assert a.sees("b") is State.LEFT
    b.hears(endpoint_of("z"), Gossip((accuse("b", State.DEAD),)))  # so that it has something to say
    world.run_until(lambda: back_in_its_next_life(a), 0.7)


# What it says of the accused's own health.


@pytest.mark.parametrize(
    ("state", "incarnation", "score"),
    [
        (State.SUSPECT, 0, 1),
        (State.DEAD, 0, 1),
        (State.LEFT, 0, 0),
        (State.SUSPECT, 1, 0),
        (State.DEAD, 500, 0),
    ],
)
def test_only_an_accusation_that_may_be_its_own_fault_lowers_the_health_of_the_accused(
    state: State, incarnation: int, score: int
) -> None:
    host = lone_node()
    host.hears(endpoint_of("z"), Gossip((accuse("a", state, 1, incarnation),)))
    assert host.node.swim.refutations == 1
    assert host.node.swim.health.score == score
