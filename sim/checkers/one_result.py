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
Memory does not grow with the run: open tasks are all remembered, of those that have ended the last few thousand, and of
the rest only how many ended how. What is no longer checked of a task so old: that its result is not recorded again
with another content, that no attempt of it is started twice, and that its idempotency key still names it. That its
attempts were durable is then read from its coordinator's disk.

Where a scenario heals only a core, a result is owed by coordinators in the core, for tasks that a node of it can run.
Where it destroys what a coordinator had on its disk (`Process.lost_data`), nothing is owed for the tasks that are gone;
for those that are still there, and all that the node takes in later, as for any other.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from protocols.core import NANOS_PER_S, Command, Delete, Fact, Instant, Outcome, Record
from protocols.tasks.book import PROGRESS_PREFIX, TASK_PREFIX, coordinator_prefix
from protocols.tasks.task import Accepted, RunBody, Submit, TaskFinished, TaskProgress, TaskSpec, TaskState, TaskView
from sim.checkers.agreement import agreement_bound
from sim.checkers.checker import Checker
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World

STALL = 120 * NANOS_PER_S
"""The longest that a mesh at peace may go on owing results without recording one: a body that runs into its timeout
(30 s in the workload), three times over for the deaths of its workers, with leases and retries between."""
SAVES = 6
"""Saves between two results, one after the other: each of those three attempts, and how it ended."""

ENDED_REMEMBERED = 4096
"""Tasks with a result that are remembered one by one (see above)."""


class Tracked:
    """What is known from the outside of one task whose spec has become durable at its coordinator."""

    __slots__ = ("accepted", "coordinator", "finished_told", "handler", "key", "progress", "starts")

    def __init__(self, coordinator: Process, spec: TaskSpec) -> None:
        self.coordinator = coordinator
        self.handler = spec.handler
        self.key = spec.idempotency_key
        self.accepted = False
        self.starts: dict[int, str] = {}
        """Attempt → the node that started it."""
        self.progress: TaskProgress | None = None
        """As durable last; kept when the records are deleted after the end."""
        self.finished_told = False

    @property
    def final(self) -> bool:
        return self.progress is not None and self.progress.state >= TaskState.SUCCEEDED


