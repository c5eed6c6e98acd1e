"""Sequential MCP tool calls per second with the official client, over stdio (the bridge) and over HTTP, to a real node.

The peer is the SDK itself: a server with one trivial tool, over the same transports, called in turn with ours. The
difference is what the mesh adds: the hop to the daemon, a typed answer, and over HTTP the guard in front.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import trio
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from meshnode.datadir import DataDir
from scripts.benchmarks.figures import BenchBroken, Row, Setting, figure, median
from scripts.benchmarks.machine import ROOT
from scripts.benchmarks.mesh import running_mesh
from scripts.localmesh import LocalNode

BARE_SERVER = Path(__file__).with_name("peer_programs") / "bare_mcp_server.py"
TOOLS = ("mesh_get_status", "mesh_list_members")
ROUNDS = 3
WARM_UP_CALLS = 50
CALL_S_MAX = 20.0
STOP_S_MAX = 5.0


class Pair(NamedTuple):
    """Two connected clients of one transport."""

    ours: Client
    bare: Client


def run(setting: Setting) -> list[Row]:
    return trio.run(_run, setting, 0.4 if setting.quick else 2.0)


async def _run(setting: Setting, seconds: float) -> list[Row]:
    rows: list[Row] = []
    async with running_mesh(setting.scratch, ["mcp = 0\n"]) as (node,):
        setting.say("stdio")
        async with over_stdio(node) as pair:
            rows += await measure("stdio", pair, seconds)
        setting.say("HTTP")
        async with over_http(node) as pair:
            rows += await measure("HTTP", pair, seconds)
    return rows


async def measure(transport: str, pair: Pair, seconds: float) -> list[Row]:
    """Calls of each tool and of the peer's, in turn."""
    rates: dict[str, list[float]] = {tool: [] for tool in TOOLS}
    bare: list[float] = []
    for tool in TOOLS:
        await _rate(pair.ours, tool, {}, calls=WARM_UP_CALLS)
    await _rate(pair.bare, "ping", {"text": "x"}, calls=WARM_UP_CALLS)
    for _ in range(ROUNDS):
        for tool in TOOLS:
            rates[tool].append(await _rate(pair.ours, tool, {}, seconds=seconds))
        bare.append(await _rate(pair.bare, "ping", {"text": "x"}, seconds=seconds))
    note = f"one after another; median of {ROUNDS} rounds of {seconds:g} s in turn, after {WARM_UP_CALLS} calls"
    peer = f"bare MCP SDK {_sdk_version()}"
    return [
        figure(
            "mcp",
            f"{tool} over {transport}",
            median(measured),
            "calls/s",
            peer=peer,
            peer_value=median(bare),
            note=note,
        )
        for tool, measured in rates.items()
    ]


async def call_over_http(node: LocalNode, tool: str) -> None:
    """One call, for whoever wants to see what serving it costs."""
    async with _http_client(node.ready["mcp"], DataDir(node.directory).read_or_create_mcp_token()) as client:
        await _rate(client, tool, {}, calls=1)


async def _rate(
    client: Client, tool: str, arguments: dict[str, Any], *, seconds: float = CALL_S_MAX, calls: int = sys.maxsize
) -> float:
    """Calls per second, one after another, until the time or the calls are up."""
    done = 0
    begun = time.perf_counter()
    end = begun + seconds
    while (now := time.perf_counter()) < end and done < calls:
        with trio.fail_after(CALL_S_MAX):
            result = await client.call_tool(tool, arguments)
        if result.is_error or not result.structured_content:
            raise BenchBroken(f"{tool} answered with an error: {result}")
        done += 1
    return done / (now - begun)


@asynccontextmanager
async def over_stdio(node: LocalNode) -> AsyncIterator[Pair]:
    """The node by way of `meshnode mcp`, and the bare server."""
    bridge = ["-m", "meshnode", "mcp", "--dir", str(node.directory)]
    async with _stdio_client(bridge) as ours, _stdio_client([str(BARE_SERVER), "stdio"]) as bare:
        yield Pair(ours, bare)


@asynccontextmanager
async def _stdio_client(arguments: list[str]) -> AsyncIterator[Client]:
    parameters = StdioServerParameters(command=sys.executable, args=arguments, cwd=ROOT)
    silence = os.open(os.devnull, os.O_WRONLY)
    with os.fdopen(silence, "w") as errlog:
        async with Client(stdio_client(parameters, errlog=errlog)) as client:
            yield client


@asynccontextmanager
async def over_http(node: LocalNode) -> AsyncIterator[Pair]:
    """The node's own loopback port, and the bare server's."""
    token = DataDir(node.directory).read_or_create_mcp_token()
    with _bare_http_server() as url:
        async with _http_client(node.ready["mcp"], token) as ours, _http_client(url, "none") as bare:
            yield Pair(ours, bare)


@asynccontextmanager
async def _http_client(url: str, token: str) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token}"}
    # trust_env: a proxy from the environment must not stand between two processes on loopback.
    async with (
        httpx2.AsyncClient(headers=headers, timeout=CALL_S_MAX, trust_env=False) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


@contextmanager
def _bare_http_server() -> Iterator[str]:
    """The peer over HTTP; its URL."""
    command = [sys.executable, str(BARE_SERVER), "http"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                raise BenchBroken(f"the bare MCP server ended with status {process.wait()}")
            yield url
        finally:
            process.terminate()
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()


def _sdk_version() -> str:
    from importlib.metadata import version

    return version("mcp")
