"""`sim_test` on real tests of this suite, collected by pytest beside trio's plugin, and what it refuses."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import sim as public
from sim import Scenario, ScenarioError, Sim, all_agree, incarnations_grow, sim_test
from sim.checkers import Agreement, IncarnationsGrow
from sim.clock import ClockProfile
from sim.faults import Halves
from sim.network import LinkProfile
from sim.scenario import expand
from sim.testing.decorator import plan_of, seeds_declared

SEEN: dict[str, list[object]] = {}


@pytest.fixture
def basket(request: pytest.FixtureRequest) -> list[object]:
    """A list that outlives the seeds of one test, and not the test."""
    return SEEN.setdefault(request.node.name, [])


# Collected by pytest, in this project's own trio mode.


@sim_test(nodes=5, seeds=10)
async def test_the_example_of_the_readme(sim: Sim) -> None:
    sim.always("incarnations grow", incarnations_grow)
    sim.sometimes("the seed node was isolated", lambda s: s.node("n0").in_minority)
    async with sim.net.partition(sim.some(2), sim.rest):
        await sim.sleep(30)
    await sim.eventually(all_agree, within=60)


@sim_test(nodes=2, seeds=range(7, 10))
async def test_every_seed_is_run_once_in_a_fresh_mesh(sim: Sim, basket: list[object]) -> None:
    assert sim.now < 0.1
    assert all(node.process.boots == 1 for node in sim.nodes)
    basket.append(sim.seed)
    sim.nodes[0].restart()


def test_and_in_order() -> None:
    assert SEEN["test_every_seed_is_run_once_in_a_fresh_mesh"] == [7, 8, 9]


@pytest.mark.parametrize("count", [1, 2])
@sim_test(nodes=3, seeds=2)
async def test_parameters_and_fixtures_arrive(sim: Sim, count: int, tmp_path: Path) -> None:
    assert tmp_path.name.startswith("test_parameters_and_fixtures")
    assert len(sim.some(count)) == count


@pytest.mark.xfail(reason="marks work as ever", raises=ZeroDivisionError)
@sim_test(nodes=1, seeds=1)
async def test_marks_work(sim: Sim) -> None:
    await sim.sleep(1)
    _ = 1 / 0


class TestOnAClass:
    """Methods are tests, too."""

    @sim_test(nodes=2, seeds=2)
    async def test_method(self, sim: Sim, tmp_path: Path) -> None:
        assert isinstance(self, TestOnAClass)
        assert tmp_path.name.startswith("test_method")
        await sim.sleep(1)


@sim_test
async def test_without_options(sim: Sim) -> None:
    assert len(sim.nodes) == 5


@sim_test(scenario=Scenario(nodes=4, seconds=20, faults=(Halves(2, 10),)), seeds=2)
async def test_a_whole_scenario(sim: Sim) -> None:
    await sim.until(lambda s: s.nodes[0].in_minority, within=5)


# What it makes of a function.


async def plain(self: object, sim: Sim, one: int, *, two: str = "") -> None:
    """Words."""


def test_the_result_is_a_plain_function_without_the_parameter_sim() -> None:
    test = sim_test(seeds=1)(plain)
    assert not inspect.iscoroutinefunction(test)
    assert list(inspect.signature(test).parameters) == ["self", "one", "two"]
    assert (test.__name__, test.__doc__) == ("plain", "Words.")


def test_it_can_be_called_without_pytest() -> None:
    calls: list[tuple[int, int]] = []

    @sim_test(nodes=1, seeds=3)
    async def check(sim: Sim, number: int) -> None:
        calls.append((sim.seed, number))

    check(7)
    assert calls == [(0, 7), (1, 7), (2, 7)]


# What it refuses.


def not_async(sim: Sim) -> None:
    """A forgotten `async`."""


async def no_sim() -> None:
    """A forgotten parameter."""


@pytest.mark.parametrize(("function", "words"), [(not_async, "no `async def`"), (no_sim, "takes no `sim`")])
def test_a_function_that_is_no_simulated_test_is_refused(function: Any, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        sim_test(seeds=1)(function)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"node": 3}, "Did you mean 'nodes'"),
        ({"handler": 3}, "Did you mean 'handlers'"),
        ({"nodes": 0}, "there must be 1 to"),
        ({"start": "joined"}, "Did you mean 'join'"),
        ({"scenario": Scenario(), "nodes": 3}, "not both"),
        ({"limit_s": 0.5}, "at least as long as the scenario"),
        ({"scenario": Scenario(seconds=3600)}, "at least as long as the scenario, 3600 s"),
        ({"faults": [Halves(9, 3)]}, "ends before it begins"),
        ({"faults": ["halvs@5-10"]}, "Did you mean 'halves'"),
        ({"faults": "halves@5-10"}, "must be a list of faults"),
        ({"faults": [3]}, "faults.0.: expected `object`, got `int`"),
        ({"nodes": "5"}, "nodes='5'.: it must be of type int"),
        ({"clock": 3}, "clock=3.: it must be of type ClockProfile"),
        ({"link": LinkProfile}, "it must be of type LinkProfile"),
        ({"clock": ClockProfile(drift_ppm="a")}, "in clock.drift_ppm: expected `int`, got `str`"),  # type: ignore[arg-type]  # the mistake that is meant
        ({"scenario": 3}, "scenario=3.: it must be a Scenario"),
        ({"scenario": Scenario(nodes="5")}, "nodes='5'.: it must be of type int"),  # type: ignore[arg-type]  # the mistake that is meant
        ({"checkers": ["agreemnt"]}, "Did you mean 'agreement'"),
        ({"checkers": [3]}, "3 is no Checker class"),
        ({"checkers": "agreement"}, "must be a list of Checker classes"),
        ({"handlers": ["count"]}, "give functions by name"),
        ({"limit_s": "60"}, "a number of virtual seconds"),
    ],
)
def test_options_that_cannot_be_are_refused_where_the_test_is_defined(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        sim_test(**options)(plain)


@pytest.mark.parametrize("seeds", [0, -1, range(5, 5), "0..5", 3.0])
def test_seeds_that_are_none_are_refused(seeds: Any) -> None:
    with pytest.raises(ScenarioError, match="a number of seeds"):
        seeds_declared(seeds)


def test_faults_and_checkers_are_taken_by_their_short_names() -> None:
    plan = plan_of(None, {"faults": ["halves@5-10", Halves(3, 9)]}, checkers=["agreement", IncarnationsGrow])
    assert plan.scenario.faults == (Halves(5, 10), Halves(3, 9))
    assert plan.scenario.seconds == 10
    assert plan.checkers == (Agreement, IncarnationsGrow)


def test_a_mix_has_time_to_strike() -> None:
    """Drawn over the one second that other tests last at least, it would hardly ever."""
    plan = plan_of(None, {"mix": "full"})
    assert plan.scenario.seconds == Scenario().seconds
    assert len(expand(plan.scenario).faults) > 1
    assert plan_of(None, {"mix": "full", "seconds": 20.0}).scenario.seconds == 20
    assert plan_of(None, {"mix": None}).scenario.seconds == plan_of(None, {}).scenario.seconds == 1


def test_the_scenario_is_as_long_as_its_faults() -> None:
    assert plan_of(None, {"faults": [Halves(3, 9)]}).scenario.seconds == 9
    assert plan_of(None, {"faults": [Halves(3, 9)], "seconds": 30.0}).scenario.seconds == 30


# The public names.


def test_all_public_names_are_there() -> None:
    for name in public.__all__:
        assert getattr(public, name) is not None
    assert set(public.__all__) <= set(dir(public))
    with pytest.raises(AttributeError, match="no attribute 'sim_tests'"):
        _ = public.sim_tests


def test_type_checkers_are_told_of_the_same_names() -> None:
    source = Path(public.__file__).read_text(encoding="utf-8")
    told = [line.rpartition(" ")[2] for line in source.splitlines() if line.startswith("    from ")]
    assert sorted(told) == public.__all__
