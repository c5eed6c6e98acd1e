"""A mesh that is already one: every node starts with the full member table, without the hours of joining.

Joining N nodes one by one costs N² table rows over the (virtual) wire. A run that is about something else begins
after that: the nodes boot as they always do (their generation becomes durable, they announce themselves), and then
every table is completed with what the other nodes have announced. The tables share these rows, for a row is never
changed: that is what lets thousands of nodes fit into memory. Nothing is put into the gossip queues, as in a mesh that
has been quiet for a while. The first life is built without seeds, for it has joined already; a node that restarts has
them.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocols.core import Instant
from protocols.membership.member import Member
from protocols.membership.table import MemberTable
from protocols.node import Node
from sim.process import Process

LONG_AGO: Instant = 0
"""Since when everybody is alive, on every node's clock."""


def complete_tables(processes: Sequence[Process]) -> None:
    """Let every running node know every other. Raises `ValueError` where one has not announced itself yet."""
    nodes: list[Node] = []
    announced = MemberTable()
    for process in processes:
        core = process.core
        if not isinstance(core, Node):
            continue
        me = core.swim.me
        if me is None:
            raise ValueError(f"{process.name} has not begun its life: it cannot be known to others")
        nodes.append(core)
        node_id = process.config.node_id
        announced.insert(Member(me.alive, me.precedence, node_id, LONG_AGO, me.endpoint))
    for node in nodes:
        node.swim.table.fill(announced)
        node.swim.view += 1
        node.swim.touched = True
