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
    """`node` said `what` to `peer`; it arrives at `until` (−1: it still waits when the run ends, on a stalled stream or
    in a clogged link). `text` is empty, or says what is odd about it, as in `duplicate`."""
    LOST = "lost"
    """`node` said `what` to `peer` (−1: to nobody who is there) in vain; `text` says why, `until` when it was lost."""
    BOOT = "boot"
    CRASH = "crash"
    FAULT = "fault"
    """A fault came into force at the mesh (`node` −1), in words in `text`; it ends at `until` (−1: it never did)."""
    CUT = "cut"
    """Who cannot reach whom changed: `text` lists the sides, as in `n0 n1 | n2 n3 n4`; empty: all reach all. `what` has
    one letter per node, its side, and a dot for a node that reaches nobody."""
    FACT = "fact"
    """`node` told the fact `what` (a type's name), in words in `text`; `peer` is the node that it is about, if one."""
    MARK = "mark"
    """A fact of the few that change what a node stands for: a new incarnation, a verdict, an owner, a term. `label` is
    the same in two or three words, as in `dead n3` (`words.py` has the table)."""
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
    label: str = ""


class Recording(Struct, frozen=True):
    """A run, told: the scenario as it was run, who took part, what happened in order, and what was violated."""

    scenario: Scenario
    names: tuple[str, ...]
    happenings: tuple[Happening, ...]
    forgotten: int
    """How many happenings before the first one were not kept, because a recording is bounded."""
    violations: tuple[Violation, ...]
    trace_hash: str
    end: Instant = 0
    """When the run ended."""
    since: Instant = 0
    """Only what happened from here to `until` was asked for; faults, boots and crashes are kept all the same."""
    until: Instant = -1
    """The last instant that was asked for (−1: the end)."""
    before: tuple[Happening, ...] = ()
    """Of what was forgotten: the boots, crashes, faults, cuts and violations, so that the stage can be set."""
