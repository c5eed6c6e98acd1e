"""No-op tasks through dask.distributed: a scheduler, two worker processes of one thread each, one client.

    python dask_tasks.py WARM_UP_SECONDS SECONDS ROUNDS IN_FLIGHT

Prints {"per_s": median of the rounds, "p50_ms": median of single tasks, "resident_mb": of all its processes, the client
included, which shares the scheduler's}. Of the ways to keep many futures under way (submit and gather, map,
as_completed, one await for each) the last, on an asynchronous client, was the fastest when this was written.
"""

from __future__ import annotations

import asyncio
import json
import logging
import operator
import os
import statistics
import sys
import tempfile
import time
from typing import Any

import psutil
from distributed import Client, LocalCluster  # type: ignore[import-not-found, unused-ignore]  # not there without the extra

WORKERS = 2
SINGLE_MAX = 2000
NO_OP = operator.index
"""Its argument back. From the standard library, so that a worker finds it by name instead of having it sent."""


async def in_flight(client: Any, count: int, seconds: float) -> float:
    """Tasks per second with `count` of them under way."""
    end = time.perf_counter() + seconds
    done = 0

    async def keep_going(index: int) -> None:
        nonlocal done
        while time.perf_counter() < end:
            await client.submit(NO_OP, index, pure=False)
            done += time.perf_counter() < end

    await asyncio.gather(*(keep_going(index) for index in range(count)))
    return done / seconds


async def one_at_a_time(client: Any, seconds: float) -> list[float]:
    """Seconds that each single task took."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end and len(taken) < SINGLE_MAX:
        await client.submit(NO_OP, len(taken), pure=False)
        taken.append(time.perf_counter() - begun)
    return taken


def resident_mb() -> float:
    """The scheduler shares this process with the client, so this process is counted too."""
    me = psutil.Process()
    return sum(float(each.memory_info().rss) for each in (me, *me.children(recursive=True))) / 1_000_000


async def measure(warm_up: float, seconds: float, rounds: int, count: int) -> dict[str, float]:
    cluster = LocalCluster(  # type: ignore[no-untyped-call]  # distributed does not annotate its constructors
        n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None, asynchronous=True
    )
    async with (
        cluster,
        Client(cluster, asynchronous=True) as client,  # type: ignore[no-untyped-call]  # as above
    ):
        await in_flight(client, count, warm_up)
        rates: list[float] = []
        singles: list[float] = []
        for _ in range(rounds):
            rates.append(await in_flight(client, count, seconds))
            singles += await one_at_a_time(client, seconds)
        memory = resident_mb()
    return {"per_s": statistics.median(rates), "p50_ms": statistics.median(singles) * 1000, "resident_mb": memory}


def main() -> None:
    logging.disable(logging.CRITICAL)
    warm_up, seconds, rounds, count = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    with tempfile.TemporaryDirectory() as directory:
        os.environ["DASK_TEMPORARY_DIRECTORY"] = directory
        print(json.dumps(asyncio.run(measure(warm_up, seconds, rounds, count))))


if __name__ == "__main__":
    main()
