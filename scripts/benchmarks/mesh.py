"""Real nodes for benchmarks, each a process of its own on loopback, and what the kernel says about a process.

A mesh is measured only once every node knows every other one, and is ended by process id whatever happens.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import trio

from meshnode.errors import MeshError
from protocols.membership.views import ListMembers, MemberList
from scripts.benchmarks.figures import BenchBroken
from scripts.benchmarks.machine import ROOT
from scripts.localmesh import LocalNode, StartError, form_mesh, stop_all

MEET_S_MAX = 60.0
POLL_S = 0.1
MB = 1_000_000


@asynccontextmanager
async def running_mesh(directory: Path, configs: Sequence[str]) -> AsyncIterator[list[LocalNode]]:
    """One node for each text of meshnode.toml, all of which know all. Raises `BenchBroken` where they do not meet."""
    nodes = [LocalNode(directory / f"n{index}", f"n{index}", ROOT) for index in range(len(configs))]
    for node, config in zip(nodes, configs, strict=True):
        node.configure(config)
    try:
        try:
            await form_mesh(nodes)
            await _wait_until_met(nodes)
        except (StartError, MeshError) as error:
            raise BenchBroken(f"the mesh did not come up: {error}") from error
        yield nodes
    finally:
        await stop_all(nodes)


async def _wait_until_met(nodes: Sequence[LocalNode]) -> None:
    with trio.move_on_after(MEET_S_MAX):
        for node in nodes:
            while await _known(node) < len(nodes):  # noqa: ASYNC110  # another process cannot set an event of ours
                await trio.sleep(POLL_S)
        return
    raise BenchBroken(f"the nodes did not all meet within {MEET_S_MAX:.0f} s")


async def _known(node: LocalNode) -> int:
    outcome = await node.call(ListMembers())
    if not isinstance(outcome, MemberList):
        raise BenchBroken(f"{node.name} does not list its members: {outcome}")
    return sum(member.state == "alive" for member in outcome.members)


def pid_of(node: LocalNode) -> int:
    assert node.process is not None, f"{node.name} was never started"
    return node.process.pid


def resident_mb(pid: int, *, children: bool = False) -> float:
    """Resident memory of a process, in MB (10^6 bytes); with `children`, of all that it started as well."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)] if children else [process]
    return sum(float(each.memory_info().rss) for each in family) / MB


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used so far, in user space and in the kernel."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
