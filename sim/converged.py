"""A mesh that is already one: every node starts with the full member table, without the hours of joining.

Joining N nodes one by one costs N² table rows over the (virtual) wire. A run that is about something else begins
after that: the nodes boot as they always do (their generation becomes durable, they announce themselves), and then
every table is completed with what the other nodes have announced. Rows share the announcements and endpoints. Nothing
is put into the gossip queues, as in a mesh that has been quiet for a while. The first life is built without seeds, for
it has joined already; a node that restarts has them.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocols.core import Instant
from protocols.membership.member import Member
from protocols.node import Node
from sim.process import Process


def complete_tables(now: Instant, processes: Sequence[Process]) -> None:
    """Let every running node know every other. Raises `ValueError` where one has not announced itself yet."""
    announced: list[Member] = []
    nodes: list[tuple[Process, Node]] = []
    for process in processes:
        core = process.core
        if not isinstance(core, Node):
            continue
        if core.swim.me is None:
            raise ValueError(f"{process.name} has not begun its life: it cannot be known to others")
        announced.append(core.swim.me)
        nodes.append((process, core))
    for process, node in nodes:
        table = node.swim.table
        rows = table.rows
        since = process.clock(now)
        for member in announced:
            node_id = member.endpoint.node_id
            if node_id not in rows:
                row = Member(member.alive, member.precedence, node_id, since)
                row.endpoint = member.endpoint
                table.insert(row)
        node.swim.view += 1
