"""Scenario files: TOML that a person writes, and that a failure is written to. `load(dumps(x)) == x`."""

from __future__ import annotations

from sim.files.read import load, loads
from sim.files.write import dumps

__all__ = ["dumps", "load", "loads"]
