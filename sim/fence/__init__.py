"""Fences the virtual part of a run: nothing in it may read a clock, open a socket, start a thread or draw by itself.

    with fence():
        world.run(until)

What touches the outside all the same raises `FenceError`, which names what was touched, by which line, and what to do
instead. `sim.scenario.run` makes a violation of it; whoever drives a world by himself puts the fence up by himself.
"""

from __future__ import annotations

from sim.fence.culprit import FenceError
from sim.fence.fence import fence, strictly

__all__ = ["FenceError", "fence", "strictly"]
