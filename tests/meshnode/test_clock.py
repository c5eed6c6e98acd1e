"""The clock of the core goes on while the machine is suspended, and does not care for the wall clock."""

from __future__ import annotations

import sys
import time

import pytest

from meshnode import clock


@pytest.mark.skipif(sys.platform != "linux", reason="other systems name it otherwise")
def test_it_counts_from_the_start_of_the_machine_suspensions_included() -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    shown = clock.now_ns()
    assert before <= shown <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def test_it_is_no_wall_clock() -> None:
    assert abs(clock.now_ns() - time.time_ns()) > 10**15
