"""Large libraries are imported when they are first needed, in a worker thread, so that the node goes on answering.

One import at a time: two threads that enter one package by different doors can each find a module of it half made
(its own imports go round in a circle; importlib then hands out what there is instead of waiting for ever).
"""

from __future__ import annotations

import importlib
import threading

import trio

_one_at_a_time = threading.Lock()


async def import_beside(*names: str) -> None:
    """Have modules imported by a worker thread. Raises what their import raises."""
    await trio.to_thread.run_sync(_import_in_turn, names)


def _import_in_turn(names: tuple[str, ...]) -> None:
    with _one_at_a_time:
        for name in names:
            importlib.import_module(name)
