"""Configurations that change while tasks run: what is configured is what is announced, and every task is done."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from protocols.config import HandlerSpec
from protocols.core import Unknown
from protocols.membership.tagging import Reconfigured
from protocols.node import Node
from protocols.reconfiguring import Reconfigure
from sim.checkers import OneResult, RingOwners
from sim.errors import ScenarioError
from sim.faults import Crash, Halves, Reconfiguring
from sim.inspect import own_row, rows_of
from sim.scenario import Scenario
from sim.scenario.run import run
from tests.sim.faults.machines import answered, settled

CHANGED = Scenario(
    nodes=5,
    seconds=50,
    tasks_per_s=20,
    faults=(Reconfiguring(3, 40, 3, every_s=0.4), Halves(5, 15), Crash(18, 22, 2)),
)


def names(handlers: tuple[HandlerSpec, ...]) -> tuple[str, ...]:
    return tuple(handler.name for handler in handlers)


def test_what_is_configured_is_announced_everywhere_and_every_task_is_done() -> None:
    one, seen = answered(CHANGED, Reconfigure, OneResult, RingOwners)
    assert one.world.watch.violations == []
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
    one = settled(replace(CHANGED, faults=(Reconfiguring(3, 40, 5, every_s=0.5),)), (OneResult,))
    assert one.world.watch.violations == []
    everything = names(CHANGED.handlers)
    assert any(names(process.config.handlers) == everything for process in one.world.processes)


def test_changes_are_the_same_whatever_else_goes_wrong() -> None:
    def commands(*others: Crash | Halves) -> list[str]:
        _, seen = answered(replace(CHANGED, faults=(replace(CHANGED.faults[0], salt=9), *others)), Reconfigure)
        return [f"{name} {command}" for name, command, _ in seen]

    undisturbed = commands()
    assert len(undisturbed) > 60
    assert commands(Halves(5, 15)) == undisturbed


def test_an_interval_that_is_no_span_of_time_is_refused() -> None:
    with pytest.raises(ScenarioError, match="every_s"):
        run(replace(CHANGED, faults=(Reconfiguring(3, 30, every_s=0.0),)))
