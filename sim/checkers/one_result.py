"""Every accepted task ends in exactly one recorded result (DESIGN 6, the task contract in its first form).

Watched at the coordinator's disk, at the executors, and at what callers are told:
- *accepted is durable*: when a caller hears `Accepted`, the task is on its coordinator's disk; it stays there until it
  has a result;
- *one result*: a recorded result never changes, and `TaskFinished` is told once, as recorded;
- *attempts grow*: the durable attempt never goes back, and every start of a body carries an attempt that was durable
  before; no (task, attempt) is started twice, on one node or on two;
- *answers are true*: a final `TaskView` says what is recorded, and the same idempotency key at the same node is the
  same task;
- *liveness*: once the mesh has settled, results keep coming, within a bound from one to the next, until every accepted
  task whose coordinator runs has one.

A finished task may be forgotten (its records deleted); its result is remembered here and must not come back different.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.core import NANOS_PER_S, Command, Delete, Fact, Instant, Outcome, Record
from protocols.tasks.book import PROGRESS_PREFIX, TASK_PREFIX
from protocols.tasks.task import Accepted, RunBody, Submit, TaskFinished, TaskProgress, TaskSpec, TaskState, TaskView
from sim.checkers.agreement import agreement_bound
from sim.checkers.checker import Checker
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World

STALL = 120 * NANOS_PER_S
"""The longest that a mesh at peace may go on owing results without recording one: a body that runs into its timeout
(30 s in the workload), three times over for the deaths of its workers, with leases and retries between."""


class Tracked:
    """What is known of one task from the outside."""

    __slots__ = ("accepted", "coordinator", "durable", "finished_told", "progress")

    def __init__(self, coordinator: Process) -> None:
        self.coordinator = coordinator
        self.durable = False
        """Its spec is on the coordinator's disk."""
        self.accepted = False
        self.progress: TaskProgress | None = None
        """As durable last; kept when the records are deleted after the end."""
        self.finished_told = False

    @property
    def final(self) -> bool:
        return self.progress is not None and self.progress.state >= TaskState.SUCCEEDED


