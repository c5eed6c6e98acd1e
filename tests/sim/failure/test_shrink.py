"""Shrinking: what matters stays, what does not goes, and what comes back fails in the same way."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from msgspec.structs import replace

from protocols.node import Node
from sim.checkers.checker import Violation
from sim.errors import ScenarioError
from sim.failure.shrink import End, NothingToShrink, Shrunk, shrink
from sim.failure.smaller import Search, end_after_the_violation, with_nodes
from sim.failure.trial import TooLong, trial_of
from sim.faults import Crash, DiskFull, Halves, Isolate
from sim.network import LinkProfile
from sim.scenario import Liveness, Scenario, expand, run
from sim.scenario.zones import LinkBetween
from tests.sim.failure.planted import TWELVE, AnswersBeforeSaving, ForgetsItsGeneration

FALLEN = Violation("planted", 7.5, "", "it fell")


class Needs:
    """A trial that falls wherever a scenario has all that is needed; it counts how often it was asked."""

    def __init__(self, *, salts: tuple[int, ...] = (), nodes: int = 1, seconds: float = 0.0) -> None:
        self.salts, self.nodes, self.seconds = salts, nodes, seconds
        self.asked: list[Scenario] = []

    def __call__(self, scenario: Scenario) -> Violation | None:
        self.asked.append(scenario)
        there = {fault.salt for fault in scenario.faults}
        enough = scenario.nodes >= self.nodes and scenario.seconds >= self.seconds
        return FALLEN if enough and there.issuperset(self.salts) else None


@pytest.fixture(scope="module")
def progress() -> list[tuple[int, int]]:
    """What was told while `shrunk` was found: (runs, faults of the best so far)."""
    return []


@pytest.fixture(scope="module")
def shrunk(progress: list[tuple[int, int]]) -> Shrunk:
    """The smallest form of a bug that needs a crash, out of twelve faults."""
    return shrink(
        TWELVE,
        core_factory=ForgetsItsGeneration,
        budget_s=600,
        on_progress=lambda runs, best: progress.append((runs, len(best.faults))),
    )


def test_ctrl_c_ends_the_search_with_the_best_so_far() -> None:
    needs = Needs(seconds=10)

    def trial(scenario: Scenario) -> Violation | None:
        if len(needs.asked) == 3:
            raise KeyboardInterrupt
        return needs(scenario)

    shrunk = shrink(TWELVE, trial=trial, property_name="planted")
    assert shrunk.end is End.INTERRUPTED
    assert shrunk.runs == 3
    assert not shrunk.scenario.faults
    assert shrunk.scenario == needs.asked[-1]
    assert shrunk.violation is FALLEN


def test_of_twelve_faults_the_one_that_matters_stays(shrunk: Shrunk) -> None:
    assert shrunk.end is End.DONE
    [crash] = shrunk.scenario.faults
    assert isinstance(crash, Crash)
    assert (crash.salt, crash.count) == (4, 1)
    assert shrunk.scenario.nodes == 1
    assert shrunk.scenario.seconds <= 2
    assert shrunk.scenario.tasks_per_s == 0
    assert shrunk.scenario.link == LinkProfile()
    report = run(shrunk.scenario, core_factory=ForgetsItsGeneration)
    assert shrunk.violation == next(v for v in report.violations if v.property == "incarnations_grow")
    assert shrunk.scenario.seed == TWELVE.seed
    assert shrunk.scenario.name == TWELVE.name
    assert expand(shrunk.scenario) == shrunk.scenario


def test_without_need_of_a_fault_all_of_them_go() -> None:
    shrunk = shrink(TWELVE, core_factory=AnswersBeforeSaving, budget_s=600)
    assert shrunk.scenario.faults == ()
    assert 0 < shrunk.scenario.tasks_per_s <= TWELVE.tasks_per_s
    assert shrunk.violation.property == "one_result"


def test_the_same_search_gives_the_same_answer() -> None:
    one, other = (shrink(TWELVE, core_factory=ForgetsItsGeneration, budget_runs=9, budget_s=600) for _ in range(2))
    assert (one.scenario, one.violation, one.runs) == (other.scenario, other.violation, other.runs)
    assert one.runs == 9
    assert one.end is End.RUNS


@pytest.mark.parametrize("salts", [(1,), (12,), (3, 4), (1, 12), (2, 7, 11), tuple(range(1, 13))])
def test_exactly_the_faults_that_are_needed_stay(salts: tuple[int, ...]) -> None:
    shrunk = shrink(TWELVE, property_name="planted", trial=Needs(salts=salts), budget_s=600)
    assert tuple(fault.salt for fault in shrunk.scenario.faults) == salts


@pytest.mark.parametrize("nodes", [1, 4, 8])
def test_the_smallest_mesh_that_fails_is_found(nodes: int) -> None:
    trial = Needs(salts=(4,), nodes=nodes)  # the crash, which a mesh of one can have
    shrunk = shrink(TWELVE, property_name="planted", trial=trial, budget_s=600)
    assert shrunk.scenario.nodes == nodes
    for scenario in trial.asked:
        scenario.validate()


def test_a_named_node_stays_and_the_names_that_do_not_matter_go() -> None:
    scenario = Scenario(nodes=9, seconds=30, faults=(Crash(3, 6, nodes=("n1", "n5", "n2")),))

    def trial(candidate: Scenario) -> Violation | None:
        hit = [name for fault in candidate.faults if isinstance(fault, Crash) for name in fault.nodes]
        return FALLEN if "n5" in hit else None

    shrunk = shrink(scenario, property_name="planted", trial=trial, budget_s=600)
    [crash] = shrunk.scenario.faults
    assert isinstance(crash, Crash)
    assert crash.nodes == ("n5",)
    assert shrunk.scenario.nodes == 6


def test_time_is_squeezed_and_the_order_of_the_faults_is_kept() -> None:
    scenario = Scenario(nodes=4, seconds=300, faults=(Halves(40, 90), Isolate(60, 120), DiskFull(200, 260)))

    def trial(candidate: Scenario) -> Violation | None:
        if len(candidate.faults) < 3:
            return None
        first, second, third = candidate.faults
        assert first.end_s is not None
        assert second.end_s is not None
        overlapping = first.start_s < second.start_s < first.end_s
        return FALLEN if overlapping and third.start_s >= second.end_s + 4 else None

    shrunk = shrink(scenario, property_name="planted", trial=trial, budget_s=600)
    assert shrunk.scenario.seconds <= 12
    assert trial(shrunk.scenario)
    moments = [(fault.start_s, fault.end_s or 0.0) for fault in shrunk.scenario.faults]
    assert all(end_s > start_s for start_s, end_s in moments)
    assert all(start <= later for (start, _), (later, _) in pairwise(moments))


def test_a_run_ends_right_after_the_violation() -> None:
    scenario = Scenario(nodes=3, seconds=100, faults=(Halves(5, 50), Isolate(60, 70)))
    shrunk = shrink(scenario, property_name="planted", trial=Needs(salts=(1,), seconds=5), budget_s=600)
    assert shrunk.scenario.seconds == 5.0
    assert [fault.kind() for fault in shrunk.scenario.faults] == ["halves"]


def test_faults_that_begin_after_the_violation_go_and_those_that_outlast_it_end_with_the_run() -> None:
    scenario = expand(Scenario(nodes=3, seconds=100, faults=(Halves(5, 50), Isolate(2, 4), Isolate(60, 70))))
    search = Search(scenario, FALLEN, lambda candidate: FALLEN, 1, math.inf, None)
    end_after_the_violation(search)
    first, second, _ = scenario.faults
    assert search.best == replace(scenario, seconds=8.0, faults=(replace(first, end_s=8.0), second))


def test_in_a_smaller_mesh_a_fault_hits_at_most_all_of_it() -> None:
    scenario = Scenario(nodes=9, faults=(Isolate(1, 2, 7), Crash(1, 2, 3), Crash(1, 2, nodes=("n1",)), Halves(1, 2)))
    smaller = with_nodes(scenario, 4)
    smaller.validate()
    assert smaller == replace(scenario, nodes=4, faults=(Isolate(1, 2, 4), *scenario.faults[1:]))


def test_options_go_back_to_their_defaults_one_by_one() -> None:
    scenario = Scenario(nodes=2, seconds=8, start="join", link=LinkProfile(loss=0.1, reorder=0.2), tasks_per_s=9)

    def trial(candidate: Scenario) -> Violation | None:
        return FALLEN if candidate.link.reorder and candidate.tasks_per_s > 1.5 else None

    shrunk = shrink(scenario, property_name="planted", trial=trial, budget_s=600)
    assert shrunk.scenario.link == LinkProfile(reorder=0.2)
    assert shrunk.scenario.tasks_per_s == 2
    assert shrunk.scenario.start == "converged"


def test_what_was_drawn_is_shrunk_like_what_was_written() -> None:
    """A random mix, zones, links between them, and a rest that stays broken: all of it goes but one fault."""
    scenario = Scenario(
        nodes=6,
        seconds=60,
        seed=1,
        mix="full",
        zones={"eu": ("n0", "n1", "n5"), "us": 1},
        between_zones=LinkProfile(latency_ms_min=10, latency_ms_max=40),
        links=(LinkBetween(loss=0.1, between=("eu", "us")),),
        liveness=Liveness(rest="broken"),
    )
    drawn = expand(scenario).faults
    assert len(drawn) > 5
    wanted = next(fault.salt for fault in drawn if isinstance(fault, Crash))
    shrunk = shrink(scenario, property_name="planted", trial=Needs(salts=(wanted,), nodes=3), budget_s=600)
    [fault] = shrunk.scenario.faults
    assert fault.salt == wanted
    assert shrunk.scenario.nodes == 3
    plain = Scenario(nodes=3, seconds=shrunk.scenario.seconds, seed=1, faults=shrunk.scenario.faults)
    assert shrunk.scenario == plain


def test_another_property_that_falls_is_not_the_same_failure() -> None:
    """Both bugs at once: the search is for the one that needs a crash, and a run without one fails, but otherwise."""

    class Both(AnswersBeforeSaving, ForgetsItsGeneration):
        pass

    assert run(TWELVE, core_factory=Both).violations[0].property == "one_result"
    shrunk = shrink(TWELVE, core_factory=Both, property_name="incarnations_grow", budget_s=600)
    assert [fault.kind() for fault in shrunk.scenario.faults] == ["crash"]


def test_what_holds_cannot_be_shrunk() -> None:
    with pytest.raises(NothingToShrink, match="Seed 5 does not fail"):
        shrink(Scenario(nodes=2, seconds=2, seed=5))
    with pytest.raises(NothingToShrink, match="agreement held"):
        shrink(TWELVE, core_factory=ForgetsItsGeneration, property_name="agreement")
    with pytest.raises(ScenarioError, match="0 nodes"):
        shrink(Scenario(nodes=0))


def test_wall_time_only_decides_when_to_stop() -> None:
    shrunk = shrink(TWELVE, core_factory=ForgetsItsGeneration, budget_s=0)
    assert shrunk.end is End.TIME
    assert shrunk.runs == 0
    assert shrunk.scenario == expand(TWELVE)
    assert shrunk.changes == ()


def test_a_candidate_that_breaks_down_is_not_the_failure() -> None:
    def trial(candidate: Scenario) -> Violation | None:
        if not candidate.faults:
            raise RuntimeError("no faults, no run")
        return FALLEN

    shrunk = shrink(TWELVE, property_name="planted", trial=trial, budget_s=600)
    assert len(shrunk.scenario.faults) == 1
    assert shrunk.given_up >= 1


def test_what_was_dropped_is_told_in_words(shrunk: Shrunk) -> None:
    text = "\n".join(shrunk.changes)
    assert "faults: 12 → 1" in text
    assert "dropped: halves cut apart at 2-5 s" in text
    assert "dropped: 2 node(s) down" not in text
    assert "nodes: 8 → 1" in text
    assert "tasks_per_s: 2 → 0" in text
    assert "link.loss: 0.02 → 0" in text


def test_progress_is_told_after_every_run(shrunk: Shrunk, progress: list[tuple[int, int]]) -> None:
    assert [runs for runs, _ in progress] == list(range(1, shrunk.runs + 1))
    assert progress[-1][1] == 1


def test_a_trial_stops_at_the_violation_and_gives_up_on_what_goes_on_for_ever() -> None:
    violation = trial_of("incarnations_grow", core_factory=ForgetsItsGeneration)(TWELVE)
    assert violation is not None
    assert violation == run(TWELVE, core_factory=ForgetsItsGeneration).violations[0]
    assert trial_of("agreement", core_factory=ForgetsItsGeneration)(replace(TWELVE, faults=())) is None
    with pytest.raises(TooLong):
        trial_of("incarnations_grow", core_factory=Node, events_max=2000)(TWELVE)
