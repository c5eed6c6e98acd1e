"""The coroutine kernel: order, waiting, cancellation, nurseries, deadlock, death."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from protocols.core import NANOS_PER_S
from sim.errors import ScenarioError
from sim.kernel import Kernel
from sim.testing.errors import AwaitError, Cancelled, Stuck
from sim.testing.scopes import CancelScope, Nursery
from sim.testing.tasks import Event, Loop, ProcessDied, Task

Main = Callable[["Small"], Coroutine[Any, Any, Any]]


class Small:
    """A loop without a mesh."""

    def __init__(self) -> None:
        self.kernel = Kernel(0)
        self.loop = Loop(self.kernel)
        self.log: list[tuple[object, float]] = []
        self.error: BaseException | None = None
        self.value: object = None
        self.over = False

    def note(self, what: object) -> None:
        self.log.append((what, self.loop.now_s))

    def nursery(self) -> Nursery:
        return Nursery(self.loop)

    def scope(self, seconds: float = float("inf"), *, shield: bool = False, fails: bool = False) -> CancelScope:
        return CancelScope(self.loop, seconds, shield=shield, fails=fails)

    async def later(self, seconds: float, what: object) -> None:
        await self.loop.sleep(seconds)
        self.note(what)

    def ended(self, task: Task, value: object, error: BaseException | None) -> None:
        self.over, self.value, self.error = True, value, error


def start(main: Main) -> tuple[Small, Task]:
    small = Small()
    return small, small.loop.spawn(main(small), "main", None, small.ended)


def run(main: Main, seconds: float = 1000.0) -> Small:
    """Run `main` to its end, and raise what it raises."""
    small, _ = start(main)
    small.kernel.run(int(seconds * NANOS_PER_S))
    assert small.over, "main is not over"
    if small.error is not None:
        raise small.error
    return small


# Order and time.


def test_tasks_run_in_the_order_in_which_they_become_runnable() -> None:
    async def main(small: Small) -> None:
        async with small.nursery() as nursery:
            for name, seconds in (("a", 2), ("b", 1), ("c", 1), ("d", 0)):
                nursery.start_soon(small.later, seconds, name)
            small.note("main")

    assert run(main).log == [("main", 0), ("d", 0), ("b", 1), ("c", 1), ("a", 2)]


def test_sleep_takes_exactly_its_time_and_zero_lets_others_run() -> None:
    async def main(small: Small) -> None:
        async with small.nursery() as nursery:
            nursery.start_soon(small.later, 0, "other")
            await small.loop.sleep(0)
            await small.loop.sleep(0)
            small.note("main")
        await small.loop.sleep(0.25)
        small.note("end")

    assert run(main).log == [("other", 0), ("main", 0), ("end", 0.25)]


def test_sleep_refuses_what_is_no_time_to_come() -> None:
    async def main(small: Small) -> None:
        for wrong in (-1, float("nan")):
            with pytest.raises(ValueError, match="must be 0 or more"):
                await small.loop.sleep(wrong)

    run(main)


def test_an_event_wakes_all_that_wait_in_their_order_and_is_then_passed_at_once() -> None:
    async def main(small: Small) -> None:
        event = Event(small.loop)

        async def waiter(name: str) -> None:
            await event.wait()
            small.note(name)

        async with small.nursery() as nursery:
            nursery.start_soon(waiter, "a")
            nursery.start_soon(waiter, "b")
            await small.loop.sleep(3)
            assert not event.is_set()
            event.set()
        await event.wait()
        small.note("again")

    assert run(main).log == [("a", 3), ("b", 3), ("again", 3)]


def test_context_variables_of_a_task_are_its_own() -> None:
    from contextvars import ContextVar

    variable = ContextVar("variable", default="nobody")

    async def main(small: Small) -> None:
        async def child(name: str) -> None:
            variable.set(name)
            await small.loop.sleep(1)
            small.note((name, variable.get()))

        async with small.nursery() as nursery:
            nursery.start_soon(child, "a")
            nursery.start_soon(child, "b")
        small.note(variable.get())

    assert run(main).log == [(("a", "a"), 1), (("b", "b"), 1), ("nobody", 1)]


# Cancellation.


def test_move_on_after_ends_its_block_and_nothing_else() -> None:
    async def main(small: Small) -> None:
        with small.scope(2) as scope:
            await small.loop.sleep(10)
            small.note("never")
        small.note("moved on")
        assert scope.cancelled_caught
        await small.loop.sleep(1)
        small.note("on")

    assert run(main).log == [("moved on", 2), ("on", 3)]


def test_a_block_that_is_over_in_time_is_not_cancelled_later() -> None:
    async def main(small: Small) -> None:
        with small.scope(5) as scope:
            await small.loop.sleep(1)
        await small.loop.sleep(10)
        assert not scope.cancelled_caught
        assert not scope.cancel_called
        small.note("end")

    assert run(main).log == [("end", 11)]


def test_cancellation_is_felt_at_every_await_until_the_scope_is_left() -> None:
    async def main(small: Small) -> None:
        with small.scope() as scope:
            scope.cancel()
            small.note("no await, no cancellation")
            for number in range(2):
                with pytest.raises(Cancelled):
                    await small.loop.sleep(1)
                small.note(number)
            await small.loop.sleep(1)
        small.note("out")

    assert [what for what, _ in run(main).log] == ["no await, no cancellation", 0, 1, "out"]


def test_a_shield_keeps_cancellation_out_until_it_ends() -> None:
    async def main(small: Small) -> None:
        with small.scope(1):
            with small.scope(shield=True):
                await small.loop.sleep(3)
                small.note("shielded")
            await small.loop.sleep(1)
            small.note("never")
        small.note("out")

    assert run(main).log == [("shielded", 3), ("out", 3)]


def test_the_outer_of_two_cancelled_scopes_catches() -> None:
    async def main(small: Small) -> None:
        with small.scope(1) as outer:
            with small.scope(1) as inner:
                await small.loop.sleep(5)
            small.note("between: never")
        assert outer.cancelled_caught
        assert not inner.cancelled_caught
        small.note("out")

    assert run(main).log == [("out", 1)]


def test_fail_after_raises_a_timeout() -> None:
    async def main(small: Small) -> None:
        with small.scope(2, fails=True):
            await small.loop.sleep(5)

    with pytest.raises(TimeoutError, match="within 2 virtual seconds"):
        run(main)


def test_a_scope_is_used_once() -> None:
    async def main(small: Small) -> None:
        scope = small.scope()
        with scope:
            pass
        with pytest.raises(ScenarioError, match="make a new one"), scope:
            pass

    run(main)


def test_finally_clauses_run_when_a_wait_is_cancelled_and_the_wait_is_taken_back() -> None:
    async def main(small: Small) -> None:
        event = Event(small.loop)
        with small.scope(1):
            try:
                await event.wait()
            finally:
                small.note("cleaned up")
        event.set()  # nobody waits any more: this must not wake the sleeper below
        await small.loop.sleep(5)
        small.note("slept")

    assert run(main).log == [("cleaned up", 1), ("slept", 6)]


# Nurseries.


def test_a_nursery_is_over_when_its_children_are() -> None:
    async def main(small: Small) -> None:
        async with small.nursery() as nursery:
            nursery.start_soon(small.later, 4, "child")
        small.note("after")

    assert run(main).log == [("child", 4), ("after", 4)]


def test_an_error_in_a_child_cancels_the_others_and_leaves_in_a_group() -> None:
    async def main(small: Small) -> None:
        async def fail() -> None:
            await small.loop.sleep(1)
            raise KeyError("child")

        try:
            async with small.nursery() as nursery:
                nursery.start_soon(small.later, 5, "never")
                nursery.start_soon(fail)
                await small.loop.sleep(9)
                small.note("never")
        except ExceptionGroup as group:
            small.note([repr(error) for error in group.exceptions])

    assert run(main).log == [(["KeyError('child')"], 1)]


def test_errors_of_several_children_and_of_the_block_leave_together() -> None:
    async def main(small: Small) -> None:
        async def fail(seconds: float) -> None:
            try:
                await small.loop.sleep(100)
            finally:
                raise KeyError(seconds)

        async def block() -> None:
            async with small.nursery() as nursery:
                nursery.start_soon(fail, 1)
                nursery.start_soon(fail, 2)
                await small.loop.sleep(1)
                raise ValueError("block")

        with pytest.raises(ExceptionGroup) as caught:
            await block()
        assert [repr(error) for error in caught.value.exceptions] == [
            "ValueError('block')",
            "KeyError(1)",
            "KeyError(2)",
        ]

    run(main)


def test_cancelling_a_nursery_ends_its_children_quietly() -> None:
    async def main(small: Small) -> None:
        async with small.nursery() as nursery:
            nursery.start_soon(small.later, 5, "never")
            await small.loop.sleep(1)
            nursery.cancel_scope.cancel()
        small.note("after")

    assert run(main).log == [("after", 1)]


def test_a_timeout_around_a_nursery_reaches_its_children() -> None:
    async def main(small: Small) -> None:
        with small.scope(2):
            async with small.nursery() as nursery:
                nursery.start_soon(small.later, 5, "never")
        small.note("after")

    assert run(main).log == [("after", 2)]


def test_children_may_start_children_until_the_nursery_is_closed() -> None:
    async def main(small: Small) -> None:
        async def child(nursery: Nursery) -> None:
            await small.loop.sleep(1)
            nursery.start_soon(small.later, 1, "grandchild")

        async with small.nursery() as nursery:
            nursery.start_soon(child, nursery)
        with pytest.raises(ScenarioError, match="is closed"):
            nursery.start_soon(small.later, 1, "late")

    assert run(main).log == [("grandchild", 2)]


def test_start_soon_takes_the_function_and_not_its_coroutine() -> None:
    async def main(small: Small) -> None:
        async with small.nursery() as nursery:
            with pytest.raises(ScenarioError, match="start_soon\\(work, 1\\)"):
                nursery.start_soon(small.later(1, "x"))  # type: ignore[arg-type]  # the mistake that is meant
            with pytest.raises(ScenarioError, match="no `async def`"):
                nursery.start_soon(lambda: 1)  # type: ignore[arg-type,return-value]  # the mistake that is meant

    run(main)


def test_an_error_thrown_at_a_task_that_waits_for_its_children_ends_them() -> None:
    async def main(small: Small) -> None:
        async with small.nursery() as nursery:
            nursery.start_soon(small.later, 50, "never")

    small, task = start(main)
    small.kernel.run(1 * NANOS_PER_S)
    small.loop.throw(task, KeyError("from outside"))
    small.kernel.run(2 * NANOS_PER_S)
    assert small.over
    assert isinstance(small.error, ExceptionGroup)
    assert repr(small.error.exceptions[0]) == "KeyError('from outside')"
    assert small.log == []


# What is not of this loop.


class Foreign:
    def __await__(self) -> Any:
        yield "a token of some other loop"


def test_a_foreign_awaitable_is_refused_where_it_is_awaited() -> None:
    async def main(small: Small) -> None:
        with pytest.raises(AwaitError, match="await sim"):
            await Foreign()
        await small.loop.sleep(1)
        small.note("alive")

    assert run(main).log == [("alive", 1)]


def test_nothing_can_be_awaited_from_outside_of_a_task() -> None:
    with pytest.raises(AwaitError, match="only while the test runs"):
        Small().loop.running()


# Deadlock and death.


def test_a_deadlock_is_told_when_the_last_task_falls_asleep() -> None:
    async def main(small: Small) -> None:
        async with small.nursery() as nursery:
            nursery.start_soon(small.later, 7, "last")
            await Event(small.loop).wait()

    small, task = start(main)
    small.loop.on_deadlock = lambda: small.loop.throw(task, Stuck(f"at {small.loop.now_s:g}"))
    small.kernel.run(100 * NANOS_PER_S)
    assert isinstance(small.error, ExceptionGroup)
    assert repr(small.error.exceptions[0]) == "Stuck('at 7')"


def test_a_killed_task_does_not_count_when_all_sleep() -> None:
    async def main(small: Small) -> None:
        await small.loop.sleep(5)

    async def sleeper(small: Small) -> None:
        await Event(small.loop).wait()

    small, _ = start(main)
    doomed = small.loop.spawn(sleeper(small), "doomed", None, small.ended)
    deadlocks: list[float] = []
    small.loop.on_deadlock = lambda: deadlocks.append(small.loop.now_s)
    small.kernel.run(1 * NANOS_PER_S)
    small.loop.kill(doomed)
    small.loop.spawn(small.later(1, "other"), "other", None, small.ended)
    small.kernel.run(100 * NANOS_PER_S)
    assert deadlocks == []
    small.loop.close()


def test_a_wait_with_a_deadline_is_no_deadlock() -> None:
    async def main(small: Small) -> None:
        with small.scope(5):
            await Event(small.loop).wait()
        small.note("went on")

    small, _ = start(main)
    deadlocks: list[float] = []
    small.loop.on_deadlock = lambda: deadlocks.append(small.loop.now_s)
    small.kernel.run(100 * NANOS_PER_S)
    assert small.log == [("went on", 5)]
    assert deadlocks == []


def test_a_killed_task_runs_nothing_any_more_not_even_its_finally() -> None:
    async def main(small: Small) -> None:
        try:
            await small.loop.sleep(5)
        finally:
            small.note("cleaned up")

    small, task = start(main)
    small.kernel.run(1 * NANOS_PER_S)
    small.loop.kill(task)
    small.kernel.run(100 * NANOS_PER_S)
    assert not small.over
    assert small.log == []
    small.loop.close()  # only now, when nobody looks any more, Python runs it
    assert small.log == [("cleaned up", 100)]


@pytest.mark.parametrize(("lives", "steps"), [(0, 0), (1, 1), (2, 2), (9, 4)])
def test_a_task_with_so_many_lives_dies_at_that_step(lives: int, steps: int) -> None:
    async def main(small: Small) -> None:
        for number in range(4):
            small.note(number)
            await small.loop.sleep(1)

    small, task = start(main)
    task.lives = lives
    small.kernel.run(100 * NANOS_PER_S)
    assert len(small.log) == steps
    assert isinstance(small.error, ProcessDied) == (lives < 5)
    small.loop.close()


def test_an_interrupt_ends_the_run_at_once() -> None:
    async def main(small: Small) -> None:
        async with small.nursery() as nursery:
            nursery.start_soon(small.later, 1, "never")
            raise KeyboardInterrupt

    small, _ = start(main)
    with pytest.raises(KeyboardInterrupt):
        small.kernel.run(100 * NANOS_PER_S)
    small.loop.close()
    assert small.log == []