class OneResult(Checker):
    """Accepted means: driven to one result that never changes."""

    name = "one_result"
    facts = (TaskFinished,)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.tasks: dict[str, Tracked] = {}
        self.starts: dict[tuple[str, int], str] = {}
        """(task, attempt) → the node that started it."""
        self._by_idempotency: dict[tuple[int, str], str] = {}
        self._open: dict[str, None] = {}
        """Accepted and not final."""
        self._last_progress: Instant = 0
        """When a task was last accepted, or a result recorded: a backlog is worked off at the pace of the bodies."""

    # The coordinator's disk.

    def on_durable(self, now: Instant, process: Process, records: tuple[Record, ...]) -> None:
        for record in records:
            if isinstance(record, Delete):
                self._deleted(now, process, record.key)
            elif type(record.value) is TaskSpec:
                self._spec_durable(now, process, record.value)
            elif type(record.value) is TaskProgress:
                self._progress_durable(now, process, record.value)

    def _spec_durable(self, now: Instant, process: Process, spec: TaskSpec) -> None:
        tracked = self.tasks.get(spec.task_id)
        if tracked is None:
            tracked = self.tasks[spec.task_id] = Tracked(process)
        elif tracked.coordinator is not process:
            self.violated(now, process, f"took in task {spec.task_id}, which {tracked.coordinator.name} coordinates")
        tracked.durable = True

    def _progress_durable(self, now: Instant, process: Process, progress: TaskProgress) -> None:
        tracked = self.tasks.get(progress.task_id)
        if tracked is None:
            self.violated(now, process, f"saved progress of task {progress.task_id} without the task")
            return
        before = tracked.progress
        if before is not None:
            if before.state >= TaskState.SUCCEEDED and not _same_result(before, progress):
                text = f"recorded {_result(progress)} for task {progress.task_id} after {_result(before)}"
                self.violated(now, process, text)
            if progress.attempt < before.attempt:
                text = f"attempt {progress.attempt} of task {progress.task_id} after attempt {before.attempt}"
                self.violated(now, process, text)
        tracked.progress = progress
        if tracked.final:
            self._open.pop(progress.task_id, None)
            self._last_progress = now

    def _deleted(self, now: Instant, process: Process, key: str) -> None:
        if not key.startswith((TASK_PREFIX, PROGRESS_PREFIX)):
            return
        task_id = key.partition("/")[2]
        tracked = self.tasks.get(task_id)
        if tracked is not None and not tracked.final:
            self.violated(now, process, f"deleted task {task_id}, which has no result yet")

    # The executors.

    def on_start(self, now: Instant, process: Process, action: RunBody) -> None:
        tracked = self.tasks.get(action.task_id)
        durable = tracked.progress.attempt if tracked is not None and tracked.progress is not None else 0
        if action.attempt > durable:
            text = f"starts attempt {action.attempt} of task {action.task_id}, but only {durable} is durable"
            self.violated(now, process, text)
        run = (action.task_id, action.attempt)
        earlier = self.starts.get(run)
        if earlier is not None:
            self.violated(now, process, f"starts attempt {action.attempt} of task {action.task_id} after {earlier} did")
        self.starts[run] = process.name

    # What callers and listeners are told.

    def on_reply(self, now: Instant, process: Process, command: Command, outcome: Outcome) -> None:
        if isinstance(outcome, Accepted) and isinstance(command, Submit):
            self._accepted(now, process, command, outcome.task_id)
        elif isinstance(outcome, TaskView) and outcome.state >= TaskState.SUCCEEDED:
            tracked = self.tasks.get(outcome.task_id)
            recorded = None if tracked is None else tracked.progress
            told = (outcome.state, outcome.output, outcome.attempt)
            if recorded is None or told != (recorded.state, recorded.output, recorded.attempt):
                what = "nothing" if recorded is None else _result(recorded)
                text = f"told a caller that task {outcome.task_id} {outcome.state.name.lower()}; recorded is {what}"
                self.violated(now, process, text)

    def _accepted(self, now: Instant, process: Process, command: Submit, task_id: str) -> None:
        tracked = self.tasks.get(task_id)
        if tracked is None or not tracked.durable:
            self.violated(now, process, f"accepted task {task_id} before it was durable")
            return
        if command.idempotency_key:
            same = self._by_idempotency.setdefault((process.index, command.idempotency_key), task_id)
            if same != task_id:
                text = f"took the key {command.idempotency_key!r} in as task {task_id}, and as {same} before"
                self.violated(now, process, text)
        tracked.accepted = True
        self._last_progress = now
        if not tracked.final:
            self._open[task_id] = None

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        assert type(fact) is TaskFinished
        tracked = self.tasks.get(fact.task_id)
        if tracked is None or tracked.progress is None or not tracked.final:
            self.violated(now, process, f"told that task {fact.task_id} has finished before that was durable")
            return
        if tracked.finished_told:
            self.violated(now, process, f"told twice that task {fact.task_id} has finished")
        tracked.finished_told = True
        recorded = tracked.progress
        if (fact.state, fact.attempt) != (recorded.state, recorded.attempt):
            text = f"told that task {fact.task_id} {fact.state.name.lower()}; recorded is {_result(recorded)}"
            self.violated(now, process, text)

    # Liveness, and the end.

    def deadline(self) -> Instant:
        world = self.world
        settled = world.disturbed_at + agreement_bound(world.processes[0].config.swim, len(world.processes))
        return max(settled, self._last_progress) + STALL

    def waits_for(self, now: Instant) -> str:
        waiting = [task_id for task_id in self._open if self.tasks[task_id].coordinator.up]
        if not waiting:
            return ""
        tracked = self.tasks[waiting[0]]
        progress = "without progress" if tracked.progress is None else _result(tracked.progress)
        where = tracked.coordinator.name
        return f"{len(waiting)} accepted task(s) have no result, such as {waiting[0]} of {where}: {progress}"

    def finish(self, now: Instant) -> None:
        for task_id, tracked in self.tasks.items():
            if tracked.accepted and not tracked.final and TASK_PREFIX + task_id not in tracked.coordinator.disk.records:
                self.violated(now, tracked.coordinator, f"lost task {task_id}, which it had accepted")


def _same_result(one: TaskProgress, other: TaskProgress) -> bool:
    return (one.state, one.output, one.detail, one.attempt) == (other.state, other.output, other.detail, other.attempt)


def _result(progress: TaskProgress) -> str:
    return f"{progress.state.name.lower()} {progress.output or progress.detail!r} at attempt {progress.attempt}"
