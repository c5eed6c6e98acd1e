"""What a test must await, or enter, and may forget to: every such call is remembered until it is.

A forgotten `await` is the easiest mistake in a test, and the worst: nothing waits, and the test passes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Generator
from functools import update_wrapper
from os.path import basename
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from sim.testing.errors import AwaitError
from sim.testing.frames import is_ours, raised_at

T = TypeVar("T")
P = ParamSpec("P")


class Ledger:
    """The calls of one run that nobody has awaited or entered yet, in order."""

    def __init__(self) -> None:
        self._open: dict[Forgettable, None] = {}

    def opened(self, call: Forgettable) -> None:
        self._open[call] = None

    def used(self, call: Forgettable) -> None:
        self._open.pop(call, None)

    def forgotten(self) -> AwaitError | None:
        """What is wrong with the first call that came to nothing; None when there is none."""
        return next((call.blamed() for call in self._open), None)


class Forgettable:
    """Something that does nothing until it is used. Remembers the line of the test that made it."""

    __slots__ = ("_code", "_line", "ledger", "what")

    def __init__(self, ledger: Ledger, what: str) -> None:
        self.ledger = ledger
        self.what = what
        frame = sys._getframe(1)
        while is_ours(frame) and frame.f_back is not None:
            frame = frame.f_back
        self._code = frame.f_code
        self._line = frame.f_lineno
        ledger.opened(self)

    @property
    def where(self) -> str:
        return f"{basename(self._code.co_filename)}:{self._line}"

    def blamed(self) -> AwaitError:
        """The error that the line of the test would have raised, had it known."""
        code = self._code
        name = code.co_name if code.co_name.isidentifier() else "test"
        return raised_at(AwaitError(self.complaint()), code.co_filename, code.co_firstlineno, self._line, name)

    def complaint(self) -> str:
        return f"{self.what} at {self.where} was never awaited, so it did nothing. Write `await {self.what}`."


class Call(Forgettable, Generic[T]):
    """One call of an async method: awaited once, it runs."""

    __slots__ = ("_function",)

    def __init__(self, ledger: Ledger, what: str, function: Callable[[], Coroutine[Any, Any, T]]) -> None:
        super().__init__(ledger, what)
        self._function = function

    def __await__(self) -> Generator[Any, Any, T]:
        self.ledger.used(self)
        return self._function().__await__()


class HasLedger(Protocol):
    """Whose methods may be `awaited`. `label` is what its users call it."""

    label: ClassVar[str]

    @property
    def ledger(self) -> Ledger: ...


S = TypeVar("S", bound=HasLedger)


def awaited(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[S, P], Call[T]]:
    """An async method whose calls are remembered until they are awaited."""

    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Call[T]:
        return Call(self.ledger, f"{self.label}.{method.__name__}(…)", lambda: method(self, *args, **kwargs))

    update_wrapper(call, method)
    return call
