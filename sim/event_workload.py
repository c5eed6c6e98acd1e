"""Users who tell and ask the whole mesh: events at a rate, Poisson, each at a node that runs; now and then a query.

Drawn from streams of their own, so that a run with events has the same tasks and faults as one without.
"""

from __future__ import annotations

from protocols.core import NANOS_PER_S, Instant, Outcome, Refused
from protocols.membership.event_views import AskQuery, QueryAnswers, SendEvent
from protocols.standing import BUILT_IN
from sim.counter import Counter
from sim.world import World

QUERIES = 0.1
"""Of what is said, how much is a query."""
PAYLOAD_CHARS_MAX = 200


class EventWorkload:
    """`rate` events per virtual second until `until`. `counts` says what became of them."""

    def __init__(self, world: World, rate: float, until: Instant) -> None:
        self._world = world
        self._kernel = world.kernel
        self._random = world.kernel.random("events")
        self._rate = rate
        self._made = 0
        self.until = until
        """Nothing is said at or after this; it may be moved while the workload runs."""
        self.counts = Counter()

    def start(self, at: Instant) -> None:
        """Let the first event come some time after `at`."""
        at += int(self._random.expovariate(self._rate) * NANOS_PER_S)
        if at < self.until:
            self._kernel.push(at, self._arrive)

    def _arrive(self, now: Instant, _a: None, _b: None) -> None:
        if now >= self.until:
            return
        self.start(now)
        draw = self._random
        self._made += 1
        whom, kind = draw.random(), draw.random()
        payload = f"{self._made} " + "x" * int(draw.random() * PAYLOAD_CHARS_MAX)
        name = draw.choice(BUILT_IN)
        running = self._world.running()
        if not running:
            return
        process = running[int(whom * len(running))]
        command = AskQuery(name, "", 3_000) if kind < QUERIES else SendEvent("told", payload)
        process.request(now, command, self._answered)

    def _answered(self, now: Instant, outcome: Outcome) -> None:
        kind = f"refused: {outcome.code}" if isinstance(outcome, Refused) else type(outcome).__name__
        self.counts[f"said: {kind}"] += 1
        if isinstance(outcome, QueryAnswers):
            self.counts["said: answers"] += outcome.answered
            self.counts["said: answers missing"] += outcome.asked - outcome.answered
