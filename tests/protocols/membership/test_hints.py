"""Hints: addresses that nobody vouches for (DESIGN 4, discovery). What they may cause, and what they never change."""

from __future__ import annotations

from random import Random

from protocols.config import SwimConfig
from protocols.core import NANOS_PER_S, Endpoint
from protocols.limits import ADDRESS_CHARS_MAX
from protocols.membership.hints import HINT_TRIES, HINTS_AT_ONCE_MAX, HINTS_MAX, Hint, Hints, Suggest, Suggested
from protocols.membership.member import Member, State, with_state
from protocols.membership.messages import Gossip, PushPull
from protocols.membership.rumours import EventDigest
from protocols.membership.table import MemberTable
from protocols.membership.views import Leave, Left
from protocols.outbox import NEVER
from tests.protocols.harness import Host, World, address_of, alive, config_of, endpoint_of, id_of

SWIM = SwimConfig()
FORGED = tuple(Hint(f"198.51.100.{number % 250}:{1024 + number}", id_of(f"x{number}")) for number in range(10_000))


def suggest(host: Host, *hints: Hint) -> int:
    outcome = host.ask(Suggest(hints))
    assert isinstance(outcome, Suggested)
    return outcome.taken


def tries_at(host: Host, hints: tuple[Hint, ...]) -> list[str]:
    """The addresses among `hints` to which `host` has sent its table, once for each time. Nobody there is pinged."""
    addresses = {hint.address for hint in hints}
    said = [(to, message) for to, message in host.said if to.address in addresses]
    assert all(to.node_id == "" and isinstance(message, PushPull | EventDigest) for to, message in said)
    return [to.address for to, message in said if isinstance(message, PushPull)]


def tables_said(host: Host) -> list[tuple[Endpoint, PushPull]]:
    return [(to, message) for to, message in host.said if isinstance(message, PushPull)]


def flood(host: Host, hints: tuple[Hint, ...]) -> None:
    for start in range(0, len(hints), HINTS_AT_ONCE_MAX):
        suggest(host, *hints[start : start + HINTS_AT_ONCE_MAX])


# What a hint is good for.


def test_a_node_that_knows_nobody_finds_the_mesh_by_a_hint() -> None:
    world = World()
    a, b = world.mesh("a", "b")
    lonely = world.add("c", config_of("c")).start()
    world.run(60)
    assert lonely.sees("a") is None
    assert suggest(lonely, Hint(address_of("a"), id_of("a"))) == 1
    world.run_until(lambda: all(host.sees("c") is State.ALIVE for host in (a, b)), 5)
    assert lonely.sees("b") is State.ALIVE


def test_a_node_whose_seeds_are_gone_joins_by_a_hint() -> None:
    world = World()
    a, _ = world.mesh("a", "b")
    lost = world.add("c", config_of("c", seeds=("gone",))).start()
    world.run(60)
    assert not lost.node.membership.joined
    suggest(lost, Hint(address_of("b")))
    world.run_until(lambda: lost.node.membership.joined and a.sees("c") is State.ALIVE, 5)


def test_two_halves_that_lost_each_other_meet_by_a_hint() -> None:
    """Restarted while they were cut off, without seeds and without a peers file: only a hint leads across."""
    world = World()
    a, b = world.mesh("a", "b")
    c, d = (world.add(name, config_of(name, seeds=("c",))).start() for name in "cd")
    world.run(120)
    assert (a.sees("c"), d.sees("b")) == (None, None)
    suggest(a, Hint(address_of("d"), id_of("d")))
    world.run_until(lambda: all(h.sees(n) is State.ALIVE for h in (a, b, c, d) for n in "abcd"), 60)


# What it may cost.


