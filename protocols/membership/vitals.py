"""Vitals: how busy each member is, as it last said itself (DESIGN 4).

They ride on probes and their acks, so they cost no packet, change no incarnation, and are as old as the last probe:
a hint for whoever picks among members, and for people, never a reason to believe anything about a member.

A node counts its own runs. How busy its machine is it is told by its driver (`ReportMachine`), for a core reads no
clock and no sensor; until then it says that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Protocol

from msgspec import Meta, Struct

from protocols.core import NANOS_PER_S, Command, Instant, NodeId, Outcome
from protocols.limits import PEERS_HEARD_MAX

COUNT_MAX = (1 << 16) - 1
"""Of anything that is counted here; more is told as so many."""
WHOLE = 1000

Count = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
PerMille = Annotated[int, Meta(ge=0, le=WHOLE)]


class Vitals(Struct, frozen=True, array_like=True, gc=False):
    """What a member says of its load."""

    queued: Count = 0
    """Runs that wait for their turn."""
    running: Count = 0
    capacity: Count = 0
    """Runs that it does at once, of all its handlers together."""
    cpu: PerMille | None = None
    """Of its machine's processors, how much is busy; None: it does not know."""
    memory: PerMille | None = None
    """Of its machine's memory, how much is in use."""


VITALS_BYTES_MAX = 1 + 3 * 5
"""Of encoded vitals (proven against the codec by a property test)."""


class VitalsView(Struct, frozen=True):
    """Vitals for callers. `cpu` and `memory` are parts of one; null where the member does not know."""

    queued: int
    running: int
    capacity: int
    cpu: float | None
    memory: float | None
    age_s: float
    """Since this node heard it."""


class ReportMachine(Command, frozen=True, tag="report_machine"):
    """From the driver, every few seconds: how busy its machine is. In thousandths; what is outside is cut off.
    None: it cannot be told, or not any more."""

    cpu: int | None
    memory: int | None


class Reported(Outcome, frozen=True, tag="reported"):
    """Taken in; the next probe tells it."""


class Runs(Protocol):
    """Whoever runs bodies (`tasks/worker.py`)."""

    waiting: int

    @property
    def active(self) -> int: ...


class VitalsBook:
    """The vitals of one node, and the last ones heard of each member, with the time at which they came."""

    __slots__ = ("_heard", "_own", "_runs")

    def __init__(self, capacity: int, runs: Runs) -> None:
        self._runs = runs
        self._own = Vitals(capacity=min(capacity, COUNT_MAX))
        self._heard: dict[NodeId, tuple[Instant, Vitals]] = {}

    def set_capacity(self, capacity: int) -> None:
        """This node does other work than before."""
        own = self._own
        self._own = Vitals(own.queued, own.running, min(capacity, COUNT_MAX), own.cpu, own.memory)

    def report(self, machine: ReportMachine) -> None:
        own = self._own
        self._own = Vitals(own.queued, own.running, own.capacity, _part(machine.cpu), _part(machine.memory))

    @property
    def own(self) -> Vitals:
        """What to say on the next probe. The same object until something changes."""
        own, runs = self._own, self._runs
        if own.queued != runs.waiting or own.running != runs.active:
            queued, running = min(runs.waiting, COUNT_MAX), min(runs.active, COUNT_MAX)
            own = self._own = Vitals(queued, running, own.capacity, own.cpu, own.memory)
        return own

    def heard(self, now: Instant, member_id: NodeId, vitals: Vitals) -> None:
        """`member_id` says this of itself. Past the bound the first heard gives way."""
        heard = self._heard
        if len(heard) >= PEERS_HEARD_MAX and member_id not in heard:
            del heard[next(iter(heard))]
        heard[member_id] = (now, vitals)

    def keep(self, is_member: Callable[[NodeId], bool]) -> None:
        """Forget everybody who is no member, or no longer."""
        self._heard = {member_id: each for member_id, each in self._heard.items() if is_member(member_id)}

    def view(self, now: Instant, member_id: NodeId) -> VitalsView | None:
        """What was last heard of a member; None where nothing was."""
        heard = self._heard.get(member_id)
        return None if heard is None else _view(heard[1], now - heard[0])

    def own_view(self) -> VitalsView:
        return _view(self.own, 0)


def _part(per_mille: int | None) -> int | None:
    return None if per_mille is None else max(0, min(per_mille, WHOLE))


def _view(vitals: Vitals, age: Instant) -> VitalsView:
    return VitalsView(
        queued=vitals.queued,
        running=vitals.running,
        capacity=vitals.capacity,
        cpu=None if vitals.cpu is None else vitals.cpu / WHOLE,
        memory=None if vitals.memory is None else vitals.memory / WHOLE,
        age_s=round(age / NANOS_PER_S, 3),
    )
