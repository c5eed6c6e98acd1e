"""Ctrl-C where it can be heeded, and nowhere else: what is half written must not be left so."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self


class Interrupts:
    """While it is entered, Ctrl-C raises `KeyboardInterrupt` inside of `heeded` only; elsewhere it waits for the next.

    A second Ctrl-C waits for nothing. Away from the main thread, where signals do not arrive, this does nothing.
    """

    def __init__(self) -> None:
        self._heeded = False
        self._raised = False
        self._pending = False
        self._ours = False

    def __enter__(self) -> Self:
        self._ours = threading.current_thread() is threading.main_thread()
        if self._ours:
            self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, self._before)

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Where an interrupt does no harm. Raises at once one that came before; one that the block swallows, after
        whatever it has still done, is raised by the next."""
        self._raised = False
        self._heeded = True
        try:
            if self._pending:
                self._pending = False  # it is told once: what comes after it may be heeded in its turn
                raise KeyboardInterrupt
            yield
            self._pending |= self._raised
        finally:
            self._heeded = False

    @property
    def pending(self) -> bool:
        """Whether the next `heeded` raises at once."""
        return self._pending

    def again(self) -> None:
        """Have the next `heeded` raise, as if Ctrl-C came just now."""
        self._pending = True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._heeded or self._pending:
            self._raised = True
            raise KeyboardInterrupt
        self._pending = True
