"""A node that is down for good is suspected, or worse, by every node that runs, within a bound (SWIM section 3.1, 4.3).

"For good" is: down when liveness began to be asked, and ever since. The bound, for a mesh of N:

    min(2N − 1, 2·⌈ln N⌉ + 3) + 1 probe intervals
                  until somebody's probe of it has failed. Round robin reaches each member within 2N − 1 intervals; N
                  nodes that probe independently all miss it that often with a probability below N⁻²
  + min(2N, spread)
                  until all know: by their own round at the latest, and, where that is sooner, by gossip and at worst by
                  anti-entropy (the last two terms of `agreement.py`'s bound)

Probe intervals are those of a node whose local health is at its worst, as after a cut in which no probe was answered.

That is far below the bound of agreement: nobody has to be judged, only doubted. Loss is no excuse, for a node that is
down answers no probe; a mesh that is cut is not asked.
"""

from __future__ import annotations

import math

from protocols.config import SwimConfig
from protocols.core import Instant
from protocols.membership.member import STATE_MASK, State
from sim.checkers.agreement import slowest_probe, spreading
from sim.checkers.checker import Checker
from sim.inspect import rows_of

NODES_ASKED_MAX = 128


def completeness_bound(config: SwimConfig, members: int) -> Instant:
    """Nanoseconds from the death of a node, or the last disturbance, until everybody doubts it, at most."""
    found_out = min(2 * members - 1, 2 * math.ceil(math.log(max(2, members))) + 3) + 1
    own_round = 2 * members * slowest_probe(config)
    return found_out * slowest_probe(config) + min(own_round, spreading(config, members))


class Completeness(Checker):
    """Every node that is down for good comes to be doubted by every node that runs."""

    name = "completeness"

    def deadline(self) -> Instant:
        processes = self.world.processes
        return self.asked_since() + completeness_bound(processes[0].config.swim, len(processes))

    def waits_for(self, now: Instant) -> str:
        world = self.world
        whole = len(world.core) == len(world.processes)
        if whole and not world.network.whole:
            return ""
        since = self.asked_since()
        down = [process for process in world.processes if process.core is None and process.down_since <= since]
        running = [process for process in world.core if process.core is not None]
        for process in running[:: -(-len(running) // NODES_ASKED_MAX) or 1]:
            rows = rows_of(process.core)
            for lost in down:
                row = rows.get(lost.config.node_id)
                if row is not None and row.precedence & STATE_MASK == State.ALIVE:
                    return f"{process.name} takes {lost.name} for alive, but it is down"
        return ""
