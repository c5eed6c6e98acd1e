"""Exit statuses of `meshsim`."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the status of a `meshsim` process says."""

    HELD = 0
    VIOLATED = 1
    UNUSABLE = 2
    """Nothing was run; or what was done could not be told, or written, in full."""
    INTERRUPTED = 130
    NOBODY_READS = 141
    """Whoever read the output closed it, as `head` does; the number is a shell's for that."""
