"""Operators who ask why a member is believed to be what it is: Poisson, each at a node that runs, about any node.

Drawn from a stream of their own, so that a run with questions has the same tasks, events and faults as one without.
"""

from __future__ import annotations

from protocols.core import NANOS_PER_S, Instant, Outcome, Refused
from protocols.detector.why import Explanation, Why
from sim.counter import Counter
from sim.world import World


class InquiryWorkload:
    """`rate` questions per virtual second until `until`. `counts` says what became of them."""

    def __init__(self, world: World, rate: float, until: Instant) -> None:
        self._world = world
        self._kernel = world.kernel
        self._random = world.kernel.random("inquiries")
        self._rate = rate
        self.until = until
        """Nothing is asked at or after this; it may be moved while the workload runs."""
        self.counts = Counter()

    def start(self, at: Instant) -> None:
        """Let the first question come some time after `at`."""
        at += int(self._random.expovariate(self._rate) * NANOS_PER_S)
        if at < self.until:
            self._kernel.push(at, self._arrive)

    def _arrive(self, now: Instant, _a: None, _b: None) -> None:
        if now >= self.until:
            return
        self.start(now)
        whom, about = self._random.random(), self._random.choice(self._world.processes)
        running = self._world.running()
        if running:
            running[int(whom * len(running))].request(now, Why(about.config.node_id), self._answered)

    def _answered(self, now: Instant, outcome: Outcome) -> None:
        kind = f"refused: {outcome.code}" if isinstance(outcome, Refused) else type(outcome).__name__
        self.counts[f"asked why: {kind}"] += 1
        if isinstance(outcome, Explanation):
            self.counts["asked why: views"] += len(outcome.findings)
