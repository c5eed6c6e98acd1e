"""How busy this machine is, told to the node core every few seconds: it reads no sensor itself.

The core passes it on to other members with its probes (`protocols/membership/vitals.py`).
"""

from __future__ import annotations

import trio

from meshnode.driver import Driver
from protocols.membership.vitals import WHOLE, ReportMachine

REPORT_EVERY_S = 5.0
FIRST_AFTER_S = 1.0
"""How busy processors are is told of a span of time, and there is none at the start."""


async def report_machine(driver: Driver) -> None:
    """Report until cancelled."""
    import psutil

    psutil.cpu_percent()  # the span begins
    pause_s = FIRST_AFTER_S
    while True:
        await trio.sleep(pause_s)
        pause_s = REPORT_EVERY_S
        cpu, memory = psutil.cpu_percent(), psutil.virtual_memory().percent
        await driver.request(ReportMachine(round(cpu / 100 * WHOLE), round(memory / 100 * WHOLE)))
