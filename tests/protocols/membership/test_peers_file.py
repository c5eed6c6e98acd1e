"""The peers file: where to look for the mesh after a restart, whoever was cut off meanwhile (DESIGN 4, healing)."""

from __future__ import annotations

import pytest

from protocols.membership.healing import AWAY_SAVED_MAX, PEERS_SAVED_MAX, peers_to_remember
from protocols.membership.member import Member, State, with_state
from protocols.membership.messages import Gossip, PushPull
from protocols.membership.records import PEERS_KEY, Peers
from protocols.membership.table import MemberTable
from protocols.membership.views import Leave
from tests.protocols.harness import Host, World, address_of, alive, config_of, endpoint_of, id_of
from tests.protocols.membership.healing_kit import FORGETFUL, all_agree

NAMES = ("a", "b", "c", "d", "e")


def saved_peers(host: Host) -> set[str]:
    saved = host.stored(PEERS_KEY)
    assert isinstance(saved, Peers)
    return {address.partition(".")[0] for address in saved.addresses}


def restart_all(hosts: list[Host], *seeds: str) -> None:
    """Every node goes down before the first comes up again, with other seeds than before."""
    for host in hosts:
        host.crash()
    for host in hosts:
        host.config = config_of(host.name, seeds=seeds)
        host.start()


@pytest.mark.parametrize("seeds", [(), ("gone",), ("gone", "b")], ids=["none", "gone", "one of them is right"])
def test_a_mesh_that_is_restarted_as_a_whole_forms_again_whatever_its_seeds_are_now(seeds: tuple[str, ...]) -> None:
    world = World()
    hosts = world.mesh(*NAMES)
    world.run(60)
    restart_all(hosts, *seeds)
    world.run_until(lambda: all_agree(hosts), 10)
    world.run(60)
    assert all_agree(hosts)


def test_a_mesh_forms_again_by_the_only_member_that_kept_its_address() -> None:
    """The others were given new ones, the seeds are gone: each finds the one that all remember."""
    world = World()
    hosts = world.mesh(*NAMES)
    world.run(60)
    for host in hosts:
        host.crash()
    moved = [hosts[4]]
    for old in hosts[:4]:
        new = world.add(f"{old.name}-moved", config_of(f"{old.name}-moved", seeds=("gone",)))
        new.disk = old.disk
        moved.append(new)
    hosts[4].config = config_of("e", seeds=("gone",))
    for host in moved:
        host.start()
    world.run_until(lambda: all_agree(moved), 30)


def test_halves_that_are_restarted_within_a_cut_do_not_forget_each_other() -> None:
    """The tables are gone with the restart; what is left are the peers files, which must keep those that are away."""
    world = World()
    hosts = world.mesh(*NAMES)
    world.run(60)
    world.split(("a", "b"), ("c", "d", "e"))
    world.run(600)
    restart_all(hosts)
    world.run(600)
    assert all(saved_peers(host) == set(NAMES) - {host.name} for host in hosts)
    restart_all(hosts)
    world.run(600)
    assert hosts[0].sees("c") is None
    world.heal()
    world.run_until(lambda: all_agree(hosts), 60)


@pytest.mark.parametrize(
    ("restart_s", "heal_s"), [(60, 2000), (2000, 60)], ids=["before they are forgotten", "after they are forgotten"]
)
def test_halves_that_are_restarted_within_a_cut_longer_than_anybody_is_remembered_meet_again(
    restart_s: float, heal_s: float
) -> None:
    world = World()
    hosts = world.mesh("a", "b", "c", "d", swim=FORGETFUL)
    world.run(60)
    world.split(("a", "b"), ("c", "d"))
    world.run(restart_s)
    for host in hosts:
        host.crash()
    for host in hosts:
        host.config = config_of(host.name, swim=FORGETFUL)
        host.start()
    world.run(heal_s)
    assert [len(host.node.swim.table) for host in hosts] == [2, 2, 2, 2]
    world.heal()
    world.run_until(lambda: all_agree(hosts), 120)


def test_peers_that_were_not_met_again_become_a_last_resort_like_the_dead() -> None:
    world = World()
    a, b, c = world.mesh("a", "b", "c", swim=FORGETFUL)
    world.run(60)
    c.crash()
    for host in (a, b):
        host.crash()
        host.config = config_of(host.name, swim=FORGETFUL)
        host.start()
    world.run(300)
    assert saved_peers(a) == {"b", "c"}
    a.hush()
    world.run(200)
    assert len(a.said_of(PushPull, "c")) > 10
    world.run(300)
    a.hush()
    world.run(600)
    assert 8 <= len(a.said_of(PushPull, "c")) <= 10  # one in SELDOM turns
    assert saved_peers(a) == {"b", "c"}


def test_one_who_leaves_remembers_whom_it_leaves_for_nobody_looks_for_it() -> None:
    """Within the first `push_pull_interval` of a life: before addresses would have been saved in any case."""
    world = World()
    a = world.add("a").start()
    b = world.add("b", config_of("b", seeds=("a",))).start()
    c = world.add("c", config_of("c", seeds=("b",))).start()
    world.run_until(lambda: all_agree([a, b, c]), 10)
    a.ask(Leave())
    a.crash()
    assert saved_peers(a) == {"b", "c"}
    b.crash()  # the only one that the other two would look for
    world.run(60)
    assert c.sees("a") is State.LEFT
    a.start()
    world.run_until(lambda: all_agree([a, c]), 10)


@pytest.mark.parametrize("by_gossip", [False, True], ids=["by its table", "by gossip before that"])
def test_the_first_addresses_are_saved_as_soon_as_somebody_is_known(by_gossip: bool) -> None:
    world = World()
    a = world.add("a").start()
    world.run(1)
    if by_gossip:
        a.hears(endpoint_of("b"), Gossip((alive("b"),)))
    a.hears(endpoint_of("b"), PushPull((alive("b"),), answer=False))
    world.run(0.1)
    assert saved_peers(a) == {"b"}


def test_the_peers_file_has_a_bound_and_room_for_those_that_are_away() -> None:
    table = MemberTable()
    me = Member(alive("a"), alive("a").precedence, id_of("a"), 0)
    table.insert(me)
    for number in range(200):
        announced = alive(f"n{number}")
        state = State.ALIVE if number < 100 else State.DEAD
        table.insert(Member(announced, with_state(announced.precedence, state), id_of("a"), 0))
    peers = peers_to_remember(table, me, (address_of("n3"), address_of("unmet")), (address_of("lost"),))
    living = [peer for peer in peers if peer in {address_of(f"n{number}") for number in range(100)}]
    assert len(peers) == len(dict.fromkeys(peers)) == PEERS_SAVED_MAX
    assert len(living) >= PEERS_SAVED_MAX - AWAY_SAVED_MAX
    assert address_of("unmet") in peers
    assert address_of("a") not in peers
    assert address_of("lost") not in peers, "who died of late comes first"
