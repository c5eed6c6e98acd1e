"""The coroutine kernel: tasks in virtual time, driven by events on the heap of a world.

- A task is a coroutine. It runs until it awaits something of this package, which parks it; whatever it waits for makes
  it runnable again by an event at the present instant. Tasks made runnable first run first. There is no other order.
- Cancellation is trio's: by scope, delivered at the next `await` and again at every one after that, until the scope is
  left (`sim/testing/scopes.py`).
- An error that is no `Exception` (an interrupt, a skip, a fence that was touched) ends the run at once.
- Nothing here reads a clock. Time passes only where every task is parked.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, ClassVar

from protocols.core import NANOS_PER_S, Instant
from sim.kernel import EventFunction, Kernel
from sim.testing.calls import Ledger, awaited
from sim.testing.errors import AwaitError, Cancelled
from sim.testing.frames import frames_of, up_to_the_test, without_ours

if TYPE_CHECKING:
    from sim.testing.scopes import CancelScope

FOREIGN = ("trio", "asyncio", "anyio", "sniffio", "curio")
"""Libraries whose awaitables need a loop of their own."""
INSTEAD = (
    "In a simulated test everything that takes time is virtual: await sim.sleep(seconds), sim.until(predicate), "
    "sim.eventually(predicate, within=…), sim.event().wait(), or a method of a node; start tasks with sim.start_soon "
    "or sim.open_nursery(), and bound them with sim.move_on_after or sim.fail_after."
)


class _Parked:
    """What a task yields: nothing else may."""


PARKED = _Parked()


@types.coroutine
def _park() -> Generator[_Parked, Any, Any]:
    return (yield PARKED)


class Task:
    """One coroutine. `scope` is the innermost scope that it is in."""

    __slots__ = (
        "abort",
        "context",
        "coroutine",
        "drawn",
        "lives",
        "name",
        "on_end",
        "on_thrown",
        "parked",
        "passive",
        "pending",
        "scope",
    )

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], name: str, scope: CancelScope | None, on_end: OnEnd
    ) -> None:
        self.coroutine = coroutine
        self.name = name
        self.scope = scope
        self.on_end = on_end
        self.context: Context = copy_context()
        self.parked = False
        self.passive = False
        """Only another task can end its present wait."""
        self.abort: Callable[[], None] | None = None
        """Takes back what the task waits for; None while its wait cannot be broken off."""
        self.on_thrown: Callable[[BaseException], None] | None = None
        """Takes an error thrown at the task while its wait cannot be broken off."""
        self.pending: BaseException | None = None
        """Thrown at the task while it ran; raised at its next `await`."""
        self.lives = -1
        """How many more times it may run before its process dies; −1: for ever."""
        self.drawn: tuple[Any, ...] | None = None
        """What `sim.some` last drew in it."""


OnEnd = Callable[[Task, Any, BaseException | None], None]
"""(task, its result, the error that ended it or None)"""


class Loop:
    """All tasks of one run. `current` is the one that runs now."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.ledger = Ledger()
        self.current: Task | None = None
        self.tasks: dict[Task, None] = {}
        self.waits_on_time = 0
        """Scopes with a deadline: they can end a wait that no task would."""
        self.on_deadlock: Callable[[], None] | None = None
        """Called when no task can ever run again; None while something outside of the tasks may yet wake one."""
        self._passive = 0
        self._killed: list[Task] = []
        self._on_resume: EventFunction = self._resume
        self._on_time: EventFunction = self._time

    @property
    def now_s(self) -> float:
        """Virtual seconds since the start of the run."""
        return self.kernel.now / NANOS_PER_S

    # Life and death.

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str, scope: CancelScope | None, on_end: OnEnd) -> Task:
        """A new task; it first runs after everything that is due now already."""
        task = Task(coroutine, name, scope, on_end)
        self.tasks[task] = None
        self.kernel.push(self.kernel.now, self._on_resume, task, (None, None))
        return task

    def kill(self, task: Task) -> None:
        """End `task` as a process dies: none of its code runs any more, its `finally` clauses included."""
        if task in self.tasks:
            self._forget(task)
            self._killed.append(task)

    def close(self) -> None:
        """Let go of every coroutine; the run is over. Those that are still alive run their `finally` clauses."""
        for task in (*self.tasks, *self._killed):
            self.current = (
                task  # what it awaits now parks it, and is not run: code that catches everything must not spin
            )
            try:
                task.coroutine.close()
            except (Exception, Cancelled):
                continue  # it insists on awaiting, or fails, after the run: nobody is left to be told
            finally:
                self.current = None
        self.tasks.clear()
        self._killed.clear()

    def _forget(self, task: Task) -> None:
        del self.tasks[task]
        if task.passive:
            task.passive = False
            self._passive -= 1

    # Running.

    def _resume(self, now: Instant, task: Task, what: tuple[Any, BaseException | None]) -> None:
        __tracebackhide__ = True
        if task not in self.tasks:
            return
        if task.lives >= 0:
            if task.lives == 0:
                self._end(task, None, ProcessDied())
                return
            task.lives -= 1
        value, error = what
        self.current = task
        try:
            if error is None:
                trap = task.context.run(task.coroutine.send, value)
            else:
                trap = task.context.run(task.coroutine.throw, error)
        except StopIteration as done:
            self._end(task, done.value, None)
        except (Exception, Cancelled) as raised:
            self._end(task, None, explained(without_ours(raised)))
        else:
            if trap is not PARKED:
                self._refuse(task, trap)
        finally:
            self.current = None
        if self._passive == len(self.tasks) and not self.waits_on_time and self.tasks and self.on_deadlock is not None:
            self.on_deadlock()

    def _end(self, task: Task, value: Any, error: BaseException | None) -> None:
        if isinstance(error, ProcessDied):
            self.kill(task)
        else:
            self._forget(task)
        task.on_end(task, value, error)

    def _refuse(self, task: Task, trap: object) -> None:
        kind = type(trap)
        module = kind.__module__.partition(".")[0]
        what = f"an awaitable of {module}" if module in FOREIGN else f"something foreign (it yielded {trap!r})"
        if trap is None:
            what = "something foreign, such as asyncio.sleep(0)"
        error = AwaitError(f"The test awaited {what}, which nobody will ever wake. {INSTEAD}")
        self.kernel.push(self.kernel.now, self._on_resume, task, (None, error))

    # Waiting.

    def running(self) -> Task:
        """The task that calls. Raises `AwaitError` outside of one."""
        if self.current is None:
            raise AwaitError("This can be called only while the test runs, from its own coroutine or one it started.")
        return self.current

    async def park(
        self,
        abort: Callable[[], None] | None,
        *,
        passive: bool = False,
        on_thrown: Callable[[BaseException], None] | None = None,
    ) -> Any:
        """Wait until somebody calls `wake` or `fail` for this task. A checkpoint where `abort` is given.

        `abort` takes back what was arranged for that; without one, the wait goes on through cancellation, and
        `on_thrown` gets what is thrown at the task. `passive`: only other tasks can end the wait.
        """
        __tracebackhide__ = True
        task = self.running()
        if abort is not None:
            self.check(task, abort)
        task.parked = True
        task.abort = abort
        task.on_thrown = on_thrown
        if passive:
            task.passive = True
            self._passive += 1
        return await _park()

    def check(self, task: Task, abort: Callable[[], None]) -> None:
        """Raise what `task` is to be told now, if anything; `abort` is called first."""
        __tracebackhide__ = True
        error, task.pending = task.pending, None
        if error is None and task.scope is not None and task.scope.effectively_cancelled():
            error = Cancelled()
        if error is not None:
            abort()
            raise error

    def wake(self, task: Task, value: Any = None) -> None:
        """End the wait of a parked task with `value`."""
        self._unpark(task)
        self.kernel.push(self.kernel.now, self._on_resume, task, (value, None))

    def fail(self, task: Task, error: BaseException) -> None:
        """End the wait of a parked task with `error`."""
        self._unpark(task)
        self.kernel.push(self.kernel.now, self._on_resume, task, (None, error))

    def _unpark(self, task: Task) -> None:
        assert task.parked, f"{task.name} waits for nothing"
        task.parked = False
        task.abort = task.on_thrown = None
        if task.passive:
            task.passive = False
            self._passive -= 1

    def throw(self, task: Task, error: BaseException) -> None:
        """Raise `error` in `task` where it waits now, or else at its next `await`."""
        if task.parked and task.abort is not None:
            task.abort()
            self.fail(task, error)
        elif task.parked and task.on_thrown is not None:
            task.on_thrown(error)
        elif task.pending is None:
            task.pending = error

    def throw_now(self, task: Task, error: Exception) -> BaseException:
        """Raise `error` in `task` at once, where time does not go on any more: what comes out of it, or `error`."""
        self.current = task
        try:
            task.coroutine.throw(error)
        except BaseException as raised:
            return raised
        finally:
            self.current = None
        return error

    def deliver_cancellation(self) -> None:
        """Break off the waits of all tasks in cancelled scopes."""
        for task in list(self.tasks):
            scope = task.scope
            if task.parked and task.abort is not None and scope is not None and scope.effectively_cancelled():
                task.abort()
                self.fail(task, Cancelled())

    async def sleep(self, seconds: float) -> None:
        """Let virtual time pass; 0 lets everybody else run who is due now. Infinity waits to be cancelled."""
        __tracebackhide__ = True
        if not seconds >= 0:
            raise ValueError(f"sleep({seconds!r}): the seconds must be 0 or more.")
        if math.isinf(seconds):
            await self.park(_nothing, passive=True)
            return
        # The list is the token of this one wait: the event finds it empty when the wait was broken off.
        waiting = [self.running()]
        self.kernel.push(self.kernel.now + round(seconds * NANOS_PER_S), self._on_time, waiting)
        await self.park(waiting.clear)

    def _time(self, now: Instant, waiting: list[Task], _: None) -> None:
        if waiting and waiting[0] in self.tasks:
            self.wake(waiting[0])


