"""MCP over streamable HTTP at http://127.0.0.1:PORT/mcp, inside the daemon's own nursery (DESIGN 9). Beside it, what
monitors read (`meshnode/observe`); without it, that alone, on a port of its own.

hypercorn's HTTP/1.1 serves each connection (`connection`), the SDK's session manager the two protocol eras behind it,
and `guard` stands between the two. What is decided here:

- The listening socket is ours: loopback only, bound before anything else, so that port 0 works and a busy port is a
  clear error. No signal handler and no event loop is set up.
- Connections and sessions are bounded; one past the bound is told so and closed.
- When cancelled, it stops listening, gives calls in flight HTTP_GRACE_SECONDS to end by themselves, answers the others
  that the daemon is stopping, and after HTTP_FLUSH_SECONDS more ends every open stream and connection.

`mcp` and `hypercorn` are imported only once this serves: a daemon without the MCP face never pays for them.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from meshnode.calls import Caller, CallerCommand, CallerOutcome
from meshnode.errors import ExitCode, MeshError
from meshnode.importing import import_beside
from meshnode.mcp.bounds import (
    HTTP_CONNECTIONS_MAX,
    HTTP_FLUSH_SECONDS,
    HTTP_GRACE_SECONDS,
    HTTP_SESSION_IDLE_SECONDS,
    HTTP_SESSIONS_MAX,
    REQUEST_BYTES_MAX,
)
from meshnode.mcp.guard import PATH, Application, Guard
from meshnode.observe.face import METRICS, PATHS, Face

if TYPE_CHECKING:
    from meshnode.mcp.connection import Connection

logger = logging.getLogger(__name__)

LATE = ("mcp.server.streamable_http_manager", "meshnode.mcp.tools", "meshnode.mcp.connection")
LATE_WITHOUT_MCP = ("meshnode.mcp.connection",)
LOOPBACK = "127.0.0.1"
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: 32\r\n\r\nToo many connections; try again."
)
START_AGAIN = "Start it again with `meshnode up`, then ask again with the same idempotency_key."


async def serve_http(
    caller: Caller,
    *,
    port: int,
    token: str,
    node_name: str,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the mesh's tools, and `/metrics` and health, until cancelled; `task_status` gives the URL of the tools.

    `port` 0 takes a free one.

    Raises `MeshError`: `port_busy` where something else listens there, `cannot_listen` where it may not be bound.
    """
    listener = await _listen(port, "MCP over HTTP", "--mcp")
    async with listener:
        bound_port: int = listener.socket.getsockname()[1]
        # Half a second of imports, beside the daemon's other work.
        await import_beside(*LATE)
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        from meshnode.mcp.tools import build_server

        calls = StoppableCaller(caller)
        sessions = StreamableHTTPSessionManager(
            build_server(calls, node_name=node_name),
            max_request_body_size=REQUEST_BYTES_MAX,
            max_sessions=HTTP_SESSIONS_MAX,
            session_idle_timeout=HTTP_SESSION_IDLE_SECONDS,
        )
        guard = Guard(sessions.handle_request, token=token, port=bound_port, open_paths=_open_paths(calls))

        async def serve(stopping: trio.Event) -> None:
            async with sessions.run():
                await _serve_connections(listener, guard, calls, stopping)

        await _serve_to_the_end(serve, f"http://{LOOPBACK}:{bound_port}{PATH}", task_status)


