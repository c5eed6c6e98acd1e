"""The stdio transport under the MCP client: an attached server as a child process, with every input bounded.

The SDK's own stdio transport reads lines of any length and leaves stderr to the daemon's terminal. This one bounds a
message before it is decoded, keeps the end of stderr for explanations, and says when and why the server has ended. A
result that is too long fails its own call alone, where the message's id can be told from either end of the line.

Imported late, and by `mcp.py` alone: it pulls in the SDK (42 MiB resident).
"""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio
import trio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client import Client
from mcp.shared.message import SessionMessage
from mcp_types import ErrorData, Implementation, JSONRPCError, jsonrpc_message_adapter

from meshnode.config import McpServerConfig
from meshnode.executors.process import (
    CHUNK_BYTES,
    TERM_GRACE_S,
    Child,
    Tail,
    closed_environment,
    describe_exit,
    spawn,
)

Incoming = MemoryObjectReceiveStream[SessionMessage | Exception]
Outgoing = MemoryObjectSendStream[SessionMessage]

LINE_BYTES_MAX = 4 << 20
"""One message. A listing of tools may be larger than any output that a task may have."""
SKIPPED_BYTES_MAX = 64 << 20
"""How much of a longer message is read over in search of its end; past it the server is ended."""
ENDS_BYTES = 256
TOO_LONG = -32098
"""JSON-RPC error code, of the range left to implementations, that stands for an answer past LINE_BYTES_MAX."""
EXIT_S = 1.0
"""How long a server may take to end after its stdin, or its own stdout, has closed."""

_ID_FIRST = re.compile(rb'\A\s*\{\s*"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(\d{1,15})\s*,')
_ID_LAST = re.compile(rb',\s*"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(\d{1,15})\s*\}\s*\Z')


class StdioServer:
    """One life of an attached server: from `streams()` being entered until `closed`."""

    def __init__(self, config: McpServerConfig) -> None:
        self.closed = trio.Event()
        """No further answer will come; `why` says why."""
        self.why = ""
        self.stopped = False
        """It was still alive when it was told to end."""
        self.errors = Tail()
        self._config = config
        self._child: Child | None = None

    def client(self) -> Client:
        """An MCP client over this transport; entering it starts the process and shakes hands, in either era."""
        info = Implementation(name="meshnode", version=version("meshnode"))
        return Client(self.streams(), client_info=info, cache=None)

    def retire(self) -> None:
        """No answer counts from now on: the session is about to be left."""
        self.stopped = self.stopped or not self.closed.is_set()
        self._close("was stopped by this node")

    def abandon(self, why: str) -> None:
        """End the server at once: it cannot be relied on any more."""
        if not self.closed.is_set():
            self.why = self.why or why
            if self._child is not None:
                self._child.signal_group(signal.SIGKILL)

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[tuple[Incoming, Outgoing]]:
        """Start the process. Raises `OSError`, `ValueError`; on the way out the process is ended and reaped."""
        config = self._config
        child = await spawn(
            [config.command, *config.args],
            cwd=config.cwd,
            env=closed_environment(config.env, "PYTHONPATH", "VIRTUAL_ENV"),
        )
        self._child = child
        to_session, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        outgoing, from_session = anyio.create_memory_object_stream[SessionMessage](0)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, child, to_session)
                nursery.start_soon(_write, child, from_session)
                nursery.start_soon(self.errors.follow, child.stderr)
                try:
                    yield incoming, outgoing
                finally:
                    self.retire()
                    with trio.CancelScope(shield=True):
                        outgoing.close()
                        incoming.close()
                        child.stdin.close()
                        with trio.move_on_after(EXIT_S):
                            await child.wait()
                    nursery.cancel_scope.cancel()
        finally:
            await child.destroy(grace_s=TERM_GRACE_S)
            for stream in (to_session, incoming, outgoing, from_session):
                stream.close()

    async def _read(self, child: Child, to_session: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        lines = _Lines()
        try:
            while chunk := await child.stdout.receive_some(CHUNK_BYTES):
                for item in lines.split(bytes(chunk)):
                    await to_session.send(item)
                if lines.lost:
                    self.abandon(f"sent a message of more than {LINE_BYTES_MAX} bytes")
                    break
        except (
            trio.BrokenResourceError,
            trio.ClosedResourceError,
            anyio.BrokenResourceError,
            anyio.ClosedResourceError,
        ):
            pass  # the session has ended, and so will the process
        with trio.move_on_after(EXIT_S):
            self.why = self.why or describe_exit(await child.wait())
        self.errors.catch_up(child.stderr)
        self._close("closed its output")
        to_session.close()

    def _close(self, why: str) -> None:
        self.why = self.why or why
        self.closed.set()


class _Lines:
    """Cuts a stream of bytes into messages, never holding more than LINE_BYTES_MAX and a chunk."""

    def __init__(self) -> None:
        self.lost = False
        """A message too long could not be told to anyone: nothing after it can be relied on."""
        self._line = bytearray()
        self._head = b""
        self._skipped = 0

    def split(self, chunk: bytes) -> list[SessionMessage | Exception]:
        items: list[SessionMessage | Exception] = []
        *complete, rest = chunk.split(b"\n")
        for part in complete:
            self._extend(part)
            if self._skipped:
                items += self._too_long()
            elif self._line.strip():
                items.append(_parse(bytes(self._line)))
            self._line.clear()
            self._skipped = 0
        self._extend(rest)
        self.lost = self.lost or self._skipped > SKIPPED_BYTES_MAX
        return items

    def _extend(self, part: bytes) -> None:
        if len(self._line) + len(part) > LINE_BYTES_MAX or self._skipped:
            if not self._skipped:
                self._head = bytes((self._line[:ENDS_BYTES] + part)[:ENDS_BYTES])
            self._skipped += len(self._line) + len(part)
            self._line[:] = (self._line + part)[-ENDS_BYTES:]
        else:
            self._line += part

    def _too_long(self) -> list[SessionMessage | Exception]:
        match = _ID_FIRST.search(self._head) or _ID_LAST.search(self._line)
        if match is None:
            self.lost = True
            return []
        error = ErrorData(code=TOO_LONG, message=f"The answer is longer than {LINE_BYTES_MAX} bytes.")
        return [SessionMessage(JSONRPCError(jsonrpc="2.0", id=int(match.group(1)), error=error))]


def _parse(line: bytes) -> SessionMessage | Exception:
    """A message, or the error as a value: the session counts it and goes on (servers print things)."""
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error


async def _write(child: Child, from_session: MemoryObjectReceiveStream[SessionMessage]) -> None:
    try:
        async for item in from_session:
            text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
            await child.stdin.send_all(text.encode() + b"\n")
    except (trio.BrokenResourceError, trio.ClosedResourceError, anyio.ClosedResourceError):
        return  # the reader notices the end, and says why
