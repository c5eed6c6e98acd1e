"""Properties and predicates to hand to `sim.always`, `sim.eventually` and their like, ready made."""

from __future__ import annotations

from sim.checkers import Agreement, IncarnationsGrow
from sim.testing.sim import Sim

incarnations_grow = IncarnationsGrow
"""What is believed of a member never goes back, and only the member raises it. For `sim.always`."""


def all_agree(sim: Sim) -> str:
    """All running nodes hold the same member table, and it is right: what differs, or nothing.

    Right: every running node is alive in it, in its present life and incarnation; every other is dead or has left.
    """
    return Agreement(sim.world).waits_for(sim.world.kernel.now)
