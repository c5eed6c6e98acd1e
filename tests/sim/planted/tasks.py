"""Broken tasks: what was promised is lost, done twice, done too early, or told wrongly."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from random import Random
from typing import TypeGuard, TypeVar

from msgspec.structs import replace

from protocols.config import NodeConfig
from protocols.core import Delete, Effect, Notify, Pledge, Put, Reply, Save, Send, Then
from protocols.tasks.book import PROGRESS_PREFIX, TASK_PREFIX, Book, Task
from protocols.tasks.messages import Assign
from protocols.tasks.task import TaskFinished, TaskProgress, TaskSpec, TaskState, TaskView
from tests.sim.planted.mutant import CRASHES, WORK, Mutant, Tampered, mutant_by, mutant_of, patched

E = TypeVar("E", Effect, Then)


class ForgetsItsTasks(Tampered):
    """Open tasks are not found again after a restart."""

    def tamper_with_saved(self, saved: list[Put]) -> list[Put]:
        return [put for put in saved if not put.key.startswith(TASK_PREFIX)]


class AnswersBeforeSaving(Tampered):
    """Replies do not wait for the disk."""

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        early: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Save):
                early += [each for each in effect.then if isinstance(each, Reply)]
                effect = replace(effect, then=tuple(each for each in effect.then if not isinstance(each, Reply)))
            early.append(effect)
        return early


class HandsOutBeforeSaving(Tampered):
    """An attempt is handed to its worker before it is durable."""

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        early: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Save):
                for each in effect.then:
                    if isinstance(each, Pledge) and isinstance(each.message, Assign):
                        early.append(Send(each.to, each.message))  # type: ignore[arg-type]  # the types forbid it
            early.append(effect)
        return early


class PledgesWithoutSaving(Tampered):
    """A promise leaves by itself, and not behind the save that makes it true."""

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        bare: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Save):
                bare += [each for each in effect.then if isinstance(each, Pledge)]  # type: ignore[misc]  # forbidden
                effect = replace(effect, then=tuple(each for each in effect.then if not isinstance(each, Pledge)))
            bare.append(effect)
        return bare


class AnnouncesBeforeSaving(Tampered):
    """Listeners are told of an outcome before it is durable."""

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        early: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Save):
                told = [each for each in effect.then if isinstance(each, Notify) and type(each.fact) is TaskFinished]
                early += told
                effect = replace(effect, then=tuple(each for each in effect.then if each not in told))
            early.append(effect)
        return early


class ForgetsToSaveTheTask(Tampered):
    """What was asked for is not written down, only how far it is."""

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        return [
            replace(effect, records=tuple(r for r in effect.records if not isinstance(r, Put) or not _is_spec(r)))
            if isinstance(effect, Save)
            else effect
            for effect in effects
        ]


class DeletesWhatItOwes(Tampered):
    """With the first attempt of a task its records are deleted, as if it had ended."""

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        for index, effect in enumerate(effects):
            if isinstance(effect, Save):
                self.count += 1
                specs = [r.key for r in effect.records if isinstance(r, Put) and _is_spec(r)]
                if specs and self.count % 10 == 0:
                    effects[index] = replace(effect, records=(*effect.records, Delete(specs[0])))
        return effects


class RecordsASecondResult(Tampered):
    """Some later save rewrites the outcome of a task that has ended."""

    def __init__(self, config: NodeConfig, saved: Iterable[Put], rng: Random) -> None:
        super().__init__(config, saved, rng)
        self.last: TaskProgress | None = None

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        for index, effect in enumerate(effects):
            if not isinstance(effect, Save):
                continue
            self.count += 1
            if self.count % 20 == 0 and self.last is not None:
                again = Put(PROGRESS_PREFIX + self.last.task_id, replace(self.last, output='"another"'))
                effects[index] = replace(effect, records=(*effect.records, again))
            for record in effect.records:
                if isinstance(record, Put) and _is_outcome(record.value):
                    self.last = record.value
        return effects


class NeverCountsAttempts(Tampered):
    """Every start of a body carries attempt 1."""

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        return [_with_attempt_1(effect) if isinstance(effect, Save) else effect for effect in effects]


class TellsAnotherOutcome(Tampered):
    """A caller is told of an output that is not the recorded one."""

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        return [
            replace(effect, then=tuple(_lie(each) for each in effect.then))
            if isinstance(effect, Save)
            else _lie(effect)
            for effect in effects
        ]


class LosesReplies(Tampered):
    """Now and then a caller is forgotten."""

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        kept: list[Effect] = []
        for effect in effects:
            self.count += isinstance(effect, Reply)
            if not isinstance(effect, Reply) or self.count % 10:
                kept.append(effect)
        return kept


def forgets_idempotency_keys() -> AbstractContextManager[None]:
    """The same submission, handed in again, is another task."""

    def forget(self: Book, task: Task) -> None:
        return None

    return patched(Book, "_remember_key", forget)


def _is_spec(put: Put) -> bool:
    return type(put.value) is TaskSpec


def _is_outcome(value: object) -> TypeGuard[TaskProgress]:
    return isinstance(value, TaskProgress) and value.state is TaskState.SUCCEEDED


def _with_attempt_1(save: Save) -> Save:
    records = [
        Put(r.key, replace(r.value, attempt=min(1, r.value.attempt)))
        if isinstance(r, Put) and isinstance(r.value, TaskProgress)
        else r
        for r in save.records
    ]
    then = [
        Pledge(each.to, replace(each.message, attempt=1))
        if isinstance(each, Pledge) and isinstance(each.message, Assign)
        else each
        for each in save.then
    ]
    return replace(save, records=tuple(records), then=tuple(then))


def _lie(effect: E) -> E:
    if isinstance(effect, Reply) and isinstance(effect.outcome, TaskView) and effect.outcome.state.final:
        return replace(effect, outcome=replace(effect.outcome, output='"something else"'))
    return effect


TASKS: tuple[Mutant, ...] = (
    mutant_of(ForgetsItsTasks, CRASHES, "one_result"),
    mutant_of(AnswersBeforeSaving, WORK, "one_result"),
    mutant_of(HandsOutBeforeSaving, WORK, "one_result"),
    mutant_of(PledgesWithoutSaving, WORK, "promises_wait_for_the_disk"),
    mutant_of(AnnouncesBeforeSaving, WORK, "one_result"),
    mutant_of(ForgetsToSaveTheTask, WORK, "one_result"),
    mutant_of(DeletesWhatItOwes, WORK, "one_result"),
    mutant_of(RecordsASecondResult, WORK, "one_result"),
    mutant_of(NeverCountsAttempts, CRASHES, "one_result"),
    mutant_of(TellsAnotherOutcome, WORK, "one_result"),
    mutant_of(LosesReplies, WORK, "one_reply"),
    mutant_by(forgets_idempotency_keys, WORK, "one_result"),
)
