"""Whom a node has declared dead, or heard to leave, is not alive to it again in the same incarnation (DESIGN 4).

- After *dead* in (generation, incarnation), the member comes back only in a larger one: the accused has refuted.
- After *left* in a generation, it comes back only in a larger generation: it has started again.

Judged on what nodes tell (`MemberChanged`), on the row behind every such word, and on all rows at the end. A node that
restarts, or that has forgotten a member after its time, starts from nothing. A member whose data a scenario has
destroyed (`Process.lost_data`) counts its lives anew, and may come back as one that is gone. Where somebody has lied
(`faults/liar.py`), the one that is said to have left may not have, and is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.core import Fact, Instant, NodeId
from protocols.membership.facts import Forgotten, MemberChanged
from protocols.membership.member import STATE_MASK, State, generation_of, incarnation_of, with_state
from sim.checkers.checker import Checker
from sim.inspect import rows_of
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World


class NoResurrection(Checker):
    """Nobody comes back from the dead in the incarnation in which it was declared dead."""

    name = "no_resurrection"
    facts = (MemberChanged, Forgotten)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._verdicts: list[dict[NodeId, int]] = [{} for _ in world.processes]
        """By observer: the precedence, dead or left, of whom it takes for gone, or last did."""

    def on_boot(self, now: Instant, process: Process) -> None:
        self._verdicts[process.index] = {}

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        verdicts = self._verdicts[process.index]
        if type(fact) is Forgotten:
            verdicts.pop(fact.node_id, None)
        elif type(fact) is MemberChanged:
            told = fact.precedence
            if told & STATE_MASK >= State.DEAD:
                verdicts[fact.node_id] = max(told, verdicts.get(fact.node_id, -1))
            elif fact.node_id in verdicts:
                self._judge(now, process, fact.node_id, told, "tells of")
                row = rows_of(process.core).get(fact.node_id)
                if row is not None:
                    self._judge(now, process, fact.node_id, row.precedence, "believes in")

    def finish(self, now: Instant) -> None:
        for process in self.world.running():
            rows = rows_of(process.core)
            for node_id in self._verdicts[process.index]:
                row = rows.get(node_id)
                if row is not None:
                    self._judge(now, process, node_id, row.precedence, "ends with")

    def _judge(self, now: Instant, process: Process, node_id: NodeId, precedence: int, how: str) -> None:
        verdict = self._verdicts[process.index].get(node_id, -1)
        if verdict < 0 or self.world.has_lied or precedence & STATE_MASK >= State.DEAD:
            return
        left = verdict & STATE_MASK == State.LEFT
        if generation_of(precedence) > generation_of(verdict) or (
            not left and precedence > with_state(verdict, State.LEFT)
        ):
            return
        subject = self.world.by_id.get(node_id)
        if subject is not None and subject.lost_data:
            return
        name = node_id if subject is None else subject.name
        gone = "left" if left else "died"
        self.violated(now, process, f"{how} {name} as {_life(precedence)}; to it, {name} {gone} as {_life(verdict)}")


def _life(precedence: int) -> str:
    state = State(precedence & STATE_MASK).name.lower()
    return f"{state}, generation {generation_of(precedence)}, incarnation {incarnation_of(precedence)}"
