"""Runs one seed of a test: the mesh, the test's own coroutine beside it, and then the rest as of any scenario.

First the coroutine runs over the scenario's faults phase, which lasts until it returns, and until the scenario's own
seconds and faults are over. Then, unless the test says otherwise, the mesh is healed, settles and is judged.

A violation ends the seed: the test is told at its present `await`, and nothing is settled. The same test, seed and code
give the same trace hash; what is fenced (`sim/fence`) cannot change that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from protocols.node import Node
from sim.checkers.checker import Checker
from sim.errors import ScenarioError
from sim.faults.fault import nanos
from sim.fence import FenceError, fence
from sim.kernel import Livelock
from sim.process import CoreFactory
from sim.record.happening import Recording
from sim.record.recorder import Recorder
from sim.scenario import Report, Run, Scenario
from sim.testing.errors import AwaitError, Endless, NotReached, PropertyViolated, StartAgain, Stuck
from sim.testing.frames import leaves, up_to_the_test, without_ours
from sim.testing.handlers import Handler, HandlerHost
from sim.testing.scopes import Nursery
from sim.testing.sim import Sim
from sim.testing.tasks import Task, explained
from sim.testing.watchdog import watchdog

PYTESTS = ("builtins", "_pytest.outcomes")
OURS = (FenceError, ScenarioError, AwaitError, NotReached, PropertyViolated, Stuck)
"""Errors that the simulator raises in a test: what matters is the test's line, not ours."""
GRACE_S = 60.0
"""How much longer than its limit a test may take to unwind once it has been told."""
STARTS_MAX = 200
"""Handlers and checkers that one test may name, and some more: past it, it names new ones for ever."""

NOT_OVER = (
    "The test was not over after {:g} virtual seconds: it waits for something that does not come, or never ends. Give "
    "waits a bound (within=…), or the test a longer limit: @sim_test(limit_s=…)."
)

GOES_ON = "The test was told to end, and goes on all the same at {:g} virtual seconds. It must let errors pass."
STANDS_STILL = (
    "Virtual time stands still at {:g} s: something is awaited again and again that takes no time, as sim.sleep(0) in "
    "a loop. Wait for what is to come, with sim.until(predicate), or let some time pass."
)

ENDLESS = (
    "At {:g} virtual seconds this line was still at work after half a minute of computing: a loop without an `await` "
    "has no end, for nothing else happens meanwhile. Let time pass in it, by sim.sleep(0.1), or wait by "
    "sim.until(predicate)."
)

TestBody: TypeAlias = Callable[[Sim], Coroutine[Any, Any, object]]


class Plan(Struct, frozen=True, kw_only=True):
    """What a test asks for, seeds aside."""

    scenario: Scenario
    checkers: tuple[type[Checker], ...]
    handlers: dict[str, Handler]
    settle: bool = True
    limit_s: float = 600.0
    core_factory: CoreFactory = Node


class Ended(Struct, frozen=True, kw_only=True):
    """What came of one seed. `error` is what the test is to raise; None where it passed."""

    seed: int
    report: Report
    error: BaseException | None
    reached: dict[str, bool]
    fired: dict[str, int]
    """By kind of fault that was asked for."""
    ended_s: float
    """When the test's own coroutine was over, in virtual seconds."""
    drawn: tuple[str, ...]
    """What the test drew by `sim.some`, in words."""
    recording: Recording | None = None


def run_seed(plan: Plan, seed: int, body: TestBody, *, record: bool = False) -> Ended:
    """Run `body` with one seed, in full. Raises what is no failure of a test: an interrupt, a skip."""
    checkers: list[type[Checker]] = list(plan.checkers)
    offered = {name: handler.concurrency for name, handler in plan.handlers.items()}
    for _ in range(STARTS_MAX):
        try:
            return _Seed(plan, seed, checkers, offered).run(body, record)
        except StartAgain as again:
            if again.checker is not None:
                checkers.append(again.checker)
            if again.host is not None:
                offered[again.host[0]] = again.host[1]
    raise Stuck(f"The test has named {STARTS_MAX} handlers or checkers, and goes on: name them once, at its start.")


