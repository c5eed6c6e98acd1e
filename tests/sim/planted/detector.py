"""Broken failure detection: nodes that see the dead as alive, or the living as dead."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from protocols.config import SwimConfig
from protocols.core import NANOS_PER_S, Effect, Event, Instant, NodeId, Received, Woke
from protocols.detector import suspicion
from protocols.detector.probe import NOTHING_DUE, Due, Prober
from protocols.membership.member import Accusation, State, with_state
from protocols.membership.messages import Ack
from protocols.membership.swim import Swim
from tests.sim.planted.mutant import LOST, QUIET, Tampered, mutant_by, mutant_of, patched


class DeafToAcks(Tampered):
    """Acks are not understood, and a failed probe is a verdict: the accused gets no hearing."""

    def tamper_with_event(self, event: Event) -> Event:
        return Woke() if isinstance(event, Received) and type(event.message) is Ack else event

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        for row in self.members():
            if row.state is State.SUSPECT and row.by == self.config.node_id:
                verdict = Accusation(row.alive.node_id, with_state(row.precedence, State.DEAD), row.by)
                self.swim._accused(row.since, row, verdict)
        return effects + self._outbox.drain()


def never_probes() -> AbstractContextManager[None]:
    """Nobody is ever probed."""

    def fire(
        self: Prober, now: Instant, candidates: Callable[[], list[NodeId]], probeable: Callable[[NodeId], bool]
    ) -> Due:
        if now >= self.deadline:
            self.deadline = now + self._config.probe_interval
        return NOTHING_DUE

    return patched(Prober, "fire", fire)


def forgives_a_failed_probe() -> AbstractContextManager[None]:
    """A probe that nobody answered has no consequence."""

    def suspect(self: Swim, now: Instant, node_id: NodeId) -> None:
        return None

    return patched(Swim, "suspect", suspect)


def is_far_too_patient() -> AbstractContextManager[None]:
    """A suspect has an hour to refute, so nobody is ever declared dead."""

    def timeouts(config: SwimConfig, members: int) -> tuple[int, ...]:
        return (3600 * NANOS_PER_S,)

    return patched(suspicion, "timeouts_for", timeouts)


DETECTOR = (
    mutant_of(DeafToAcks, QUIET, "no_false_death"),
    mutant_by(never_probes, LOST, "completeness", "agreement"),
    mutant_by(forgives_a_failed_probe, LOST, "completeness"),
    mutant_by(is_far_too_patient, LOST, "agreement"),
)
