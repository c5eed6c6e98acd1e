"""(Generation, incarnation, state) of a member only grows in the eyes of any node, and the member alone raises it.

Three claims:
- a node's durable generation grows strictly from life to life, and it never takes part under one that is not durable;
- what a node tells of a member, in one life, is each time larger than what it told before (SWIM section 4.2);
- nobody tells of a generation or incarnation that the member has not announced itself.

Where a member has lied (`faults/liar.py`), others may well tell of what was never announced, and of less than that once
the member itself has put it right.

A node whose data a scenario has destroyed (`Process.lost_data`) may count its lives anew until it hears of the old
ones.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from protocols.core import Fact, Instant, Put, Record
from protocols.membership.facts import Announced, Forgotten, MemberChanged, NodeStarted, Refuted
from protocols.membership.member import State, precedence_of, with_state
from protocols.membership.records import GENERATION_KEY, Generation
from sim.checkers.checker import Checker
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World


class IncarnationsGrow(Checker):
    """What is believed of a member never goes back, and only the member itself raises its incarnation."""

    name = "incarnations_grow"
    facts = (MemberChanged, Refuted, Announced, NodeStarted, Forgotten)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        count = len(world.processes)
        self._told: list[dict[int, int]] = [{} for _ in range(count)]
        """By observer, member → the largest precedence told in the observer's present life. Most tell of few members:
        N² numbers would be 200 MB in a mesh of 5,000."""
        self._announced = array("q", bytes(8 * count))
        """By member: the precedence, alive, of its present generation and incarnation."""
        self._generation = [0] * count
        self._durable = [0] * count
        self._index = {process.config.node_id: process.index for process in world.processes}

    def on_boot(self, now: Instant, process: Process) -> None:
        self._told[process.index] = {}

    def on_durable(self, now: Instant, process: Process, records: tuple[Record, ...]) -> None:
        for record in records:
            if record.key == GENERATION_KEY and type(record) is Put and type(record.value) is Generation:
                number = record.value.number
                if number <= self._durable[process.index] and not process.lost_data:
                    before = self._durable[process.index]
                    self.violated(now, process, f"saved generation {number} after generation {before}")
                self._durable[process.index] = number

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        if type(fact) is MemberChanged:
            self._member_changed(now, process, fact)
        elif type(fact) is Refuted:
            self._raised(now, process, fact.incarnation, f"refuted {fact.accuser} with")
        elif type(fact) is Announced:
            self._raised(now, process, fact.incarnation, "announced something else in")
        elif type(fact) is NodeStarted:
            self._started(now, process, fact.generation)
        elif type(fact) is Forgotten:
            self._told[process.index].pop(self._index[fact.node_id], None)

    def _raised(self, now: Instant, process: Process, incarnation: int, what: str) -> None:
        announced = precedence_of(self._generation[process.index], incarnation, State.ALIVE)
        if announced <= self._announced[process.index] and not process.lost_data:
            self.violated(now, process, f"{what} incarnation {incarnation} again")
        self._announced[process.index] = max(announced, self._announced[process.index])

    def _started(self, now: Instant, process: Process, generation: int) -> None:
        if generation <= self._generation[process.index] and not process.lost_data:
            before = self._generation[process.index]
            self.violated(now, process, f"started as generation {generation}, and was {before} before")
        if generation != self._durable[process.index]:
            durable = self._durable[process.index]
            self.violated(now, process, f"started as generation {generation}, but {durable} is durable")
        self._generation[process.index] = generation
        announced = precedence_of(generation, 0, State.ALIVE)
        self._announced[process.index] = max(announced, self._announced[process.index])

    def _member_changed(self, now: Instant, process: Process, fact: MemberChanged) -> None:
        member = self._index.get(fact.node_id)
        if member is None:
            self.violated(now, process, f"told of a member {fact.node_id} that does not exist")
            return
        precedence = fact.precedence
        told = self._told[process.index]
        if precedence <= told.get(member, 0) and not self.world.has_lied:
            self.violated(now, process, f"told of {_life(fact)} of {fact.name} after something as large")
        told[member] = precedence
        if with_state(precedence, State.ALIVE) > self._announced[member] and not self.world.has_lied:
            self.violated(now, process, f"told of {_life(fact)} of {fact.name}, which {fact.name} never announced")


def _life(fact: MemberChanged) -> str:
    return f"{fact.state.name.lower()}, generation {fact.generation}, incarnation {fact.incarnation}"
