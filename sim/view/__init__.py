"""A recording as one HTML file: a space-time diagram that opens anywhere and fetches nothing."""

from __future__ import annotations

from sim.view.render import render

__all__ = ["render"]
