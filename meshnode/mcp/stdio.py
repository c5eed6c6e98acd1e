"""MCP over the standard streams of this process: one JSON-RPC message a line (MCP transports, "stdio").

Instead of the SDK's `stdio_server`, which reads a line of any length in a thread that nothing can interrupt, so that
SIGTERM would not end the process. Rules:

- Nothing but messages reaches the client: while this serves, descriptor 1 is a copy of descriptor 2 and descriptor 0 is
  empty, so that whatever prints, prints to stderr. Both are put back afterwards.
- A line is bounded before it is looked into; one that is too long, or no message, is answered with an error without id
  (JSON-RPC 2.0 section 5.1) and the next line is read as if nothing had been.
- A client that does not read its answers is not read from either.
- The end of input ends the stream; so does a client that has closed its side.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from fcntl import F_DUPFD_CLOEXEC, fcntl

import anyio
import trio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError
from mcp_types.jsonrpc import jsonrpc_message_adapter
from pydantic import ValidationError

from meshnode.mcp.bounds import REQUEST_BYTES_MAX, STDIO_WAITING_WRITES_MAX

CHUNK_BYTES = 64 * 1024
LAST_WRITE_SECONDS = 1.0
"""What the last answers get to reach a client that has closed its side."""
STDIN, STDOUT, STDERR = 0, 1, 2

Incoming = MemoryObjectReceiveStream[SessionMessage | Exception]
Outgoing = MemoryObjectSendStream[SessionMessage]


@asynccontextmanager
async def stdio_streams() -> AsyncIterator[tuple[Incoming, Outgoing]]:
    """The client's messages and the way back to it, for `Server.run`."""
    to_server, from_client = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    to_client, from_server = anyio.create_memory_object_stream[SessionMessage](0)
    with _claimed_streams() as (wire_in, wire_out):
        async with trio.lowlevel.FdStream(wire_in) as source, trio.lowlevel.FdStream(wire_out) as sink:
            link = _StdioLink(source, sink, to_server, to_client, from_server)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.read)
                nursery.start_soon(link.write)
                yield from_client, to_client
                await to_client.aclose()
                with trio.move_on_after(LAST_WRITE_SECONDS):
                    await link.written.wait()
                nursery.cancel_scope.cancel()


class _StdioLink:
    """Carries messages between the descriptors and the server."""

    def __init__(
        self,
        source: trio.lowlevel.FdStream,
        sink: trio.lowlevel.FdStream,
        to_server: MemoryObjectSendStream[SessionMessage | Exception],
        to_client: MemoryObjectSendStream[SessionMessage],
        from_server: MemoryObjectReceiveStream[SessionMessage],
    ) -> None:
        self._source = source
        self._sink = sink
        self._to_server = to_server
        self._to_client = to_client
        self._from_server = from_server
        self._wrote_one = trio.Event()
        self.written = trio.Event()
        """Set once nothing more will be written."""

    async def read(self) -> None:
        """Hand lines to the server until the input ends."""
        lines = BoundedLines(self._source)
        async with self._to_server:
            try:
                while (line := await lines.next()) is not None:
                    await self._client_reads()
                    if len(line) > REQUEST_BYTES_MAX:
                        await self._complain(INVALID_REQUEST, f"A message is longer than {REQUEST_BYTES_MAX} bytes.")
                    elif line.strip():
                        await self._hand_over(line)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass  # the server is done
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the client is gone

    async def _hand_over(self, line: bytes) -> None:
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValidationError:
            await self._complain(PARSE_ERROR, "A line is not a JSON-RPC message.")
            return
        await self._to_server.send(SessionMessage(message))

    async def _complain(self, code: int, message: str) -> None:
        error = JSONRPCError(jsonrpc="2.0", id=None, error=ErrorData(code=code, message=message))
        await self._to_client.send(SessionMessage(error))

    async def _client_reads(self) -> None:
        """Wait while too many answers wait for the client to take them."""
        while self._from_server.statistics().tasks_waiting_send > STDIO_WAITING_WRITES_MAX:
            await self._wrote_one.wait()

    async def write(self) -> None:
        """Write the server's messages until it has no more, or nobody is there to read them."""
        try:
            async with self._from_server:
                async for item in self._from_server:
                    text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                    await self._sink.send_all(text.encode() + b"\n")
                    self._wrote_one.set()
                    self._wrote_one = trio.Event()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self._source.aclose()  # wakes the reader: for it, this is the end of the input
        finally:
            self._wrote_one.set()
            self.written.set()


class BoundedLines:
    """Lines off a byte stream, none of which is held in memory past REQUEST_BYTES_MAX and a chunk."""

    def __init__(self, source: trio.abc.ReceiveStream) -> None:
        self._source = source
        self._buffer = bytearray()
        self._scanned = 0
        self._skipping = False

    async def next(self) -> bytes | None:
        """The next line without its newline; None at the end of input, where a line without newline is dropped.

        A line longer than REQUEST_BYTES_MAX comes cut, yet still longer than that; the rest of it is skipped.
        """
        while True:
            end = self._buffer.find(b"\n", self._scanned)
            if end >= 0:
                line = bytes(memoryview(self._buffer)[:end])
                del self._buffer[: end + 1]
                self._scanned = 0
                if not self._skipping:
                    return line
                self._skipping = False
                continue
            self._scanned = len(self._buffer)
            if self._skipping:
                self._buffer.clear()
                self._scanned = 0
            elif self._scanned > REQUEST_BYTES_MAX:
                line = bytes(self._buffer)
                self._buffer.clear()
                self._scanned = 0
                self._skipping = True
                return line
            chunk = await self._source.receive_some(CHUNK_BYTES)
            if not chunk:
                return None
            self._buffer += chunk


@contextmanager
def _claimed_streams() -> Iterator[tuple[int, int]]:
    """Descriptors of the client's two pipes, while 0 and 1 lead elsewhere. The caller closes the two."""
    kept_in, kept_out = _copy(STDIN), _copy(STDOUT)
    try:
        empty = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(empty, STDIN)
        os.close(empty)
        os.dup2(STDERR, STDOUT)
        yield _copy(kept_in), _copy(kept_out)
    finally:
        os.dup2(kept_in, STDIN)
        os.dup2(kept_out, STDOUT)
        os.close(kept_in)
        os.close(kept_out)


def _copy(descriptor: int) -> int:
    """A copy that no child inherits and that is none of the standard three."""
    return fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR + 1)
