"""Settings of the whole suite."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it puts into the background with SIGINT ignored, and children inherit that: the many tests
    # that interrupt a process would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
