"""The bodies of this node: routes each run to the executor of its handler, and keeps everyone's time (DESIGN 6).

Decides nothing about tasks: no retries, no order. It starts what it is told, within the task's time limit and the
handler's own, and answers each run with exactly one `BodyEnded`; trouble of any kind is an answer. When `run` ends,
every process that was started here has ended.
"""

from __future__ import annotations

import logging
from typing import Protocol

import msgspec
import trio

from meshnode.config import Config, PythonHandler
from meshnode.executors.bodies import failed
from meshnode.executors.exec import ExecExecutor
from meshnode.executors.mcp import McpExecutor, ServerDown
from meshnode.executors.python import PythonExecutor
from protocols.config import HandlerSpec
from protocols.tasks.task import MCP_PREFIX, BodyEnded, BodyStatus, RunBody
from protocols.tools import FindTools, LocalTools, ToolInfo

LISTING_S = 1.9
"""For all servers together; the protocol promises an answer within two seconds."""

logger = logging.getLogger(__name__)


class BodyRunner(Protocol):
    """What the executors of all kinds have in common."""

    async def run(self, action: RunBody) -> BodyEnded:
        """One body to its end; cancelled, it is stopped first. Limits of time are the caller's business."""
        ...


class Executors:
    """Handlers and attached MCP servers of one node. `run` must run for the rest to work."""

    def __init__(self, config: Config) -> None:
        self.capabilities: tuple[HandlerSpec, ...] = config.capabilities
        """What this node announces: handlers, and `mcp:NAME` for each server."""
        self._bodies: dict[str, BodyRunner] = {}
        self._pythons: list[PythonExecutor] = []
        self._servers = {name: McpExecutor(name, server) for name, server in config.mcp_servers.items()}
        self._limits_s = {name: handler.timeout_s for name, handler in config.handlers.items()}
        for name, handler in config.handlers.items():
            if isinstance(handler, PythonHandler):
                python = PythonExecutor(handler, config.workdir)
                self._pythons.append(python)
                self._bodies[name] = python
            else:
                self._bodies[name] = ExecExecutor(handler)
        for name, server in self._servers.items():
            self._bodies[MCP_PREFIX + name] = server
        self._running = False
        self._stopping = trio.Event()
        self._runs: set[trio.CancelScope] = set()
        self._last_run_ended = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own worker processes and MCP servers until cancelled; all are ended and reaped on the way out."""
        async with trio.open_nursery() as nursery:
            owners: list[PythonExecutor | McpExecutor] = [*self._pythons, *self._servers.values()]
            for owner in owners:
                await nursery.start(owner.serve)
            self._running = True
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._running = False
                self._stopping.set()
                await self._stop_runs()

    async def perform(self, action: RunBody) -> BodyEnded:
        """Run one body. Cancelled: it is stopped, and gone, before this returns. Raises nothing else."""
        body = self._bodies.get(action.handler)
        if body is None:
            known = ", ".join(self._bodies) or "none"
            return failed(
                BodyStatus.UNAVAILABLE,
                f"This node has no handler {action.handler!r} (it has: {known}). Add it to the node's meshnode.toml.",
            )
        if not self._running:
            return failed(BodyStatus.UNAVAILABLE, "This node is stopping, or has not started yet.")
        limit_s = min(action.timeout_ms / 1000, self._limits_s.get(action.handler) or float("inf"))
        started_at = trio.current_time()
        ended: BodyEnded | None = None
        with trio.move_on_after(limit_s) as scope:
            ended = await self._attempt(body, action, scope)
        if ended is None and self._stopping.is_set():
            ended = failed(BodyStatus.CRASHED, "The node stopped while the body ran.")
        elif ended is None:
            ended = failed(BodyStatus.TIMED_OUT, f"The body was stopped at its time limit of {limit_s:g} s.")
        return msgspec.structs.replace(ended, run_ms=round((trio.current_time() - started_at) * 1000))

    async def _attempt(self, body: BodyRunner, action: RunBody, scope: trio.CancelScope) -> BodyEnded:
        """Run a body inside `scope`, which is known to `_stop_runs` meanwhile."""
        self._runs.add(scope)
        try:
            return await body.run(action)
        except Exception as error:
            logger.exception("the executor of %s failed", action.handler)
            return failed(BodyStatus.CRASHED, f"The executor of {action.handler!r} failed: {error!r}.")
        finally:
            self._runs.discard(scope)
            if self._stopping.is_set() and not self._runs:
                self._last_run_ended.set()

    async def _stop_runs(self) -> None:
        """End what still runs on behalf of callers, and see it end, cancelled or not."""
        for scope in list(self._runs):
            scope.cancel()
        if self._runs:
            with trio.CancelScope(shield=True):
                await self._last_run_ended.wait()

    async def list_tools(self, query: FindTools) -> LocalTools:
        """Tools of the attached servers that match, by server and name; servers that do not answer are `silent`."""
        listings: dict[str, tuple[ToolInfo, ...]] = {}

        async def ask(name: str, server: McpExecutor) -> None:
            try:
                listings[name] = await server.tools()
            except ServerDown as down:
                logger.info("tools of %s are not listed: %s", name, down)

        asked = [name for name in self._servers if query.server in ("", name)]
        with trio.move_on_after(LISTING_S):
            async with trio.open_nursery() as nursery:
                for name in asked:
                    nursery.start_soon(ask, name, self._servers[name])
        words = query.query.lower().split()
        matching = [
            tool if query.tool else msgspec.structs.replace(tool, input_schema="")
            for name in sorted(listings)
            for tool in sorted(listings[name], key=lambda tool: tool.tool)
            if query.tool in ("", tool.tool) and _has_all(f"{tool.server} {tool.tool} {tool.description}", words)
        ]
        silent = tuple(name for name in asked if name not in listings)
        return LocalTools(tuple(matching[: query.limit]), len(matching), silent)


def _has_all(text: str, words: list[str]) -> bool:
    lowered = text.lower()
    return all(word in lowered for word in words)
