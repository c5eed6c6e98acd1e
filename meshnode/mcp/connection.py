"""One HTTP/1.1 connection: hypercorn's protocol machine on a trio socket, with an end that is always in sight.

In place of hypercorn's own `TCPServer`, which keeps a connection that its client has closed until the idle time is
over, never gives up sending to a client that does not read, and takes up HTTP/2, whose streams then outlive the client.
Rules:

- A connection is read from as long as it is used, and at most HTTP_KEEP_ALIVE_SECONDS between two requests.
- Bytes of a response go out whole or not at all: a task of the application that is cancelled in the middle does not
  tear them. Only `abort`, a client that is gone, or HTTP_SEND_SECONDS without progress cut them off.
- When nothing more can be read, the application is told, and what is left of it ends within HTTP_LEFTOVER_SECONDS.
- An offer to upgrade, to HTTP/2 or a web socket, is ignored, as RFC 9110 section 7.8 lets a server do.

Imported late: it pulls in hypercorn.
"""

from __future__ import annotations

import contextlib
import math
import socket
import struct
from typing import cast

import h11
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState

from meshnode.mcp.bounds import HTTP_KEEP_ALIVE_SECONDS, HTTP_LEFTOVER_SECONDS, HTTP_SEND_SECONDS
from meshnode.mcp.guard import Application

CHUNK_BYTES = 64 * 1024


class _Http1(H11Protocol):
    """HTTP/1.1 and nothing else."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """Where hypercorn would switch to HTTP/2, if asked to."""

    async def _create_stream(self, request: h11.Request) -> None:
        """Where hypercorn would open a web socket, if the request offered one."""
        kept = [(name, value) for name, value in request.headers if name != b"upgrade"]
        await super()._create_stream(
            h11.Request(method=request.method, target=request.target, headers=kept, http_version=request.http_version)
        )


class Connection:
    """One client's connection. `run` serves it to its end."""

    def __init__(
        self, stream: trio.SocketStream, application: Application, config: Config, context: WorkerContext
    ) -> None:
        self._stream = stream
        self._application = ASGIWrapper(cast(ASGIFramework, application))
        self._config = config
        self._context = context
        self._whole = trio.CancelScope()
        self._reading = trio.CancelScope()
        self._sending = trio.CancelScope(shield=True)
        self._send_lock = trio.Lock()
        self._idle = True

    async def run(self) -> None:
        """Serve requests until the connection ends, by whichever side."""
        try:
            peer, own = self._stream.socket.getpeername(), self._stream.socket.getsockname()
        except OSError:
            return  # the client was gone before it was served
        with self._whole:
            async with TaskGroup() as tasks:
                protocol = _Http1(
                    self._application,
                    self._config,
                    self._context,
                    tasks,
                    ConnectionState({}),
                    False,
                    peer,
                    own,
                    self._on_event,
                )
                with self._reading:
                    self._set_idle(idle=True)
                    await self._read(protocol)
                self._whole.deadline = trio.current_time() + HTTP_LEFTOVER_SECONDS
                await protocol.handle(Closed())

    def stop(self) -> None:
        """End now if no request is under way; the context of all connections sees to the others."""
        if self._idle:
            self._reading.cancel()

    def abort(self) -> None:
        """End at once, whatever is under way."""
        self._whole.cancel()
        self._sending.cancel()

    async def _read(self, protocol: H11Protocol) -> None:
        try:
            while data := await self._stream.receive_some(CHUNK_BYTES):
                await protocol.handle(RawData(bytes(data)))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # reset by the client: no other end than a proper one

    async def _on_event(self, event: Event) -> None:
        """What the protocol wants done with the connection."""
        match event:
            case RawData():
                await self._send(event.data)
            case Closed():
                self._reading.cancel()
            case Updated():
                self._set_idle(idle=event.idle)

    def _set_idle(self, *, idle: bool) -> None:
        self._idle = idle
        self._reading.deadline = trio.current_time() + HTTP_KEEP_ALIVE_SECONDS if idle else math.inf

    async def _send(self, data: bytes) -> None:
        async with self._send_lock:
            if self._sending.cancel_called:
                return
            self._sending = trio.CancelScope(deadline=trio.current_time() + HTTP_SEND_SECONDS, shield=True)
            try:
                with self._sending:
                    await self._stream.send_all(data)
                    return
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the client is gone
            # No more can be sent, for the bytes before it are incomplete. Closing resets the connection (SO_LINGER 0,
            # socket(7)): the kernel then forgets what the client would not take, and the client gets to know.
            with contextlib.suppress(OSError):  # it is closed already
                self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._sending.cancel()
            self._reading.cancel()
