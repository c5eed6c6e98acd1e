"""No-op tasks through three nodes: real processes, TLS and a durable record of each task, submission and result.

Tasks go in at the three nodes in turn, over their control sockets, and are waited for there. The peer is
dask.distributed on the same machine with two workers; it keeps its tasks in memory only, and encrypts nothing.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import NamedTuple

import trio

from meshnode.control.client import ControlClient, connect
from protocols.tasks.task import Accepted, GetTask, Submit, TaskState, TaskView
from scripts.benchmarks.figures import BenchBroken, Row, Setting, at_least, below, figure, median
from scripts.benchmarks.mesh import cpu_seconds, pid_of, resident_mb, running_mesh
from scripts.benchmarks.peers import PeerMissing
from scripts.localmesh import LocalNode

NODES = 3
IN_FLIGHT = 64
ROUNDS = 3
WAIT_MS = 30_000
CONFIG = """
[handlers.noop]
executor = "python"
target = "examples.noop:run"
concurrency = 2
"""
DASK_S_MAX = 120.0


class Plan(NamedTuple):
    """How long to measure, in seconds; one round is `seconds` in flight and `seconds` one at a time."""

    warm_up: float
    seconds: float
    rounds: int


class Measured(NamedTuple):
    per_s: float
    p50_ms: float
    resident_mb: float
    note: str


def run(setting: Setting) -> list[Row]:
    plan = Plan(1.5, 1.0, ROUNDS) if setting.quick else Plan(3.0, 5.0, ROUNDS)
    setting.say(f"{NODES} nodes")
    ours = trio.run(_measure_mesh, setting, plan)
    setting.say("dask.distributed")
    label: str | None = None
    theirs: dict[str, float] = {}
    note = f"median of {plan.rounds} rounds of {plan.seconds:g} s after {plan.warm_up:g} s to warm up"
    missing = ""
    try:
        arguments = [str(plan.warm_up), str(plan.seconds), str(plan.rounds), str(IN_FLIGHT)]
        theirs = setting.peers.run("distributed", "dask_tasks.py", arguments, timeout_s=DASK_S_MAX)
        label = setting.peers.label("distributed")
    except PeerMissing as error:
        missing = f"; {error}"
    return [
        figure(
            "tasks",
            f"{IN_FLIGHT} in flight",
            ours.per_s,
            "tasks/s",
            peer=label,
            peer_value=theirs.get("per_s"),
            goal=at_least(500),
            note=f"{note}; {ours.note}{missing}",
        ),
        figure(
            "tasks",
            "one at a time, p50",
            ours.p50_ms,
            "ms",
            better="lower",
            peer=label,
            peer_value=theirs.get("p50_ms"),
            goal=below(8),
            note=note + missing,
        ),
        figure(
            "tasks",
            "resident memory, all processes",
            ours.resident_mb,
            "MB",
            better="lower",
            peer=label,
            peer_value=theirs.get("resident_mb"),
            note=f"{NODES} nodes with their workers; the peer's scheduler, client and workers{missing}",
        ),
    ]


async def _measure_mesh(setting: Setting, plan: Plan) -> Measured:
    async with running_mesh(setting.scratch, [CONFIG] * NODES) as nodes, connected(nodes) as clients:
        return await measure(nodes, clients, plan)


@asynccontextmanager
async def connected(nodes: Sequence[LocalNode]) -> AsyncIterator[list[ControlClient]]:
    """A connection to the control socket of each node."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connect(node.directory)) for node in nodes]


async def measure(nodes: Sequence[LocalNode], clients: Sequence[ControlClient], plan: Plan) -> Measured:
    """Rounds of tasks in flight and one at a time, in turn."""
    await _in_flight(clients, plan.warm_up)
    rates: list[float] = []
    singles: list[float] = []
    busy_s = 0.0
    for _ in range(plan.rounds):
        before = sum(cpu_seconds(pid_of(node)) for node in nodes)
        rates.append(await _in_flight(clients, plan.seconds))
        busy_s += sum(cpu_seconds(pid_of(node)) for node in nodes) - before
        singles += await _one_at_a_time(clients, plan.seconds)
    memory = sum(resident_mb(pid_of(node), children=True) for node in nodes)
    cores = busy_s / (plan.seconds * plan.rounds)
    return Measured(median(rates), median(singles) * 1000, memory, f"the daemons used {cores:.2f} cores")


async def _in_flight(clients: Sequence[ControlClient], seconds: float) -> float:
    """Tasks per second with `IN_FLIGHT` of them under way."""
    numbers = count()
    end = time.perf_counter() + seconds
    done = 0

    async def keep_going() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await _one(clients, next(numbers))
            done += time.perf_counter() < end

    async with trio.open_nursery() as nursery:
        for _ in range(IN_FLIGHT):
            nursery.start_soon(keep_going)
    return done / seconds


async def _one_at_a_time(clients: Sequence[ControlClient], seconds: float) -> list[float]:
    """Seconds that each task took, from its submission to its result."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        await _one(clients, len(taken))
        taken.append(time.perf_counter() - begun)
    return taken


async def _one(clients: Sequence[ControlClient], number: int) -> None:
    """Submit a task at the next node in turn, and wait for its result there. Raises `BenchBroken` without one."""
    client = clients[number % len(clients)]
    payload = f'{{"n":{number}}}'
    accepted = await client.call(Submit("noop", payload))
    if not isinstance(accepted, Accepted):
        raise BenchBroken(f"a task was not accepted: {accepted}")
    task = await client.call(GetTask(accepted.task_id, WAIT_MS))
    if not isinstance(task, TaskView) or task.state is not TaskState.SUCCEEDED or task.output != payload:
        raise BenchBroken(f"a task did not come back with its payload: {task}")
