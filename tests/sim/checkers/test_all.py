"""What holds of every checker."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sim.checkers import BY_NAME, DEFAULT, Checker
from sim.faults import Crash, DiskFull, Halves
from sim.marks import meaning
from sim.scenario import Run, Scenario

ROUGH = Scenario(nodes=5, seconds=40, tasks_per_s=4, faults=(Halves(5, 15), Crash(18, 25, 2), DiskFull(26, 32, 2)))


@pytest.mark.parametrize("checker", DEFAULT, ids=lambda checker: checker.name)
def test_a_checker_says_in_one_sentence_what_it_holds(checker: type[Checker]) -> None:
    sentence = meaning(checker)
    assert sentence.endswith(".")
    assert sentence[0].isupper()
    assert len(sentence) < 120


def test_every_checker_has_a_name_of_its_own() -> None:
    assert len(BY_NAME) == len(DEFAULT)


def test_a_run_is_the_same_with_and_without_them() -> None:
    def trace(checkers: tuple[type[Checker], ...]) -> str:
        one = Run(ROUGH, checkers)
        one.start()
        one.world.run(one.end)
        return one.world.trace.hexdigest()

    assert trace(DEFAULT) == trace(())
    assert all(trace((checker,)) == trace(()) for checker in DEFAULT)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_scenario_may_name_one_alone(name: str) -> None:
    one = Run(replace(ROUGH, hold=(name,)))
    assert [checker.name for checker in one.world.watch.checkers] == [name]
    one.start()
    one.faults_phase()
    one.heal()
    one.settle()
    one.finish()
    assert one.world.watch.violations == []
