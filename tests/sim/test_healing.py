"""Meshes that were cut, or restarted, in whatever way: all tables agree again (DESIGN 4, healing)."""

from __future__ import annotations

from sim.faults import Restart, RollingRestart
from sim.scenario import Scenario, run


def test_seeds_that_left_before_addresses_were_saved_find_those_whom_they_left() -> None:
    """Found by a soak (seed 9813): they came back as a mesh of their own, and nobody looks for who has left."""
    faults = (RollingRestart(0, 1, salt=1874105960), Restart(0.5, 1, 2, salt=1195530916))
    assert run(Scenario(nodes=5, seconds=1, seed=9813, faults=faults)).violations == ()
