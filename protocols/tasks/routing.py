"""Which node runs a task: the ring's owner of its key among live members that announce the handler (DESIGN 6).

A ring over the capable members gives the same owner as walking the whole ring to the first capable one, so there is one
small ring per handler, built when it is first wanted after a change of view.
"""

from __future__ import annotations

from protocols.core import NodeId
from protocols.membership.member import Member, State
from protocols.membership.swim import Swim
from protocols.ring.placement import Ring, RingMember, ring_of


class Routing:
    """Placement by this node's present view of the mesh."""

    def __init__(self, swim: Swim) -> None:
        self._swim = swim
        self._view = -1
        self._rings: dict[str, Ring] = {}
        self._known: list[str] = []

    def capable(self, handler: str) -> list[Member]:
        """Live members that announce `handler`."""
        return [m for m in self._swim.table if m.state is State.ALIVE and handler in m.alive.profile.handlers]

    def owner(self, handler: str, key: str, excluded: dict[NodeId, None]) -> Member | None:
        """The member to run a task of `key` on, leaving out `excluded`; None where there is none."""
        ring = self.ring(handler)
        if excluded:
            eligible = {m.alive.node_id for m in self.capable(handler)} - excluded.keys()
            node_id = ring.owner_among(key, eligible)
        else:
            node_id = ring.owner(key)
        member = None if node_id is None else self._swim.table.get(node_id)
        return member if member is not None and member.state is State.ALIVE else None

    def ring(self, handler: str) -> Ring:
        """The ring of live members that announce `handler`. A suspect keeps its place until it is declared dead."""
        self._renew()
        ring = self._rings.get(handler)
        if ring is None:
            members = [
                RingMember(m.alive.node_id, m.alive.profile.weight, m.alive.profile.zone)
                for m in self._swim.table
                if m.state <= State.SUSPECT and handler in m.alive.profile.handlers
            ]
            members.sort(key=lambda member: member.node_id)
            ring = self._rings[handler] = ring_of(tuple(members))
        return ring

    def handlers_known(self) -> list[str]:
        """Every handler that a member, dead ones included, has announced."""
        self._renew()
        if not self._known:
            names: dict[str, None] = {}
            for member in self._swim.table:
                if member.state is not State.LEFT:
                    names.update(dict.fromkeys(member.alive.profile.handlers))
            self._known = sorted(names)
        return self._known

    def _renew(self) -> None:
        """Drop what was worked out for an older view."""
        if self._view != self._swim.view:
            self._rings.clear()
            self._known = []
            self._view = self._swim.view

    def name_of(self, node_id: NodeId) -> str:
        member = self._swim.table.get(node_id)
        return member.alive.profile.name if member is not None else ""
