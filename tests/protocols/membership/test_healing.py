"""Table exchanges: how a mesh forms, stays whole, and grows together again after any cut (DESIGN 4, healing)."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.membership.facts import Forgotten, JoinedMesh, MemberChanged
from protocols.membership.healing import (
    LOST_MAX,
    Healer,
    push_pull_scale,
)
from protocols.membership.hints import Hint, Suggest
from protocols.membership.member import Believed, Member, State, precedence_of, with_state
from protocols.membership.messages import Gossip, PushPull
from protocols.membership.records import PEERS_KEY, Peers
from protocols.membership.table import MemberTable
from protocols.membership.views import GetStatus, Leave, NodeStatus
from tests.protocols.harness import Host, World, accuse, address_of, alive, config_of, endpoint_of, id_of
from tests.protocols.membership.healing_kit import FORGETFUL, all_agree

NAMES = ("a", "b", "c", "d", "e")


# How often.


@pytest.mark.parametrize(
    ("members", "scale"), [(1, 1), (32, 1), (33, 2), (64, 2), (65, 3), (128, 3), (129, 4), (1000, 6)]
)
def test_exchanges_are_spread_out_as_memberlist_does(members: int, scale: int) -> None:
    assert push_pull_scale(members) == scale


@given(st.integers(33, 1_000_000))
def test_the_scale_is_memberlists_formula(members: int) -> None:
    """⌈log2(members) - log2(32)⌉ + 1, without floating point: how often 32 must double to reach it, and one."""
    doublings = push_pull_scale(members) - 1
    assert 32 << (doublings - 1) < members <= 32 << doublings


@pytest.mark.parametrize(("here", "exchanges"), [(2, 60), (32, 60), (64, 30), (65, 20), (1000, 10)])
def test_a_node_exchanges_tables_as_often_as_the_size_of_its_mesh_says(here: int, exchanges: int) -> None:
    """In half an hour, with members that are alive."""
    healer, table, me = lonely_healer(here=here)
    interval = config_of("a").swim.push_pull_interval
    sent = [target for turn in range(1, 61) for target in healer.fire((1 + turn) * interval, table, me)]
    assert len([target for target in sent if target.node_id]) == pytest.approx(exchanges, abs=1)


def test_tables_are_exchanged_with_members_that_are_alive_and_not_with_suspects() -> None:
    healer, table, me = lonely_healer(here=5)
    for name in ("n1", "n2", "n3"):
        row = table.rows[id_of(name)]
        table.believe(0, row, row.alive, with_state(row.precedence, State.SUSPECT), id_of("a"))
    interval = config_of("a").swim.push_pull_interval
    sent = [target for turn in range(1, 61) for target in healer.fire((1 + turn) * interval, table, me)]
    assert {target.node_id for target in sent} == {id_of("n4")}


# Joining.


def test_a_mesh_forms_from_one_seed() -> None:
    world = World()
    hosts = [world.add(name, config_of(name, seeds=("a",))).start() for name in NAMES]
    world.run_until(lambda: all_agree(hosts), 10)
    joined = hosts[3].facts_of(JoinedMesh)
    assert [fact.via for fact in joined] == [id_of("a")]


def test_a_seed_that_is_away_is_tried_for_ever() -> None:
    world = World()
    host = world.add("b", config_of("b", seeds=("a",))).start()
    world.run(24 * 3600)
    assert len(host.said_of(PushPull, "a")) > 24 * 3600 * 0.9
    seed = world.add("a").start()
    world.run_until(lambda: all_agree([host, seed]), 5)


def test_a_seed_that_nobody_answers_at_is_tried_for_ever_by_one_who_has_joined_elsewhere() -> None:
    """Two halves that never met, and only a seed that one of them names leads to the other."""
    world = World()
    a = world.add("a").start()
    b = world.add("b", config_of("b", seeds=("a", "x"))).start()
    world.run_until(lambda: all_agree([a, b]), 10)
    world.run(3600)
    x = world.add("x").start()
    world.run_until(lambda: all_agree([a, b, x]), 60)


def test_a_seed_is_tried_although_a_dead_member_is_remembered() -> None:
    """A member may be dead for a day; what the seed leads to must not wait so long."""
    world = World()
    a, c = world.add("a").start(), world.add("c", config_of("c", seeds=("a",))).start()
    b = world.add("b", config_of("b", seeds=("a", "x"))).start()
    world.run_until(lambda: all_agree([a, b, c]), 10)
    c.crash()
    world.run_until(lambda: b.sees("c") is State.DEAD)
    world.run(60)
    world.add("x").start()
    world.run_until(lambda: b.sees("x") is State.ALIVE, 120)


def test_a_node_that_names_itself_as_a_seed_joins_the_others() -> None:
    world = World()
    hosts = [world.add(name, config_of(name, seeds=("a", "b"))).start() for name in "ab"]
    world.run_until(lambda: all_agree(hosts), 10)
    assert not [to for to, message in hosts[0].said if isinstance(message, PushPull) and to.address == address_of("a")]


def test_the_first_node_whose_only_seed_is_itself_has_nobody_to_wait_for() -> None:
    """One configuration for all nodes: the one that is the seed is ready before any other is there."""
    world = World()
    a = world.add("a", config_of("a", seeds=("a",))).start()
    world.run(5)
    status = a.ask(GetStatus())
    assert isinstance(status, NodeStatus)
    assert (status.phase, a.said_of(PushPull)) == ("serving", [])
    b = world.add("b", config_of("b", seeds=("a",))).start()
    world.run_until(lambda: all_agree([a, b]), 10)


def test_an_answer_of_oneself_by_another_address_is_no_join() -> None:
    world = World()
    host = world.add("a", config_of("a", seeds=("alias",))).start()
    world.run(2)
    host.hears(host.endpoint, PushPull((alive("a"),), answer=True))
    host.hears(host.endpoint, PushPull((alive("a"),), answer=False))
    assert host.facts_of(JoinedMesh) == []
    host.hush()
    world.run(5)
    assert len(host.said_of(PushPull, "alias")) >= 4


def test_a_restarted_node_finds_the_mesh_by_its_saved_peers_when_the_seed_is_gone() -> None:
    world = World()
    a, b, c = world.mesh("a", "b", "c")
    world.run(60)
    saved = c.stored(PEERS_KEY)
    assert isinstance(saved, Peers)
    assert set(saved.addresses) == {address_of("a"), address_of("b")}
    a.crash()
    c.restart()
    world.run_until(lambda: c.sees("b") is State.ALIVE, 10)
    assert b.sees("c") is State.ALIVE


# Anti-entropy.


def test_news_that_no_gossip_carried_arrives_by_exchange() -> None:
    world = World()
    hosts = world.mesh("a", "b", "c")
    hosts[0].hears(endpoint_of("x"), Gossip((alive("x"),)))
    world.lets_through = lambda source, target, message: isinstance(message, PushPull)
    world.run_until(lambda: all(host.row("x") is not None for host in hosts), 120)


# Cuts.


@pytest.mark.parametrize("sides", [(("a",), ("b", "c", "d", "e")), (("a", "b"), ("c", "d", "e"))])
@pytest.mark.parametrize("cut_s", [3, 40, 600])
def test_all_rows_agree_again_after_a_cut(sides: tuple[tuple[str, ...], ...], cut_s: float) -> None:
    world = World()
    hosts = world.mesh(*NAMES)
    world.split(*sides)
    world.run(cut_s)
    if cut_s > 60:
        assert all(
            host.sees(name) is State.DEAD for host in hosts for name in NAMES if not same_side(sides, host, name)
        )
    world.heal()
    world.run_until(lambda: all_agree(hosts), 60)
    world.run(60)
    assert all_agree(hosts)


def same_side(sides: tuple[tuple[str, ...], ...], host: Host, name: str) -> bool:
    return any(host.name in side and name in side for side in sides)


def test_a_cut_without_any_seed_heals_by_the_remembered_dead() -> None:
    world = World()
    a, b = world.mesh("a", "b")
    a.config = config_of("a")
    b.config = config_of("b")
    world.run(40)
    b.disk.pop(PEERS_KEY)
    a.disk.pop(PEERS_KEY)
    world.split(("a",), ("b",))
    world.run(3600)
    assert (a.sees("b"), b.sees("a")) == (State.DEAD, State.DEAD)
    world.heal()
    world.run_until(lambda: all_agree([a, b]), 60)


def tries_of_the_dead(alive_count: int, dead_count: int, turns: int) -> int:
    """How often a node of a mesh without seeds tries one of its dead members in so many turns."""
    config = config_of("a")
    healer, table = Healer(config, Random(1), ()), MemberTable()
    me = Member(alive("a"), alive("a").precedence, id_of("a"), 0)
    table.insert(me)
    for number in range(1, alive_count + dead_count):
        announced = alive(f"n{number}")
        state = State.ALIVE if number < alive_count else State.DEAD
        table.insert(Member(announced, with_state(announced.precedence, state), id_of("a"), 0))
    healer.start(0)
    tries = 0
    for turn in range(turns):
        now = (2 + turn) * config.swim.heal_interval
        targets = [table.get(target.node_id) for target in healer.fire(now, table, me)]
        tries += sum(row is not None and row.state is State.DEAD for row in targets)
    return tries


def test_few_that_lost_many_try_at_every_turn_and_many_that_lost_few_share_the_work() -> None:
    """Whoever comes back must not be met by the tables of thousands at once."""
    assert tries_of_the_dead(1, 300, 100) == 100
    assert tries_of_the_dead(100, 100, 100) == 100
    together = 400 * tries_of_the_dead(400, 1, 1000) / 1000
    assert 2 <= together <= 8, "tries of one dead member by a mesh of 400 in one interval"


def tables_sent(here: int, seeds: tuple[str, ...], turns: int) -> list[str]:
    """Addresses that one of `here` live nodes sends its table to in so many heal intervals, anti-entropy left out."""
    healer, table, me = lonely_healer(here=here, seeds=seeds)
    healer.answered()
    interval = config_of("a").swim.heal_interval
    fired = [target for turn in range(turns) for target in healer.fire((2 + turn) * interval, table, me)]
    return [target.address for target in fired if not target.node_id]


def test_seeds_at_which_live_members_answer_are_not_tried_though_others_are_away() -> None:
    """Of three nodes that name five seeds, two are there: only the other three are worth a try."""
    tries = tables_sent(3, ("n1", "n2", "x", "y", "z"), 100)
    assert set(tries) == {address_of(name) for name in "xyz"}
    assert len(tries) == 60


def test_a_large_mesh_shares_the_tries_of_a_seed_that_has_another_name_than_its_member() -> None:
    """A name in the DNS never equals an announced address: each of a thousand nodes would send it table upon table."""
    tries = len(tables_sent(1000, ("seed",), 2000))
    assert 2 <= 1000 * tries / 2000 <= 8, "tries of one seed by a mesh of 1000 in one interval"
    assert len(tables_sent(4, ("seed",), 100)) == 100


# Forgetting.


def test_the_dead_are_forgotten_by_all_after_their_time() -> None:
    world = World()
    a, b, c = world.mesh("a", "b", "c", swim=FORGETFUL)
    c.crash()
    world.run(500)
    assert a.sees("c") is State.DEAD
    world.run(400)
    for host in (a, b):
        assert host.row("c") is None
        assert [fact.node_id for fact in host.facts_of(Forgotten)] == [id_of("c")]


def test_the_departed_are_forgotten_too() -> None:
    world = World()
    a, b, c = world.mesh("a", "b", "c", swim=FORGETFUL)
    c.ask(Leave())
    c.crash()
    world.run(900)
    assert (a.row("c"), b.row("c")) == (None, None)


def test_a_newcomer_learns_of_the_dead_and_does_not_keep_them_longer_than_others() -> None:
    """Whoever learns of a dead member from a table inherits its age: else the dead would wander from table to table."""
    world = World()
    a, _, c = world.mesh("a", "b", "c", swim=FORGETFUL)
    c.crash()
    world.run(400)
    late = world.add("d", config_of("d", seeds=("a",), swim=FORGETFUL)).start()
    world.run(5)
    assert late.sees("c") is State.DEAD
    world.run(500)
    assert late.row("c") is None
    assert a.row("c") is None


def test_a_dead_member_past_its_time_is_not_taken_in() -> None:
    world = World()
    host = world.add("a", config_of("a", swim=FORGETFUL)).start()
    world.run(1)
    for minutes, known in ((11, False), (9, True)):
        row = Believed(alive("b"), precedence_of(1, 0, State.DEAD), id_of("c"), minutes)
        host.hears(endpoint_of("c"), PushPull((row,), answer=False))
        assert (host.sees("b") is State.DEAD) == known


def test_one_who_was_forgotten_comes_back_as_anybody() -> None:
    world = World()
    a, b = world.mesh("a", "b", swim=FORGETFUL)
    b.crash()
    world.run(900)
    assert a.row("b") is None
    b.start()
    world.run_until(lambda: a.sees("b") is State.ALIVE and b.sees("a") is State.ALIVE, 10)


def test_a_forgotten_member_is_not_probed_or_told_anything() -> None:
    world = World()
    a, b, _ = world.mesh("a", "b", "c", swim=FORGETFUL)
    b.crash()
    world.run(900)
    a.hush()
    world.run(120)
    assert [to for to, _ in a.said if to.node_id == id_of("b")] == []


def test_the_dead_are_told_for_a_while_that_they_are() -> None:
    """Gossip to the dead: one who was declared dead falsely hears of it and refutes (Lifeguard, DESIGN 4)."""
    world = World()
    a, b, c = world.mesh("a", "b", "c")
    for host in (a, c):
        host.hears(endpoint_of("z"), Gossip((accuse("b", State.DEAD, by="z"),)))
    world.run(3)
    assert a.said_of(Gossip, "b") or c.said_of(Gossip, "b")
    dead_once = [fact for fact in a.facts_of(MemberChanged) if fact.state is State.DEAD]
    assert len(dead_once) == 1
    assert b.sees("b") is State.ALIVE


def test_the_dead_are_told_the_news_for_half_a_minute_and_no_longer() -> None:
    world = World()
    a, _, c = world.mesh("a", "b", "c")
    c.crash()
    world.run_until(lambda: a.sees("c") is State.DEAD, 60)
    told: list[bool] = []
    for name in ("x", "y"):
        a.hush()
        a.hears(endpoint_of("b"), Gossip((alive(name),)))
        world.run(5)
        told.append(bool(a.said_of(Gossip, "c")))
        world.run(26)
    assert told == [True, False]


# Last resort.


def test_a_cut_longer_than_anybody_is_remembered_heals_without_any_seed() -> None:
    world = World()
    hosts = [world.add(name, config_of(name, swim=FORGETFUL)).start() for name in "abcd"]
    world.run(1)
    for host in hosts[1:]:
        host.request(Suggest((Hint(address_of("a")),)))
    world.run_until(lambda: all_agree(hosts), 60)
    world.split(("a", "b"), ("c", "d"))
    world.run(2000)
    assert [len(host.node.swim.table) for host in hosts] == [2, 2, 2, 2]
    world.heal()
    world.run_until(lambda: all_agree(hosts), 120)


def test_one_who_left_is_found_though_all_whom_it_knew_have_gone_meanwhile() -> None:
    """`d` came while `a` was away: of the two only `d` knows where the other may be."""
    world = World()
    a, b, c = world.mesh("a", "b", "c")
    a.ask(Leave())
    a.crash()
    d = world.add("d", config_of("d", seeds=("b",))).start()
    world.run_until(lambda: d.sees("a") is State.LEFT, 10)
    for host in (b, c):
        host.ask(Leave())
        host.crash()
    world.run(60)
    a.start()
    world.run_until(lambda: all_agree([a, d]), 120)


def lonely_healer(*, here: int, left: int = 0, seeds: tuple[str, ...] = ()) -> tuple[Healer, MemberTable, Member]:
    """The healer of one of `here` nodes that are alive, and the table that all of them have."""
    table = MemberTable()
    me = Member(alive("a"), alive("a").precedence, id_of("a"), 0)
    table.insert(me)
    for number in range(1, here + left):
        announced = alive(f"n{number}")
        state = State.ALIVE if number < here else State.LEFT
        table.insert(Member(announced, with_state(announced.precedence, state), id_of("a"), 0))
    healer = Healer(config_of("a", seeds=seeds), Random(1), ())
    healer.start(0)
    return healer, table, me


def tried(healer: Healer, table: MemberTable, me: Member, turns: int) -> list[str]:
    """Addresses that are tried in so many turns, exchanges with those who are here left out."""
    here = {member.alive.profile.address for member in table if member.state is State.ALIVE}
    interval = config_of("a").swim.heal_interval
    targets = [target for turn in range(turns) for target in healer.fire((2 + turn) * interval, table, me)]
    return [target.address for target in targets if target.address not in here]


def test_those_that_were_forgotten_last_are_tried_for_ever_and_seldom_unless_one_is_alone() -> None:
    for here, times in ((1, 600), (4, 100)):
        healer, table, me = lonely_healer(here=here)
        healer.forgot([address_of(f"old{number}") for number in range(20)])
        tries = tried(healer, table, me, 600)
        assert len(tries) == times
        assert set(tries) == {address_of(f"old{number}") for number in range(20 - LOST_MAX, 20)}


def test_many_share_the_tries_of_those_that_were_forgotten_and_of_those_that_left() -> None:
    healer, table, me = lonely_healer(here=400, left=1)
    healer.forgot([address_of("old")])
    tries = tried(healer, table, me, 6000)
    together = 400 * len(tries) / 1000
    assert 4 <= together <= 12, "tries of two by a mesh of 400 in six intervals"
    assert set(tries) == {address_of("old"), address_of("n400")}


def test_one_who_is_here_again_is_no_last_resort() -> None:
    healer, table, me = lonely_healer(here=2)
    healer.forgot([address_of("n1")])
    assert tried(healer, table, me, 100) == []
    assert healer._lost == {}
