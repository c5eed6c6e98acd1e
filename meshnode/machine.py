"""How busy this machine is, told to the node core every few seconds, for it reads no sensor itself; and what this
process takes of it.

The core passes the former on to other members with its probes (`protocols/membership/vitals.py`). A machine may hide
what is asked for (a container without /proc, a platform that psutil does not know): then it is not known, which is told
as such, and a node is never stopped by it.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from meshnode.driver import Driver
from meshnode.logs import Log
from protocols.membership.vitals import WHOLE, ReportMachine

REPORT_EVERY_S = 5.0
FIRST_AFTER_S = 1.0
"""How busy processors are is told of a span of time, and there is none at the start."""

log = Log(__name__)


def processors_busy() -> float:
    """In percent, since the last call."""
    import psutil

    return psutil.cpu_percent()


def memory_used() -> float:
    """In percent."""
    import psutil

    return psutil.virtual_memory().percent


def resident_bytes() -> int:
    """Of this process; 0 where it is not known."""
    import psutil

    try:
        return psutil.Process().memory_info().rss
    except Exception:  # whatever a strange machine comes up with
        return 0


async def report_machine(
    driver: Driver, processors: Callable[[], float] = processors_busy, memory: Callable[[], float] = memory_used
) -> None:
    """Report until cancelled."""
    hidden: set[str] = set()

    def per_mille(what: str, percent: Callable[[], float]) -> int | None:
        try:
            return round(percent() / 100 * WHOLE)
        except Exception as error:
            if what not in hidden:
                hidden.add(what)
                log.warning(f"this machine hides its {what}, so other members are told nothing of it", why=repr(error))
            return None

    per_mille("processor load", processors)  # the span begins
    pause_s = FIRST_AFTER_S
    while True:
        await trio.sleep(pause_s)
        pause_s = REPORT_EVERY_S
        report = ReportMachine(per_mille("processor load", processors), per_mille("use of memory", memory))
        await driver.request(report)
