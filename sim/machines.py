"""How busy the machines of simulated nodes are: drawn once for each life, and told to the node as the daemon does it.

Bodies of the simulator take time and no processor, so there is nothing to measure. What is told changes nothing but
what the nodes tell each other of it (`protocols/membership/vitals.py`).
"""

from __future__ import annotations

from protocols.core import Instant, Outcome
from protocols.membership.vitals import WHOLE, ReportMachine
from sim.process import Process
from sim.world import World


def report_machines(world: World) -> None:
    """From now on, let every node whose probes tell of its load hear of its machine when it boots."""
    random = world.kernel.random("machines")

    def booted(now: Instant, process: Process) -> None:
        if process.config.probe_payloads:
            world.kernel.push(now, tell, process, process.boots)

    def tell(now: Instant, process: Process, life: int) -> None:
        report = ReportMachine(random.randint(0, WHOLE), random.randint(0, WHOLE))
        if process.up and not process.stopped and process.boots == life:
            process.request(now, report, _taken_in)

    world.watch.on_boot.append(booted)


def _taken_in(now: Instant, outcome: Outcome) -> None:
    """Nobody waits for the answer."""
