"""Turns what a person wrote into what is run: everything that is drawn from the seed is drawn here, once.

The result holds no chance but that of its streams: it can be printed, written to a file, shrunk, and run again.
"""

from __future__ import annotations

from msgspec.structs import replace

from sim.scenario.model import Scenario


def expand(scenario: Scenario) -> Scenario:
    """`scenario` with every option drawn and every fault salted. An expanded scenario expands to itself."""
    used = {fault.salt for fault in scenario.faults}
    fresh = (number for number in range(1, len(scenario.faults) + len(used) + 2) if number not in used)
    faults = tuple(fault if fault.salt else replace(fault, salt=next(fresh)) for fault in scenario.faults)
    return replace(scenario, faults=faults)
