"""The coordinator's book: what is remembered, for how long, and what a restart finds (rules in `tasks/book.py`)."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from protocols.core import Delete, Put, Stored
from protocols.limits import FINISHED_TASKS_MAX
from protocols.tasks.book import PROGRESS_PREFIX, TASK_PREFIX, Book, Task, coordinator_prefix, new_task_id
from protocols.tasks.task import TaskProgress, TaskSpec, TaskState
from tests.protocols.harness import id_of


def task_of(number: int, key: str = "") -> Task:
    task_id = f"t{number:011}.{id_of('a')[:8]}"
    spec = TaskSpec(task_id, "work", "null", "", key, 1000, number)
    return Task(spec, TaskProgress(task_id, TaskState.QUEUED, 0, "", 0, 0))


def running(task: Task, worker: str) -> TaskProgress:
    return replace(task.progress, state=TaskState.RUNNING, attempt=task.progress.attempt + 1, worker=worker)


def done(task: Task) -> TaskProgress:
    return replace(task.progress, state=TaskState.SUCCEEDED, output="1")


@given(st.integers())
def test_an_id_has_sixty_random_bits_and_names_its_coordinator(seed: int) -> None:
    task_id = new_task_id(Random(seed), id_of("a"))
    name, _, suffix = task_id.partition(".")
    assert len(name) == 12
    assert id_of("a").startswith(suffix)
    assert coordinator_prefix(task_id) == suffix


def test_the_oldest_finished_tasks_are_forgotten_past_the_bound_of_number() -> None:
    book = Book()
    deleted: list[str] = []
    for number in range(FINISHED_TASKS_MAX + 3):
        task = task_of(number, key=f"k{number}")
        book.add(task)
        records = book.finish(task, done(task))
        deleted += [record.key for record in records if isinstance(record, Delete)]
    assert len(book.finished) == FINISHED_TASKS_MAX
    gone = [task_of(number).id for number in range(3)]
    assert deleted == [prefix + task_id for task_id in gone for prefix in (TASK_PREFIX, PROGRESS_PREFIX)]
    assert all(book.get(task_id) is None for task_id in gone)
    assert book.by_idempotency_key("k2") is None
    assert book.by_idempotency_key("k3") is not None
    assert book.check()


def test_open_tasks_are_kept_without_exception() -> None:
    book = Book()
    for number in range(FINISHED_TASKS_MAX + 3):
        book.add(task_of(number))
    assert len(book.open) == FINISHED_TASKS_MAX + 3


STEPS = st.lists(st.tuples(st.sampled_from(["add", "run", "finish", "give up"]), st.integers(0, 9)), max_size=60)


@given(STEPS)
@settings(max_examples=80, deadline=None)
def test_a_restart_finds_what_was_saved(steps: list[tuple[str, int]]) -> None:
    """The records of every step, applied in order, make a book with the same tasks, standing and order of finishing."""
    book = Book()
    disk: dict[str, Stored] = {}
    taken = 0
    for what, number in steps:
        if what == "add":
            taken += 1
            task = task_of(taken, key=f"k{taken}")
            book.add(task)
            disk[TASK_PREFIX + task.id] = task.spec
            disk[PROGRESS_PREFIX + task.id] = task.progress
            continue
        if not book.open:
            continue
        task = list(book.open.values())[number % len(book.open)]
        if what == "run":
            record = book.update(task, running(task, f"w{number % 3}"))
            assert isinstance(record, Put)
            disk[record.key] = record.value
        elif what == "finish":
            for record in book.finish(task, done(task)):
                assert isinstance(record, Put)
                disk[record.key] = record.value
        else:
            book.give_up(task.id)
            del disk[TASK_PREFIX + task.id], disk[PROGRESS_PREFIX + task.id]
            assert book.by_idempotency_key(task.spec.idempotency_key) is None
        assert book.check()
    again = Book()
    again.load([Put(key, value) for key, value in sorted(disk.items())])
    assert again.check()
    assert {task.id: task.progress for task in again.open.values()} == {t.id: t.progress for t in book.open.values()}
    assert list(again.finished) == list(book.finished)
    assert {worker: set(runs) for worker, runs in again.by_worker.items()} == {
        worker: set(runs) for worker, runs in book.by_worker.items()
    }
    for task in (*book.open.values(), *book.finished.values()):
        found = again.by_idempotency_key(task.spec.idempotency_key)
        assert found is not None
        assert found.id == task.id
