"""Ends a test that goes on and on without an `await`, as an endless loop does: virtual time could not, for it stands.

A timer counts the computing time of this process, so neither a slow machine nor a debugger's prompt sets it off. It
does nothing but look: no run depends on it. What it raises comes out at the very line that goes on. Not seen are a loop
inside of one call into C, a wait for a lock, and all where somebody else has the timer, or away from the main thread.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

from sim.kernel import Kernel
from sim.testing.errors import Endless

LOOK_EVERY_S = 20.0
"""Computing time between two looks. No event of the kernel may last from one to the next."""


@contextmanager
def watchdog(kernel: Kernel) -> Iterator[None]:
    """Raise `Endless` in this block where virtual time does not move on between two looks."""
    if not _is_ours():
        yield
        return
    seen_at: list[int] = []

    def look(number: int, frame: FrameType | None) -> None:
        if seen_at == [kernel.now]:
            raise Endless
        seen_at[:] = [kernel.now]

    before = signal.signal(signal.SIGVTALRM, look)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, LOOK_EVERY_S, LOOK_EVERY_S)
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _is_ours() -> bool:
    """Whether this system has the timer, and nobody else uses it."""
    if not hasattr(signal, "setitimer") or current_thread() is not main_thread():
        return False
    return signal.getsignal(signal.SIGVTALRM) is signal.SIG_DFL and not signal.getitimer(signal.ITIMER_VIRTUAL)[0]
