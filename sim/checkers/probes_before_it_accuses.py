"""A node that did not run accuses nobody before it has probed anew (DESIGN 4: clock jumps, a node frozen for minutes).

Judged where a node goes on after it was stopped, or its monotonic clock has leapt, for longer than anything that it may
have been waiting for: twice a probe interval at the worst local health, and T_min of a mesh of ten or fewer. For
whatever comes of it at the node itself, by its own clock and from when it went on:

- it suspects nobody by its own word for the length of a probe's timeout, the least that a fresh probe takes;
- it declares nobody dead by its own word for T_min, in which the accused, asked once more, may refute.

What others say meanwhile is not its own word. There is no excuse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.core import NANOS_PER_MS, NANOS_PER_S, Fact, Instant
from protocols.detector.suspicion import suspicion_bounds
from protocols.membership.facts import MemberChanged
from protocols.membership.member import State
from sim.checkers.agreement import slowest_probe
from sim.checkers.checker import Checker
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World

ROUNDING = 1 * NANOS_PER_MS


class ProbesBeforeItAccuses(Checker):
    """A node that did not run accuses nobody before it has probed anew."""

    name = "probes_before_it_accuses"
    facts = (MemberChanged,)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        config = world.processes[0].config.swim
        shortest, _, _ = suspicion_bounds(config, 1)
        self._long = 2 * slowest_probe(config) + shortest
        self._least = {State.SUSPECT: config.probe_timeout - ROUNDING, State.DEAD: shortest - ROUNDING}

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        assert type(fact) is MemberChanged
        woke_at, slept = self.world.woke.get(process.index, (0, 0))
        if slept < self._long or fact.by != process.config.node_id or woke_at < process.up_since:
            return
        since = process.clock(now) - process.clock(woke_at)
        if since < self._least.get(fact.state, 0):
            text = (
                f"did not run for {slept / NANOS_PER_S:.0f} s, and {since / NANOS_PER_S:.3f} s later takes {fact.name} "
                f"for {fact.state.name.lower()} by its own word"
            )
            self.violated(now, process, text)
