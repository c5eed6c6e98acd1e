"""What a sweep has seen and missed: totals, violated seeds, and gaps that fail it."""

from __future__ import annotations

import sys

from msgspec.structs import replace

from sim.checkers.checker import Violation
from sim.faults import Crash, DiskFull
from sim.network import LinkProfile
from sim.scenario import Report, Scenario, run
from sim.sweep import Coverage, sweep
from sim.sweep.coverage import VIOLATED_MAX

REPORT = run(Scenario(nodes=2, seconds=2))


def report(seed: int = 0, **changed: object) -> Report:
    return replace(REPORT, seed=seed, **changed)


def violated(seed: int, *properties: str) -> Report:
    return report(seed, violations=tuple(Violation(name, 1.0, "n0", "…") for name in properties))


def covered(*reports: Report) -> Coverage:
    coverage = Coverage()
    for each in reports:
        coverage.add(each)
    return coverage


def test_totals_are_sums() -> None:
    coverage = covered(report(faults={"crash": 2, "loss": 1}), report(1, faults={"crash": 1, "halves": 1}))
    assert coverage.seeds == 2
    assert coverage.events == 2 * REPORT.events > 0
    assert coverage.messages == 2 * sum(REPORT.messages.values()) > 0
    assert coverage.virtual_seconds == 2 * REPORT.virtual_seconds
    assert coverage.faults == {"crash": 3, "loss": 1, "halves": 1}
    assert coverage.held
    assert coverage.sentences()[0].startswith("2 seeds, 0.0 virtual hours")
    assert "Every property held." in coverage.sentences()


def test_a_fault_that_never_happened_is_a_gap() -> None:
    coverage = covered(report(faults={"crash": 0, "loss": 0}), report(1, faults={"crash": 1, "loss": 0}))
    (gap,) = coverage.gaps()
    assert (gap.kind, gap.name) == ("fault", "loss")
    assert "The fault loss is enabled and did not happen in any of 2 seeds." in gap.text
    assert not coverage.held
    assert coverage.sentences()[-1] == gap.text


def test_a_state_that_was_never_reached_is_a_gap() -> None:
    coverage = covered(report(sometimes={"a": False, "b": True}), report(1, sometimes={"a": False, "b": False}))
    (gap,) = coverage.gaps()
    assert (gap.kind, gap.name) == ("sometimes", "a")
    assert "'a'" in gap.text
    assert any("'a' in 0, 'b' in 1 of 2 seeds" in line for line in coverage.sentences())
    assert covered(report(sometimes={"a": True}), report(1, sometimes={"a": False})).gaps() == []


def test_a_sweep_of_nothing_has_no_gap() -> None:
    assert Coverage().gaps() == []


def test_violations_are_counted_by_seed_and_kept_within_a_bound() -> None:
    coverage = covered(report(), violated(1, "agreement", "agreement", "ring"), violated(2, "ring"))
    assert coverage.violated_seeds == [1, 2]
    assert coverage.properties == {"agreement": 1, "ring": 2}
    assert coverage.first_violated is not None
    assert coverage.first_violated.seed == 1
    assert not coverage.held
    assert "2 of 3 seeds violated: agreement in 1, ring in 2." in coverage.sentences()
    size = 0
    for seed in range(5 * VIOLATED_MAX):
        coverage.add(violated(seed, "ring"))
        if seed == VIOLATED_MAX:
            size = sys.getsizeof(coverage.violated_seeds)
    assert coverage.violated == 5 * VIOLATED_MAX + 2
    assert len(coverage.violated_seeds) == VIOLATED_MAX
    assert sys.getsizeof(coverage.violated_seeds) == size


def test_real_sweeps_tell_what_they_missed() -> None:
    quiet = LinkProfile(loss=0.5, duplicate=1e-12, reorder=1e-12)
    scenario = Scenario(nodes=3, seconds=6, link=quiet, faults=(Crash(1, 3), Crash(2, 3, 3), DiskFull(2, 2.5)))
    coverage = covered(*sweep(scenario, range(3), 1))
    assert coverage.faults["loss"] > 0
    assert coverage.faults["crash"] == 6
    assert [gap.name for gap in coverage.gaps()] == ["diskfull", "duplicate", "reorder"]


def test_the_hash_of_a_sweep_is_of_its_runs_in_order() -> None:
    one, other = report(trace_hash="a"), report(1, trace_hash="b")
    assert covered(one, other).trace_hash == covered(one, other).trace_hash
    assert covered(one, other).trace_hash != covered(other, one).trace_hash
