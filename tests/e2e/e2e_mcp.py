"""The official MCP client against real nodes: over `meshnode mcp` and over HTTP, in both protocol eras."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from scripts.localmesh import LocalNode
from tests.e2e.e2e_support import DEADLINE_S, REPOSITORY, command, environment

ERAS = ("legacy", "auto")
"""The handshake of 2025, and what today's client negotiates with a server of 2026."""
WAYS = ("stdio", "http")

CLIENT_WARNINGS = "ignore:Async generator .* was garbage collected:ResourceWarning"
"""The SDK's HTTP client leaves generators of its own behind under trio; it says nothing about the server."""


@asynccontextmanager
async def connected(way: str, era: str, node: LocalNode) -> AsyncIterator[Client]:
    """An agent at `node`, which serves HTTP where that is its way."""
    async with stdio(node, era) if way == "stdio" else http(node, era) as client:
        yield client


@asynccontextmanager
async def stdio(node: LocalNode, era: str) -> AsyncIterator[Client]:
    """An agent's client that has started `meshnode mcp`; the bridge leaves stderr empty."""
    program, *arguments = command("mcp", "--dir", node.directory)
    parameters = StdioServerParameters(command=program, args=arguments, cwd=REPOSITORY, env=environment())
    with tempfile.TemporaryFile("w+") as stderr:
        async with Client(stdio_client(parameters, errlog=stderr), mode=era) as client:
            yield client
        stderr.seek(0)
        assert stderr.read() == ""


@asynccontextmanager
async def http(node: LocalNode, era: str) -> AsyncIterator[Client]:
    token = (node.directory / "mcp.token").read_text().strip()
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=DEADLINE_S) as session,
        Client(streamable_http_client(node.ready["mcp"], http_client=session), mode=era) as client,
    ):
        yield client
