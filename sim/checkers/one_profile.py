"""What a member announces about itself is one value per (generation, incarnation) (DESIGN 4).

Two announcements of one incarnation that differ would never be reconciled: neither outranks the other, so every node
would keep the one that it heard first, for ever. Judged on what members announce (their own row whenever they raise an
incarnation), on the row behind every change that a node tells of, on a sample of messages, and on the tables at the
end (in a large mesh, those of an even sample of nodes).

A member whose data a scenario has destroyed (`Process.lost_data`) counts its lives anew and is not held to its words;
nor is anybody, once somebody has lied in the names of others (`faults/liar.py`). Of each member the newest few
incarnations are remembered; older ones that come back are not compared any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.core import Fact, Instant, Message
from protocols.membership.facts import Announced, MemberChanged, NodeStarted, Refuted
from protocols.membership.member import Alive, Believed, Profile, State, announcement_in, generation_of, incarnation_of
from protocols.membership.messages import Ack, Gossip, Ping, PingReq, PushPull
from sim.checkers.checker import Checker
from sim.inspect import own_row, rows_of
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World

INCARNATIONS_REMEMBERED = 32
NODES_ASKED_MAX = 128


class OneProfile(Checker):
    """A member announces one and the same thing for as long as it keeps an incarnation."""

    name = "one_profile"
    facts = (MemberChanged, NodeStarted, Refuted, Announced)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._announced: dict[str, dict[int, Profile]] = {process.config.node_id: {} for process in world.processes}
        """By member: precedence of an announcement → what it announced, as first seen."""

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        if type(fact) is MemberChanged:
            row = rows_of(process.core).get(fact.node_id) if fact.state is State.ALIVE else None
        else:
            row = own_row(process.core)
        if row is not None:
            self._compare(now, process, row.alive)

    def on_sample(self, now: Instant, message: Message) -> None:
        if isinstance(message, PushPull):
            for row in message.rows:
                self._compare(now, None, row.alive if isinstance(row, Believed) else row)
        elif isinstance(message, Ping | PingReq | Ack | Gossip):
            for update in message.updates:
                if isinstance(update, Alive):
                    self._compare(now, None, update)

    def finish(self, now: Instant) -> None:
        running = self.world.running()
        for process in running[:: -(-len(running) // NODES_ASKED_MAX) or 1]:
            for row in rows_of(process.core).values():
                self._compare(now, process, row.alive)

    def _compare(self, now: Instant, process: Process | None, alive: Alive) -> None:
        known = self._announced.get(alive.node_id)
        if known is None or self.world.has_lied:
            return  # a member that does not exist: `incarnations_grow` says so
        alive = announcement_in(alive)
        first = known.get(alive.precedence)
        if first is alive.profile:
            return
        if first is None:
            known[alive.precedence] = alive.profile
            if len(known) > INCARNATIONS_REMEMBERED:
                del known[next(iter(known))]
        elif first != alive.profile and not self.world.by_id[alive.node_id].lost_data:
            life = f"generation {generation_of(alive.precedence)}, incarnation {incarnation_of(alive.precedence)}"
            name = self.world.by_id[alive.node_id].name
            self.violated(now, process, f"{name} of {life} announces {alive.profile!r}, and {first!r} before")
