"""Each checker is proven by bugs that it catches: the protocol is broken in one place, and a named property must fall
within a bounded number of seeds, while the code as it stands holds on the very same seeds.

A mutant is a `Node` whose events or effects are tampered with, or a node with one method replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import TypeGuard, TypeVar

import pytest
from msgspec.structs import replace

from protocols.config import NodeConfig
from protocols.core import (
    Effect,
    Event,
    Instant,
    Notify,
    Pledge,
    Put,
    Received,
    Record,
    Reply,
    Save,
    Send,
    Step,
    Then,
    Woke,
)
from protocols.limits import DETAIL_CHARS_MAX
from protocols.membership.member import (
    INCARNATION_STEP,
    Accusation,
    Alive,
    Fallen,
    Member,
    State,
    Update,
    incarnation_of,
    with_state,
)
from protocols.membership.messages import Ack, Ping
from protocols.membership.records import GENERATION_KEY
from protocols.membership.swim import Swim
from protocols.node import Node
from protocols.ring.placement import Ring, RingMember
from protocols.tasks.book import PROGRESS_PREFIX, TASK_PREFIX
from protocols.tasks.messages import Assign
from protocols.tasks.task import TaskFinished, TaskProgress, TaskSpec, TaskState, TaskView
from sim.faults import Crash, Halves
from sim.process import CoreFactory
from sim.scenario import Scenario, run

SEEDS = range(6)

QUIET = Scenario(nodes=5, seconds=60)
CUT = Scenario(nodes=6, seconds=60, faults=(Halves(5, 20), Halves(30, 50)))
MANY = Scenario(nodes=40, seconds=30)
WORK = Scenario(nodes=4, seconds=40, tasks_per_s=5)
CRASHES = Scenario(nodes=4, seconds=50, tasks_per_s=5, faults=(Crash(8, 14, 2), Crash(20, 26, 2), Crash(32, 38, 2)))


class Tampered(Node):
    """A node between whose core and driver somebody sits."""

    def __init__(self, config: NodeConfig, saved: Iterable[Put], rng: Random) -> None:
        super().__init__(config, self.tamper_with_saved(list(saved)), rng)
        self.count = 0

    def step(self, now: Instant, event: Event) -> Step:
        effects, wake_at = super().step(now, self.tamper_with_event(event))
        return Step(self.tamper_with_effects(effects), wake_at)

    def tamper_with_saved(self, saved: list[Put]) -> list[Put]:
        return saved

    def tamper_with_event(self, event: Event) -> Event:
        return event

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        return effects


class ForgetsItsGeneration(Tampered):
    """The generation is not found again after a restart, so an old one is used once more."""

    def tamper_with_saved(self, saved: list[Put]) -> list[Put]:
        return [put for put in saved if put.key != GENERATION_KEY]


class ForgetsItsTasks(Tampered):
    """Open tasks are not found again after a restart."""

    def tamper_with_saved(self, saved: list[Put]) -> list[Put]:
        return [put for put in saved if not put.key.startswith(TASK_PREFIX)]


class DeafToAcks(Tampered):
    """Acks are not understood, so everybody seems dead."""

    def tamper_with_event(self, event: Event) -> Event:
        return Woke() if isinstance(event, Received) and type(event.message) is Ack else event


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


class OwnsMoreThanOthersThink(Tampered):
    """A node gives itself twice the weight that the others give it."""

    def owner_of(self, handler: str, key: str) -> str | None:
        me = self.config.node_id
        return Ring(RingMember(m.endpoint.node_id, 1 + (m.endpoint.node_id == me)) for m in self.members()).owner(key)


class SpeaksOutOfRange(Tampered):
    """Probe numbers go out negative, which every codec refuses."""

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        return [
            Send(effect.to, Ping(-1, effect.message.updates))
            if isinstance(effect, Send) and isinstance(effect.message, Ping)
            else effect
            for effect in effects
        ]


class OverfillsPackets(Tampered):
    """An ack carries more than fits its packet."""

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        me = self.swim.me
        return [
            Send(effect.to, Ack(effect.message.probe, (me.alive,) * 30))
            if isinstance(effect, Send) and isinstance(effect.message, Ack) and me is not None
            else effect
            for effect in effects
        ]


class KeepsWhatCannotBeRead(Tampered):
    """A record is written whose text is longer than a reader takes."""

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        return [
            replace(effect, records=tuple(_with_long_detail(record) for record in effect.records))
            if isinstance(effect, Save)
            else effect
            for effect in effects
        ]


def _with_long_detail(record: Record) -> Record:
    if isinstance(record, Put) and isinstance(record.value, TaskProgress):
        return Put(record.key, replace(record.value, detail="x" * (DETAIL_CHARS_MAX + 1)))
    return record


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


E = TypeVar("E", Effect, Then)


def _lie(effect: E) -> E:
    if isinstance(effect, Reply) and isinstance(effect.outcome, TaskView) and effect.outcome.state.final:
        return replace(effect, outcome=replace(effect.outcome, output='"something else"'))
    return effect


# Mutants by a replaced method.


def believes_whatever_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """News is taken for true whether or not it outranks what is known."""

    def hear(self: Swim, now: Instant, updates: Iterable[Update]) -> None:
        for update in updates:
            row = self.table.get(update.node_id)
            if row is None:
                self._meet(now, update)
            elif row is not self.me:
                self._believe(now, row, update)

    monkeypatch.setattr(Swim, "hear", hear)


def raises_incarnations_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """An accuser raises the incarnation of the accused, which only the accused may do."""

    def suspect(self: Swim, now: Instant, node_id: str) -> None:
        row = self.table.get(node_id)
        if row is not None and row is not self.me and row.state is State.ALIVE:
            precedence = with_state(row.precedence, State.SUSPECT) + INCARNATION_STEP
            self._accused(now, row, Accusation(node_id, precedence, self.config.node_id))

    monkeypatch.setattr(Swim, "suspect", suspect)


def reuses_an_incarnation(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the second time on, a refutation goes out under the incarnation that was accused."""
    refute = Swim._refute

    def refute_again(self: Swim, now: Instant, row: Member, update: Update) -> None:
        if incarnation_of(update.precedence) > 0:
            update = replace(update, precedence=update.precedence - INCARNATION_STEP)
        refute(self, now, row, update)

    monkeypatch.setattr(Swim, "_refute", refute_again)


