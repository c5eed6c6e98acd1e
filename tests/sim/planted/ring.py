"""Broken placement: nodes that name different owners for one key."""

from __future__ import annotations

from contextlib import AbstractContextManager

from protocols.core import NodeId
from protocols.membership.member import State
from protocols.ring.placement import Ring, RingMember, ring_of
from protocols.tasks.routing import Routing
from tests.sim.planted.mutant import CRASHES, LOST, QUIET, Tampered, mutant_by, mutant_of, patched


class OwnsMoreThanOthersThink(Tampered):
    """A node gives itself twice the weight that the others give it."""

    def owner_of(self, handler: str, key: str) -> NodeId | None:
        me = self.config.node_id
        return Ring(RingMember(m.endpoint.node_id, 1 + (m.endpoint.node_id == me)) for m in self.members()).owner(key)


class OwnerFromHashOrder(Tampered):
    """Owners are named by `hash`, which differs from process to process."""

    def owner_of(self, handler: str, key: str) -> NodeId | None:
        members = sorted(member.endpoint.node_id for member in self.members())
        return members[hash(key) % len(members)]


def keeps_an_old_ring() -> AbstractContextManager[None]:
    """A ring is built once and never again, whoever comes and goes."""
    return patched(Routing, "_renew", lambda self: None)


def leaves_the_dead_on_the_ring() -> AbstractContextManager[None]:
    """A dead member keeps its keys."""

    def ring(self: Routing, handler: str) -> Ring:
        members = [
            RingMember(m.alive.node_id, m.alive.profile.weight, m.alive.profile.zone)
            for m in self._swim.table
            if m.state is not State.LEFT and handler in m.alive.profile.handlers
        ]
        return ring_of(tuple(members))

    return patched(Routing, "ring", ring)


RING = (
    mutant_of(OwnsMoreThanOthersThink, QUIET, "ring_owners"),
    mutant_of(OwnerFromHashOrder, QUIET, "fence"),
    mutant_by(keeps_an_old_ring, CRASHES, "ring_owners"),
    mutant_by(leaves_the_dead_on_the_ring, LOST, "ring_owners"),
)