def test_ten_thousand_forged_hints_change_nothing_but_a_bounded_number_of_tries() -> None:
    world = World()
    a, b, c = world.mesh("a", "b", "c")
    world.run(60)
    before = [(m.alive, m.precedence) for m in a.node.members()]
    disk = dict(a.disk)
    a.hush()
    flood(a, FORGED)
    seconds = 3600
    world.run(seconds)
    assert [(m.alive, m.precedence) for m in a.node.members()] == before
    assert a.disk == disk
    assert a.facts == []
    assert all(host.sees(name) is State.ALIVE for host in (a, b, c) for name in "abc")
    tries = tries_at(a, FORGED)
    assert 0 < len(tries) <= HINTS_MAX * HINT_TRIES
    assert all(tries.count(address) <= HINT_TRIES for address in tries)


def test_a_flood_that_never_ends_costs_one_try_in_an_interval() -> None:
    world = World()
    a, _ = world.mesh("a", "b")
    a.hush()
    for minute in range(10):
        flood(a, FORGED[minute * 1000 : (minute + 1) * 1000])
        world.run(60)
    assert len(tries_at(a, FORGED)) <= 10 * 60 * NANOS_PER_S // SWIM.heal_interval + 1


def test_a_node_that_is_alone_tries_one_a_second_and_does_not_take_itself_for_joined() -> None:
    world = World()
    lonely = world.add("a", config_of("a", seeds=("gone",))).start()
    world.run(5)
    flood(lonely, FORGED)
    world.run(20)
    assert 18 <= len(tries_at(lonely, FORGED)) <= 21
    assert not lonely.node.membership.joined


def test_one_that_is_suggested_as_soon_as_the_last_was_tried_out_waits_for_its_turn() -> None:
    world = World()
    lonely = world.add("a").start()
    world.run(5)
    suggest(lonely, FORGED[0])
    world.run_until(lambda: len(tries_at(lonely, FORGED)) == HINT_TRIES, 60)
    suggest(lonely, FORGED[1])
    world.run(0.9)
    assert len(tries_at(lonely, FORGED)) == HINT_TRIES
    world.run(0.2)
    assert tries_at(lonely, FORGED)[HINT_TRIES:] == [FORGED[1].address]


def test_a_true_hint_gets_through_a_flood_of_forged_ones() -> None:
    world = World()
    a, _ = world.mesh("a", "b")
    lonely = world.add("c", config_of("c")).start()
    world.run(5)
    rng = Random(1)

    def shout() -> None:
        shouted = [*rng.sample(FORGED, 48), Hint(address_of("a"), id_of("a"))]
        rng.shuffle(shouted)
        suggest(lonely, *shouted)
        world.after(5 * NANOS_PER_S, shout)

    shout()
    world.run_until(lambda: a.sees("c") is State.ALIVE, 600)


def test_hints_that_are_no_addresses_are_passed_over() -> None:
    world = World()
    a, _ = world.mesh("a", "b")
    own = Hint(address_of("a"))
    assert suggest(a, Hint(""), Hint("x" * (ADDRESS_CHARS_MAX + 1)), own, Hint(address_of("b"))) == 0
    assert suggest(a, *FORGED[:200]) == HINTS_AT_ONCE_MAX


def test_other_addresses_of_a_live_member_are_not_tried() -> None:
    """A machine with several addresses announces all of them; its member row has one."""
    world = World()
    a, b = world.mesh("a", "b")
    assert suggest(a, Hint("192.0.2.9:7000", id_of("b"))) == 0
    b.crash()
    world.run_until(lambda: a.sees("b") is State.DEAD)
    assert suggest(a, Hint("192.0.2.9:7000", id_of("b"))) == 1


def test_a_hint_is_dropped_once_its_member_is_there() -> None:
    world = World()
    a, _ = world.mesh("a", "b")
    suggest(a, Hint(address_of("new")))
    a.hears(endpoint_of("b"), Gossip((alive("new"),)))
    a.hush()
    world.run(3)  # before it is found out that nobody is there
    world.add("new").start()
    world.run(60)
    assert [to for to, _ in a.said if to == Endpoint("", address_of("new"))] == []


