"""Meshes that were cut, or restarted, in whatever way: all tables agree again (DESIGN 4, healing).

Every property is checked, `agreement` above all; its bound after the heal is derived in its file.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocols.core import Instant
from protocols.membership.facts import Forgotten, MemberChanged
from protocols.membership.member import State
from protocols.membership.settings import MembershipSettings
from sim.checkers import Checker
from sim.faults import (
    AnyFault,
    ClockDrift,
    ClockJump,
    Crash,
    Groups,
    Halves,
    Isolate,
    MassRestart,
    Pause,
    Restart,
    RollingRestart,
)
from sim.inspect import rows_of
from sim.process import Process
from sim.scenario import Scenario, run
from sim.scenario.model import Start
from sim.world import World
from tests.sim.simkit import S

NOWHERE = ("10.255.255.1:7400",)
FORGETFUL = MembershipSettings(remember_dead_s=120)
"""As short as may be: the dead are forgotten after four exchanges of tables."""
HALVES = (("n0", "n1"), ("n2", "n3", "n4"))
ONE_OFF = (("n3",), ("n0", "n1", "n2", "n4"))


class Forgot(Checker):
    """Counts the rows that were dropped."""

    name = "forgot"
    facts = (Forgotten,)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.rows = 0

    def on_fact(self, now: Instant, process: Process, fact: Forgotten) -> None:  # type: ignore[override]
        self.rows += 1


def loses_its_seeds(at_s: float) -> Callable[[World], None]:
    """From `at_s` on whoever starts is told of a seed that leads nowhere. (A converged start joins by none.)"""

    def change(now: Instant, process: Process, _: None) -> None:
        process.reconfigure(seeds=NOWHERE)

    def watch(world: World) -> None:
        for process in world.processes:
            world.kernel.push(int(at_s * S), change, process)

    return watch


@pytest.mark.parametrize("sides", [HALVES, ONE_OFF], ids=["half from half", "one from all"])
@pytest.mark.parametrize("seeds", ["join", "converged"], ids=["with seeds", "without seeds"])
@pytest.mark.parametrize(
    ("cut_s", "forgotten"),
    [(2, False), (15, False), (70, False), (330, True)],
    ids=["not noticed", "suspected", "dead and no more told", "forgotten by all"],
)
def test_a_cut_heals(sides: tuple[tuple[str, ...], ...], seeds: Start, cut_s: int, forgotten: bool) -> None:
    for seed in range(2):
        counters: list[Forgot] = []

        def watch(world: World, counters: list[Forgot] = counters) -> None:
            counters.append(Forgot(world))
            world.watch.install(counters)

        faults = (Groups(10, 10 + cut_s, groups=sides),)
        scenario = Scenario(
            nodes=5,
            seconds=11 + cut_s,
            seed=seed,
            start=seeds,
            membership=FORGETFUL,
            faults=faults,
        )
        assert run(scenario, watch=watch).violations == ()
        assert counters[0].rows >= 2 * len(sides[0]) * len(sides[1]) if forgotten else counters[0].rows == 0


DIED_S = 20
BACK_S = 400
"""When the last one comes back that has missed a death."""


class Revived(Checker):
    """When whom was told that n1 is alive, after all who could know had taken it for dead."""

    name = "revived"
    facts = (MemberChanged,)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.at: list[tuple[float, str]] = []

    def on_fact(self, now: Instant, process: Process, fact: MemberChanged) -> None:  # type: ignore[override]
        lost = self.world.processes[1]
        if fact.node_id == lost.config.node_id and fact.state is State.ALIVE and now > (DIED_S + 40) * S:
            self.at.append((now / S, process.name))


@pytest.mark.parametrize("retention", [FORGETFUL, MembershipSettings()], ids=["forgotten", "remembered"])
@pytest.mark.parametrize("seed", range(2))
def test_tables_in_which_a_dead_node_lives_do_not_revive_it(seed: int, retention: MembershipSettings) -> None:
    """n2 and n3 stand still while n1 dies for good, and come back with it in their tables: n2 while it is remembered,
    n3 perhaps when it is forgotten. Others are restarted, and learn of it from whoever they ask."""
    world: list[World] = []
    revived: list[Revived] = []

    def watch(one: World) -> None:
        world.append(one)
        revived.append(Revived(one))
        one.watch.install(revived)

    faults = (
        Crash(DIED_S, None, nodes=("n1",)),
        Pause(10, 130, nodes=("n2",)),
        Pause(10, BACK_S, nodes=("n3",)),
        RollingRestart(150, 200, nodes=("n4", "n0"), graceful=False),
        RollingRestart(430, 480, nodes=("n5", "n2"), graceful=False),
    )
    scenario = Scenario(nodes=6, seconds=800, seed=seed, membership=retention, faults=faults)
    assert run(scenario, watch=watch).violations == ()
    lost = world[0].processes[1].config.node_id
    rows = [rows_of(process.core).get(lost) for process in world[0].running() if process is not world[0].processes[1]]
    if retention is FORGETFUL:
        assert all(BACK_S <= at < BACK_S + 60 for at, _ in revived[0].at)
        assert rows == [None] * 5
    else:
        assert revived[0].at == []
        assert [row.state for row in rows if row is not None] == [State.DEAD] * 5


@pytest.mark.parametrize(
    "restarts",
    [
        (MassRestart(60, 75),),
        (MassRestart(60, 75), MassRestart(130, 145, spread_s=3.0)),
        (RollingRestart(60, 90),),
        (RollingRestart(60, 90, graceful=False),),
        (Restart(60, 75, 4),),
    ],
    ids=["all at once", "all at once and again", "each in turn with leave", "each in turn by force", "four with leave"],
)
@pytest.mark.parametrize("cut", [(), (Groups(20, 200, groups=HALVES),)], ids=["whole", "in two halves"])
def test_restarts_after_which_no_seed_is_right_are_healed_by_what_was_remembered(
    restarts: tuple[AnyFault, ...], cut: tuple[AnyFault, ...]
) -> None:
    for seed in range(2):
        scenario = Scenario(nodes=5, seconds=220, seed=seed, start="join", faults=(*cut, *restarts))
        assert run(scenario, watch=loses_its_seeds(50)).violations == ()


@pytest.mark.parametrize("graceful", [True, False], ids=["with leave", "by force"])
@pytest.mark.parametrize("seed", range(6))
def test_restarts_in_the_first_second_of_a_mesh_make_no_two_of_it(seed: int, graceful: bool) -> None:
    """Before addresses are saved in any case, and whoever is not restarted names no seed (found by a soak: 9813)."""
    faults = (RollingRestart(0, 1, graceful=graceful), Restart(0.5, 1, 2, graceful=graceful))
    assert run(Scenario(nodes=5, seconds=1, seed=seed, faults=faults)).violations == ()


@pytest.mark.parametrize(
    "clocks",
    [
        (ClockJump(12, 80, 3, jump_s=86_400.0),),
        (ClockDrift(5, 90, 4, ppm=100_000),),
    ],
    ids=["walls jump by a day", "up to a tenth too fast or too slow"],
)
@pytest.mark.parametrize("cut", [Halves(10, 70), Isolate(10, 70)], ids=["half from half", "one from all"])
def test_a_cut_heals_whatever_clocks_show(clocks: tuple[AnyFault, ...], cut: AnyFault) -> None:
    for seed in range(3):
        scenario = Scenario(nodes=5, seconds=100, seed=seed, tasks_per_s=1, faults=(cut, *clocks))
        assert run(scenario).violations == ()


def test_seeds_that_left_before_addresses_were_saved_find_those_whom_they_left() -> None:
    """Found by a soak (seed 9813): they came back as a mesh of their own, and nobody looks for who has left."""
    faults = (RollingRestart(0, 1, salt=1874105960), Restart(0.5, 1, 2, salt=1195530916))
    assert run(Scenario(nodes=5, seconds=1, seed=9813, faults=faults)).violations == ()
