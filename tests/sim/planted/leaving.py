"""Broken departures: members that leave, and are reported as failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from protocols.core import Instant
from protocols.membership.farewell import Farewell
from protocols.membership.membership import Membership
from protocols.membership.swim import Swim
from protocols.outbox import NEVER
from sim.faults import Restart
from sim.network import LinkProfile
from sim.scenario import Scenario
from tests.sim.planted.mutant import Mutant, mutant_by, patched

LEAVE = Scenario(nodes=5, seconds=60, faults=(Restart(5, 55, 2, down_s=60),))
LEAVE_TWO = Scenario(nodes=2, seconds=60, link=LinkProfile(loss=0.19), faults=(Restart(5, 55, 1, down_s=60),))
"""Down for long enough to be judged by whoever has not heard."""


@contextmanager
def leaves_in_silence() -> Iterator[None]:
    """Who leaves tells nobody, and is gone once its time is over."""
    leave = Swim.leave

    def leave_silently(self: Swim, now: Instant) -> None:
        leave(self, now)
        self.queue.take(1, 1)

    with patched(Swim, "leave", leave_silently), patched(Farewell, "say", lambda self, now: NEVER):
        yield


def goes_before_it_is_heard() -> AbstractContextManager[None]:
    """Who leaves sends the word and is gone in the same moment, whether or not it arrives."""
    leave = Membership.leave

    def leave_at_once(self: Membership, now: Instant) -> Instant:
        leave(self, now)
        return now

    return patched(Membership, "leave", leave_at_once)


LEAVING: tuple[Mutant, ...] = (
    mutant_by(leaves_in_silence, LEAVE, "leave_is_no_failure"),
    mutant_by(goes_before_it_is_heard, LEAVE_TWO, "leave_is_no_failure", seeds=12),
)
