"""The official MCP client, connected in each of the ways in which an agent may be: what the tests of MCP share."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import jsonschema  # type: ignore[import-untyped]  # it ships no types
import trio
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult

from meshnode.calls import Caller
from meshnode.control.server import serve_control
from meshnode.datadir import DataDir
from meshnode.mcp.http import serve_http
from meshnode.mcp.tools import build_server

ERAS = ("legacy", "auto")
"""The handshake of 2025, and what today's client negotiates with a server of 2026."""
TRANSPORTS = ("in process", "http", "stdio")
TOKEN = "a-token-of-this-test"
DEADLINE_S = 60.0
REPOSITORY = Path(__file__).resolve().parents[3]

CLIENT_WARNINGS = "ignore:Async generator .* was garbage collected:ResourceWarning"
"""The SDK's HTTP client leaves generators of its own behind under trio; it says nothing about the server."""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "mesh_get_status": {},
    "mesh_list_members": {},
    "mesh_set_tags": {"set": {"gpu": "", "cuda": "12"}, "unset": ["spot"]},
    "mesh_submit_task": {"handler": "double", "payload": [1, "two"], "wait_s": 20},
    "mesh_get_task": {"task_id": "?"},
    "mesh_wait_task": {"task_id": "?", "wait_s": 20},
    "mesh_cancel_task": {"task_id": "?"},
    "mesh_list_tasks": {},
    "mesh_find_tools": {},
    "mesh_describe_tool": {"server": "files", "tool": "echo"},
    "mesh_call_tool": {"server": "files", "tool": "echo", "arguments": {"text": "hello"}},
    "mesh_send_event": {"name": "deployed", "payload": "v7"},
    "mesh_read_events": {},
    "mesh_query": {"name": "version"},
    "mesh_answer_query": {"query_id": "?", "answer": "yes"},
}
"""All tools, with arguments that they accept; "?" stands for the id of a task, or of a query."""


@contextmanager
def short_directory() -> Iterator[Path]:
    """A data directory whose path is short enough for a socket, however long the name of the test is."""
    with tempfile.TemporaryDirectory(prefix="mesh-") as directory:
        yield Path(directory)


@asynccontextmanager
async def connected(transport: str, era: str, caller: Caller) -> AsyncIterator[Client]:
    """A client of `caller`'s tools over `transport`, in `era`."""
    if transport == "in process":
        async with Client(build_server(caller, node_name="alpha"), mode=era) as client:
            yield client
    elif transport == "http":
        async with served(caller) as face, http_client(face.url, era) as client:
            yield client
    else:
        with short_directory() as root:
            async with control_served(caller, root), stdio(root, era) as client:
                yield client


class Served:
    """The HTTP face of a caller while it is served."""

    def __init__(self) -> None:
        self.url = ""
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    async def run(self, caller: Caller, port: int, *, task_status: trio.TaskStatus[str]) -> None:
        with self._scope:
            await serve_http(caller, port=port, token=TOKEN, node_name="alpha", task_status=task_status)
        self._ended.set()

    async def stop(self) -> None:
        """Stop it; it must not wait for what never ends."""
        self._scope.cancel()
        with trio.fail_after(DEADLINE_S):
            await self._ended.wait()


@asynccontextmanager
async def served(caller: Caller, port: int = 0) -> AsyncIterator[Served]:
    """The HTTP face of `caller`, stopped at the end."""
    async with trio.open_nursery() as nursery:
        face = Served()
        face.url = await nursery.start(face.run, caller, port)
        yield face
        await face.stop()


@asynccontextmanager
async def http_client(url: str, era: str) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=DEADLINE_S) as http,
        Client(streamable_http_client(url, http_client=http), mode=era) as client,
    ):
        yield client


@asynccontextmanager
async def control_served(caller: Caller, root: Path) -> AsyncIterator[None]:
    """The control socket of a daemon in `root` that answers as `caller` does."""
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, DataDir(root).control_socket(serving=True), caller)
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def stdio(root: Path, era: str) -> AsyncIterator[Client]:
    """A client of a real `meshnode mcp` process, which must leave stderr empty."""
    command, *arguments = bridge_command(root)
    parameters = StdioServerParameters(command=command, args=arguments, cwd=REPOSITORY)
    with tempfile.TemporaryFile("w+") as stderr:
        async with Client(stdio_client(parameters, errlog=stderr), mode=era) as client:
            yield client
        stderr.seek(0)
        assert stderr.read() == ""


def bridge_command(root: Path) -> list[str]:
    code = (
        "import sys, pathlib; from meshnode.mcp.bridge import run_bridge; "
        f"sys.exit(run_bridge(pathlib.Path({str(root)!r})))"
    )
    return [sys.executable, "-W", "default::ResourceWarning", "-c", code]


def text_of(result: CallToolResult) -> str:
    return "".join(block.text for block in result.content if block.type == "text")


async def answer(client: Client, tool: str, /, **arguments: object) -> Any:
    """The structured answer of a call that must succeed."""
    with trio.fail_after(DEADLINE_S):
        result = await client.call_tool(tool, arguments)
    assert isinstance(result, CallToolResult)
    assert not result.is_error, text_of(result)
    return result.structured_content


async def refusal(client: Client, tool: str, /, **arguments: object) -> str:
    """The text of a call that must fail, as a tool error and with a next step."""
    with trio.fail_after(DEADLINE_S):
        result = await client.call_tool(tool, arguments)
    assert isinstance(result, CallToolResult)
    assert result.is_error, f"it succeeded: {text_of(result)}"
    text = text_of(result)
    what, step, next_step = text.partition("\nNext step: ")
    assert step, text
    assert what.endswith("]")
    assert len(next_step) > 10
    return text


def assert_fits(answer: object, schema: dict[str, Any]) -> None:
    """`answer` validates against `schema`, and has every property that the schema names."""
    jsonschema.validate(answer, schema)
    assert isinstance(answer, dict)
    assert set(answer) == set(schema["properties"])