async def serve_metrics(
    caller: Caller, *, port: int, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve `/metrics` and health alone, until cancelled; `task_status` gives the URL of the metrics.

    `port` 0 takes a free one. Raises `MeshError` as `serve_http` does. Imports nothing of MCP.
    """
    listener = await _listen(port, "/metrics", "--metrics")
    async with listener:
        bound_port: int = listener.socket.getsockname()[1]
        await import_beside(*LATE_WITHOUT_MCP)
        calls = StoppableCaller(caller)
        guard = Guard(None, token="", port=bound_port, open_paths=_open_paths(calls))

        async def serve(stopping: trio.Event) -> None:
            await _serve_connections(listener, guard, calls, stopping)

        await _serve_to_the_end(serve, f"http://{LOOPBACK}:{bound_port}{METRICS}", task_status)


def _open_paths(caller: Caller) -> dict[str, Application]:
    return dict.fromkeys(PATHS, Face(caller))


async def _serve_to_the_end(
    serve: Callable[[trio.Event], Awaitable[None]], url: str, task_status: trio.TaskStatus[str]
) -> None:
    """Run `serve` until cancelled, then let it end by itself: the event that it is given says when."""
    stopping = trio.Event()

    async def shielded() -> None:
        # On the way out, what is in flight ends in order instead of all at once.
        with trio.CancelScope(shield=True):
            await serve(stopping)

    async with trio.open_nursery() as nursery:
        # Not `start`: cancelled in the middle of it, that would wait for ever on what is shielded. Nor is there a need:
        # the socket listens already, so that whoever connects now is served in a moment.
        nursery.start_soon(shielded)
        try:
            task_status.started(url)
            await trio.sleep_forever()
        finally:
            stopping.set()


async def _listen(port: int, what: str, flag: str) -> trio.SocketListener:
    choose = f"Choose another port with {flag} PORT (0 takes a free one)."
    if not 0 <= port <= 65535:  # the resolver would take it modulo 65536
        raise MeshError("cannot_listen", f"There is no port {port}; {what} is not served.", choose)
    try:
        listeners = await trio.open_tcp_listeners(port, host=LOOPBACK)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise MeshError(
                "port_busy",
                f"Something else listens on {LOOPBACK}:{port} already; {what} is not served.",
                f"Stop it, or choose another port with {flag} PORT (0 takes a free one).",
            ) from None
        raise MeshError(
            "cannot_listen", f"{what} cannot be served on {LOOPBACK}:{port}: {error.strerror or error}.", choose
        ) from None
    assert len(listeners) == 1
    return listeners[0]


async def _serve_connections(
    listener: trio.SocketListener, guard: Guard, calls: StoppableCaller, stopping: trio.Event
) -> None:
    """Serve connections until `stopping`, then let them end, then make them."""
    from hypercorn.config import Config
    from hypercorn.trio.worker_context import WorkerContext

    from meshnode.mcp.connection import Connection

    config = Config()
    config.accesslog = None
    config.errorlog = logger  # a logger, so that hypercorn sets up none of its own
    config.include_server_header = False
    context = WorkerContext(None)
    connections = _Connections(lambda stream: Connection(stream, guard, config, context))
    listening = trio.CancelScope()

    async def listen() -> None:
        with listening:
            await trio.serve_listeners(connections.serve, [listener], handler_nursery=nursery)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await stopping.wait()
        listening.cancel()
        await listener.aclose()
        await context.terminated.set()  # connections close after their next answer
        connections.stop()
        with trio.move_on_after(HTTP_GRACE_SECONDS):
            await connections.all_ended()
        calls.stop()
        with trio.move_on_after(HTTP_FLUSH_SECONDS):
            await connections.all_ended()
        connections.abort()


class StoppableCaller:
    """A `Caller` around another one, whose calls can be ended all at once with an error that says so."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._scopes: dict[trio.CancelScope, None] = {}
        self._stopped = False

    async def call(self, command: CallerCommand) -> CallerOutcome:
        """The outcome. Raises `MeshError` `stopping` once stopped, and whatever the caller within raises."""
        if self._stopped:
            raise MeshError("stopping", "The node is stopping; nothing was done.", START_AGAIN)
        with trio.CancelScope() as scope:
            self._scopes[scope] = None
            try:
                return await self._caller.call(command)
            finally:
                del self._scopes[scope]
        raise MeshError(
            "stopping",
            "The node stopped before it answered; what was asked may or may not have taken effect.",
            START_AGAIN,
            ExitCode.UNKNOWN,
        )

    def stop(self) -> None:
        """End every call under way, and let none begin."""
        self._stopped = True
        for scope in self._scopes:
            scope.cancel()


class _Connections:
    """The open connections, and how many there may be."""

    def __init__(self, new: Callable[[trio.SocketStream], Connection]) -> None:
        self._new = new
        self._open: dict[Connection, None] = {}
        self._ended = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection to its end. Whatever goes wrong in it concerns no other."""
        if len(self._open) >= HTTP_CONNECTIONS_MAX:
            await _turn_away(stream)
            return
        connection = self._new(stream)
        self._open[connection] = None
        try:
            await connection.run()
        except* Exception as errors:
            logger.warning("an MCP connection failed: %r", errors.exceptions)
        finally:
            del self._open[connection]
            self._ended.set()
            self._ended = trio.Event()

    async def all_ended(self) -> None:
        while self._open:
            await self._ended.wait()

    def stop(self) -> None:
        """End those on which nothing is under way."""
        for connection in self._open:
            connection.stop()

    def abort(self) -> None:
        """End all of them at once."""
        for connection in self._open:
            connection.abort()


async def _turn_away(stream: trio.SocketStream) -> None:
    with trio.move_on_after(1.0):
        try:
            await stream.send_all(FULL)
            await stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # gone by itself
