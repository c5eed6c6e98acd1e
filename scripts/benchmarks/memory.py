"""What an idle node costs in a mesh of 20 real processes, and how long the command takes to start."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import trio

from scripts.benchmarks.figures import BenchBroken, Row, Setting, below, figure, median
from scripts.benchmarks.machine import ROOT
from scripts.benchmarks.mcp_calls import call_over_http
from scripts.benchmarks.mesh import cpu_seconds, pid_of, resident_mb, running_mesh
from scripts.localmesh import LocalNode

NODES = 20
SETTLE_S = 3.0
"""The news of the last joins is passed on for so long."""
HELP_REPEATS = 5
HELP_S_MAX = 30.0


def run(setting: Setting) -> list[Row]:
    rows = [help_time()]
    setting.say(f"{NODES} nodes")
    return trio.run(_idle_mesh, setting, 10.0 if setting.quick else 20.0) + rows


async def _idle_mesh(setting: Setting, window_s: float) -> list[Row]:
    configs = ["mcp = 0\n"] + [""] * (NODES - 1)
    async with running_mesh(setting.scratch, configs) as nodes:
        await trio.sleep(SETTLE_S)
        setting.say(f"{window_s:g} s of nothing")
        return await measure(nodes, window_s)


async def measure(nodes: list[LocalNode], window_s: float) -> list[Row]:
    """The first node serves MCP over HTTP and is left out of the figures of those that do not."""
    plain = nodes[1:]
    before = [cpu_seconds(pid_of(node)) for node in plain]
    begun = time.perf_counter()
    await trio.sleep(window_s)
    taken = time.perf_counter() - begun
    shares = [(cpu_seconds(pid_of(node)) - first) / taken for node, first in zip(plain, before, strict=True)]
    resident = [resident_mb(pid_of(node)) for node in plain]
    await call_over_http(nodes[0], "mesh_get_status")
    where = f"idle in a mesh of {len(nodes)}"
    return [
        figure(
            "memory",
            f"{where}, resident",
            max(resident),
            "MB",
            better="lower",
            goal=below(60),
            note=f"the largest of {len(plain)} nodes without MCP; median {statistics.median(resident):.1f}",
        ),
        figure(
            "memory",
            f"{where}, resident with MCP",
            resident_mb(pid_of(nodes[0])),
            "MB",
            better="lower",
            goal=below(110),
            note="one node that serves MCP over HTTP, after one tool call",
        ),
        figure(
            "memory",
            f"{where}, processor",
            statistics.mean(shares) * 100,
            "% of a core",
            better="lower",
            goal=below(1),
            note=f"mean of {len(plain)} nodes over {window_s:g} s; the largest {max(shares):.2%}",
        ),
    ]


def help_time() -> Row:
    """Wall time of `meshnode --help`."""
    taken = [_timed_help() for _ in range(HELP_REPEATS + 1)][1:]
    return figure(
        "memory",
        "meshnode --help",
        median(taken),
        "s",
        better="lower",
        goal=below(0.3),
        note=f"median of {HELP_REPEATS}, after one to warm up",
    )


def _timed_help() -> float:
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "meshnode", "--help"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HELP_S_MAX,
        check=False,
    )
    taken = time.perf_counter() - begun
    if done.returncode or "meshnode" not in done.stdout:
        raise BenchBroken(f"meshnode --help ended with status {done.returncode}: {done.stderr[-500:]}")
    return taken
