"""Runs the virtual part of a run behind the fence, and makes a violation of what touches the outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sim.fence import FenceError, fence
from sim.process import Process
from sim.world import World

PROPERTY = "fence"


@contextmanager
def fenced(world: World) -> Iterator[None]:
    """Fence what happens inside, all of which happens in `world`.

    Where it touches the outside, it ends there: that is noted as a violation of `fence`, and the run is stopped.
    """
    try:
        with fence():
            yield
    except FenceError as error:
        world.watch.violated(PROPERTY, world.kernel.now, _node_of(error), str(error))
        world.stopped = True


def _node_of(error: FenceError) -> str:
    """The name of the node that was at work, as the stack tells."""
    trace = error.__traceback__
    node = ""
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if isinstance(owner, Process):
            node = owner.name
        trace = trace.tb_next
    return node