class ProcessDied(Exception):
    """The simulated process that ran a task is gone."""


class Event:
    """A flag that tasks wait for, as `trio.Event`."""

    __slots__ = ("_is_set", "_loop", "_waiting")
    label: ClassVar[str] = "event"

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._is_set = False
        self._waiting: dict[Task, None] = {}

    @property
    def ledger(self) -> Ledger:
        return self._loop.ledger

    def is_set(self) -> bool:
        """Whether `set` was called."""
        return self._is_set

    def set(self) -> None:
        """Let everybody go on who waits, and all who ever will."""
        self._is_set = True
        waiting, self._waiting = self._waiting, {}
        for task in waiting:
            self._loop.wake(task)

    @awaited
    async def wait(self) -> None:
        """Wait until the flag is set. Always a checkpoint."""
        __tracebackhide__ = True
        if self._is_set:
            await self._loop.sleep(0)
            return
        task = self._loop.running()
        self._waiting[task] = None

        def abort() -> None:
            self._waiting.pop(task, None)

        await self._loop.park(abort, passive=True)


def explained(error: BaseException) -> BaseException:
    """`error`, or, where a foreign loop was missed, one that says what to use in its place."""
    if not isinstance(error, RuntimeError):
        return error
    modules = [str(frame.f_globals.get("__name__", "")).partition(".")[0] for frame in frames_of(error)]
    foreign = next((module for module in modules if module in FOREIGN), None)
    if foreign is None and str(error) == "no running event loop":
        foreign = "asyncio"
    if foreign is None:
        return error
    text = f"The test called {foreign}, which does not run in virtual time ({error}). {INSTEAD}"
    return up_to_the_test(AwaitError(text).with_traceback(error.__traceback__))


def _nothing() -> None:
    return None
