"""Log lines about who is there: one for each published view, at a bounded pace (`protocols/membership/steady.py`).

Every single change in the member table is told too, at level `debug`.
"""

from __future__ import annotations

from meshnode.logs import Log
from protocols.core import NodeId
from protocols.membership.facts import MemberChanged, ViewChanged

NAMES_MAX = 8
"""Members that one list of a line names; it counts the others."""
LISTS = ("joined", "returned", "failed", "left", "changed")


class ViewLog:
    """Remembers what members are called, for a view names them by id."""

    def __init__(self, log: Log, node_id: NodeId, name: str) -> None:
        self._log = log
        self._names = {node_id: name}

    def member_changed(self, fact: MemberChanged) -> None:
        self._names[fact.node_id] = fact.name
        self._log.debug("member", member=fact.name, state=fact.state.name.lower(), by=fact.by[:8])

    def forget(self, node_id: NodeId) -> None:
        self._names.pop(node_id, None)

    def view_changed(self, view: ViewChanged) -> None:
        said: dict[str, object] = {how: self._list(getattr(view, how)) for how in LISTS if getattr(view, how)}
        if view.held:
            said["held"] = view.held
        self._log.info("view", number=view.number, serving=view.serving, **said)

    def _list(self, node_ids: tuple[NodeId, ...]) -> str:
        names = [self._names.get(node_id, node_id[:8]) for node_id in node_ids[:NAMES_MAX]]
        rest = len(node_ids) - len(names)
        return ",".join(names) + (f" and {rest} more" if rest else "")
