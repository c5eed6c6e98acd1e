"""The `meshsim` command: one file per command, `main.py` for what they share. Decides nothing about runs."""

from __future__ import annotations

from sim.cli.main import main
from sim.cli.status import Exit

__all__ = ["Exit", "main"]
