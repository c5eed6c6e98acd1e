"""The context manager: which threads are fenced, and since when guards are needed at all."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock, current_thread, get_ident, main_thread
from types import TracebackType

from sim.fence.guards import Fenced, fenced
from sim.fence.install import Guards
from sim.fence.interrupts import Interrupts
from sim.fence.strict import Profile, watch

_lock = Lock()
_guards: Guards | None = None
_strict = ContextVar("strict", default=False)


@contextmanager
def strictly() -> Iterator[None]:
    """Have every fence that is put up in here watch every call of a C function, too (`strict.py`): slow."""
    token = _strict.set(True)
    try:
        yield
    finally:
        _strict.reset(token)


class fence:  # noqa: N801  # used like a function, as contextlib's own are
    """Fence this thread for the time of a `with`. Fences may be nested; other threads do not notice.

    Raises `FenceError` where something forbidden is touched, and again at the end where that error was swallowed.
    """

    __slots__ = ("_interrupts", "_profile_before", "_thread", "_watching")

    def __init__(self) -> None:
        self._thread = 0
        self._interrupts: Interrupts | None = None
        self._watching = False
        self._profile_before: Profile | None = None

    def __enter__(self) -> None:
        self._thread = get_ident()
        state = fenced.get(self._thread)
        if state is not None:
            state.depth += 1
            return
        if current_thread() is main_thread():
            self._interrupts = Interrupts(frozenset({fence.__enter__.__code__, fence.__exit__.__code__}))
            self._interrupts.hold()
        try:
            guards = _put_up(self._thread)
            if _strict.get():
                self._profile_before = sys.getprofile()
                self._watching = True
                sys.setprofile(watch(guards.held))
            if self._interrupts is not None:
                self._interrupts.catch_up()
        except BaseException:
            self._undo()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        state = fenced[self._thread]
        if state.depth > 1:
            state.depth -= 1
            return
        self._undo()
        if state.first is not None and error is not state.first and (error is None or isinstance(error, Exception)):
            raise state.first

    def _undo(self) -> None:
        if self._watching:
            sys.setprofile(self._profile_before)
            self._watching = False
        _take_down(self._thread)
        if self._interrupts is not None:
            self._interrupts.release()


def _put_up(thread: int) -> Guards:
    """Fence `thread`. The first fence of all puts up the guards."""
    global _guards
    with _lock:
        if _guards is None:
            _guards = Guards()
        if not fenced:
            _guards.put_up()
        fenced[thread] = Fenced()
        return _guards


def _take_down(thread: int) -> None:
    """Free `thread`. The last one takes down the guards."""
    with _lock:
        fenced.pop(thread, None)
        if _guards is not None and not fenced:
            _guards.take_down()
