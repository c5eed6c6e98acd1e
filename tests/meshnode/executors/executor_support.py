"""What the tests of the executors share: one run, and the truth about processes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import psutil
import trio

from meshnode.executors.pool import Executors
from protocols.tasks.task import BodyEnded, RunBody


class Start(Protocol):
    """The fixture `start`."""

    async def __call__(self, toml: str, inside: trio.Nursery | None = None) -> Executors:
        """Executors of that configuration, running until the test ends, or as long as the nursery `inside`."""
        ...


async def perform(executors: Executors, handler: str, payload: object = None, timeout_s: float = 30.0) -> BodyEnded:
    """One run, attempt 3 of task "t1"."""
    text = json.dumps(payload, ensure_ascii=False)
    return await executors.perform(RunBody("t1", 3, handler, text, round(timeout_s * 1000)))


def alive(pid: int) -> bool:
    """A zombie counts as dead: whether it is reaped is up to whoever inherited it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until(predicate: Callable[[], bool], within_s: float = 60.0) -> None:
    """Poll in real time, whatever clock trio has."""
    deadline = time.monotonic() + within_s
    while not predicate():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        await trio.to_thread.run_sync(time.sleep, 0.01)


async def pids_in(path: Path) -> list[int]:
    await until(path.exists)
    return [int(pid) for pid in (await trio.Path(path).read_text()).split()]
