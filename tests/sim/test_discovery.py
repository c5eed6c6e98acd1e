"""Discovery under faults: hints that nobody vouches for, peers files after mass restarts, seeds that lead nowhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocols.core import NANOS_PER_S, Instant
from protocols.membership.hints import HINT_TRIES, HINTS_AT_ONCE_MAX, HINTS_MAX, Hint, Suggest
from sim.faults import AnyFault, Groups, MassRestart
from sim.process import Process
from sim.scenario import Scenario, address_for, run
from sim.world import World

NOWHERE = ("10.255.255.1:7400",)
FORGED = tuple(Hint(f"10.254.{number >> 8}.{number & 255}:7400", f"x{number}") for number in range(10_000))


def suggest(now: Instant, process: Process, hints: tuple[Hint, ...]) -> None:
    if process.up and not process.stopped:
        process.request(now, Suggest(hints), lambda now, outcome: None)


def passes(scenario: Scenario, watch: Callable[[World], None]) -> None:
    report = run(scenario, watch=watch)
    assert not report.violations, report.violations


@pytest.mark.parametrize("seed", range(5))
def test_ten_thousand_forged_hints_at_every_node_change_nothing_under_faults(seed: int) -> None:
    """All properties hold as ever, and the mesh says no more to strangers than its bound lets it."""
    nodes, seconds = 5, 60
    drops: list[int] = []

    def watch(world: World) -> None:
        for process in world.processes:
            for number in range(0, len(FORGED), HINTS_AT_ONCE_MAX):
                at = 5 * NANOS_PER_S + number * NANOS_PER_S // 1000
                world.kernel.push(at, suggest, process, FORGED[number : number + HINTS_AT_ONCE_MAX])
        world.kernel.push(
            seconds * NANOS_PER_S - 1, lambda now, a, b: drops.append(world.network.drops["nobody_there"])
        )

    passes(Scenario(nodes=nodes, seconds=seconds, seed=seed, tasks_per_s=1.0, mix="swarm"), watch)
    # One in 10 s each while in touch, and one a second while alone.
    assert 0 < drops[0] <= nodes * seconds
    assert drops[0] <= nodes * HINTS_MAX * HINT_TRIES


@pytest.mark.parametrize("seed", range(5))
def test_nodes_that_know_nobody_find_the_mesh_by_hints_among_forged_ones(seed: int) -> None:
    def watch(world: World) -> None:
        for process in world.processes[3:]:
            process.reconfigure(seeds=())
            for second in range(10, 60, 10):
                shouted = (Hint(address_for(0), "forged"), *FORGED[second : second + 10])
                world.kernel.push(second * NANOS_PER_S, suggest, process, shouted)

    passes(Scenario(nodes=5, seconds=60, seed=seed, start="join"), watch)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "cut",
    [(), (Groups(20, 200, groups=(("n0", "n1"), ("n2", "n3", "n4"))),)],
    ids=["whole", "in two halves"],
)
def test_a_mass_restart_after_which_no_seed_is_right_is_healed_by_the_peers_files(
    seed: int, cut: tuple[AnyFault, ...]
) -> None:
    def watch(world: World) -> None:
        def change(now: Instant, process: Process, _: None) -> None:
            process.reconfigure(seeds=NOWHERE)

        for process in world.processes:
            world.kernel.push(60 * NANOS_PER_S, change, process)

    faults = (*cut, MassRestart(70, 75), MassRestart(130, 135))
    passes(Scenario(nodes=5, seconds=260, seed=seed, start="join", faults=faults), watch)
