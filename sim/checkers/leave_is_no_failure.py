"""Who has left with leave is never reported as failed, while fewer than a fifth of the datagrams are lost (DESIGN 4).

A node has left with leave once its caller was told so (`Left`). From then on nobody may declare that life of it dead.
Excused is what keeps the word from going round, or may have until a moment ago:

- `LOSS_MAX` of the datagrams of some link, or more;
- a cut, and faults that mislead (`Fault.misleads`), while they are in force and for the bound of `agreement.py` after;
- a member that lies, for as long: who is gone cannot deny what is said of it;
- a way there and back that may be longer than a probe's timeout;
- crashes as close to it as that bound: those who had heard it may be gone.

Nothing else is: no loss below `LOSS_MAX`, no size of the mesh, no disk, no clock, no departures of others. That one who
misses the word doubts the member for a moment is no failure; to be told better is what the doubt is for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.core import NANOS_PER_S, Command, Fact, Instant, Outcome
from protocols.membership.facts import MemberChanged
from protocols.membership.member import State
from protocols.membership.views import Left
from sim.checkers.agreement import agreement_bound
from sim.checkers.checker import Checker
from sim.inspect import own_row
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World

LOSS_MAX = 0.2


class LeaveIsNoFailure(Checker):
    """Nobody declares a node dead that has left, while fewer than a fifth of the datagrams are lost."""

    name = "leave_is_no_failure"
    facts = (MemberChanged,)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._near = agreement_bound(world.processes[0].config.swim, len(world.processes))
        self._left: dict[int, tuple[int, int, Instant]] = {}
        """By node: the last life that has left with leave, as its boots and its generation, and when."""
        self._crashed_at: Instant = -1

    def on_reply(self, now: Instant, process: Process, command: Command, outcome: Outcome) -> None:
        own = own_row(process.core)
        if type(outcome) is Left and own is not None:
            self._left[process.index] = (process.boots, own.generation, now)

    def on_crash(self, now: Instant, process: Process) -> None:
        if process.index not in self._left or self._left[process.index][0] != process.boots:
            self._crashed_at = now

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        if type(fact) is not MemberChanged or fact.state is not State.DEAD:
            return
        subject = self.world.by_id.get(fact.node_id)
        if subject is None or subject.index not in self._left:
            return
        _, generation, since = self._left[subject.index]
        if fact.generation <= generation and not subject.lost_data and not self._excused(now, since):
            since_s = (now - since) / NANOS_PER_S
            self.violated(now, process, f"declares {fact.name} dead, which left {since_s:.1f} s ago")

    def _excused(self, now: Instant, left_at: Instant) -> bool:
        world = self.world
        network = world.network
        timeout = world.processes[0].config.swim.probe_timeout
        if network.loss_max >= LOSS_MAX or 2 * network.one_way_max > timeout or not network.whole:
            return True
        if world.misleading or world.lying:
            return True
        troubles = (world.misled_at, world.lied_at, self._crashed_at)
        return any(at >= 0 and (now < at + self._near or abs(left_at - at) < self._near) for at in troubles)
