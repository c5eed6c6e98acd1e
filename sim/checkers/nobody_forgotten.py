"""While a member lies (`faults/liar.py`), no other one that lives is taken for dead or gone by anybody for long.

Lies are believed, for nobody can tell them from news: a member that is said to be dead is dead, until it says that it
is not. What is asked is that it gets to know of it, and that its word then counts. Of every pair of members that do
not lie, run, and can reach each other: the one takes the other for dead, left or unknown for no longer than

    N probe intervals               one round, within which the other comes to probe the one and is told (DESIGN 4)
  + 2 · rounds of gossip            for so long its refutation goes round, and the lie it answers may still do so

at a time. Whoever is forgotten in that way, however often, is back each time before tables and rings are long without
it. In a run in which nobody lies this says nothing: `no_false_death` says more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.config import SwimConfig
from protocols.core import NANOS_PER_S, Fact, Instant
from protocols.membership.facts import Forgotten, MemberChanged
from protocols.membership.gossip import gossip_rounds
from protocols.membership.member import State
from sim.checkers.agreement import probes_may_fail
from sim.checkers.checker import Checker
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World


def remembered_within(config: SwimConfig, members: int) -> Instant:
    """Nanoseconds for which lies may keep a member that lives forgotten, at most (see above)."""
    return members * config.probe_interval + 2 * gossip_rounds(config, members) * config.gossip_interval


class NobodyForgotten(Checker):
    """However a member lies, no other that lives is taken for dead or gone for longer than a probe round."""

    name = "nobody_forgotten"
    facts = (MemberChanged, Forgotten)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._bound = remembered_within(world.processes[0].config.swim, len(world.processes))
        self._gone: dict[tuple[int, int], Instant] = {}
        """(observer, subject) → since when the one takes the other for gone."""

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        if not self.world.lying:
            return
        assert isinstance(fact, MemberChanged | Forgotten)
        subject = self.world.by_id.get(fact.node_id)
        if subject is None or subject is process:
            return
        pair = process.index, subject.index
        if type(fact) is MemberChanged and fact.state <= State.SUSPECT:
            self._judge(now, pair)
            self._gone.pop(pair, None)
        else:
            self._gone.setdefault(pair, now)

    def on_boot(self, now: Instant, process: Process) -> None:
        self._begins_anew(process)

    def on_crash(self, now: Instant, process: Process) -> None:
        self._begins_anew(process)

    def on_trouble(self, now: Instant, what: str, begins: bool) -> None:
        for pair in self._gone:
            self._judge(now, pair)
        if not self.world.lying:
            self._gone.clear()

    def _begins_anew(self, process: Process) -> None:
        self._gone = {pair: since for pair, since in self._gone.items() if process.index not in pair}

    def _judge(self, now: Instant, pair: tuple[int, int]) -> None:
        since = self._gone.get(pair)
        world = self.world
        if since is None or now - since <= self._bound or world.lying[pair[0]] or world.lying[pair[1]]:
            return
        observer, subject = (world.processes[index] for index in pair)
        if subject.up and not self._excused(since):
            gone_s = (now - since) / NANOS_PER_S
            text = f"has taken {subject.name}, which lives, for gone for {gone_s:.1f} s; a probe round is "
            self.violated(now, observer, text + f"{self._bound / NANOS_PER_S:.1f} s")

    def _excused(self, since: Instant) -> bool:
        """Something else kept the subject from being heard."""
        world = self.world
        return bool(world.misleading) or not world.network.whole or probes_may_fail(world) or world.misled_at >= since
