"""A clock for deadlines of seconds and minutes: it jumps ahead once nothing has happened for a moment of real time."""

from __future__ import annotations

import pytest
import trio.testing


@pytest.fixture
def jumping_clock() -> trio.testing.MockClock:
    """Real sockets need real time: the clock jumps only after the loop has been idle for long enough to deliver on
    loopback (both ends are in this process). Not for tests that wait for worker threads or poll."""
    return trio.testing.MockClock(autojump_threshold=0.1)
