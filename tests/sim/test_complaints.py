"""What users of membership protocols complain of most, and what shows that it does not happen here.

- flapping where CPU is short: below; `study/false_positives.py` measures it over many meshes; views that stay steady:
  `checkers/test_views.py`
- halves that never merge again after an outage: `test_healing.py::test_a_cut_heals`
- a dead node that is revived for hours by push-pull: `test_healing.py::test_tables_in_which_a_dead_node_lives_…`
- nodes that stay dead after a mass restart: `test_healing.py::test_restarts_after_which_no_seed_is_right_…`
- two meshes fused by an address that was used again: `test_identity.py::test_two_meshes_that_exchange_addresses_…`
- graceful leaves that are seen as failures: `test_leaving.py`
"""

from __future__ import annotations

import pytest

from protocols.membership.facts import MemberChanged
from protocols.membership.member import State
from sim.checkers import Checker
from sim.faults import Starve
from sim.process import Process
from sim.scenario import Scenario, run
from sim.world import World

STARVED = "n3"


class Doubted(Checker):
    """Who was doubted or declared dead, by name."""

    name = "doubted"
    facts = (MemberChanged,)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.who: list[tuple[str, State]] = []

    def on_fact(self, now: int, process: Process, fact: MemberChanged) -> None:  # type: ignore[override]
        if fact.state is not State.ALIVE:
            self.who.append((fact.name, fact.state))


@pytest.mark.parametrize("blocked_s", [2.0, 8.0, 30.0])
def test_a_member_that_is_short_of_cpu_makes_no_other_flap(blocked_s: float) -> None:
    """Blocked for up to so long again and again, in two minutes it accuses nobody; and who is blocked for less than a
    suspicion lasts is never dead to anybody."""
    for seed in range(2):
        doubted: list[Doubted] = []

        def watch(world: World, doubted: list[Doubted] = doubted) -> None:
            doubted.append(Doubted(world))
            world.watch.install(doubted)

        starve = Starve(5, 120, nodes=(STARVED,), blocked_s=blocked_s, runs_s=0.05)
        assert run(Scenario(nodes=8, seconds=125, seed=seed, faults=(starve,)), watch=watch).violations == ()
        assert doubted[0].who, "it was noticed"
        assert [name for name, _ in doubted[0].who if name != STARVED] == []
        assert blocked_s > 2 or State.DEAD not in [state for _, state in doubted[0].who]
