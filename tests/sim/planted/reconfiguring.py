"""Broken reconfiguration: tasks that are stuck at nodes that do not offer them any more, and news that nobody hears."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from protocols.core import Instant, PerformId
from protocols.membership.tagging import Reconfigured, Tagging
from protocols.outbox import NEVER
from protocols.reconfiguring import Reconfigure, Reconfigurer
from protocols.tasks.task import BodyEnded
from protocols.tasks.worker import Worker
from sim.faults import Crash, Halves, Reconfiguring
from sim.scenario import Scenario
from tests.sim.planted.mutant import mutant_by, patched

RELOADED = Scenario(
    nodes=6,
    seconds=60,
    tasks_per_s=20,
    faults=(Reconfiguring(3, 55, 4, every_s=1), Halves(5, 20), Crash(30, 35, 2)),
)


@contextmanager
def keeps_what_waits_for_a_removed_handler() -> Iterator[None]:
    """A worker says nothing of runs whose handler is removed before their turn, and vouches for them for ever."""
    settle = Worker._settle

    def settle_unless_waiting(self: Worker, handler: str) -> None:
        if handler in self._limits or not self._queues[handler]:
            settle(self, handler)

    with (
        patched(Worker, "_refuse_waiting", lambda self, handler: None),
        patched(Worker, "_settle", settle_unless_waiting),
    ):
        yield


def keeps_the_end_of_a_removed_handler_to_itself() -> AbstractContextManager[None]:
    """A worker does not hear that a body has ended whose handler was removed, and vouches for it for ever."""
    on_body_ended = Worker.on_body_ended

    def end(self: Worker, now: Instant, perform_id: PerformId, result: BodyEnded) -> None:
        run = self._runs.get(self._by_perform.get(perform_id, ""))
        if run is None or run.assign.handler in self._limits:
            on_body_ended(self, now, perform_id, result)

    return patched(Worker, "on_body_ended", end)


def announces_no_configuration() -> AbstractContextManager[None]:
    """A node does what it is configured to do, and tells nobody."""

    def requested(self: Reconfigurer, now: Instant, request_id: int, command: Reconfigure) -> None:
        self._worker.reconfigure(now, command.handlers)
        self._outbox.reply(request_id, Reconfigured(1, 0))

    return patched(Reconfigurer, "requested", requested)


def answers_before_it_has_announced() -> AbstractContextManager[None]:
    """A caller is told at once that its configuration is announced, which it is only with the next change of tags."""
    reconfigure = Tagging.reconfigure

    def answer(self: Tagging, now: Instant, request_id: int, **config: object) -> None:
        reconfigure(self, now, request_id, **config)  # type: ignore[arg-type]  # passed on as they are
        self._announce_at = NEVER
        for waiting in self._reconfigurers:
            self._outbox.reply(waiting, Reconfigured(1, 0))
        self._reconfigurers = []

    return patched(Tagging, "reconfigure", answer)


RECONFIGURING = (
    mutant_by(keeps_what_waits_for_a_removed_handler, RELOADED, "one_result"),
    mutant_by(keeps_the_end_of_a_removed_handler_to_itself, RELOADED, "one_result"),
    mutant_by(announces_no_configuration, RELOADED, "ring_owners"),
    mutant_by(answers_before_it_has_announced, RELOADED, "ring_owners"),
)
"""Configurations that change while tasks run and other things go wrong."""
