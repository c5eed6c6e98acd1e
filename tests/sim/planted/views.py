"""Broken views: too many of them, or not what the table says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from msgspec.structs import replace

from protocols.core import Instant, NodeId
from protocols.membership import steady
from protocols.membership.facts import ViewChanged
from protocols.membership.member import Member, State
from protocols.membership.settings import MembershipSettings
from protocols.membership.steady import Pace, SteadyView
from protocols.outbox import NEVER
from sim.faults import Crash, Flapping
from sim.scenario import Scenario
from tests.sim.planted.mutant import CRASHES, JOIN, mutant_by, patched

JOIN_AND_LOSE = replace(JOIN, faults=(Crash(20, None, 1),))
MANY_JOIN = Scenario(nodes=40, seconds=30, start="join")
QUICK = MembershipSettings(
    probe_interval_s=0.2, probe_timeout_s=0.1, suspicion_mult=2, flap_cost_s=15, flap_hold_max_s=30
)
FLIP_FLOP = Scenario(
    nodes=5, seconds=90, membership=QUICK, faults=(Flapping(5, 80, nodes=("n2",), down_s_max=4, up_s_max=2),)
)
THREE_DEATHS = Scenario(
    nodes=4,
    seconds=90,
    membership=QUICK,
    faults=tuple(Crash(start, start + 4, nodes=("n2",)) for start in (5.0, 11.0, 17.0)),
)


@contextmanager
def publishes_every_change() -> Iterator[None]:
    """Every change in the table is a view, at once."""
    changed = SteadyView.changed

    def at_once(self: SteadyView, now: Instant, before: Member | None, after: Member) -> None:
        changed(self, now, before, after)
        self._due = self.deadline = now

    with patched(SteadyView, "changed", at_once), patched(Pace, "passed", lambda self, now: None):
        yield


def holds_nobody_back() -> AbstractContextManager[None]:
    """Who comes and goes all the time does so in the view."""
    return patched(SteadyView, "_owe", lambda self, now, node_id: None)


def holds_back_for_ever() -> AbstractContextManager[None]:
    """Who has come and gone too often is never let back in."""
    owe = SteadyView._owe

    def owe_for_ever(self: SteadyView, now: Instant, node_id: NodeId) -> None:
        owe(self, now, node_id)
        if self._held_until(now, node_id) > now:
            self._debts[node_id] = (NEVER, NEVER)

    return patched(SteadyView, "_owe", owe_for_ever)


def keeps_the_dead_in_view() -> AbstractContextManager[None]:
    """Nobody is told that a member died."""
    difference = steady._difference

    def blind(shown: Member | None, row: Member | None) -> str:
        return "" if row is not None and row.state is State.DEAD else difference(shown, row)

    return patched(steady, "_difference", blind)


def tells_no_joins() -> AbstractContextManager[None]:
    """A view is worked out, and lost."""
    fire = SteadyView.fire

    def swallow(self: SteadyView, now: Instant) -> ViewChanged | None:
        view = fire(self, now)
        return None if view is not None and view.joined else view

    return patched(SteadyView, "fire", swallow)


def never_comes_to_publish() -> AbstractContextManager[None]:
    """What changes is noted, and never looked at again."""
    return patched(SteadyView, "_rearm", lambda self: None)


VIEWS = (
    mutant_by(publishes_every_change, MANY_JOIN, "views_are_few"),
    mutant_by(holds_nobody_back, FLIP_FLOP, "views_are_few"),
    mutant_by(holds_back_for_ever, THREE_DEATHS, "views_are_few"),
    mutant_by(keeps_the_dead_in_view, JOIN_AND_LOSE, "views_are_few"),
    mutant_by(tells_no_joins, JOIN_AND_LOSE, "views_are_few"),
    mutant_by(never_comes_to_publish, CRASHES, "views_are_few"),
)
