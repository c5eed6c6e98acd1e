"""A small core for tests of the simulator itself: it pings peers at an interval, and does as it is told.

It uses every effect that a core has, in the simplest way that can be checked from outside; it knows nothing of meshes.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import ClassVar

from protocols.config import NodeConfig
from protocols.core import (
    NANOS_PER_S,
    Carrier,
    Command,
    Effect,
    Endpoint,
    Event,
    Fact,
    Instant,
    InvariantViolation,
    Notify,
    Outcome,
    Perform,
    Performed,
    Pledge,
    Promise,
    Put,
    Received,
    Reply,
    Request,
    Save,
    Saved,
    SaveFailed,
    Send,
    Statement,
    Step,
    Stored,
    Woke,
)
from protocols.tasks.task import RunBody

INTERVAL = 1 * NANOS_PER_S


class Ping(Statement, frozen=True, array_like=True, tag="test_ping", gc=False):
    carrier: ClassVar[Carrier] = Carrier.DATAGRAM
    number: int


class Pong(Statement, frozen=True, array_like=True, tag="test_pong", gc=False):
    carrier: ClassVar[Carrier] = Carrier.DATAGRAM
    number: int


class Line(Statement, frozen=True, array_like=True, tag="test_line", gc=False):
    """One message on a stream."""

    number: int


class Kept(Promise, frozen=True, array_like=True, tag="test_kept", gc=False):
    """The sender has `number` on its disk."""

    number: int


class Number(Stored, frozen=True, tag="test_number"):
    number: int


class Word(Stored, frozen=True, tag="test_word"):
    """A record of any length."""

    text: str


class Write(Command, frozen=True, tag="test_write"):
    """Save `number`, then answer, and promise it to `to`."""

    number: int
    to: Endpoint | None = None


class Barrier(Command, frozen=True, tag="test_barrier"):
    """Answer once all that was saved before is durable."""


class Say(Command, frozen=True, tag="test_say"):
    """Send `count` messages to `to`, numbered from `first`, on a stream or as datagrams."""

    to: Endpoint
    count: int
    stream: bool = True
    first: int = 0


class Do(Command, frozen=True, tag="test_do"):
    """Run a body."""

    action: RunBody


class Misbehave(Command, frozen=True, tag="test_misbehave"):
    """Break the contract in the named way."""

    how: str
    to: Endpoint


class Done(Outcome, frozen=True, tag="test_done"):
    pass


class Heard(Fact, frozen=True, tag="test_heard"):
    kind: str
    number: int
    sender: str


class Core:
    """Pings the next seed in turn every second; see the commands above for what it does when asked."""

    def __init__(self, config: NodeConfig, saved: Iterable[Put], rng: Random) -> None:
        self.config = config
        self.saved = {put.key: put.value for put in saved}
        self.rng = rng
        self.woke_at: list[Instant] = []
        self.performed: list[Performed] = []
        self.failures: list[str] = []
        self.broken = False
        self._next_ping: Instant = 0
        self._pings = 0
        self._seq = 0
        self._performs = 0
        self._effects: list[Effect] = []

    def step(self, now: Instant, event: Event) -> Step:
        if not self._next_ping:
            self._next_ping = now + int(self.rng.random() * INTERVAL)
        if now >= self._next_ping:
            self._ping(now)
        match event:
            case Received():
                self._received(event)
            case Request():
                self._requested(event)
            case Performed():
                self.performed.append(event)
            case SaveFailed():
                self.failures.append(event.why)
            case Woke():
                self.woke_at.append(now)
            case Saved():
                pass
        effects, self._effects = self._effects, []
        return effects, self._next_ping

    def check(self) -> None:
        if self.broken:
            raise InvariantViolation("broken on purpose")

    def _ping(self, now: Instant) -> None:
        self._next_ping = now + INTERVAL
        seeds = self.config.seeds
        if seeds:
            self._pings += 1
            address = seeds[self._pings % len(seeds)]
            self._effects.append(Send(Endpoint("", address), Ping(self._pings)))

    def _received(self, event: Received) -> None:
        message = event.message
        if type(message) is Ping:
            self._effects.append(Send(event.sender, Pong(message.number)))
        elif isinstance(message, Pong | Line | Kept):
            self._effects.append(Notify(Heard(type(message).__name__, message.number, event.sender.node_id)))

    def _requested(self, request: Request) -> None:
        command = request.command
        effects = self._effects
        if type(command) is Write:
            self._seq += 1
            pledge = () if command.to is None else (Pledge(command.to, Kept(command.number)),)
            records = (Put("number", Number(command.number)),)
            effects.append(Save(self._seq, records, (Reply(request.id, Done()), *pledge)))
        elif type(command) is Barrier:
            self._seq += 1
            effects.append(Save(self._seq, (), (Reply(request.id, Done()),)))
        elif type(command) is Say:
            for number in range(command.first, command.first + command.count):
                effects.append(Send(command.to, Line(number) if command.stream else Pong(number)))
            effects.append(Reply(request.id, Done()))
        elif type(command) is Do:
            self._performs += 1
            effects.append(Perform(self._performs, command.action))
            effects.append(Reply(request.id, Done()))
        elif type(command) is Misbehave:
            self._misbehave(command, request.id)

    def _misbehave(self, command: Misbehave, request_id: int) -> None:
        effects = self._effects
        if command.how == "bare promise":
            effects.append(Pledge(command.to, Kept(1)))  # type: ignore[arg-type]  # what the types forbid, on purpose
        elif command.how == "two replies":
            effects.append(Reply(request_id, Done()))
        elif command.how == "seq again":
            effects.append(Save(self._seq, ()))
        elif command.how == "raise":
            raise KeyError("no such thing")
        effects.append(Reply(request_id, Done()))
