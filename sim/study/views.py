"""What of membership a consumer sees change: the one place that says which fact is a visible view change.

Suspicion is not visible: a suspect is a member. Dead, gone, and back again are.
"""

from __future__ import annotations

from protocols.core import Fact, Instant, NodeId
from protocols.membership.facts import MemberChanged
from protocols.membership.member import State
from sim.checkers.checker import Checker
from sim.process import Process
from sim.world import World

FACTS: tuple[type[Fact], ...] = (MemberChanged,)
"""The facts that views are read from."""


def visible(fact: Fact, away: set[NodeId]) -> tuple[NodeId, ...]:
    """The members whose presence changes, for a consumer at one node, with `fact`; one fact is one view change.

    `away` are those that it takes for dead or gone, and is kept up to date here.
    """
    assert isinstance(fact, MemberChanged)
    gone = fact.state in (State.DEAD, State.LEFT)
    if gone == (fact.node_id in away) or fact.state is State.SUSPECT:
        return ()
    (away.add if gone else away.remove)(fact.node_id)
    return (fact.node_id,)


class Views(Checker):
    """Every visible view change: when, at which node, which members came or went."""

    name = "views"
    facts = FACTS

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.changes: list[tuple[Instant, int, tuple[NodeId, ...]]] = []
        self._away: list[set[NodeId]] = [set() for _ in world.processes]

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        members = visible(fact, self._away[process.index])
        if members:
            self.changes.append((now, process.index, members))
