"""The clock that the core is stepped with: monotonic, and it goes on while the machine is suspended.

`CLOCK_MONOTONIC` stands still then (Linux; and what `time.monotonic` reads on macOS). A node that wakes up after hours
would take itself for punctual, and what it had believed before for fresh: the verdict on a suspect would be given in
the same second. By this clock it is hours late, and knows (`protocols/detector/asleep.py`). trio's timers stand still
with the machine: what is overdue when it goes on comes with the next packet, or up to one timer later.

A machine that is stopped from outside (a virtual machine that is migrated) stops this clock too. Wall clocks would
show it; but they are set by people and by NTP, and nothing here goes by them.
"""

from __future__ import annotations

import time

from protocols.core import Instant

_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_ns() -> Instant:
    """Nanoseconds since some moment in the past, the same for all of a process."""
    return time.clock_gettime_ns(_CLOCK)
