"""Every request gets exactly one outcome (core.py).

That there is no second one is seen where replies are carried out (`sim/process.py`, property `one_reply`). That there
is a first one is seen here, in the settling phase: a request may stay open for as long as the command itself may wait,
the other node may take to answer, and the disk may take to write.
"""

from __future__ import annotations

from protocols.core import NANOS_PER_MS, NANOS_PER_S, Command, Instant
from protocols.tasks.task import GetTask
from sim.checkers.checker import Checker

SLACK = 30 * NANOS_PER_S


class OneReply(Checker):
    """No caller is left without an answer by a node that runs."""

    name = "one_reply"

    def deadline(self) -> Instant:
        return max((asked + patience(command) for asked, command in self._open()), default=0)

    def waits_for(self, now: Instant) -> str:
        opened = self._open()
        if not opened:
            return ""
        asked, command = opened[0]
        since = (now - asked) / NANOS_PER_S
        return f"{len(opened)} request(s) have no answer, such as {type(command).__name__}, asked {since:.1f} s ago"

    def _open(self) -> list[tuple[Instant, Command]]:
        pending = (process.pending.values() for process in self.world.running())
        return [(asked, command) for requests in pending for asked, command, _ in requests]


def patience(command: Command) -> Instant:
    """How long `command` may stay unanswered, in nanoseconds."""
    wait_ms = command.wait_ms if isinstance(command, GetTask) else 0
    return wait_ms * NANOS_PER_MS + SLACK
