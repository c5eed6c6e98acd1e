"""Without faults, nobody declares a running node dead (Lifeguard's false positive, at rate zero).

A verdict is false when its subject is up and nothing excuses the accuser: no cut in force, no packet loss, and all
disturbances (cuts, crashes, restarts) so long over that nothing of them can still be going round (the bound of
`agreement.py`). Loss, a way there and back that may outlast a probe's patience, any fault in force (`World.troubles`:
slow links and nodes, pauses, clocks that drift, …) and a rest of the mesh that stays broken excuse everything: SWIM
promises nothing then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.core import Fact, Instant
from protocols.membership.facts import MemberChanged
from protocols.membership.member import State
from sim.checkers.agreement import agreement_bound
from sim.checkers.checker import Checker
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World


class NoFalseDeath(Checker):
    """In a mesh that is well, nobody declares a running node dead."""

    name = "no_false_death"
    facts = (MemberChanged,)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._calm_after = agreement_bound(world.processes[0].config.swim, len(world.processes))

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        if type(fact) is not MemberChanged or fact.state is not State.DEAD:
            return
        subject = self.world.by_id.get(fact.node_id)
        if subject is None or not subject.up or self._excused(now):
            return
        self.violated(now, process, f"declares {fact.name} dead, accused by {self._name(fact.by)}; {fact.name} is up")

    def _excused(self, now: Instant) -> bool:
        world = self.world
        if world.network.lossy or not world.network.whole or world.troubles:
            return True
        if len(world.core) < len(world.processes):
            return True
        if 2 * world.network.one_way_max > world.processes[0].config.swim.probe_timeout:
            return True
        return world.disturbed and now < world.disturbed_at + self._calm_after

    def _name(self, node_id: str) -> str:
        process = self.world.by_id.get(node_id)
        return node_id if process is None else process.name
