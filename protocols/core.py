"""Events in, effects out: the one way in which protocol logic meets the world (DESIGN 3).

A core is a pure machine. A driver (the trio daemon in `meshnode`, the event heap in `sim`) feeds it events with the
time, and carries out the effects that come back. Rules that every core and every driver keeps:

- `step` fires what is due, then handles the event, completely. A core reads no clock, socket, disk or global random.
- What binds a node after a restart is a `Promise`. A promise has one way out: a `Pledge` inside `Save.then`. The types
  of `Effect` and `Save` reject a bare one, so "persist before you speak" is checked before anything runs.
- A driver performs saves first-in first-out. Once a save is durable it carries out `then` in order and feeds `Saved`.
  When one fails it drops `then`, feeds `SaveFailed` for it and for every save already handed over behind it, in order.
- Every request id gets exactly one `Reply`; every `Perform` id gets exactly one `Performed`.
- What a core says to its own id comes back to it as `Received`, without touching a network.
- The returned `wake_at` replaces the one before it. Waking early, or late, is harmless.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Protocol, TypeAlias

from msgspec import Struct

Instant: TypeAlias = int
"""Monotonic nanoseconds. Only differences mean anything; never compared between nodes."""

NANOS_PER_MS = 1_000_000
NANOS_PER_S = 1_000_000_000

NodeId: TypeAlias = str
"""Fingerprint of a node's public key: 26 lower-case base32 characters (128 bits)."""

RequestId: TypeAlias = int
PerformId: TypeAlias = int
SaveSeq: TypeAlias = int


class InvariantViolation(AssertionError):
    """A promise of the protocol is broken: the node must stop, loudly. Never raised for bad input."""


class Carrier(IntEnum):
    """How a message travels."""

    DATAGRAM = 0
    """Fits one packet; may be lost, duplicated or reordered."""
    STREAM = 1
    """Ordered per peer over mutual TLS. A reset loses what was under way, and nothing tells: timers repair it."""


class Message(Struct, frozen=True, array_like=True, gc=False):
    """What one node says to another. Fields are only ever appended, with defaults (older and newer coexist)."""

    carrier: ClassVar[Carrier] = Carrier.STREAM


class Statement(Message, frozen=True, array_like=True, gc=False):
    """A message that binds nobody: probes, gossip, progress. Safe to say at once."""


class Promise(Message, frozen=True, array_like=True, gc=False):
    """A message that must still hold after the speaker restarts. Leaves only through `Save.then`."""


class Endpoint(Struct, frozen=True, gc=False):
    """A peer: who (authenticated id; empty only for a seed whose id is not known yet) and where (`host:port`)."""

    node_id: NodeId
    address: str


class Stored(Struct, frozen=True, array_like=True, gc=False):
    """A value that a node keeps on disk. Fields are only ever appended, with defaults."""


class Put(Struct, frozen=True, gc=False):
    """Write `value` under `key`, replacing what was there."""

    key: str
    value: Stored


class Delete(Struct, frozen=True, gc=False):
    """Remove `key`; a key that is absent is no error."""

    key: str


Record: TypeAlias = Put | Delete


class Command(Struct, frozen=True, gc=False):
    """What a caller asks of its own node (a `Request`), or one node of another on a caller's behalf.

    Between nodes fields are only ever appended, with defaults, as in a `Message`: an older node skips what it does not
    know. Where people write (the control socket) a field that is not known is an error; that is checked there.
    """


class Outcome(Struct, frozen=True, gc=False):
    """The one answer to a request."""


class Refused(Outcome, frozen=True, tag="refused", gc=False):
    """The request was not carried out and never will be. `code` is stable; the texts are for people."""

    code: str
    message: str
    next_step: str = ""
    retry_after_s: float = 0.0


class Unknown(Outcome, frozen=True, tag="unknown", gc=False):
    """No answer came in time: the request may or may not have taken effect. Asking again is safe."""

    message: str
    next_step: str = ""


class Action(Struct, frozen=True, gc=False):
    """Work that a core wants done outside: run a body, list the tools of an attached MCP server."""


class Result(Struct, frozen=True, gc=False):
    """What came of an `Action`."""


class Fact(Struct, frozen=True, gc=False):
    """Something that happened, for logs, metrics, subscribers and checkers. Nothing depends on it."""


# Events: driver to core.


class Received(Struct, frozen=True, gc=False):
    """`message` came from `sender`, whose id the transport has authenticated."""

    sender: Endpoint
    message: Message


class Request(Struct, frozen=True, gc=False):
    """A caller on this machine wants `command` done."""

    id: RequestId
    command: Command


class Saved(Struct, frozen=True, gc=False):
    """The save `seq` is durable, and its `then` has been carried out."""

    seq: SaveSeq


class SaveFailed(Struct, frozen=True, gc=False):
    """Nothing of the save `seq` is durable, and its `then` was dropped."""

    seq: SaveSeq
    why: str


class Performed(Struct, frozen=True, gc=False):
    """The action started by `Perform(id, …)` has ended."""

    id: PerformId
    result: Result


class Woke(Struct, frozen=True, gc=False):
    """The asked-for time has come. The first event of a core's life is always `Woke`."""


Event: TypeAlias = Received | Request | Saved | SaveFailed | Performed | Woke


# Effects: core to driver.


class Send(Struct, frozen=True, gc=False):
    """Say `message` to `to`, now. It may never arrive."""

    to: Endpoint
    message: Statement


class Pledge(Struct, frozen=True, gc=False):
    """Say a promise. Legal only inside `Save.then`."""

    to: Endpoint
    message: Promise


class Perform(Struct, frozen=True, gc=False):
    """Do `action` outside; it ends in one `Performed` with this id."""

    id: PerformId
    action: Action


class Reply(Struct, frozen=True, gc=False):
    """The one answer to request `request_id`."""

    request_id: RequestId
    outcome: Outcome


class Notify(Struct, frozen=True, gc=False):
    """Tell whoever listens on this machine."""

    fact: Fact


Then: TypeAlias = Send | Pledge | Perform | Reply | Notify


class Save(Struct, frozen=True, gc=False):
    """Make `records` durable together, then carry out `then`. Without records it is a barrier."""

    seq: SaveSeq
    records: tuple[Record, ...]
    then: tuple[Then, ...] = ()


Effect: TypeAlias = Send | Save | Perform | Reply | Notify


Step: TypeAlias = tuple[list[Effect], Instant | None]
"""What came of one event: effects in order, and when to wake the core again (None: not by itself)."""


class Core(Protocol):
    """A protocol machine, built from (config, what was saved, rng)."""

    def step(self, now: Instant, event: Event) -> Step:
        """Fire what is due at `now`, then handle `event`."""
        ...

    def check(self) -> None:
        """Raise `InvariantViolation` where the state breaks a promise."""
        ...
