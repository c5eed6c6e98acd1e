"""A node that is down is suspected, or worse, by every node that runs, within a bound (SWIM sections 3.1 and 4.3).

Asked all along, of every node that is down and every node that runs, by that one's own clock:

    2N probe intervals
                  round robin reaches each member within 2N − 1 intervals, and an interval later the probe has failed

counted from when the one went down, or from later: when the other began its life or went on after a pause, when its
clock changed its pace, or when it was last told that the one is alive. There is no excuse, for a node that is down
answers no probe, whatever else is broken. It is judged when the node comes back, and at the end.

And asked in the settling phase, of nodes that have been down since liveness began to be asked. The bound, for a mesh of
N:

    min(2N − 1, 2·⌈ln N⌉ + 3) + 1 probe intervals
                  until somebody's probe of it has failed. Round robin reaches each member within 2N − 1 intervals; N
                  nodes that probe independently all miss it that often with a probability below N⁻²
  + min(2N, spread)
                  until all know: by their own round at the latest, and, where that is sooner, by gossip and at worst by
                  anti-entropy (the last two terms of `agreement.py`'s bound)

Probe intervals are those of a node whose local health is at its worst, as after a cut in which no probe was answered.

That is far below the bound of agreement: nobody has to be judged, only doubted. Loss is no excuse here either; a mesh
that is cut is not asked for it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from protocols.config import SwimConfig
from protocols.core import NANOS_PER_S, Fact, Instant
from protocols.membership.facts import MemberChanged, NodeStarted
from protocols.membership.member import STATE_MASK, State
from sim.checkers.agreement import slowest_probe, spreading
from sim.checkers.checker import Checker
from sim.inspect import own_row, rows_of
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World

NODES_ASKED_MAX = 128


def completeness_bound(config: SwimConfig, members: int) -> Instant:
    """Nanoseconds from the death of a node, or the last disturbance, until everybody doubts it, at most."""
    found_out = min(2 * members - 1, 2 * math.ceil(math.log(max(2, members))) + 3) + 1
    return found_out * slowest_probe(config) + min(own_round(config, members), spreading(config, members))


def own_round(config: SwimConfig, members: int) -> Instant:
    """Nanoseconds until a probe of a node's own has failed, whichever member is down, at most."""
    return 2 * members * slowest_probe(config)


class Completeness(Checker):
    """Every node that is down comes to be doubted by every node that runs."""

    name = "completeness"
    facts = (MemberChanged, NodeStarted)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._own_round = own_round(world.processes[0].config.swim, len(world.processes))
        self._begun_at: list[Instant] = [0] * len(world.processes)
        """By node: when it last began a life."""
        self._told_at: dict[int, dict[int, Instant]] = {}
        """By node that is down, and by observer: when that was last told that it is alive."""

    # All along.

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        if type(fact) is NodeStarted:
            self._begun_at[process.index] = now
        elif type(fact) is MemberChanged and fact.state is State.ALIVE:
            subject = self.world.by_id.get(fact.node_id)
            if subject is not None and not subject.up:
                self._told_at.setdefault(subject.index, {})[process.index] = now

    def on_boot(self, now: Instant, process: Process) -> None:
        if process.boots > 1:
            self._judge(now, process)
        self._told_at.pop(process.index, None)

    def finish(self, now: Instant) -> None:
        for process in self.world.processes:
            if process.boots and not process.up:
                self._judge(now, process)

    def _judge(self, now: Instant, lost: Process) -> None:
        """Nobody may have taken `lost` for alive through all of a round of probes, in which it was down."""
        if now - lost.down_since <= self._own_round // 2:
            return  # no clock is that fast; and a look costs every table, while most are down for a moment
        told_at = self._told_at.get(lost.index, {})
        for process in self.world.running():
            own = own_row(process.core)
            row = rows_of(process.core).get(lost.config.node_id)
            probes = process is not lost and own is not None and own.state is State.ALIVE and not process.stopped
            if not probes or row is None or row.precedence & STATE_MASK != State.ALIVE:
                continue
            paced_at = self.world.paced_at.get(process.index, 0)
            since = max(lost.down_since, self._begun_at[process.index], told_at.get(process.index, 0), paced_at)
            if process.clock(now) - process.clock(since) > self._own_round:
                down_s = (now - lost.down_since) / NANOS_PER_S
                self.violated(now, process, f"takes {lost.name} for alive, which has been down for {down_s:.0f} s")

    # In the settling phase.

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
