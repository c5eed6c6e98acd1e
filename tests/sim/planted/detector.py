"""Broken failure detection: nodes that see the dead as alive, or the living as dead."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from protocols.config import SwimConfig
from protocols.core import NANOS_PER_S, Effect, Event, Instant, NodeId, Received, Send, Woke
from protocols.detector import suspicion
from protocols.detector.probe import NOTHING_DUE, Due, Prober
from protocols.detector.suspicion import Suspicions
from protocols.membership.member import Accusation, State, with_state
from protocols.membership.membership import Membership
from protocols.membership.messages import Ack, StreamAck
from protocols.membership.swim import Swim
from sim.faults import ClockLeap, Crash, DiskFull, Isolate, Pause
from sim.scenario import Scenario
from tests.sim.planted.mutant import LOST, QUIET, Tampered, mutant_by, mutant_of, patched

BACK = Scenario(nodes=3, seconds=80, faults=(Crash(5, 75, 1),))
BACK_IN_A_CUT = Scenario(nodes=4, seconds=110, faults=(Crash(5, 100, nodes=("n1",)), Isolate(4, 105, nodes=("n2",))))
FULL_FOR_LONG = Scenario(nodes=5, seconds=50, tasks_per_s=5, faults=(DiskFull(5, 45, 1),))
LEAPS = Scenario(nodes=6, seconds=60, faults=tuple(ClockLeap(at, at + 0.1, 3, leap_s=300) for at in range(5, 55, 3)))
STOPPED_IN_DOUBT = Scenario(
    nodes=6, seconds=80, faults=(Crash(5, None, nodes=("n5",)), Pause(8.5, 60, nodes=("n1", "n2")))
)


class DeafToAcks(Tampered):
    """Acks are not understood, and a failed probe is a verdict: the accused gets no hearing."""

    def tamper_with_event(self, event: Event) -> Event:
        return Woke() if isinstance(event, Received) and isinstance(event.message, Ack | StreamAck) else event

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        for row in self.members():
            if row.state is State.SUSPECT and row.by == self.config.node_id:
                verdict = Accusation(row.alive.node_id, with_state(row.precedence, State.DEAD), row.by)
                self.swim._accused(row.since, row, verdict)
        return effects + self._outbox.drain()


class SilentWhileItsDiskFails(Tampered):
    """A node says nothing to anybody for as long as its disk fails."""

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        return [each for each in effects if not isinstance(each, Send)] if self._journal.failing else effects


def buries_two_at_a_time() -> AbstractContextManager[None]:
    """With every member that is declared dead, another one that is alive is declared dead, too."""
    judge = Swim.judge

    def judge_and_go_on(self: Swim, now: Instant) -> None:
        dead = self.table.count(State.DEAD)
        judge(self, now)
        if self.table.count(State.DEAD) == dead:
            return
        row = next(row for row in self.table if row.state is State.ALIVE and row is not self.me)
        self._accused(
            now, row, Accusation(row.alive.node_id, with_state(row.precedence, State.DEAD), self.config.node_id)
        )

    return patched(Swim, "judge", judge_and_go_on)


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


def waits_for_it_to_come_back() -> AbstractContextManager[None]:
    """Nobody is doubted, however long he is silent; all is well again as soon as he is back."""
    return forgives_a_failed_probe()


def believes_that_it_is_cut_off() -> AbstractContextManager[None]:
    """A node whose health is at its worst takes all silence for its own fault, and doubts nobody any more."""
    suspect = Swim.suspect

    def doubt_itself(self: Swim, now: Instant, node_id: NodeId) -> None:
        if self.health.score < self.config.swim.health_max // 4:
            suspect(self, now, node_id)

    return patched(Swim, "suspect", doubt_itself)


def is_far_too_patient() -> AbstractContextManager[None]:
    """A suspect has an hour to refute, so nobody is ever declared dead."""

    def timeouts(config: SwimConfig, members: int) -> tuple[int, ...]:
        return (3600 * NANOS_PER_S,)

    return patched(suspicion, "timeouts_for", timeouts)


def judges_by_what_it_slept_through() -> AbstractContextManager[None]:
    """Whatever is overdue when a node goes on is acted upon, as if it had listened all the time."""
    return patched(Membership, "_ran_late", lambda self, now, late: None)


def gives_suspects_no_time_back() -> AbstractContextManager[None]:
    """Who was suspected when a node was stopped is dead to it the moment that it goes on."""
    return patched(Suspicions, "slept", lambda self, now, late: [])


def counts_the_probe_that_it_slept_through() -> AbstractContextManager[None]:
    """The probe that was under way when a node was stopped has failed when it goes on."""
    return patched(Prober, "slept", lambda self, now: None)


DETECTOR = (
    mutant_of(DeafToAcks, QUIET, "no_false_death"),
    mutant_of(SilentWhileItsDiskFails, FULL_FOR_LONG, "no_false_death"),
    mutant_by(buries_two_at_a_time, LOST, "no_false_death"),
    mutant_by(never_probes, LOST, "completeness", "agreement"),
    mutant_by(forgives_a_failed_probe, LOST, "completeness"),
    mutant_by(waits_for_it_to_come_back, BACK, "completeness"),
    mutant_by(believes_that_it_is_cut_off, BACK_IN_A_CUT, "completeness"),
    mutant_by(is_far_too_patient, LOST, "agreement"),
    mutant_by(judges_by_what_it_slept_through, LEAPS, "probes_before_it_accuses"),
    mutant_by(gives_suspects_no_time_back, STOPPED_IN_DOUBT, "probes_before_it_accuses"),
    mutant_by(counts_the_probe_that_it_slept_through, LEAPS, "probes_before_it_accuses"),
)
