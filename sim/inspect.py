"""Read-only looks into a node's state for checkers and front ends: the only place that knows where a node keeps what.

Every function takes a `Core` and returns nothing (None, or empty) for a core that is not a `protocols.node.Node`, so
that the simulator also runs other cores.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocols.core import Core, NodeId
from protocols.membership.member import Member
from protocols.membership.steady import SteadyView
from protocols.node import Node

NO_ROWS: Mapping[NodeId, Member] = {}


def rows_of(core: Core | None) -> Mapping[NodeId, Member]:
    """The member table by node id. It is the node's own: look, do not touch, and do not keep it across events."""
    return core.swim.table.rows if isinstance(core, Node) else NO_ROWS


def own_row(core: Core | None) -> Member | None:
    """The node's row about itself; None until its generation is durable."""
    return core.swim.me if isinstance(core, Node) else None


def hears_events(core: Core | None) -> bool:
    """Whether the node takes part in user events: not before its life is durable, and it has learnt what is old."""
    return isinstance(core, Node) and core.spreading.events.generation > 0 and not core.spreading.events.fresh


def view_of(core: Core | None) -> SteadyView | None:
    """The node's published view of who serves. Look, do not touch."""
    return core.swim.steady if isinstance(core, Node) else None


def owner_of(core: Core | None, handler: str, key: str) -> NodeId | None:
    """Where the node would run a task of `key` now."""
    return core.owner_of(handler, key) if isinstance(core, Node) else None
