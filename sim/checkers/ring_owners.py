"""Nodes that agree on the members agree on who owns every key.

Judged where all tables agree: then every running node must name the same owner for every key of a sample and every
handler, and it must be the one that a ring built here, from what is known to run, names. That is as soon as they agree
in the settling phase, and once more at the end, if they still do. Tables that never agree are the business of
`agreement`; where that is not asked, this checker waits as long and then says that there was nothing to judge. In a
large mesh an even sample of nodes is asked: each answer costs the node a look at its whole table.

Where a scenario heals only a core, it is judged at the end, and only if all that run happen to agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.core import Instant
from protocols.membership.member import STATE_MASK, Alive, Profile, State
from protocols.node import Node
from protocols.reconfiguring import Reconfigure
from protocols.ring.placement import Ring, RingMember
from sim.checkers.agreement import Agreement, agreement_bound, misjudged
from sim.checkers.checker import Checker
from sim.inspect import own_row, owner_of, rows_of
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World

SAMPLE_KEYS = 48
ROWS_LOOKED_AT_MAX = 8192
"""Nodes that are asked, times their members; a few nodes are asked in a mesh of any size."""
NODES_ASKED_MIN = 4


class RingOwners(Checker):
    """Nodes that agree on the members name the same owner for every key."""

    name = "ring_owners"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.keys = tuple(f"sample-{number}" for number in range(SAMPLE_KEYS))
        self.judged = False
        """Whether the members have ever agreed, so that there was something to judge."""
        self._wrong = False
        self._owners: dict[tuple[RingMember, ...], list[str | None]] = {}
        """By the members of a ring, who owns the keys."""

    def deadline(self) -> Instant:
        processes = self.world.processes
        return self.asked_since() + agreement_bound(processes[0].config.swim, len(processes))

    def waits_for(self, now: Instant) -> str:
        world = self.world
        if self.judged or len(world.core) < len(world.processes):
            return ""
        self._judge(now)
        if self.judged or not world.running():
            return ""
        spoken_of = any(isinstance(checker, Agreement) for checker in world.watch.checkers)
        return (
            ""
            if spoken_of and now >= self.deadline()
            else "the members do not agree, so nobody can be asked for owners"
        )

    def finish(self, now: Instant) -> None:
        if not self._wrong:
            self._judge(now)

    def _judge(self, now: Instant) -> None:
        running = [process for process in self.world.running() if isinstance(process.core, Node)]
        wanted = max(NODES_ASKED_MIN, ROWS_LOOKED_AT_MAX // max(1, len(running)))
        asked = running[:: -(-len(running) // wanted) or 1]
        if not running or not self._members_agree(running, asked):
            return
        if self.world.has_lied and misjudged(running):
            return  # in the name of a member, somebody has said of the same incarnation what the member did not
        self.judged = True
        handlers = sorted({handler.name for process in running for handler in process.config.handlers})
        for handler in handlers:
            members = tuple(
                RingMember(process.config.node_id, process.config.weight, process.config.zone)
                for process in running
                if any(offered.name == handler for offered in process.config.handlers)
            )
            expected = self._owners.get(members)
            if expected is None:
                ring = Ring(members)
                expected = self._owners[members] = [ring.owner(key) for key in self.keys]
            for process in asked:
                self._compare(now, process, handler, expected)

    def _compare(self, now: Instant, process: Process, handler: str, expected: list[str | None]) -> None:
        for key, owner in zip(self.keys, expected, strict=True):
            named = owner_of(process.core, handler, key)
            if named != owner:
                text = f"names {self._name(named)} as the owner of {key!r} for {handler}; it is {self._name(owner)}"
                self.violated(now, process, text)
                self._wrong = True
                return

    def _members_agree(self, running: list[Process], asked: list[Process]) -> bool:
        """Whether all of `asked` take exactly the running nodes for members, in their present incarnations and for
        what these announce, and whether that is what they are configured to be by now."""
        up: dict[str, int] = {}
        announced: list[Alive] = []
        for process in running:
            own = own_row(process.core)
            if own is None or any(type(command) is Reconfigure for _, command, _ in process.pending.values()):
                return False
            up[process.config.node_id] = own.precedence
            announced.append(own.alive)
        for process in asked:
            rows = rows_of(process.core)
            present = {
                node_id: row.precedence for node_id, row in rows.items() if row.precedence & STATE_MASK < State.DEAD
            }
            if present != up or any(_differs(rows[own.node_id].alive.profile, own.profile) for own in announced):
                return False
        return True

    def _name(self, node_id: str | None) -> str:
        if node_id is None:
            return "nobody"
        process = self.world.by_id.get(node_id)
        return node_id if process is None else process.name


def _differs(one: Profile, other: Profile) -> bool:
    return one is not other and one != other
