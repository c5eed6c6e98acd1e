"""One seed of a test: waiting, mistakes, background tasks, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest
import trio

from protocols.core import NANOS_PER_S, Event, Instant, Received, Step
from protocols.membership.member import State
from protocols.node import Node
from sim import AwaitError, NotReached, PropertyViolated, Sim, Stuck, all_agree
from sim.errors import ScenarioError
from sim.faults import Halves
from sim.fence import FenceError
from sim.scenario import Run, Scenario, run
from sim.testing.frames import frames_of
from tests.sim.testing.kit import fails, passes, play


class Forgetful(Node):
    """A node that does not know a message any more after its 200th."""

    seen = 0

    def step(self, now: Instant, event: Event) -> Step:
        self.seen += isinstance(event, Received)
        if self.seen > 200:
            raise KeyError("what was that?")
        return super().step(now, event)


# Waiting.


def test_until_goes_on_after_the_very_step_that_made_it_true() -> None:
    async def body(sim: Sim) -> None:
        facts = sim.world.watch.facts
        await sim.sleep(2)  # the first views are published
        sim.nodes[0].crash()
        before = facts.copy()
        await sim.until(lambda s: s.nodes[1].sees("n0") is State.SUSPECT, within=30)
        changed = sum(facts.values()) - sum(before.values())
        assert changed <= 2  # itself and perhaps what the same step told

    passes(body)


def test_time_alone_can_make_it_true() -> None:
    async def body(sim: Sim) -> None:
        for node in sim.nodes:
            node.crash()
        start = sim.now
        await sim.until(lambda s: s.now >= start + 7, within=10)
        assert start + 7 <= sim.now <= start + 7.2

    passes(body, settle=False)


def test_what_does_not_come_fails_and_says_what_was_wrong() -> None:
    async def until(sim: Sim) -> None:
        await sim.until(lambda s: False, within=5)

    async def eventually(sim: Sim) -> None:
        async with sim.net.isolate("n0"):
            await sim.sleep(20)
            await sim.eventually(all_agree, within=5)

    assert "did not hold within 5 s (it is 5.0" in fails(until, NotReached)
    assert "test_seed.py" in fails(until, NotReached)
    words = fails(eventually, NotReached)
    assert "all_agree did not hold within 5 s" in words
    assert "takes" in words


def test_a_forgotten_return_is_told_apart_from_a_predicate_that_holds() -> None:
    async def body(sim: Sim) -> None:
        await sim.eventually(lambda s: None, within=5)

    assert "Was a `return` forgotten?" in fails(body, ScenarioError)


def test_a_wait_without_end_fails_at_the_limit() -> None:
    async def body(sim: Sim) -> None:
        await sim.until(lambda s: False)

    ended = play(body, limit_s=50)
    assert isinstance(ended.error, Stuck)
    assert "not over after 50 virtual seconds" in str(ended.error)
    assert 50 <= ended.report.virtual_seconds < 51


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python's own, of a deaf coroutine
def test_a_test_that_never_ends_and_swallows_what_it_is_told_fails_all_the_same() -> None:
    async def deaf(sim: Sim) -> None:
        while True:
            try:
                await sim.sleep(1)
            except Exception:
                continue

    async def stone_deaf(sim: Sim) -> None:
        while True:
            try:
                await sim.sleep(1)
            except BaseException:  # closing the coroutine, too
                continue

    assert "goes on all the same" in fails(deaf, Stuck, limit_s=50)
    assert "goes on all the same" in fails(stone_deaf, Stuck, limit_s=50)


def test_waiting_for_an_event_that_nobody_can_set_fails_at_once() -> None:
    async def body(sim: Sim) -> None:
        await sim.sleep(3)
        await sim.event().wait()

    words = fails(body, Stuck)
    assert words.startswith("At 3.0")
    assert "nobody is left" in words


def test_virtual_time_that_stands_still_fails() -> None:
    async def body(sim: Sim) -> None:
        await sim.sleep(1)
        while True:
            await sim.sleep(0)

    assert "Virtual time stands still at 1.0" in fails(body, Stuck)


# What is forgotten, and what is not of this world.


def test_a_forgotten_await_or_block_fails_and_names_its_line() -> None:
    async def sleeps(sim: Sim) -> None:
        sim.sleep(1)

    async def cuts(sim: Sim) -> None:
        sim.net.isolate("n0")

    async def submits(sim: Sim) -> None:
        sim.nodes[0].submit("count")

    assert "sim.sleep(…) at test_seed.py:" in fails(sleeps, AwaitError)
    assert "Write `async with sim.net.isolate(…):`" in fails(cuts, AwaitError)
    assert "Write `await node.submit(…)`" in fails(submits, AwaitError)


@pytest.mark.parametrize(
    ("foreign", "name"),
    [
        (partial(trio.sleep, 1), "trio"),
        (trio.lowlevel.checkpoint, "trio"),
        (partial(asyncio.sleep, 1), "asyncio"),
        (partial(asyncio.sleep, 0), "asyncio"),
        (partial(anyio.sleep, 1), "anyio"),
    ],
)
def test_awaiting_another_library_says_what_to_use_instead(foreign: Callable[[], Any], name: str) -> None:
    async def body(sim: Sim) -> None:
        await foreign()

    words = fails(body, AwaitError)
    assert name in words
    assert "await sim.sleep(seconds)" in words


@pytest.mark.parametrize(
    ("touch", "name"), [(lambda: time.time(), "time.time()"), (lambda: random.random(), "random.random()")]
)
def test_clocks_and_chance_from_outside_are_fenced(touch: Callable[[], float], name: str) -> None:
    async def body(sim: Sim) -> None:
        await sim.sleep(1)
        touch()

    assert name in fails(body, FenceError)


def test_logs_and_prints_are_let_through() -> None:
    async def body(sim: Sim) -> None:
        logging.getLogger("test").warning("at %s", sim.now)
        print("hello")

    passes(body)


def test_the_tests_own_stream_follows_the_seed() -> None:
    draws: list[float] = []

    async def body(sim: Sim) -> None:
        draws.append(sim.random.random())

    for seed in (1, 1, 2):
        passes(body, seed)
    assert draws[0] == draws[1] != draws[2]


# Background tasks.


def test_background_tasks_end_with_the_test_and_their_errors_fail_it() -> None:
    log: list[str] = []

    async def forever(sim: Sim) -> None:
        try:
            while True:
                await sim.sleep(1)
        finally:
            log.append("cancelled")

    async def body(sim: Sim) -> None:
        sim.start_soon(forever, sim)
        await sim.sleep(3)
        log.append("over")

    async def fail(sim: Sim) -> None:
        await sim.sleep(1)
        raise KeyError("in the background")

    async def failing(sim: Sim) -> None:
        sim.start_soon(fail, sim)
        await sim.sleep(100)

    passes(body)
    assert log == ["over", "cancelled"]
    ended = play(failing)
    assert isinstance(ended.error, KeyError)
    assert ended.ended_s < 2


def test_several_errors_fail_the_test_together() -> None:
    async def body(sim: Sim) -> None:
        async def fail(number: int) -> None:
            await sim.sleep(1)
            raise KeyError(number)

        async with sim.open_nursery() as nursery:
            nursery.start_soon(fail, 1)
            nursery.start_soon(fail, 2)

    error = play(body).error
    assert isinstance(error, ExceptionGroup)


# How a seed ends.


def test_afterwards_the_mesh_is_healed_and_must_settle() -> None:
    async def body(sim: Sim) -> None:
        async with sim.net.isolate("n0"):
            await sim.sleep(20)

    whole = passes(body)
    assert whole.report.agreed_after_s is not None
    assert whole.report.virtual_seconds >= whole.ended_s + 1
    short = passes(body, settle=False)
    assert short.report.virtual_seconds == pytest.approx(short.ended_s)


def test_a_bug_of_the_protocol_is_told_at_the_line_where_the_test_waits() -> None:
    async def body(sim: Sim) -> None:
        async with sim.net.isolate("n2"):
            await sim.sleep(300)

    ended = play(body, core_factory=Forgetful)
    assert isinstance(ended.error, PropertyViolated)
    assert ended.error.violation.property == "no_exception"
    assert ended.ended_s == pytest.approx(ended.error.violation.time_s)
    lines = [frame.f_code.co_name for frame in frames_of(ended.error)]
    assert lines == ["run", "body"]


def test_the_faults_and_the_seconds_of_the_scenario_go_on_beside_the_test() -> None:
    async def body(sim: Sim) -> None:
        await sim.until(lambda s: s.nodes[0].in_minority or s.nodes[1].in_minority, within=6)
        assert sim.now == pytest.approx(5, abs=0.1)

    ended = passes(body, nodes=4, faults=[Halves(5, 20)], tasks_per_s=1)
    assert ended.fired == {"halves": 1}
    assert ended.report.virtual_seconds >= 20
    assert ended.report.tasks["accepted"] > 5


def test_the_workload_goes_on_for_as_long_as_the_test_does_and_no_longer() -> None:
    async def body(sim: Sim) -> None:
        await sim.sleep(40)

    ended = passes(body, nodes=3, tasks_per_s=2)
    assert 40 < ended.report.tasks["accepted"] < 130


def test_no_task_comes_once_the_workload_is_told_to_end() -> None:
    one = Run(Scenario(nodes=2, tasks_per_s=1, seconds=60))
    one.start()
    one.goes_on_until(one.world.kernel.now)
    one.world.run(30 * NANOS_PER_S)
    assert one.workload.counts == {}


def test_a_test_that_does_nothing_is_the_run_of_its_scenario() -> None:
    scenario = Scenario(nodes=4, seconds=30, seed=3, faults=(Halves(5, 15),))

    async def body(sim: Sim) -> None:
        await sim.sleep(0)

    ended = passes(body, 3, scenario=scenario)
    assert ended.report.messages == run(scenario).messages


def test_joining_nodes_boot_while_the_test_runs() -> None:
    async def body(sim: Sim) -> None:
        assert len(sim.up) < 3
        await sim.eventually(all_agree, within=30)
        assert len(sim.up) == 3

    passes(body, nodes=3, start="join")


def test_the_same_seed_is_the_same_run_whatever_is_watched() -> None:
    async def body(sim: Sim) -> None:
        await sim.nodes[0].submit("count", {"n": 1}, wait=5)
        async with sim.net.partition(sim.some(2), sim.rest):
            await sim.sleep(sim.random.uniform(5, 20))
        await sim.eventually(all_agree, within=90)

    async def watching(sim: Sim) -> None:
        sim.always("something", lambda s: True)
        sim.sometimes("something else", lambda s: s.now > 3)
        await body(sim)

    one, two = passes(body, 7, nodes=5), passes(watching, 7, nodes=5)
    assert one.report.trace_hash == two.report.trace_hash
    assert one.report.trace_hash == passes(body, 7, nodes=5, checkers=()).report.trace_hash
    assert one.report.trace_hash != passes(body, 8, nodes=5).report.trace_hash
