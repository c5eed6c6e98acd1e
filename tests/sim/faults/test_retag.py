"""Tags that are changed while other things go wrong."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from protocols.core import Command, Instant, Outcome, Unknown
from protocols.membership.tagging import NodeTags, SetTags
from sim.checkers import Checker, LatestTags
from sim.errors import ScenarioError
from sim.faults import Crash, Halves, Retag
from sim.inspect import own_row, rows_of
from sim.process import Process
from sim.scenario import Scenario
from sim.scenario.run import Run, run
from sim.world import World

CHANGED = Scenario(nodes=5, seconds=40, faults=(Retag(3, 30, 3, every_s=0.5), Halves(5, 15), Crash(18, 22, 2)))


class Answers(Checker):
    """Collects what came of every change."""

    name = "answers"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.seen: list[tuple[str, SetTags, Outcome]] = []

    def on_reply(self, now: Instant, process: Process, command: Command, outcome: Outcome) -> None:
        if isinstance(command, SetTags):
            self.seen.append((process.name, command, outcome))


def driven(scenario: Scenario, *checkers: type[Checker]) -> Run:
    one = Run(scenario, checkers)
    one.start()
    one.faults_phase()
    one.heal()
    one.settle()
    one.finish()
    return one


def test_tags_of_some_nodes_change_singly_and_in_bursts_and_everybody_shows_the_last() -> None:
    one = driven(CHANGED, Answers, LatestTags)
    answers = one.world.watch.checkers[0]
    assert isinstance(answers, Answers)
    assert len({name for name, _, _ in answers.seen}) == 3
    assert any(isinstance(outcome, Unknown) for _, _, outcome in answers.seen)
    assert any(command.unset for _, command, _ in answers.seen)
    acknowledged = [outcome for _, _, outcome in answers.seen if isinstance(outcome, NodeTags)]
    announced = {(each.generation, each.incarnation, str(each.tags)) for each in acknowledged}
    assert len(acknowledged) > 60
    assert len(announced) < len(acknowledged), "no two callers ever shared an incarnation"
    assert one.world.watch.violations == []
    for subject in one.world.processes:
        row = own_row(subject.core)
        assert row is not None
        for observer in one.world.processes:
            shown = rows_of(observer.core)[subject.config.node_id].alive.profile.tags
            assert shown == row.alive.profile.tags
            assert bool(shown) == (subject.name in {name for name, _, _ in answers.seen})


def test_changes_are_the_same_whatever_else_goes_wrong() -> None:
    def commands(*others: Crash | Halves) -> list[str]:
        one = driven(replace(CHANGED, faults=(replace(CHANGED.faults[0], salt=9), *others)), Answers)
        answers = one.world.watch.checkers[0]
        assert isinstance(answers, Answers)
        return sorted(f"{name} {command}" for name, command, _ in answers.seen)

    undisturbed = commands()
    assert len(undisturbed) > 60
    assert commands(Halves(5, 15)) == undisturbed


def test_an_interval_that_is_no_span_of_time_is_refused() -> None:
    with pytest.raises(ScenarioError, match="every_s"):
        run(replace(CHANGED, faults=(Retag(3, 30, every_s=0.0),)))


def test_a_checker_that_is_told_of_tags_that_nobody_has_says_who_shows_what() -> None:
    one = Run(CHANGED, (LatestTags,))
    one.start()
    checker = one.world.watch.checkers[0]
    assert checker.waits_for(0) == ""
    subject = one.world.processes[2]
    checker.on_reply(0, subject, SetTags({"gpu": ""}), NodeTags({"gpu": ""}, ("gpu",), 1, 1))
    assert checker.waits_for(0) == "n2 shows tags () of n2, not (('gpu', ''),)"
    checker.on_reply(0, subject, SetTags(unset=("gpu",)), Unknown("n2 went down"))
    assert checker.waits_for(0) == "", "a change without an answer may have been made"
    subject.lost_data = True
    checker.on_reply(0, subject, SetTags({"gpu": ""}), NodeTags({"gpu": ""}, ("gpu",), 1, 2))
    assert checker.waits_for(0) == ""