def never_refutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The accused keeps silent."""

    def refute(self: Swim, now: Instant, row: Member, update: Update) -> None:
        return None

    monkeypatch.setattr(Swim, "_refute", refute)


def never_reaches_out_to_the_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Push-pull rows of members that are known are not looked at, so two halves stay two."""

    def merge(self: Swim, now: Instant, rows: Iterable[Alive | Fallen]) -> None:
        self.hear(now, [row for row in rows if isinstance(row, Alive) and self.table.get(row.node_id) is None])

    monkeypatch.setattr(Swim, "merge", merge)


# The proof.


def violated_properties(scenario: Scenario, core_factory: CoreFactory) -> tuple[str, ...]:
    """Every property that falls in the first seed in which any does; empty where all seeds hold."""
    for seed in SEEDS:
        report = run(replace(scenario, seed=seed), core_factory=core_factory)
        if report.violations:
            return tuple(dict.fromkeys(violation.property for violation in report.violations))
    return ()


@pytest.mark.parametrize("scenario", [QUIET, CUT, MANY, WORK, CRASHES], ids=["quiet", "cut", "many", "work", "crashes"])
def test_the_code_as_it_stands_holds(scenario: Scenario) -> None:
    assert violated_properties(scenario, Node) == ()


@pytest.mark.parametrize(
    ("mutant", "scenario", "caught_by"),
    [
        (ForgetsItsGeneration, CRASHES, "incarnations_grow"),
        (DeafToAcks, QUIET, "no_false_death"),
        (ForgetsItsTasks, CRASHES, "one_result"),
        (AnswersBeforeSaving, WORK, "one_result"),
        (HandsOutBeforeSaving, WORK, "one_result"),
        (AnnouncesBeforeSaving, WORK, "one_result"),
        (ForgetsToSaveTheTask, WORK, "one_result"),
        (RecordsASecondResult, WORK, "one_result"),
        (NeverCountsAttempts, CRASHES, "one_result"),
        (TellsAnotherOutcome, WORK, "one_result"),
        (LosesReplies, WORK, "one_reply"),
        (OwnsMoreThanOthersThink, QUIET, "ring_owners"),
        (SpeaksOutOfRange, MANY, "survives_the_wire"),
        (OverfillsPackets, MANY, "survives_the_wire"),
        (KeepsWhatCannotBeRead, WORK, "survives_the_wire"),
    ],
)
def test_a_tampered_node_is_caught(mutant: type[Node], scenario: Scenario, caught_by: str) -> None:
    assert caught_by in violated_properties(scenario, mutant)


@pytest.mark.parametrize(
    ("plant", "caught_by"),
    [
        (believes_whatever_comes_last, "incarnations_grow"),
        (raises_incarnations_of_others, "incarnations_grow"),
        (reuses_an_incarnation, "incarnations_grow"),
        (never_refutes, "agreement"),
        (never_reaches_out_to_the_dead, "agreement"),
    ],
)
def test_a_broken_membership_is_caught(
    plant: Callable[[pytest.MonkeyPatch], None], caught_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    fallen: list[str] = []
    for seed in SEEDS:
        fallen += [violation.property for violation in run(replace(CUT, seed=seed)).violations]
        if caught_by in fallen:
            return
    pytest.fail(f"no {caught_by} in {len(SEEDS)} seeds, only {dict.fromkeys(fallen)}")
