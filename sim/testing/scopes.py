"""Cancel scopes and nurseries over the coroutine kernel, with the rules that trio's users know.

- `cancel` asks everything in the scope to stop: every `await` in it raises `Cancelled` until the scope is left, and
  there, at the outermost cancelled scope, it is caught. A shielded scope does not feel what is outside of it.
- A nursery's block is over when all its children are. An error in a child, or in the block, cancels all others; the
  errors leave the block together, in an `ExceptionGroup`, even where there is only one.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from protocols.core import NANOS_PER_S, Instant
from sim.errors import ScenarioError
from sim.testing.errors import Cancelled
from sim.testing.frames import name_of
from sim.testing.tasks import Loop, Task


class CancelScope:
    """A block that can be cancelled as a whole, after `seconds` by itself.

    `cancel_called` says whether it was asked to stop; `cancelled_caught` whether it has ended something by that.
    """

    def __init__(self, loop: Loop, seconds: float = math.inf, *, shield: bool = False, fails: bool = False) -> None:
        if not seconds >= 0:
            raise ValueError(f"a time limit of {seconds!r} s: it must be 0 or more.")
        self.cancel_called = False
        self.cancelled_caught = False
        self.shield = shield
        self._loop = loop
        self._seconds = seconds
        self._fails = fails
        self._parent: CancelScope | None = None
        self._task: Task | None = None
        self._left = False

    def cancel(self) -> None:
        """Ask everything in the scope to stop. More than once is no more than once."""
        if not self.cancel_called:
            self.cancel_called = True
            self._loop.deliver_cancellation()

    def effectively_cancelled(self) -> bool:
        """Whether an `await` directly in it raises `Cancelled`."""
        scope: CancelScope | None = self
        while scope is not None:
            if scope.cancel_called:
                return True
            scope = None if scope.shield else scope._parent
        return False

    def __enter__(self) -> Self:
        if self._task is not None:
            raise ScenarioError("This cancel scope is in use or was used: make a new one for each block.")
        task = self._task = self._loop.running()
        self._parent = task.scope
        task.scope = self
        if math.isfinite(self._seconds):
            self._loop.waits_on_time += 1
            at = self._loop.kernel.now + round(self._seconds * NANOS_PER_S)
            self._loop.kernel.push(at, self._time_is_up)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        __tracebackhide__ = True
        self.leave()
        remaining = self.without_cancelled(error)
        if self._fails and self.cancelled_caught and remaining is None:
            raise TimeoutError(f"the block was not over within {self._seconds:g} virtual seconds") from None
        if error is None or remaining is None:
            return error is not None
        if remaining is not error:
            raise_as_is(remaining)
        return False

    def leave(self) -> None:
        """Take the scope from its task."""
        task = self._task
        assert task is not None, "left before it was entered"
        if task.scope is not self:
            raise ScenarioError("Cancel scopes must be left in the reverse order in which they were entered.")
        self._left = True
        task.scope = self._parent
        if math.isfinite(self._seconds):
            self._loop.waits_on_time -= 1

    def without_cancelled(self, error: BaseException | None) -> BaseException | None:
        """What of `error` goes on beyond this scope."""
        outside = self._parent is not None and not self.shield and self._parent.effectively_cancelled()
        if error is None or not self.cancel_called or outside:
            return error
        if isinstance(error, Cancelled):
            self.cancelled_caught = True
            return None
        if isinstance(error, BaseExceptionGroup):
            caught, rest = error.split(Cancelled)
            self.cancelled_caught |= caught is not None
            return rest if caught is not None else error
        return error

    def _time_is_up(self, now: Instant, _a: None, _b: None) -> None:
        if not self._left:
            self.cancel()


class Nursery:
    """Owns the tasks that are started in it: none of them outlives its block."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.cancel_scope = CancelScope(loop)
        self._children: dict[Task, None] = {}
        self._errors: list[BaseException] = []
        self._joining: Task | None = None
        self._open = False

    def start_soon(self, function: Callable[..., Awaitable[Any]], *arguments: object, name: str = "") -> None:
        """Run `await function(*arguments)` beside everything else. Raises `ScenarioError` once the block is over."""
        given: object = function
        if inspect.iscoroutine(given):
            given.close()
            raise ScenarioError(
                "start_soon takes the function and its arguments apart: start_soon(work, 1), not work(1)."
            )
        if not self._open:
            raise ScenarioError("This nursery is closed: start tasks inside of its block.")
        awaitable = function(*arguments)
        if not isinstance(awaitable, Awaitable):
            raise ScenarioError(f"start_soon({name_of(function)}): it is no `async def` function.")
        coroutine = awaitable if inspect.iscoroutine(awaitable) else _await(awaitable)
        task = self._loop.spawn(coroutine, name or name_of(function), self.cancel_scope, self._ended)
        self._children[task] = None

    async def __aenter__(self) -> Self:
        self.cancel_scope.__enter__()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        __tracebackhide__ = True
        if error is not None and not isinstance(error, Exception | Cancelled | BaseExceptionGroup):
            return False  # an interrupt, a skip: the run ends here, with all its tasks
        if error is not None:
            self._failed(error)
        else:
            await self._checkpoint()
        while self._children:
            self._joining = self._loop.running()
            await self._loop.park(None, passive=True, on_thrown=self._failed)
        self._open = False
        self.cancel_scope.leave()
        remaining = self.cancel_scope.without_cancelled(self._together())
        if remaining is None:
            return True
        if remaining is not error:
            raise_as_is(remaining)
        return False

    async def _checkpoint(self) -> None:
        """The end of a block is a checkpoint, as every `await` is."""
        __tracebackhide__ = True
        try:
            await self._loop.sleep(0)
        except (Exception, Cancelled) as error:  # one thrown at the block counts as its own
            self._failed(error)

    def _ended(self, task: Task, value: object, error: BaseException | None) -> None:
        del self._children[task]
        if error is not None:
            self._failed(error)
        if not self._children and self._joining is not None:
            joining, self._joining = self._joining, None
            self._loop.wake(joining)

    def _failed(self, error: BaseException) -> None:
        self._errors.append(error)
        if not isinstance(error, Cancelled):
            self.cancel_scope.cancel()

    def _together(self) -> BaseException | None:
        """What leaves the block: nothing, a cancellation, or the errors in one group."""
        errors = [error for error in self._errors if not isinstance(error, Cancelled)]
        if errors:
            return BaseExceptionGroup("errors in a nursery", errors)
        return self._errors[0] if self._errors else None


async def _await(awaitable: Awaitable[Any]) -> Any:
    __tracebackhide__ = True
    return await awaitable


def raise_as_is(error: BaseException) -> None:
    """Raise `error` without a note on what was handled meanwhile: that is in it already."""
    __tracebackhide__ = True
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context
        del error, context
