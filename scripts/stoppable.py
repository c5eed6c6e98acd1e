"""Programs that run real nodes end them however they are told to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM is taken like Ctrl-C, and so is the end of the terminal: no process that was started here is left behind.

    Nodes run in sessions of their own: nothing but this program ends them.
    """
    # A shell starts background jobs with SIGINT ignored; what the others are turned into must not be.
    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler)}
    for each in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) is not signal.SIG_IGN:  # as under nohup
            before[each] = signal.signal(each, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
