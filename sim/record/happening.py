"""One thing that happened in a run, as data: what a recorder keeps, and what everything that tells of a run reads."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from protocols.core import Instant
from sim.checkers.checker import Violation
from sim.scenario.model import Scenario


class Kind(StrEnum):
    """What sort of thing."""

    MESSAGE = "message"
    """`node` said `what` to `peer`; it arrives at `until`."""
    LOST = "lost"
    """`node` said `what` to `peer` (−1: to nobody who is there) in vain; `text` says why."""
    BOOT = "boot"
    CRASH = "crash"
    FAULT = "fault"
    """A fault came into force at the mesh (`node` −1), in words in `text`; it ends at `until` (−1: it never did)."""
    CUT = "cut"
    """Who cannot reach whom changed: `text` lists the sides, as in `n0 n1 | n2 n3 n4`; empty: all reach all."""
    FACT = "fact"
    """`node` told the fact `what` (a type's name), in words in `text`."""
    MARK = "mark"
    """A fact of the few that change what a node stands for: a new incarnation, a verdict, an owner, a term."""
    DURABLE = "durable"
    """Records became durable at `node`; `text` lists their keys."""
    START = "start"
    """`node` started the body of a task."""
    REPLY = "reply"
    """`node` answered a caller: `what` is the outcome's type."""
    VIOLATION = "violation"
    """A property (`what`) did not hold, in words in `text`."""


class Happening(Struct, frozen=True, array_like=True, gc=False):
    """One thing. Times are virtual nanoseconds since the start of the run; nodes are indexes, −1 for none."""

    at: Instant
    kind: Kind
    node: int
    what: str
    text: str = ""
    peer: int = -1
    until: Instant = -1


class Recording(Struct, frozen=True):
    """A run, told: the scenario as it was run, who took part, what happened in order, and what was violated."""

    scenario: Scenario
    names: tuple[str, ...]
    happenings: tuple[Happening, ...]
    forgotten: int
    """How many happenings before the first one were not kept, because a recording is bounded."""
    violations: tuple[Violation, ...]
    trace_hash: str
