"""A real Dask cluster in a process of its own, and single workers: for tests.

    python -m tests.sim.dask_cluster WORKERS       prints the scheduler's address, runs until its stdin closes
    python -m tests.sim.dask_cluster join ADDRESS  one more worker, until its scheduler goes

Every worker of the first is a process with a nanny that starts it again when it dies.
"""

from __future__ import annotations

import asyncio
import sys


def serve(workers: int) -> None:
    import dask
    from distributed import LocalCluster

    dask.config.set({"distributed.scheduler.allowed-failures": 1})
    with LocalCluster(  # type: ignore[no-untyped-call]  # `distributed` is hardly typed
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()


async def join(address: str) -> None:
    from distributed import Worker

    async with Worker(address, nthreads=1) as worker:
        print("joined", flush=True)
        await worker.finished()


if __name__ == "__main__":
    if sys.argv[1] == "join":
        asyncio.run(join(sys.argv[2]))
    else:
        serve(int(sys.argv[1]))
