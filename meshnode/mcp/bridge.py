"""`meshnode mcp --dir DIR`: the tools of a daemon for a client that speaks MCP over standard streams (DESIGN 9).

Rules:
- The tools are listed whether or not the daemon runs. While it does not, a call is a tool error that says how to start
  it; once it does, the next call reaches it. The client never has to be restarted.
- One connection to the daemon serves all calls. One that has failed is used for nothing new, and left to the calls that
  still wait on it.
- Only a call of which nothing was sent is made again by itself. Of any other the agent is told that it is unknown.
- It ends when its input does, or on SIGTERM or SIGINT.
"""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

import trio

from meshnode.calls import CallerCommand, CallerOutcome
from meshnode.control.client import ControlClient, connect
from meshnode.errors import ExitCode, MeshError

NOT_SENT = "not_running"
"""Code of `ControlClient.call` for a connection that had ended before: the daemon has not seen the request."""


def run_bridge(directory: Path) -> int:
    """Serve the daemon of `directory` on this process's stdin and stdout until stdin ends. Returns the exit status."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="meshnode mcp: %(message)s")
    return trio.run(_bridge, directory)


async def _bridge(directory: Path) -> int:
    status = ExitCode.OK
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def stop_on_signal() -> None:
                nonlocal status
                async for number in signals:
                    status = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.OK
                    nursery.cancel_scope.cancel()

            nursery.start_soon(stop_on_signal)
            # Late, so that a signal during the half second that the SDK takes to load is not lost.
            from meshnode.mcp.stdio import stdio_streams
            from meshnode.mcp.tools import build_server

            link = DaemonLink(directory)
            await nursery.start(link.run)
            server = build_server(link, node_name="")
            async with stdio_streams() as (incoming, outgoing):
                await server.run(incoming, outgoing, server.create_initialization_options())
            nursery.cancel_scope.cancel()
    return status


class _Connection:
    """One connection to the daemon, from the try to open it until its last call has ended."""

    def __init__(self) -> None:
        self.tried = trio.Event()
        self.client: ControlClient | None = None
        self.failure: MeshError | None = None
        self.calls = 0
        self.retired = False
        self.over = trio.Event()

    def retire(self) -> None:
        """Use it for nothing new."""
        self.retired = True
        if not self.calls:
            self.over.set()


class DaemonLink:
    """A `Caller` that connects to the daemon of a directory whenever it has to, and again when it has gone."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._current: _Connection | None = None
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the connections, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    async def call(self, command: CallerCommand) -> CallerOutcome:
        """The daemon's outcome. Raises what `connect` and `ControlClient.call` raise."""
        fresh = self._current is None or self._current.retired
        try:
            return await self._call(command)
        except MeshError as error:
            if fresh or error.code != NOT_SENT:
                raise
        # The daemon has stopped or was restarted since the last call: look again.
        return await self._call(command)

    async def _call(self, command: CallerCommand) -> CallerOutcome:
        connection = self._connection()
        connection.calls += 1
        try:
            await connection.tried.wait()
            if connection.client is None:
                assert connection.failure is not None
                failure = connection.failure
                raise MeshError(
                    failure.code, failure.message, failure.next_step, failure.exit_code, failure.retry_after_s
                )
            return await connection.client.call(command)
        except MeshError:
            connection.retire()
            raise
        finally:
            connection.calls -= 1
            if connection.retired:
                connection.retire()

    def _connection(self) -> _Connection:
        if self._current is None or self._current.retired:
            assert self._nursery is not None, "run() is not running"
            self._current = _Connection()
            self._nursery.start_soon(self._hold, self._current)
        return self._current

    async def _hold(self, connection: _Connection) -> None:
        try:
            async with connect(self._directory) as client:
                connection.client = client
                connection.tried.set()
                await connection.over.wait()
        except MeshError as error:
            connection.failure = error
            connection.retired = True
        finally:
            connection.tried.set()
