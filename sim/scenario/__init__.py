"""Scenario (data) → run → Report (data): the object model below every front end."""

from __future__ import annotations

from sim.scenario.expand import expand
from sim.scenario.mesh import address_for, configs_for, node_id_for
from sim.scenario.model import DEFAULT_HANDLERS, Liveness, Scenario
from sim.scenario.report import Report
from sim.scenario.run import Run, run

__all__ = [
    "DEFAULT_HANDLERS",
    "Liveness",
    "Report",
    "Run",
    "Scenario",
    "address_for",
    "configs_for",
    "expand",
    "node_id_for",
    "run",
]
