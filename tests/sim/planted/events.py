"""Broken user events: told twice, out of order, with Lamport times used again, or never."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from msgspec.structs import replace

from protocols.core import Effect, Endpoint, Instant, Notify, Put, Save
from protocols.membership.events import Origin, UserEvents
from protocols.membership.facts import EventDelivered
from protocols.membership.lamport import LamportClock
from protocols.membership.records import Heard
from protocols.membership.rumours import EventDigest, Events, EventsWanted
from sim.disk import DiskProfile
from sim.faults import Crash, Halves, MassRestart
from sim.network import LinkProfile
from sim.scenario import Scenario
from tests.sim.planted.mutant import Tampered, mutant_by, mutant_of, patched

TOLD = Scenario(nodes=5, seconds=30, events_per_s=4)
TOLD_IN_A_CUT = Scenario(nodes=6, seconds=40, events_per_s=2, faults=(Halves(5, 40),))
TOLD_WITH_LOSS = Scenario(nodes=6, seconds=30, events_per_s=6, link=LinkProfile(loss=0.55, reorder=0.3))
TOLD_WITH_CRASHES = Scenario(nodes=4, seconds=40, events_per_s=4, faults=(Crash(8, 12, 2), Crash(20, 24, 2)))
TOLD_IN_A_POWER_CUT = Scenario(nodes=4, seconds=30, events_per_s=4, faults=(MassRestart(15, 20),))
TOLD_AS_DISKS_WRITE = Scenario(
    nodes=4,
    seconds=50,
    events_per_s=4,
    disk=DiskProfile(4.0, 40.0),
    faults=tuple(Crash(start, start + 4, 2, moment="saving") for start in range(6, 46, 6)),
)


class ForgetsWhatItsUsersWereGiven(Tampered):
    """The marks of events are not found again after a restart."""

    def tamper_with_saved(self, saved: list[Put]) -> list[Put]:
        return [put for put in saved if not isinstance(put.value, Heard)]


class TellsUsersBeforeItIsDurable(Tampered):
    """Users are given an event at once, and the mark that says so comes after it."""

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        early: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Save):
                told = [each for each in effect.then if isinstance(each, Notify)]
                early += [each for each in told if isinstance(each.fact, EventDelivered)]
                effect = replace(effect, then=tuple(each for each in effect.then if each not in early))
            early.append(effect)
        return early


def takes_events_as_they_come() -> AbstractContextManager[None]:
    """What comes before its turn is given to users before its turn, and what is late never."""
    deliver = UserEvents._deliver

    def deliver_all(self: UserEvents, origin: Origin) -> None:
        for number in sorted(origin.held):
            origin.number = max(origin.number, number - 1)
            deliver(self, origin)

    return patched(UserEvents, "_deliver", deliver_all)


def uses_lamport_times_again() -> AbstractContextManager[None]:
    """A node that starts again begins with the Lamport times that it began with the first time."""
    recall = UserEvents.recall

    def recall_without_time(self: UserEvents, records: list[Put]) -> None:
        recall(self, records)
        self.clock = LamportClock()

    return patched(UserEvents, "recall", recall_without_time)


@contextmanager
def never_hands_over_what_others_missed() -> Iterator[None]:
    """Digests are not looked at, and who asks for what it missed gets no answer."""

    def on_digest(self: UserEvents, now: Instant, sender: Endpoint, message: EventDigest) -> None:
        self.fresh = False

    def on_wanted(self: UserEvents, sender: Endpoint, message: EventsWanted) -> None:
        return None

    with patched(UserEvents, "on_digest", on_digest), patched(UserEvents, "on_wanted", on_wanted):
        yield


def closes_gaps_without_filling_them() -> AbstractContextManager[None]:
    """The answer to who misses something says how far its sender is, and leaves out what was asked for."""

    def on_wanted(self: UserEvents, sender: Endpoint, message: EventsWanted) -> None:
        self._outbox.send(sender, Events((), True, self.generation, self._own_durable))

    return patched(UserEvents, "on_wanted", on_wanted)


EVENTS = (
    mutant_of(ForgetsWhatItsUsersWereGiven, TOLD_WITH_CRASHES, "events_once"),
    mutant_of(TellsUsersBeforeItIsDurable, TOLD_AS_DISKS_WRITE, "events_once"),
    mutant_by(takes_events_as_they_come, TOLD, "events_once"),
    mutant_by(uses_lamport_times_again, TOLD_IN_A_POWER_CUT, "events_once"),
    mutant_by(never_hands_over_what_others_missed, TOLD_IN_A_CUT, "events_once"),
    mutant_by(closes_gaps_without_filling_them, TOLD_WITH_LOSS, "events_once"),
)