def test_a_node_that_leaves_tries_nothing() -> None:
    world = World()
    a, _ = world.mesh("a", "b")
    suggest(a, *FORGED[:5])
    assert isinstance(a.ask(Leave()), Left)
    a.hush()
    assert suggest(a, *FORGED[:5]) == 0
    world.run(60)
    assert tries_at(a, FORGED) == []


# Rivals: who announces this node's own id.


def test_who_announces_this_nodes_id_elsewhere_is_looked_at_there() -> None:
    """A copy of the data directory runs at that address, or nobody does any more; the transport finds out."""
    world = World()
    a, b = world.mesh("a", "b")
    a.hush()
    a.hears(endpoint_of("b"), Gossip((alive("a", generation=9, at="192.0.2.9:7000"),)))
    world.run(60)
    assert len([to for to, _ in tables_said(a) if to == Endpoint("", "192.0.2.9:7000")]) == HINT_TRIES
    row = b.row("a")
    assert row is not None
    assert (row.generation, row.endpoint.address) == (10, address_of("a"))


def test_one_who_has_the_same_generation_is_looked_at_too() -> None:
    """Two copies that were started at the same time: neither is a later life of the other."""
    world = World()
    a, _ = world.mesh("a", "b")
    a.hush()
    a.hears(endpoint_of("b"), PushPull((alive("a", generation=1, at="192.0.2.9:7000"),), answer=False))
    world.run(10)
    assert Endpoint("", "192.0.2.9:7000") in [to for to, _ in a.said]


def test_the_own_past_at_the_own_address_is_no_rival() -> None:
    world = World()
    a, _ = world.mesh("a", "b")
    a.hush()
    a.hears(endpoint_of("b"), Gossip((alive("a", generation=9),)))
    world.run(60)
    assert [to for to, _ in a.said if not to.node_id and to.address == address_of("a")] == []


def test_rivals_that_are_made_up_cost_one_try_a_second() -> None:
    world = World()
    a, _ = world.mesh("a", "b")
    a.hush()
    for number in range(1, 200):
        a.hears(endpoint_of("b"), Gossip((alive("a", generation=9 + 3 * number, at=f"192.0.2.9:{1024 + number}"),)))
        world.run(0.1)
    assert 15 <= len([to for to, _ in tables_said(a) if to.address.startswith("192.0.2.9:")]) <= 21


# Large meshes.


def fill(table: MemberTable, members: int) -> None:
    for number in range(members):
        announced = alive(f"n{number}")
        table.insert(Member(announced, with_state(announced.precedence, State.ALIVE), id_of("a"), 0))


def test_a_node_without_hints_asks_for_no_wake_up_and_one_that_has_tried_them_neither() -> None:
    table = MemberTable()
    fill(table, 3)
    hints = Hints(SWIM, Random(1), "")
    assert hints.deadline == NEVER
    hints.suggest(0, FORGED[:2], table)
    tries = []
    while hints.deadline != NEVER:
        tries += hints.fire(hints.deadline, table)
    assert len(tries) == 2 * HINT_TRIES
    assert len(hints) == 0


def tries_of_one(members: int, turns: int) -> int:
    """How often one node of a mesh of `members` tries a hint that is suggested before every turn."""
    table = MemberTable()
    fill(table, members)
    hints = Hints(SWIM, Random(1), "")
    tries: list[Endpoint] = []
    for turn in range(turns):
        now = (2 + turn) * SWIM.heal_interval
        hints.suggest(now, FORGED[:1], table)
        tries += hints.fire(now, table)
    return len(tries)


def test_many_that_hear_the_same_hint_share_the_work() -> None:
    """Who comes into a large mesh on one LAN must not be met by the tables of all at once."""
    assert tries_of_one(2, 100) >= 95
    together = 400 * tries_of_one(400, 1000) / 1000
    assert 2 <= together <= 8, "tries by a mesh of 400 in one interval"
