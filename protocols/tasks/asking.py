"""Commands that another node has to answer: passed on to it, and answered within a bound.

A task's id names its coordinator, so any node can be asked about any task. An ask that is not answered in time comes
back as unknown: the other node may or may not have acted. Asking again is safe, for all these commands are idempotent.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from protocols.config import TaskConfig
from protocols.core import NANOS_PER_MS, Endpoint, Instant, NodeId, Outcome, Perform, Refused, RequestId, Unknown
from protocols.membership.member import Member, State
from protocols.membership.swim import Swim
from protocols.outbox import NEVER, Outbox
from protocols.tasks.book import coordinator_prefix
from protocols.tasks.messages import Answer, Ask
from protocols.tasks.refusals import unknown_task
from protocols.tasks.task import MCP_PREFIX, CancelTask, GetTask
from protocols.tools import SILENT_MAX, FindTools, ListLocalTools, LocalTools, LocalToolsFor, ToolInfo, ToolsFound

TOOLS_WAIT = 2500 * NANOS_PER_MS
"""How long a search for tools waits for slow nodes; what has come in by then is the answer."""


class PendingAsk(Struct, frozen=True):
    """An ask under way, for a caller (`search` 0) or as part of a search."""

    request_id: RequestId
    peer: NodeId
    deadline: Instant
    search: int = 0


class Search(Struct):
    """A search for tools: who has not answered yet, and what has been found."""

    request_id: RequestId
    query: FindTools
    deadline: Instant
    waiting: dict[NodeId, str]
    found: list[ToolInfo]
    silent: list[str]
    total: int = 0


class Asking:
    """The asks and searches of one node. `deadline` is when `fire` wants to be called."""

    def __init__(self, node_id: NodeId, config: TaskConfig, swim: Swim, outbox: Outbox) -> None:
        self._id = node_id
        self._config = config
        self._swim = swim
        self._outbox = outbox
        self._next_id = 1
        self._asks: dict[int, PendingAsk] = {}
        self._searches: dict[int, Search] = {}
        self.deadline: Instant = NEVER

    # Tasks of other coordinators.

    def pass_on(self, now: Instant, request_id: RequestId, command: GetTask | CancelTask) -> None:
        """Ask the coordinator that the task's id names."""
        prefix = coordinator_prefix(command.task_id)
        rows = [m for m in self._swim.table if m.alive.node_id.startswith(prefix)] if prefix else []
        if not rows:
            self._outbox.reply(request_id, unknown_task(command.task_id))
            return
        row = rows[0]
        if row.state in (State.DEAD, State.LEFT):
            self._outbox.reply(request_id, _coordinator_away(row))
            return
        wait = command.wait_ms * NANOS_PER_MS if type(command) is GetTask else 0
        ask_id = self._new_id()
        self._asks[ask_id] = PendingAsk(request_id, row.alive.node_id, now + wait + self._config.ask_timeout)
        self._outbox.send(row.endpoint, Ask(ask_id, command))
        self._rearm()

    # Tools.

    def find_tools(self, now: Instant, request_id: RequestId, query: FindTools) -> None:
        """Ask every live node that has MCP servers attached, this one included."""
        search_id = self._new_id()
        search = Search(request_id, query, now + TOOLS_WAIT, {}, [], [])
        self._searches[search_id] = search
        wanted = MCP_PREFIX + query.server if query.server else ""
        for member in self._swim.table:
            servers = [name for name in member.alive.profile.handlers if name.startswith(MCP_PREFIX)]
            if member.state > State.SUSPECT or not servers or (wanted and wanted not in servers):
                continue
            node_id = member.alive.node_id
            search.waiting[node_id] = member.alive.profile.name
            if node_id == self._id:
                self._outbox.perform(Perform(-search_id, ListLocalTools(query)))
            else:
                ask_id = self._new_id()
                self._asks[ask_id] = PendingAsk(request_id, node_id, search.deadline, search_id)
                self._outbox.send(member.endpoint, Ask(ask_id, LocalToolsFor(query)))
        self._finish_search(search_id)
        self._rearm()

    def on_local_tools(self, search_id: int, result: LocalTools) -> None:
        """This node's own part of a search."""
        self._found(search_id, self._id, ToolsFound(result.tools, result.total, result.silent))

    def _found(self, search_id: int, peer: NodeId, found: ToolsFound) -> None:
        search = self._searches.get(search_id)
        if search is None or search.waiting.pop(peer, None) is None:
            return
        row = self._swim.table.get(peer)
        name = row.alive.profile.name if row is not None else ""
        search.found += [replace(tool, node_id=peer, node_name=name) for tool in found.tools]
        search.silent += [f"{name}/{server}" for server in found.silent]
        search.total += found.total
        self._finish_search(search_id)

    def _finish_search(self, search_id: int, *, late: bool = False) -> None:
        search = self._searches[search_id]
        if search.waiting and not late:
            return
        del self._searches[search_id]
        search.found.sort(key=lambda tool: (tool.server, tool.tool, tool.node_name))
        found = tuple(search.found[: search.query.limit])
        silent = (*search.waiting.values(), *search.silent)[:SILENT_MAX]
        self._outbox.reply(search.request_id, ToolsFound(found, search.total, silent))

    # Answers and silence.

    def on_answer(self, sender: Endpoint, message: Answer) -> None:
        ask = self._asks.get(message.ask_id)
        if ask is None or ask.peer != sender.node_id:
            return
        del self._asks[message.ask_id]
        if not ask.search:
            self._outbox.reply(ask.request_id, message.outcome)
        elif type(message.outcome) is ToolsFound:
            self._found(ask.search, sender.node_id, message.outcome)

    def fire(self, now: Instant) -> None:
        for search_id in [id_ for id_, search in self._searches.items() if search.deadline <= now]:
            self._finish_search(search_id, late=True)
        for ask_id in [id_ for id_, ask in self._asks.items() if ask.deadline <= now]:
            ask = self._asks.pop(ask_id)
            if not ask.search:
                self._outbox.reply(ask.request_id, self._silent(ask.peer))
        self._rearm()

    def _silent(self, peer: NodeId) -> Outcome:
        row = self._swim.table.get(peer)
        name = row.alive.profile.name if row is not None else peer
        return Unknown(
            f"Node {name}, which keeps this task, did not answer in time.",
            "Ask again: it may be restarting or cut off, and what it has recorded is on its disk.",
        )

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id

    def _rearm(self) -> None:
        deadlines = [ask.deadline for ask in self._asks.values()]
        deadlines += [search.deadline for search in self._searches.values()]
        self.deadline = min(deadlines, default=NEVER)


def _coordinator_away(row: Member) -> Refused:
    profile = row.alive.profile
    return Refused(
        "coordinator_unreachable",
        f"The task is kept by node {profile.name} ({profile.address}), which is {row.state.name.lower()} now.",
        "Nothing is lost: ask again once that node is back.",
        retry_after_s=5.0,
    )
