"""Every request gets exactly one outcome (core.py).

That there is no second one is seen where replies are carried out (`sim/process.py`, property `one_reply`). That there
is a first one is seen here, in the settling phase: a request may stay open for as long as the command itself may wait,
the other node may take to answer, and the disks of both may take to write. That counts from the end of the faults.

Where a scenario heals only a core, it is asked of the nodes of the core: a disk that stays full owes no answer.
"""

from __future__ import annotations

from protocols.core import NANOS_PER_MS, NANOS_PER_S, Command, Instant
from protocols.membership.event_views import AskQuery, ReadEvents
from protocols.tasks.task import GetTask
from sim.checkers.checker import Checker

SLACK = 30 * NANOS_PER_S
SAVES = 2
"""Saves that a request waits for, one after the other: at its own node, and at the other one."""


class OneReply(Checker):
    """Every request to a node that runs gets exactly one outcome."""

    name = "one_reply"

    def deadline(self) -> Instant:
        since = self.asked_since()
        last = max((max(asked, since) + patience(command) for asked, command in self._open()), default=0)
        return last + self.disk_time(SAVES)

    def waits_for(self, now: Instant) -> str:
        opened = self._open()
        if not opened:
            return ""
        asked, command = opened[0]
        since = (now - asked) / NANOS_PER_S
        return f"{len(opened)} request(s) have no answer, such as {type(command).__name__}, asked {since:.1f} s ago"

    def _open(self) -> list[tuple[Instant, Command]]:
        return [
            (asked, command)
            for process in self.world.core
            if process.up
            for asked, command, _ in process.pending.values()
        ]


def patience(command: Command) -> Instant:
    """How long `command` may stay unanswered, in nanoseconds."""
    wait_ms = command.wait_ms if isinstance(command, GetTask | ReadEvents) else 0
    if isinstance(command, AskQuery):
        wait_ms = command.timeout_ms
    return wait_ms * NANOS_PER_MS + SLACK
