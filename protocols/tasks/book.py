"""The coordinator's book: every task it has taken in, open and finished, and what of it is on disk.

Open tasks are kept without exception. Finished ones are kept up to a count and a number of bytes; the oldest are
forgotten first, and the records go with them. An idempotency key is remembered for as long as its task.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from random import Random

from msgspec import Struct

from protocols.core import Delete, Instant, NodeId, Put, Record
from protocols.limits import FINISHED_BYTES_MAX, FINISHED_TASKS_MAX
from protocols.outbox import NEVER
from protocols.tasks.task import TaskProgress, TaskSpec, TaskState

TASK_PREFIX = "task/"
PROGRESS_PREFIX = "progress/"
SUFFIX_CHARS = 8
BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


def new_task_id(rng: Random, coordinator: NodeId) -> str:
    """60 random bits, and the first characters of the coordinator's id."""
    bits = rng.getrandbits(60)
    return "".join([BASE32[(bits >> shift) & 31] for shift in range(0, 60, 5)]) + "." + coordinator[:SUFFIX_CHARS]


def coordinator_prefix(task_id: str) -> str:
    """The beginning of the id of the node that coordinates the task; empty where `task_id` has not that form."""
    name, dot, suffix = task_id.partition(".")
    return suffix if name and dot and len(suffix) == SUFFIX_CHARS else ""


class Task(Struct):
    """One task: what was asked, how far it is, and what this life of the coordinator knows besides."""

    spec: TaskSpec
    progress: TaskProgress
    vouched_at: Instant = 0
    """When the worker last vouched for the run, or was given it."""
    started: bool = False
    """The worker said that the body runs."""
    avoid: dict[NodeId, None] = {}  # msgspec copies the empty default for every instance
    """Workers that refused in this round of placing."""
    refusals: int = 0
    retry_at: Instant = NEVER
    waits_for: str = ""
    taken_in: bool = True
    """False until the submission is durable: it may still come to nothing, so nobody is told of it."""
    unsaved: int = 0
    """Saves about it that are not durable yet: until then nobody may be told how it stands."""
    look_again: bool = False
    """Its worker, or its turn, came up while it was being saved."""

    @property
    def id(self) -> str:
        return self.spec.task_id

    @property
    def final(self) -> bool:
        return self.progress.state >= TaskState.SUCCEEDED


class Book:
    """Tasks by id, with the indexes that the coordinator needs. `open` and `finished` are insertion-ordered."""

    def __init__(self) -> None:
        self.open: dict[str, Task] = {}
        self.finished: dict[str, Task] = {}
        self.by_worker: dict[NodeId, dict[str, None]] = {}
        self._idempotency: dict[str, str] = {}
        self._finished_order: deque[str] = deque()
        self._finished_bytes = 0
        self._order = 0

    def excuse(self, slept: Instant) -> None:
        """This node has not run for so long: workers that were not heard meanwhile get that time back."""
        for task in self.open.values():
            task.vouched_at += slept

    def load(self, saved: Iterable[Put]) -> None:
        """Take in what an earlier life kept. Finished tasks come back in the order in which they finished."""
        specs: dict[str, TaskSpec] = {}
        progress: dict[str, TaskProgress] = {}
        for put in saved:
            value = put.value
            if type(value) is TaskSpec:
                specs[value.task_id] = value
            elif type(value) is TaskProgress:
                progress[value.task_id] = value
        finished: list[Task] = []
        for task_id in sorted(specs.keys() & progress.keys()):
            task = Task(specs[task_id], progress[task_id])
            if task.final:
                finished.append(task)
            else:
                self.add(task)
        for task in sorted(finished, key=lambda task: task.progress.finished_order):
            self._remember_key(task)
            self._file(task)
            self._order = max(self._order, task.progress.finished_order)

    def get(self, task_id: str) -> Task | None:
        return self.open.get(task_id) or self.finished.get(task_id)

    def by_idempotency_key(self, key: str) -> Task | None:
        task_id = self._idempotency.get(key)
        return None if task_id is None else self.get(task_id)

    def add(self, task: Task) -> None:
        """A new open task."""
        self.open[task.id] = task
        self._remember_key(task)
        self._index(task)

    def give_up(self, task_id: str) -> None:
        """Forget an open task that never became durable."""
        task = self.open.pop(task_id, None)
        if task is not None:
            self._unindex(task)
            self._idempotency.pop(task.spec.idempotency_key, None)

    def update(self, task: Task, progress: TaskProgress) -> Record:
        """Note progress of an open task; returns the record to save."""
        self._unindex(task)
        task.progress = progress
        self._index(task)
        return Put(PROGRESS_PREFIX + task.id, progress)

    def finish(self, task: Task, progress: TaskProgress) -> list[Record]:
        """Note the outcome of an open task; returns the records to save, forgetting of old ones included."""
        self._order += 1
        self._unindex(task)
        task.progress = TaskProgress(
            task_id=task.id,
            state=progress.state,
            attempt=progress.attempt,
            worker=progress.worker,
            worker_generation=progress.worker_generation,
            worker_deaths=progress.worker_deaths,
            output=progress.output,
            detail=progress.detail,
            run_ms=progress.run_ms,
            finished_order=self._order,
        )
        del self.open[task.id]
        records: list[Record] = [Put(PROGRESS_PREFIX + task.id, task.progress)]
        for old in self._file(task):
            records += [Delete(TASK_PREFIX + old), Delete(PROGRESS_PREFIX + old)]
        return records

    def _file(self, task: Task) -> list[str]:
        """Put a task among the finished; returns the ids of those that are forgotten for it."""
        self.finished[task.id] = task
        self._finished_order.append(task.id)
        self._finished_bytes += _weight(task)
        forgotten: list[str] = []
        while len(self.finished) > FINISHED_TASKS_MAX or (
            self._finished_bytes > FINISHED_BYTES_MAX and len(self.finished) > 1
        ):
            old = self.finished.pop(self._finished_order.popleft())
            self._finished_bytes -= _weight(old)
            self._idempotency.pop(old.spec.idempotency_key, None)
            forgotten.append(old.id)
        return forgotten

    def _remember_key(self, task: Task) -> None:
        if task.spec.idempotency_key:
            self._idempotency[task.spec.idempotency_key] = task.id

    def _index(self, task: Task) -> None:
        if task.progress.state is TaskState.RUNNING:
            self.by_worker.setdefault(task.progress.worker, {})[task.id] = None

    def _unindex(self, task: Task) -> None:
        runs = self.by_worker.get(task.progress.worker)
        if runs is not None:
            runs.pop(task.id, None)
            if not runs:
                del self.by_worker[task.progress.worker]

    def check(self) -> bool:
        """Whether the indexes fit the tasks."""
        running = {t.id for t in self.open.values() if t.progress.state is TaskState.RUNNING}
        indexed = {task_id for runs in self.by_worker.values() for task_id in runs}
        apart = self.open.keys().isdisjoint(self.finished.keys())
        finals = all(t.final for t in self.finished.values()) and not any(t.final for t in self.open.values())
        return running == indexed and apart and finals and len(self._finished_order) == len(self.finished)


def _weight(task: Task) -> int:
    return len(task.spec.payload) + len(task.progress.output) + len(task.progress.detail)
