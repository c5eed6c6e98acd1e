"""Attached MCP servers: their tools, and calls of them as bodies of tasks (handler `mcp:NAME`).

- A server is started with the node and kept, so that its tools are there when they are asked for. When it ends by
  itself, calls under way are CRASHED, and the next need starts it again, not sooner than the backoff allows; meanwhile
  calls are UNAVAILABLE at once, and say why.
- The session belongs to `serve`, never to a call: a cancelled call costs that call alone. Because a server may be stuck
  in it, it must then answer a listing in time, or it is replaced.
- A tool's own error is the body's error. What the server says is bounded before it is decoded (see mcp_stdio.py).
- The SDK is imported only where there is a server to attach, in a thread, so that the daemon goes on answering probes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import trio
from msgspec import Struct

from meshnode.config import McpServerConfig
from meshnode.executors.bodies import failed, too_much_output
from meshnode.executors.process import describe_spawn_failure
from meshnode.importing import import_beside
from protocols.limits import DETAIL_CHARS_MAX, NAME_CHARS_MAX, OUTPUT_BYTES_MAX, TOOL_SCHEMA_BYTES_MAX
from protocols.tasks.task import BodyEnded, BodyStatus, RunBody
from protocols.tools import ToolInfo

if TYPE_CHECKING:
    from mcp.client import Client
    from mcp_types import CallToolResult, Tool

    from meshnode.executors.mcp_stdio import StdioServer

SDK = "meshnode.executors.mcp_stdio"
"""The module that needs the SDK."""
START_S = 30.0
"""From the start of the process to the end of the handshake."""
BACKOFF_BASE_S = 0.5
BACKOFF_MAX_S = 30.0
STEADY_S = 30.0
"""A server that lived for so long starts afresh in its backoff."""
LISTING_FRESH_S = 10.0
PROBE_S = 2.0
TOOLS_MAX = 1000
DESCRIPTION_CHARS_MAX = 2000


class ServerDown(Exception):
    """The server does not run, and why."""


class ToolCall(Struct, forbid_unknown_fields=True):
    """The payload of a task for handler `mcp:NAME`."""

    tool: str
    arguments: dict[str, Any] = {}


_decode_call = msgspec.json.Decoder(ToolCall).decode


class _Session(Struct, frozen=True):
    client: Client
    server: StdioServer


class McpExecutor:
    """One attached server. `serve` must run for the rest to work."""

    def __init__(self, name: str, config: McpServerConfig) -> None:
        self._name = name
        self._config = config
        self._slots = trio.CapacityLimiter(config.concurrency)
        self._wanted = trio.Event()
        self._changed = trio.Event()
        self._session: _Session | None = None
        self._down = ""
        """Why it does not run, from its end until the backoff is over."""
        self._next_start = 0.0
        self._listing_lock = trio.Lock()
        self._listing: tuple[ToolInfo, ...] = ()
        self._listed_at = -math.inf
        self._nursery: trio.Nursery | None = None

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the server until cancelled; its process is gone when this returns."""
        failures = 0
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._wanted.set()
            task_status.started()
            try:
                while True:
                    await self._wanted.wait()
                    started_at = trio.current_time()
                    self._down = await self._live()
                    failures = 1 if trio.current_time() - started_at > STEADY_S else failures + 1
                    backoff_s = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2.0 ** (failures - 1))
                    self._next_start = trio.current_time() + backoff_s
                    self._tell()
                    await trio.sleep(backoff_s)
                    self._down, self._wanted = "", trio.Event()
            finally:
                self._nursery = None

    def resize(self, concurrency: int) -> None:
        self._slots.total_tokens = concurrency

    async def run(self, action: RunBody) -> BodyEnded:
        """One call of a tool. Cancelled: the server is told, and must prove that it still answers."""
        try:
            call = _decode_call(action.payload)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            return failed(BodyStatus.ERROR, f'The payload must be {{"tool": text, "arguments": object}}: {error}.')
        async with self._slots:
            try:
                session = await self._ready()
            except ServerDown as down:
                return failed(BodyStatus.UNAVAILABLE, str(down))
            try:
                result = await session.client.call_tool(call.tool, call.arguments)
            except trio.Cancelled:
                if self._nursery is not None:
                    self._nursery.start_soon(self._probe, session)
                raise
            except Exception as error:  # the SDK's, pydantic's, anyio's: each is an answer here
                return self._call_failed(session, error)
        return _ended(call.tool, result)

    async def tools(self) -> tuple[ToolInfo, ...]:
        """The server's tools with their schemas, at most LISTING_FRESH_S old. Raises `ServerDown`."""
        async with self._listing_lock:
            if trio.current_time() - self._listed_at < LISTING_FRESH_S:
                return self._listing
            session = await self._ready()
            try:
                listing = await self._list(session.client)
            except Exception as error:  # as in `run`
                why = session.server.why or f"cannot list its tools ({_words(error)})"
                raise ServerDown(f"The MCP server {self._name!r} {why}.") from error
            self._listing, self._listed_at = listing, trio.current_time()
            return listing

    async def _ready(self) -> _Session:
        """The running session, waiting for a start that is under way. Raises `ServerDown`."""
        while self._session is None or self._session.server.closed.is_set():
            if self._nursery is None:
                raise ServerDown("This node is stopping, or has not started yet.")
            if self._down:
                wait_s = max(0.0, self._next_start - trio.current_time())
                raise ServerDown(f"{self._down}\nIt may be started again in {wait_s:.1f} s.")
            self._wanted.set()
            await self._changed.wait()
        return self._session

    def _tell(self) -> None:
        """Wake whoever waits for a session."""
        self._changed.set()
        self._changed = trio.Event()

    async def _live(self) -> str:
        """One life of the server, from start to end; returns why it ended, with a next step."""
        await import_beside(SDK)
        server = _imported_sdk().StdioServer(self._config)
        why = ""
        try:
            with trio.fail_after(START_S) as start:
                async with server.client() as client:
                    start.deadline = math.inf
                    self._session = _Session(client, server)
                    self._tell()
                    try:
                        await server.closed.wait()
                    finally:
                        server.retire()  # before the session fails its calls, so that these know why
        except trio.TooSlowError:
            why = f"did not complete the MCP handshake within {START_S:.0f} s"
        except (OSError, ValueError) as error:
            return describe_spawn_failure(error, self._config.command, self._config.cwd)
        except Exception as error:  # whatever the session made of the server's end; `server.why` knows better
            why = f"failed ({_words(error)})"
        finally:
            self._session = None
            self._listed_at = -math.inf
        return self._explain(server, why if why and server.stopped else server.why)

    def _explain(self, server: StdioServer, why: str) -> str:
        errors = server.errors.text(DETAIL_CHARS_MAX // 2)
        said = f"\nIts last words on stderr: {errors}" if errors else ""
        command = " ".join([self._config.command, *self._config.args])
        return f"The MCP server {self._name!r} {why}. Check that `{command}` works on this node.{said}"

    async def _probe(self, session: _Session) -> None:
        """After a call that had to be stopped: the server answers a listing, or it is replaced."""
        with trio.move_on_after(PROBE_S) as scope:
            try:
                await session.client.list_tools()
            except Exception:  # an error is an answer; a closed session is dealt with by `serve`
                return
        if scope.cancelled_caught:
            session.server.abandon(f"gave no sign of life for {PROBE_S:.0f} s after a call had to be stopped")

    def _call_failed(self, session: _Session, error: Exception) -> BodyEnded:
        if session.server.closed.is_set():
            return failed(BodyStatus.CRASHED, f"During the call: {self._explain(session.server, session.server.why)}")
        if getattr(error, "code", None) == _imported_sdk().TOO_LONG:
            return too_much_output("The tool", OUTPUT_BYTES_MAX)
        return failed(BodyStatus.ERROR, _words(error))

    async def _list(self, client: Client) -> tuple[ToolInfo, ...]:
        found: list[ToolInfo] = []
        cursor: str | None = None
        while len(found) < TOOLS_MAX:
            page = await client.list_tools(cursor=cursor)
            found += [self._info(tool) for tool in page.tools if len(tool.name) <= 2 * NAME_CHARS_MAX]
            cursor = page.next_cursor
            if cursor is None or not page.tools:
                break
        return tuple(found[:TOOLS_MAX])

    def _info(self, tool: Tool) -> ToolInfo:
        description = (tool.description or tool.title or "")[:DESCRIPTION_CHARS_MAX]
        schema = msgspec.json.encode(tool.input_schema).decode()
        if len(schema) > TOOL_SCHEMA_BYTES_MAX:
            schema, note = "", "(Its input schema is too large to be passed on.) "
            description = (note + description)[:DESCRIPTION_CHARS_MAX]
        return ToolInfo("", "", self._name, tool.name, description, schema)


def _imported_sdk() -> Any:
    """The module that needs the SDK; typed `Any`, for a module object has no other type at hand."""
    from meshnode.executors import mcp_stdio

    return mcp_stdio


def _ended(tool: str, result: CallToolResult) -> BodyEnded:
    if result.is_error:
        texts = [block.text for block in result.content if block.type == "text"]
        return failed(BodyStatus.ERROR, "\n".join(texts) or f"The tool {tool!r} failed without saying why.")
    content = [block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in result.content]
    output = msgspec.json.encode({"content": content, "structured": result.structured_content})
    if len(output) > OUTPUT_BYTES_MAX:
        return too_much_output(f"The tool {tool!r}", OUTPUT_BYTES_MAX)
    return BodyEnded(BodyStatus.OK, output=output.decode())


def _words(error: BaseException) -> str:
    """The innermost of nested exception groups, in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = " ".join(str(error).split())
    return text[:500] if text and text[0].isupper() and " " in text else f"{type(error).__name__}: {text}"[:500]
