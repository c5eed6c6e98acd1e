"""What of membership a consumer sees change: published views (`protocols/membership/steady.py`), and the table below.

Suspicion is no change: a suspect is a member. Dead, gone, and back again are.
"""

from __future__ import annotations

from protocols.core import Fact, Instant, NodeId
from protocols.membership.facts import MemberChanged, ViewChanged
from protocols.membership.member import State
from sim.checkers.checker import Checker
from sim.process import Process
from sim.world import World


def published(view: ViewChanged) -> tuple[NodeId, ...]:
    """The members that go or come back with a view."""
    return (*view.failed, *view.left, *view.returned)


def in_table(fact: MemberChanged, away: set[NodeId]) -> tuple[NodeId, ...]:
    """The member that goes or comes back with `fact`, if one does.

    `away` are those that the node takes for dead or gone, and is kept up to date here.
    """
    gone = fact.state in (State.DEAD, State.LEFT)
    if gone == (fact.node_id in away) or fact.state is State.SUSPECT:
        return ()
    (away.add if gone else away.remove)(fact.node_id)
    return (fact.node_id,)


class Views(Checker):
    """Every change: when, at which node, which members came or went. In `tables` each is one, in `views` a batch is."""

    name = "views"
    facts = (MemberChanged, ViewChanged)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.tables: list[tuple[Instant, int, tuple[NodeId, ...]]] = []
        self.views: list[tuple[Instant, int, tuple[NodeId, ...]]] = []
        self._away: list[set[NodeId]] = [set() for _ in world.processes]

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        if isinstance(fact, ViewChanged):
            changes, members = self.views, published(fact)
        else:
            assert isinstance(fact, MemberChanged)
            changes, members = self.tables, in_table(fact, self._away[process.index])
        if members:
            changes.append((now, process.index, members))
