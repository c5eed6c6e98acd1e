"""The bodies of this node: routes each run to the executor of its handler, and keeps everyone's time (DESIGN 6).

Decides nothing about tasks: no retries, no order. It starts what it is told, within the task's time limit and the
handler's own, and answers each run with exactly one `BodyEnded`; trouble of any kind is an answer. When `run` ends,
every process that was started here has ended.

Another configuration may take the place of the present one while bodies run. What it leaves alone keeps its processes,
what it changes runs anew beside the old, and what is replaced or gone ends with its last run.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Protocol, TypeAlias

import trio
from msgspec import Struct
from msgspec.structs import replace

from meshnode.config import Config, ExecHandler, HandlerConfig, McpServerConfig, PythonHandler
from meshnode.executors.bodies import failed
from meshnode.executors.exec import ExecExecutor
from meshnode.executors.mcp import McpExecutor, ServerDown
from meshnode.executors.python import PythonExecutor
from protocols.config import HandlerSpec
from protocols.tasks.task import MCP_PREFIX, BodyEnded, BodyStatus, RunBody
from protocols.tools import FindTools, LocalTools, ToolInfo

LISTING_S = 1.9
"""For all servers together; the protocol promises an answer within two seconds."""

Offers: TypeAlias = "dict[str, Offer]"

logger = logging.getLogger(__name__)


class OfferSettings(Struct, frozen=True):
    """One table of the configuration, and where modules of python handlers are looked for."""

    table: HandlerConfig | McpServerConfig
    workdir: Path

    @property
    def timeout_s(self) -> float:
        """Cap on one run; infinite where there is none but the task's own."""
        if isinstance(self.table, McpServerConfig):
            return math.inf
        return self.table.timeout_s or math.inf

    def runs_the_same_as(self, other: OfferSettings) -> bool:
        """Whether its processes may serve `other`: how many run at once, and for how long, is no matter to them."""
        return self._for_processes() == other._for_processes()

    def _for_processes(self) -> tuple[object, ...]:
        match self.table:
            case PythonHandler():
                return replace(self.table, concurrency=1, timeout_s=None), self.workdir
            case ExecHandler():
                return (replace(self.table, concurrency=1, timeout_s=None),)
            case McpServerConfig():
                return (replace(self.table, concurrency=1),)


class BodyRunner(Protocol):
    """What the executors of all kinds have in common."""

    async def run(self, action: RunBody) -> BodyEnded:
        """One body to its end; cancelled, it is stopped first. Limits of time are the caller's business."""
        ...

    def resize(self, concurrency: int) -> None:
        """Run so many bodies at once from now on; those above it go on to their end."""
        ...


