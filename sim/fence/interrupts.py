"""Holds back Ctrl-C while a fence is being put up or taken down: half of either would stay for ever.

A Python function can be interrupted at its very first line, so no `finally` in it would help. The handler can see where
the signal has come in, though, and wait with it. Only the main thread ever runs handlers.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, TypeAlias

from sim.fence.culprit import is_own

Handler: TypeAlias = Callable[[int, FrameType | None], Any]


class Interrupts:
    """Stands before the present handler of SIGINT from `hold` to `release`."""

    __slots__ = ("_before", "_codes", "_held_back", "_mine")

    def __init__(self, codes: frozenset[CodeType]) -> None:
        """`codes` are the functions that must not be interrupted."""
        self._codes = codes
        self._before: Handler | None = None
        self._held_back = False
        self._mine: Handler = self._on_interrupt

    def hold(self) -> None:
        """Begin. Does nothing where SIGINT is ignored or not handled in Python."""
        before = signal.getsignal(signal.SIGINT)
        if callable(before):
            self._before = before
            signal.signal(signal.SIGINT, self._mine)

    def release(self) -> None:
        """End, and let the former handler have what has come since."""
        if self._before is not None and signal.getsignal(signal.SIGINT) is self._mine:
            signal.signal(signal.SIGINT, self._before)
        self.catch_up()

    def catch_up(self) -> None:
        """Let the former handler have what was held back, if anything was."""
        if self._held_back and self._before is not None:
            self._held_back = False
            self._before(signal.SIGINT, None)

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        above = frame
        while above is not None and not (is_own(above) and above.f_code in self._codes):
            above = above.f_back
        if above is not None:
            self._held_back = True
        elif self._before is not None:
            self._before(number, frame)
