"""What clients did and saw: operations with the time of their call and of their return.

A client that got no answer (a timeout, a crash of its node, `Unknown`) does not know whether its operation took effect,
or whether it still will: such an operation stays open for ever. A client that was told that nothing was done, and
nothing will be (`Refused`), has not done anything: its operation is taken back.

In virtual time much happens at one instant: a client's next call mostly comes at the instant of its last return. What
is collected here keeps the order in which it came, and that order counts. Operations that come from elsewhere may leave
it out; of calls and returns at one instant, all calls then come first, so that the operations overlap.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from protocols.core import Instant
from sim.linearizability.models import Command, Value

OPEN: Instant = 1 << 62
"""The return time of an operation that never returned."""
LAST = 1 << 62
"""The place of a return of which it is not known what came before it at the same instant."""

Moment: TypeAlias = tuple[Instant, int]
"""When something happened, and its place among all that did."""


class HistoryError(ValueError):
    """The history itself makes no sense: an answer to nothing, or from before its question."""


class Operation(Struct, frozen=True):
    """One operation. With `returned_at` = OPEN its `result` means nothing."""

    number: int
    client: str
    command: Command
    called_at: Instant
    returned_at: Instant = OPEN
    result: Value = None
    called_as: int = 0
    returned_as: int = LAST
    """The places of call and return in the order in which things happened: they count where instants are the same."""

    @property
    def begin(self) -> Moment:
        return self.called_at, self.called_as

    @property
    def end(self) -> Moment:
        return self.returned_at, self.returned_as

    @property
    def open(self) -> bool:
        """Nobody knows whether it took effect."""
        return self.returned_at == OPEN


class History:
    """Collects operations as they happen. `operations` lists them in the order of their calls."""

    def __init__(self) -> None:
        self._under_way: dict[int, Operation] = {}
        self._done: dict[int, Operation] = {}
        self._next = 1
        self._events = 0

    def call(self, client: str, now: Instant, command: Command) -> int:
        """`client` asks for `command` at `now`. Returns the number under which it gets its answer."""
        number = self._next
        self._next += 1
        self._under_way[number] = Operation(number, client, command, now, called_as=self._place())
        return number

    def returned(self, number: int, now: Instant, result: Value) -> None:
        """The operation took effect, with this result. Raises `HistoryError` where none is under way."""
        called = self._take(number)
        if now < called.called_at:
            raise HistoryError(f"operation {number} of {called.client} returned at {now}, before its call")
        self._done[number] = replace(called, returned_at=now, result=result, returned_as=self._place())

    def lost(self, number: int) -> None:
        """No answer will come: the operation may have taken effect, may still do so, or never."""
        self._done[number] = self._take(number)

    def refused(self, number: int) -> None:
        """The operation was not carried out and never will be."""
        self._take(number)

    def _place(self) -> int:
        self._events += 1
        return self._events

    def _take(self, number: int) -> Operation:
        operation = self._under_way.pop(number, None)
        if operation is None:
            raise HistoryError(f"operation {number} is not under way: it was never called, or has its answer")
        return operation

    @property
    def operations(self) -> tuple[Operation, ...]:
        """All of them; those that have no answer yet are open."""
        everything = {**self._done, **self._under_way}
        return tuple(everything[number] for number in sorted(everything))
