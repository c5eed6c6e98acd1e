"""Two running processes with one identity: how they find each other out, and which of them has to go.

It happens where a data directory is copied (a backup, a disk image, a container's volume) and both copies are started.
Left alone, each would outdo the other's announcements for ever, and both would drive the same tasks.
- Every process draws a name for its life, and says it in its hellos with the time that it has been up.
- A stream at whose other end this node's own key speaks for another life leads to a *twin*. Both ends have heard the
  same two figures, and conclude the same: the one that has been up for less time is the later one, and stops. It is
  time that passed, and no clock: those of two machines differ.
- A hello of an older version says no life. Nothing is concluded from it.
Where to look for a twin is decided elsewhere: at the address of the last life before a start (`daemon.py`), and where
somebody announces this node's id (`protocols/membership/hints.py`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from meshnode.transport.hello import Hello

LIFE_BYTES = 8
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps, where there is such a clock: a laptop's lid must not make an old process young."""


@dataclass(frozen=True)
class Twin:
    """Another process with this node's identity. `address` is where it says that it listens."""

    address: str
    is_earlier: bool
    """It has been up for longer than this process, which therefore has to stop."""


class Life:
    """This process, as opposed to any other that has its identity. `on_twin` is told of those that it meets."""

    def __init__(self, on_twin: Callable[[Twin], None]) -> None:
        self.name = os.urandom(LIFE_BYTES).hex()
        self._on_twin = on_twin
        self._since_ns = time.clock_gettime_ns(_BOOT_CLOCK)

    def up_ms(self) -> int:
        """For how long this process has been up."""
        return (time.clock_gettime_ns(_BOOT_CLOCK) - self._since_ns) // 1_000_000

    def met(self, said_up_ms: int, hello: Hello) -> None:
        """The other end of a stream has proven this node's id. `said_up_ms`: what this end said in its own hello."""
        if hello.life not in ("", self.name):
            self._on_twin(Twin(hello.address, (hello.up_ms, hello.life) > (said_up_ms, self.name)))
