"""Who is who when nodes move: new addresses, old addresses under new names, and two meshes that exchange theirs.

The network of the simulator hands a message to whom TLS and the packet seal would let it: to the node that it names, or
to whoever of the same mesh is there. That the real ones do so is shown in `tests/meshnode/transport`, and with whole
daemons, copied data directories included, in `tests/e2e/test_e2e_identity.py` and `test_e2e_hostile.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from msgspec.structs import replace

from protocols.core import Instant
from protocols.membership.member import State
from protocols.membership.views import Leave
from protocols.node import Node
from sim.checkers import IncarnationsGrow, NobodySeesItselfDead, NoResurrection, OneProfile
from sim.faults import AnyFault, Halves
from sim.inspect import rows_of
from sim.process import Process
from sim.scenario import Scenario, address_for, configs_for, run
from sim.world import World
from tests.sim.simkit import S

SEEDS_MOVE = {"n0": address_for(10), "n1": address_for(11), "n2": address_for(12)}
MOVES: dict[str, dict[str, str]] = {
    "one to a new address": {"n3": address_for(13)},
    "two exchange theirs": {"n3": address_for(4), "n4": address_for(3)},
    "all seeds to new addresses": SEEDS_MOVE,
    "each to that of the next": {f"n{number}": address_for((number + 1) % 5) for number in range(5)},
}


def moving(addresses: Mapping[str, str], at_s: float, *, graceful: bool, down_s: float = 10) -> Callable[[World], None]:
    """Nodes leave, or crash, at `at_s` and come back at other addresses."""

    def take_down(now: Instant, process: Process, _: None) -> None:
        if process.up:
            process.world.crash(process)

    def go(now: Instant, process: Process, _: None) -> None:
        if graceful:
            kernel = process.world.kernel
            process.request(now, Leave(), lambda now, outcome: kernel.push(now, take_down, process))
        else:
            take_down(now, process, None)

    def watch(world: World) -> None:
        movers = [process for process in world.processes if process.name in addresses]
        for process in movers:
            world.kernel.push(int(at_s * S), go, process)

        def come_back(now: Instant, _a: None, _b: None) -> None:
            world.move(addresses)
            for process in movers:
                world.boot(process)

        world.kernel.push(int((at_s + down_s) * S), come_back, None)

    return watch


@pytest.mark.parametrize("graceful", [True, False], ids=["after a leave", "after a crash"])
@pytest.mark.parametrize("faults", [(), (Halves(30, 90),)], ids=["whole", "in two halves"])
@pytest.mark.parametrize("moves", MOVES)
def test_nodes_that_move_are_known_where_they_are(moves: str, faults: tuple[AnyFault, ...], graceful: bool) -> None:
    """By all, in one table: `agreement` compares addresses too. Seeds go on naming addresses that others may have."""
    for seed in range(2):
        scenario = Scenario(nodes=5, seconds=120, seed=seed, start="join", tasks_per_s=1, faults=faults)
        assert run(scenario, watch=moving(MOVES[moves], 40, graceful=graceful)).violations == ()


@pytest.mark.parametrize("seed", range(2))
def test_an_address_under_a_new_name_is_the_new_node_and_the_old_one_stays_dead(seed: int) -> None:
    worlds: list[World] = []

    def watch(world: World) -> None:
        worlds.append(world)
        world.kernel.push(20 * S, lambda now, a, b: world.crash(world.processes[1]), None)
        world.kernel.push(30 * S, lambda now, a, b: world.move({"n1": address_for(20)}), None)
        moving({"n4": address_for(1)}, 60, graceful=False)(world)

    assert run(Scenario(nodes=5, seconds=400, seed=seed, start="join"), watch=watch).violations == ()
    (world,) = worlds
    old, new = world.processes[1].config.node_id, world.processes[4].config.node_id
    for process in world.running():
        rows = rows_of(process.core)
        assert (rows[old].state, rows[new].state) == (State.DEAD, State.ALIVE)
        assert rows[old].alive.profile.address == rows[new].alive.profile.address == address_for(1)


def two_meshes(labels: str, seed: int) -> World:
    """Four nodes of the mesh `labels[0]`, and four of `labels[1]`."""
    configs = []
    for index, config in enumerate(configs_for(Scenario(nodes=8))):
        first = index // 4 * 4
        configs.append(replace(config, mesh=labels[index // 4], seeds=(address_for(first), address_for(first + 1))))
    world = World(seed, configs, Node)
    world.install((IncarnationsGrow, NoResurrection, OneProfile, NobodySeesItselfDead))
    for process in world.processes:
        world.boot(process)
    return world


@pytest.mark.parametrize(("labels", "members"), [("ab", 4), ("aa", 8)], ids=["two meshes", "one, for comparison"])
@pytest.mark.parametrize("seed", range(2))
def test_two_meshes_that_exchange_addresses_are_never_fused(labels: str, members: int, seed: int) -> None:
    """Their seeds, peers files and dead rows all lead into the other mesh, for as long as they are remembered."""
    world = two_meshes(labels, seed)
    world.run(60 * S)
    for crossed in ((0, 4), (1, 5), (2, 6)):
        down = [world.processes[index] for index in crossed]
        for process in down:
            world.crash(process)
        world.run(world.kernel.now + 40 * S)
        world.move({down[0].name: down[1].config.address, down[1].name: down[0].config.address})
        for process in down:
            world.boot(process)
        world.run(world.kernel.now + 120 * S)
    assert world.watch.violations == []
    for process in world.processes:
        rows = rows_of(process.core)
        assert [row.state for row in rows.values()] == [State.ALIVE] * members
        own = {other.config.node_id for other in world.processes if other.config.mesh == process.config.mesh}
        assert rows.keys() == own
    assert world.network.drops["nobody_there"] > 0 or labels == "aa"
