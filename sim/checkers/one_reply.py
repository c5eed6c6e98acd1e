"""Every request gets exactly one outcome (core.py).

That there is no second one is seen where replies are carried out (`sim/process.py`, property `one_reply`). That there
is a first one is seen here, in the settling phase: a request may stay open for as long as the command itself may wait,
the other node may take to answer, and the disk may take to write. That counts from the end of the faults, and from the
end of what a disk had begun during them (`disks_at_work.py`).

Where a scenario heals only a core, it is asked of the nodes of the core: a disk that stays full owes no answer.
"""

from __future__ import annotations

from protocols.core import NANOS_PER_MS, NANOS_PER_S, Command, Instant
from protocols.tasks.task import GetTask
from sim.checkers.disks_at_work import WatchesDisks
from sim.process import Process

SLACK = 30 * NANOS_PER_S


class OneReply(WatchesDisks):
    """Every request to a node that runs gets exactly one outcome."""

    name = "one_reply"

    def deadline(self) -> Instant:
        return max(
            (max(asked, self.owed_since(process)) + patience(command) for process, asked, command in self._open()),
            default=0,
        )

    def waits_for(self, now: Instant) -> str:
        opened = self._open()
        if not opened:
            return ""
        _, asked, command = opened[0]
        since = (now - asked) / NANOS_PER_S
        return f"{len(opened)} request(s) have no answer, such as {type(command).__name__}, asked {since:.1f} s ago"

    def _open(self) -> list[tuple[Process, Instant, Command]]:
        return [
            (process, asked, command)
            for process in self.world.core
            if process.up
            for asked, command, _ in process.pending.values()
        ]


def patience(command: Command) -> Instant:
    """How long `command` may stay unanswered, in nanoseconds."""
    wait_ms = command.wait_ms if isinstance(command, GetTask) else 0
    return wait_ms * NANOS_PER_MS + SLACK
