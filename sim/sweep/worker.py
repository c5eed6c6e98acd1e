"""What a worker process does: takes jobs from a pipe, one list after the other, and sends each report as it is done."""

from __future__ import annotations

import signal
import time
from multiprocessing.connection import Connection
from typing import TypeAlias

from sim.errors import ScenarioError
from sim.scenario import Report, Scenario
from sim.sweep.seed import Work, run_whatever_comes
from sim.sweep.window import Job

Told: TypeAlias = tuple[int, Report, float] | ScenarioError | None
"""What a worker sends: (position, report, seconds it took); an error that ends the sweep; None once, when it is up."""


def serve(pipe: Connection[Told, list[Job]], work: Work, scenario: Scenario) -> None:
    """Run jobs until the pipe closes, which it also does when the parent dies. Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        pipe.send(None)
        while True:
            for job in pipe.recv():
                begun = time.perf_counter()
                report = run_whatever_comes(work, scenario, job.seed)
                pipe.send((job.position, report, time.perf_counter() - begun))
    except ScenarioError as error:
        pipe.send(error)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
