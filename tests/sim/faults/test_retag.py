"""Tags that are changed while other things go wrong."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from protocols.core import Unknown
from protocols.membership.tagging import NodeTags, SetTags
from sim.checkers import LatestTags
from sim.errors import ScenarioError
from sim.faults import Crash, Halves, Retag
from sim.inspect import own_row, rows_of
from sim.scenario import Scenario
from sim.scenario.run import Run, run
from tests.sim.faults.machines import answered

CHANGED = Scenario(nodes=5, seconds=40, faults=(Retag(3, 30, 3, every_s=0.5), Halves(5, 15), Crash(18, 22, 2)))


def test_tags_of_some_nodes_change_singly_and_in_bursts_and_everybody_shows_the_last() -> None:
    one, seen = answered(CHANGED, SetTags, LatestTags)
    changed = {name for name, _, _ in seen}
    assert len(changed) == 3
    assert any(isinstance(outcome, Unknown) for _, _, outcome in seen)
    assert any(command.unset for _, command, _ in seen)
    acknowledged = [outcome for _, _, outcome in seen if isinstance(outcome, NodeTags)]
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
            assert bool(shown) == (subject.name in changed)


def test_changes_are_the_same_whatever_else_goes_wrong() -> None:
    def commands(*others: Crash | Halves) -> list[str]:
        _, seen = answered(replace(CHANGED, faults=(replace(CHANGED.faults[0], salt=9), *others)), SetTags)
        return sorted(f"{name} {command}" for name, command, _ in seen)

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