class _Seed:
    """One run of one seed."""

    def __init__(self, plan: Plan, seed: int, checkers: Sequence[type[Checker]], offered: dict[str, int]) -> None:
        self._begun = time.perf_counter()
        self._plan = plan
        hosts = {name: HandlerHost(name, concurrency) for name, concurrency in offered.items()}
        self._run = Run(replace(plan.scenario, seed=seed), checkers, plan.core_factory, hosts)
        self._world = self._run.world
        self._sim = Sim(self._run, plan.limit_s, hosts)
        for name, handler in plan.handlers.items():
            hosts[name].bind(self._sim, handler)
        self._main: Task | None = None
        self._error: BaseException | None = None
        self._over = False
        self._ended_s = 0.0

    def run(self, body: TestBody, record: bool) -> Ended:
        __tracebackhide__ = True
        recorder = Recorder(self._world) if record else None
        ready = time.perf_counter()
        try:
            with watchdog(self._world.kernel), fence():
                try:
                    self._everything(body)
                finally:
                    self._sim.loop.close()
        except BaseException as error:
            if not is_failure(error):
                raise
            self._error = without_ours(error)
        done = time.perf_counter()
        report = self._run.report(done - ready, ready - self._begun)
        sim = self._sim
        return Ended(
            seed=self._run.scenario.seed,
            report=report,
            error=self._verdict(report),
            reached=sim.reached,
            fired={**self._run.timeline.fired, **sim.fired},
            ended_s=self._ended_s,
            drawn=tuple(sim.draws),
            recording=None if recorder is None else recorder.recording(report.expanded, report.trace_hash),
        )

    def _everything(self, body: TestBody) -> None:
        __tracebackhide__ = True
        run = self._run
        declared_end = run.end
        run.start()
        try:
            self._phase_of_the_test(body)
        finally:
            self._ended_s = self._sim.now
            self._sim.ended()
        if self._error is None and not self._world.watch.violations:
            run.goes_on_until(declared_end)
            run.faults_phase()
            run.heal()
            if self._plan.settle:
                run.settle()
            run.finish()
            self._error = self._sim.late

    def _phase_of_the_test(self, body: TestBody) -> None:
        """Run the test's own coroutine to its end, or to its limit."""
        __tracebackhide__ = True
        sim, world, limit_s = self._sim, self._world, self._plan.limit_s
        self._run.goes_on_until(nanos(limit_s))  # the workload with it, for nobody knows when the test ends
        self._main = sim.loop.spawn(self._root(body), "the test", None, self._ended)
        sim.begins(self._main)
        sim.loop.on_deadlock = self._deadlocked
        try:
            world.run(max(nanos(limit_s), world.kernel.now))
            if not self._over and not world.stopped:
                sim.loop.throw(self._main, Stuck(NOT_OVER.format(limit_s)))
                world.run(world.kernel.now + nanos(GRACE_S))
        except Livelock:
            self._unwind(Stuck(STANDS_STILL.format(self._sim.now)))
        except BaseException as error:  # raised outside of every task, such as by a predicate; or it ends the run
            if not is_failure(error):
                raise
            self._error = without_ours(error)
            self._over = True
        if not self._over:
            violations = world.watch.violations
            self._unwind(PropertyViolated(violations[0]) if violations else Stuck(GOES_ON.format(limit_s + GRACE_S)))

    async def _root(self, body: TestBody) -> None:
        __tracebackhide__ = True
        async with Nursery(self._sim.loop) as background:
            self._sim.background = background
            await body(self._sim)
            background.cancel_scope.cancel()

    def _ended(self, task: Task, value: object, error: BaseException | None) -> None:
        self._over = True
        self._error = error
        self._world.kernel.stop()

    def _deadlocked(self) -> None:
        if self._sim.has_handlers:
            return
        self._sim.fail(
            Stuck(
                f"At {self._sim.now:.3f} s every task of the test waits for an event or another task, and nobody is "
                "left who could wake one. Somebody must call `event.set()`; or bound it by sim.move_on_after(seconds)."
            )
        )

    def _unwind(self, why: Exception) -> None:
        """Time does not go on, and the test is not over: raise in it why, for the line where it waits."""
        main = self._main
        assert main is not None
        self._over = True
        self._error = without_ours(self._sim.loop.throw_now(main, why))

    def _verdict(self, report: Report) -> BaseException | None:
        """What the test raises, if anything."""
        error = self._error
        if isinstance(error, Endless):
            error = Stuck(ENDLESS.format(self._sim.now)).with_traceback(error.__traceback__)
        if error is not None:
            each = list(leaves(error))
            if len(each) > 1:
                return error
            error = explained(without_ours(each[0]))
            return up_to_the_test(error) if isinstance(error, OURS) else error
        if report.violations:
            return PropertyViolated(report.violations[0])
        return self._sim.ledger.forgotten()


def is_failure(error: BaseException) -> bool:
    """Whether `error` says that a test failed: not that it was interrupted, skipped, or is to start again."""
    if isinstance(error, Exception | FenceError | Endless):
        return True
    return type(error).__name__ == "Failed" and type(error).__module__ in PYTESTS  # what pytest.fail() raises