class OneResult(Checker):
    """Every accepted task is durable and ends in one result that never changes."""

    name = "one_result"
    facts = (TaskFinished,)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.tasks: dict[str, Tracked] = {}
        """Those that are open, and the last that have ended."""
        self.started = 0
        """Bodies started."""
        self.ended: dict[TaskState, int] = {}
        """Accepted tasks that have ended and are not remembered one by one any more, by how they ended."""
        self._ended_order: deque[str] = deque()
        self._by_idempotency: dict[tuple[int, str], str] = {}
        self._open: dict[str, None] = {}
        """Accepted and not final."""
        self._last_progress: Instant = 0
        """When a task was last accepted, or a result recorded: a backlog is worked off at the pace of the bodies."""

    # The coordinator's disk.

    def on_boot(self, now: Instant, process: Process) -> None:
        if process.lost_data:
            for task_id in [task_id for task_id in self._open if self._is_gone(process, task_id)]:
                del self._open[task_id]
            for key, task_id in list(self._by_idempotency.items()):
                if self._is_gone(process, task_id):
                    del self._by_idempotency[key]

    def _is_gone(self, process: Process, task_id: str) -> bool:
        """Whether `process` coordinates the task, and not all of it is on its disk any more."""
        records = process.disk.records
        keys = (TASK_PREFIX + task_id, PROGRESS_PREFIX + task_id)
        return self.tasks[task_id].coordinator is process and not all(key in records for key in keys)

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
            self.tasks[spec.task_id] = Tracked(process, spec)
        elif tracked.coordinator is not process:
            self.violated(now, process, f"took in task {spec.task_id}, which {tracked.coordinator.name} coordinates")

    def _progress_durable(self, now: Instant, process: Process, progress: TaskProgress) -> None:
        task_id = progress.task_id
        tracked = self.tasks.get(task_id)
        if tracked is None:
            if TASK_PREFIX + task_id not in process.disk.records:
                self.violated(now, process, f"saved progress of task {task_id} without the task")
            return
        before = tracked.progress
        if before is not None:
            if before.state >= TaskState.SUCCEEDED and not _same_result(before, progress):
                text = f"recorded {_result(progress)} for task {task_id} after {_result(before)}"
                self.violated(now, process, text)
            if progress.attempt < before.attempt:
                text = f"attempt {progress.attempt} of task {task_id} after attempt {before.attempt}"
                self.violated(now, process, text)
        had_ended = tracked.final
        tracked.progress = progress
        if tracked.final and not had_ended:
            self._open.pop(task_id, None)
            self._last_progress = now
            self._ended_order.append(task_id)
            if len(self._ended_order) > ENDED_REMEMBERED:
                self._fold(self._ended_order.popleft())

    def _fold(self, task_id: str) -> None:
        """Forget a task that ended long ago, but for how it ended."""
        tracked = self.tasks.pop(task_id)
        if tracked.accepted and tracked.progress is not None:
            self.ended[tracked.progress.state] = self.ended.get(tracked.progress.state, 0) + 1
        self._by_idempotency.pop((tracked.coordinator.index, tracked.key), None)

    def states(self) -> dict[TaskState, int]:
        """How many accepted tasks are now in each state, those that are forgotten here included."""
        counts = dict(self.ended)
        for tracked in self.tasks.values():
            if tracked.accepted and tracked.progress is not None:
                counts[tracked.progress.state] = counts.get(tracked.progress.state, 0) + 1
        return counts

    def _deleted(self, now: Instant, process: Process, key: str) -> None:
        if not key.startswith((TASK_PREFIX, PROGRESS_PREFIX)):
            return
        task_id = key.partition("/")[2]
        tracked = self.tasks.get(task_id)
        if tracked is not None and not tracked.final:
            self.violated(now, process, f"deleted task {task_id}, which has no result yet")

    # The executors.

    def on_start(self, now: Instant, process: Process, action: RunBody) -> None:
        self.started += 1
        tracked = self.tasks.get(action.task_id)
        progress = self._on_disk(action.task_id) if tracked is None else tracked.progress
        durable = 0 if progress is None else progress.attempt
        if action.attempt > durable:
            text = f"starts attempt {action.attempt} of task {action.task_id}, but only {durable} is durable"
            self.violated(now, process, text)
        if tracked is None:
            return
        earlier = tracked.starts.get(action.attempt)
        if earlier is not None:
            self.violated(now, process, f"starts attempt {action.attempt} of task {action.task_id} after {earlier} did")
        tracked.starts[action.attempt] = process.name

    def _on_disk(self, task_id: str) -> TaskProgress | None:
        """What the coordinator of a task that is not remembered here holds of it."""
        prefix = coordinator_prefix(task_id)
        for process in self.world.processes:
            if prefix and process.config.node_id.startswith(prefix):
                progress = process.disk.records.get(PROGRESS_PREFIX + task_id)
                if isinstance(progress, TaskProgress):
                    return progress
        return None

    # What callers and listeners are told.

    def on_reply(self, now: Instant, process: Process, command: Command, outcome: Outcome) -> None:
        if isinstance(outcome, Accepted) and isinstance(command, Submit):
            self._accepted(now, process, command, outcome.task_id)
        elif isinstance(outcome, TaskView) and outcome.state >= TaskState.SUCCEEDED:
            tracked = self.tasks.get(outcome.task_id)
            recorded = self._on_disk(outcome.task_id) if tracked is None else tracked.progress
            told = (outcome.state, outcome.output, outcome.attempt)
            if recorded is None or told != (recorded.state, recorded.output, recorded.attempt):
                what = "nothing" if recorded is None else _result(recorded)
                text = f"told a caller that task {outcome.task_id} {outcome.state.name.lower()}; recorded is {what}"
                self.violated(now, process, text)

    def _accepted(self, now: Instant, process: Process, command: Submit, task_id: str) -> None:
        tracked = self.tasks.get(task_id)
        if tracked is None:
            if TASK_PREFIX + task_id not in process.disk.records:
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
        settled = self.asked_since() + agreement_bound(world.processes[0].config.swim, len(world.processes))
        return max(settled, self._last_progress) + STALL + self.disk_time(SAVES)

    def waits_for(self, now: Instant) -> str:
        waiting = [task_id for task_id in self._open if self._is_owed(self.tasks[task_id])]
        if not waiting:
            return ""
        tracked = self.tasks[waiting[0]]
        progress = "without progress" if tracked.progress is None else _result(tracked.progress)
        where = tracked.coordinator.name
        return f"{len(waiting)} accepted task(s) have no result, such as {waiting[0]} of {where}: {progress}"

    def _is_owed(self, tracked: Tracked) -> bool:
        if not tracked.coordinator.up:
            return False
        core = self.world.core
        if len(core) == len(self.world.processes):
            return True
        return tracked.coordinator in core and any(
            handler.name == tracked.handler for process in core for handler in process.config.handlers
        )

    def finish(self, now: Instant) -> None:
        for task_id in self._open:
            coordinator = self.tasks[task_id].coordinator
            destroyed = coordinator.lost_data and not coordinator.up  # what it has lost shows when it starts
            if TASK_PREFIX + task_id not in coordinator.disk.records and not destroyed:
                self.violated(now, coordinator, f"lost task {task_id}, which it had accepted")


def _same_result(one: TaskProgress, other: TaskProgress) -> bool:
    return (one.state, one.output, one.detail, one.attempt) == (other.state, other.output, other.detail, other.attempt)


def _result(progress: TaskProgress) -> str:
    return f"{progress.state.name.lower()} {progress.output or progress.detail!r} at attempt {progress.attempt}"