class Offer:
    """One handler or MCP server: how it is configured, its executor, and the runs that this has."""

    def __init__(self, settings: OfferSettings, body: BodyRunner) -> None:
        self.settings = settings
        self.body = body
        self.runs = 0
        self._retired = False
        self._serving = trio.CancelScope()

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Own whatever processes the executor keeps between runs, until it is retired and has no run any more."""
        if isinstance(self.body, ExecExecutor):
            task_status.started()
            return
        assert isinstance(self.body, PythonExecutor | McpExecutor)
        with self._serving:
            await self.body.serve(task_status=task_status)

    def begin_run(self) -> None:
        self.runs += 1

    def end_run(self) -> None:
        self.runs -= 1
        self._end_if_idle()

    def retire(self) -> None:
        """Nothing new will be run: end with the last run."""
        self._retired = True
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._retired and not self.runs:
            self._serving.cancel()


class Replacement:
    """Another configuration, ready to count. Until `commit` runs go where they went before; or `abandon` it."""

    def __init__(self, executors: Executors, config: Config, kept: dict[str, OfferSettings], fresh: Offers) -> None:
        self._executors = executors
        self._config = config
        self._kept = kept
        self._fresh = fresh

    def commit(self) -> None:
        """Let it count. What is replaced or gone ends with its last run."""
        offers = self._executors.offers
        for name, offer in list(offers.items()):
            if name not in self._kept and self._fresh.get(name) is not offer:
                del offers[name]
                offer.retire()
        offers.update(self._fresh)
        for name, settings in self._kept.items():
            offers[name].settings = settings
        self._resize()
        self._executors.capabilities = self._config.capabilities

    def abandon(self) -> None:
        """Leave everything as it was."""
        offers = self._executors.offers
        for name, offer in self._fresh.items():
            if offers.get(name) is offer:
                del offers[name]
            offer.retire()
        self._resize()

    def _resize(self) -> None:
        for offer in self._executors.offers.values():
            offer.body.resize(offer.settings.table.concurrency)


class Executors:
    """Handlers and attached MCP servers of one node. `run` must run for the rest to work."""

    def __init__(self, config: Config) -> None:
        self.capabilities: tuple[HandlerSpec, ...] = config.capabilities
        """What this node announces: handlers, and `mcp:NAME` for each server."""
        self.offers: Offers = {name: _offer(name, settings) for name, settings in _settings_of(config).items()}
        """By the name under which tasks ask for it."""
        self._nursery: trio.Nursery | None = None
        self._running = False
        self._stopping = trio.Event()
        self._runs: set[trio.CancelScope] = set()
        self._last_run_ended = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own worker processes and MCP servers until cancelled; all are ended and reaped on the way out."""
        async with trio.open_nursery() as nursery:
            for offer in self.offers.values():
                await nursery.start(offer.serve)
            self._nursery = nursery
            self._running = True
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._running = False
                self._stopping.set()
                await self._stop_runs()

    async def prepare(self, config: Config) -> Replacement:
        """Start what `config` has new or otherwise, beside what runs. `run` must be running.

        What stays as it is but for its concurrency and time limit keeps its processes. A name that is new takes runs
        from now on, for whoever announces it cannot wait; and concurrency is not less than before until it counts.
        """
        assert self._nursery is not None, "executors are prepared while they run"
        kept: dict[str, OfferSettings] = {}
        fresh: Offers = {}
        for name, settings in _settings_of(config).items():
            present = self.offers.get(name)
            if present is not None:
                # Also where it is replaced: who was let in by the new limit must not wait for the last of the old ones.
                present.body.resize(max(present.settings.table.concurrency, settings.table.concurrency))
            if present is not None and present.settings.runs_the_same_as(settings):
                kept[name] = settings
            else:
                fresh[name] = offer = _offer(name, settings)
                await self._nursery.start(offer.serve)
        for name, offer in fresh.items():
            self.offers.setdefault(name, offer)
        return Replacement(self, config, kept, fresh)

    async def perform(self, action: RunBody) -> BodyEnded:
        """Run one body. Cancelled: it is stopped, and gone, before this returns. Raises nothing else."""
        offer = self.offers.get(action.handler)
        if offer is None:
            known = ", ".join(self.offers) or "none"
            return failed(
                BodyStatus.UNAVAILABLE,
                f"This node has no handler {action.handler!r} (it has: {known}). "
                "Add it to the node's meshnode.toml, then run `meshnode reload` there.",
            )
        if not self._running:
            return failed(BodyStatus.UNAVAILABLE, "This node is stopping, or has not started yet.")
        limit_s = min(action.timeout_ms / 1000, offer.settings.timeout_s)
        started_at = trio.current_time()
        ended: BodyEnded | None = None
        with trio.move_on_after(limit_s) as scope:
            ended = await self._attempt(offer, action, scope)
        if ended is None and self._stopping.is_set():
            ended = failed(BodyStatus.CRASHED, "The node stopped while the body ran.")
        elif ended is None:
            ended = failed(BodyStatus.TIMED_OUT, f"The body was stopped at its time limit of {limit_s:g} s.")
        return replace(ended, run_ms=round((trio.current_time() - started_at) * 1000))

    async def _attempt(self, offer: Offer, action: RunBody, scope: trio.CancelScope) -> BodyEnded:
        """Run a body inside `scope`, which is known to `_stop_runs` meanwhile."""
        self._runs.add(scope)
        offer.begin_run()
        try:
            return await offer.body.run(action)
        except Exception as error:
            logger.exception("the executor of %s failed", action.handler)
            return failed(BodyStatus.CRASHED, f"The executor of {action.handler!r} failed: {error!r}.")
        finally:
            offer.end_run()
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

        servers = {
            name.removeprefix(MCP_PREFIX): offer.body
            for name, offer in self.offers.items()
            if isinstance(offer.body, McpExecutor)
        }
        asked = [name for name in servers if query.server in ("", name)]
        with trio.move_on_after(LISTING_S):
            async with trio.open_nursery() as nursery:
                for name in asked:
                    nursery.start_soon(ask, name, servers[name])
        words = query.query.lower().split()
        matching = [
            tool if query.tool else replace(tool, input_schema="")
            for name in sorted(listings)
            for tool in sorted(listings[name], key=lambda tool: tool.tool)
            if query.tool in ("", tool.tool) and _has_all(f"{tool.server} {tool.tool} {tool.description}", words)
        ]
        silent = tuple(name for name in asked if name not in listings)
        return LocalTools(tuple(matching[: query.limit]), len(matching), silent)


def _settings_of(config: Config) -> dict[str, OfferSettings]:
    """By the name under which tasks ask for it, what is configured."""
    tables: dict[str, HandlerConfig | McpServerConfig] = {**config.handlers}
    tables.update({MCP_PREFIX + name: server for name, server in config.mcp_servers.items()})
    return {name: OfferSettings(table, config.workdir) for name, table in tables.items()}


def _offer(name: str, settings: OfferSettings) -> Offer:
    match settings.table:
        case PythonHandler() as handler:
            return Offer(settings, PythonExecutor(handler, settings.workdir))
        case ExecHandler() as handler:
            return Offer(settings, ExecExecutor(handler))
        case McpServerConfig() as server:
            return Offer(settings, McpExecutor(name.removeprefix(MCP_PREFIX), server))


def _has_all(text: str, words: list[str]) -> bool:
    lowered = text.lower()
    return all(word in lowered for word in words)
