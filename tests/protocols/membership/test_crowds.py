"""More members than there can be, as a broken peer announces them: the table is bounded, and real ones have room."""

from __future__ import annotations

import pytest

from protocols.membership import retention
from protocols.membership.facts import Forgotten
from protocols.membership.member import Believed, State, precedence_of
from protocols.membership.messages import Gossip, PushPull
from tests.protocols.harness import Host, World, accuse, alive, endpoint_of, id_of

MAX = 20


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MEMBERS_MAX", MAX)


def host_with(*names: str) -> Host:
    host = World().add("a").start()
    host.world.run(0.01)
    for name in names:
        host.hears(endpoint_of("z"), Gossip((alive(name),)))
    host.hush()
    return host


NAMES = tuple(f"n{number}" for number in range(MAX - 1))


def test_a_stranger_is_refused_where_all_are_present() -> None:
    host = host_with(*NAMES)
    host.hears(endpoint_of("z"), Gossip((alive("one"), alive("more"))))
    assert len(host.node.members()) == MAX
    assert host.row("one") is None
    assert host.node.swim.refused == 2
    host.hears(endpoint_of("z"), Gossip((accuse(NAMES[0], State.SUSPECT),)))
    assert host.sees(NAMES[0]) is State.SUSPECT  # those that are known are heard of as ever


def test_those_that_are_gone_for_longest_make_room() -> None:
    host = host_with(*NAMES)
    for name in NAMES[:4]:
        host.hears(endpoint_of("z"), Gossip((accuse(name, State.DEAD),)))
        host.world.run(0.1)
    host.hears(endpoint_of("z"), Gossip((alive("one"),)))
    assert host.sees("one") is State.ALIVE
    assert [fact.node_id for fact in host.facts_of(Forgotten)] == [id_of(name) for name in NAMES[:2]]
    assert host.sees(NAMES[2]) is State.DEAD


def test_a_single_one_that_is_gone_makes_room_too() -> None:
    host = host_with(*NAMES)
    host.hears(endpoint_of("z"), Gossip((accuse(NAMES[3], State.LEFT, by=NAMES[3]),)))
    host.hears(endpoint_of("z"), Gossip((alive("one"), alive("more"))))
    assert host.sees("one") is State.ALIVE
    assert host.row("more") is None
    assert host.row(NAMES[3]) is None


def test_the_dead_of_other_tables_push_nobody_out() -> None:
    host = host_with(*NAMES)
    host.hears(endpoint_of("z"), Gossip((accuse(NAMES[3], State.DEAD),)))
    dead = Believed(alive("one"), precedence_of(1, 0, State.DEAD), id_of("z"), 1)
    host.hears(endpoint_of("z"), PushPull((dead,), answer=False))
    assert host.row("one") is None
    assert host.sees(NAMES[3]) is State.DEAD


def test_a_flood_of_strangers_leaves_the_table_bounded_and_the_node_whole() -> None:
    host = host_with("b")
    for number in range(30):
        rows = tuple(alive(f"x{number}.{place}") for place in range(10))
        host.hears(endpoint_of("z"), PushPull(rows, answer=False))
        host.world.run(1)
        assert len(host.node.members()) <= MAX
    assert host.node.swim.me is not None
    assert host.node.swim.me.state is State.ALIVE
