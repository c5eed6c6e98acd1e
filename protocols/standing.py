"""What a node tells of itself in answer to a query, whoever asks: the queries that need no user to answer them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from protocols.core import NANOS_PER_S, Instant
from protocols.membership.member import State

if TYPE_CHECKING:
    from protocols.node import Node

BUILT_IN = ("ping", "version", "handlers", "status")
"""Names of queries that every node answers by itself: `pong`; its version; its handlers, as many as fit, and its vitals
as JSON."""
HANDLERS_BYTES_MAX = 900
"""Of names, so that with their quotes and commas they stay one answer."""


def answer_of(node: Node, now: Instant, name: str) -> str | None:
    """The answer of `node` to the query `name`; None where it has none by itself."""
    me = node.swim.me
    if me is None or name not in BUILT_IN:
        return None
    if name == "ping":
        return "pong"
    if name == "version":
        return me.alive.profile.version
    if name == "handlers":
        return _json(_first(me.alive.profile.handlers))
    table = node.swim.table
    return _json(
        {
            "phase": node.phase.value,
            "uptime_s": node.uptime(now) // NANOS_PER_S,
            "members_alive": table.count(State.ALIVE),
            "tasks_open": len(node.tasks.book.open),
            "runs_active": node.worker.active,
            "runs_waiting": node.worker.waiting,
        }
    )


def _first(names: tuple[str, ...]) -> list[str]:
    """As many of `names` as fit an answer."""
    shown: list[str] = []
    room = HANDLERS_BYTES_MAX
    for name in names:
        room -= len(_json(name).encode()) + 1
        if room < 0:
            break
        shown.append(name)
    return shown


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
