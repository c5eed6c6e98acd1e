"""Configurations that change while tasks run: what is configured is what is announced, and every task is done."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from protocols.config import HandlerSpec
from protocols.core import Command, Instant, Outcome, Unknown
from protocols.membership.tagging import Reconfigured
from protocols.node import Node
from protocols.reconfiguring import Reconfigure
from sim.checkers import Checker, OneResult, RingOwners
from sim.errors import ScenarioError
from sim.faults import Crash, Halves, Reconfiguring
from sim.inspect import own_row, rows_of
from sim.process import Process
from sim.scenario import Scenario
from sim.scenario.run import Run, run
from sim.world import World

CHANGED = Scenario(
    nodes=5,
    seconds=50,
    tasks_per_s=20,
    faults=(Reconfiguring(3, 40, 3, every_s=0.4), Halves(5, 15), Crash(18, 22, 2)),
)


class Answers(Checker):
    """Collects what came of every configuration."""

    name = "answers"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.seen: list[tuple[str, Reconfigure, Outcome]] = []

    def on_reply(self, now: Instant, process: Process, command: Command, outcome: Outcome) -> None:
        if isinstance(command, Reconfigure):
            self.seen.append((process.name, command, outcome))


def driven(scenario: Scenario, *checkers: type[Checker]) -> Run:
    one = Run(scenario, checkers)
    one.start()
    one.faults_phase()
    one.heal()
    one.settle()
    one.finish()
    return one


def answers_of(one: Run) -> list[tuple[str, Reconfigure, Outcome]]:
    checker = one.world.watch.checkers[0]
    assert isinstance(checker, Answers)
    return checker.seen


def names(handlers: tuple[HandlerSpec, ...]) -> tuple[str, ...]:
    return tuple(handler.name for handler in handlers)


def test_what_is_configured_is_announced_everywhere_and_every_task_is_done() -> None:
    one = driven(CHANGED, Answers, OneResult, RingOwners)
    assert one.world.watch.violations == []
    seen = answers_of(one)
    changed = {name for name, _, _ in seen}
    assert len(changed) == 3
    assert {type(outcome) for _, _, outcome in seen} == {Reconfigured, Unknown}
    assert len({command.zone for _, command, _ in seen}) == 3
    assert len({names(command.handlers) for _, command, _ in seen}) > 3
    assert len({handler.concurrency for _, command, _ in seen for handler in command.handlers}) > 2
    announced = {(name, o.generation, o.incarnation) for name, _, o in seen if isinstance(o, Reconfigured)}
    assert 20 < len(announced) < len(seen), "no two configurations ever shared an incarnation"
    for subject in one.world.processes:
        assert isinstance(subject.core, Node)
        row = own_row(subject.core)
        assert row is not None
        config, profile = subject.config, row.alive.profile
        assert (profile.handlers, profile.zone, profile.weight) == (names(config.handlers), config.zone, config.weight)
        assert subject.core.worker.handlers == profile.handlers
        for observer in one.world.processes:
            assert rows_of(observer.core)[config.node_id].alive.profile == profile
    everything = names(CHANGED.handlers)
    assert sum(names(process.config.handlers) == everything for process in one.world.processes) >= 3


def test_when_all_are_changed_one_offers_everything_in_the_end() -> None:
    one = driven(replace(CHANGED, faults=(Reconfiguring(3, 40, 5, every_s=0.5),)), OneResult)
    assert one.world.watch.violations == []
    everything = names(CHANGED.handlers)
    assert any(names(process.config.handlers) == everything for process in one.world.processes)


def test_changes_are_the_same_whatever_else_goes_wrong() -> None:
    def commands(*others: Crash | Halves) -> list[str]:
        one = driven(replace(CHANGED, faults=(replace(CHANGED.faults[0], salt=9), *others)), Answers)
        return [f"{name} {command}" for name, command, _ in answers_of(one)]

    undisturbed = commands()
    assert len(undisturbed) > 60
    assert commands(Halves(5, 15)) == undisturbed


def test_an_interval_that_is_no_span_of_time_is_refused() -> None:
    with pytest.raises(ScenarioError, match="every_s"):
        run(replace(CHANGED, faults=(Reconfiguring(3, 30, every_s=0.0),)))
