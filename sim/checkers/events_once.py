"""What a user tells everybody is given to the users of every node that stays connected once, in the order of telling.

Judged as it happens, at each node and over all of its lives, for the events of each origin:
- *once, in order*: (generation, number) grows from one that users are given to the next;
- *Lamport order*: so do the Lamport times, from one life of the origin to the next as well, and an event has the same
  one everywhere;
- *none is left out*: no event is passed over in a mesh that nothing has disturbed since it was sent.

A node whose disk was destroyed has forgotten what it gave to its users, and which Lamport times it used: of it, and
of what it sends, only the order within a life is asked.

In the settling phase every event that is still owed must have come. It is owed from when its origin's own users are
given it, to the nodes that ran and took part in events then, as long as origin and node live on. The bound,
from the last disturbance (the terms of `agreement.py` first):

    agreement                       until everybody takes everybody for alive, and halves have exchanged digests once
  + 4 · push-pull interval(N)       digests with random members, until who still misses one meets somebody who has it
  + `GIVE_UP_AFTER`                 an event that came may be held back for one that nobody has any more

Once a member has lied (`faults/liar.py`) nothing is asked: who tells events in the name of others, in numbers that they
have not come to, takes the places of theirs.

Only the last `OWED_MAX` events are owed: a node keeps as many for who missed them, and a mesh at peace needs no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.core import NANOS_PER_S, Fact, Instant, NodeId
from protocols.membership.events import GIVE_UP_AFTER
from protocols.membership.facts import EventDelivered
from protocols.membership.healing import push_pull_scale
from sim.checkers.agreement import agreement_bound
from sim.checkers.checker import Checker
from sim.inspect import hears_events
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World

OWED_MAX = 256
ROUNDS = 4
SAVES = 4
"""Saves in turn: of the event at its origin, and of marks at whoever passes it on."""

Key = tuple[NodeId, int, int]


class Owed:
    """An event that some nodes have not given to their users yet: those, by index, in which of their lives."""

    __slots__ = ("life", "missing", "origin", "sent_at")

    def __init__(self, origin: Process, sent_at: Instant, missing: dict[int, int]) -> None:
        self.origin = origin
        self.life = origin.boots
        self.sent_at = sent_at
        self.missing = missing


class EventsOnce(Checker):
    """An event reaches every node that stays connected, exactly once, in Lamport order per origin."""

    name = "events_once"
    facts = (EventDelivered,)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._last: list[dict[NodeId, EventDelivered]] = [{} for _ in world.processes]
        """What the users of each node were last given, by origin."""
        self._times: dict[Key, int] = {}
        """Lamport times of the last events."""
        self._owed: dict[Key, Owed] = {}
        self.delivered = 0

    def on_boot(self, now: Instant, process: Process) -> None:
        if process.lost_data:
            self._last[process.index].clear()

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        assert isinstance(fact, EventDelivered)
        self.delivered += 1
        if self.world.has_lied:
            return
        origin = self.world.by_id.get(fact.origin)
        if origin is None:
            self.violated(now, process, f"gives its users an event of {fact.origin}, which is no node")
            return
        last = self._last[process.index].get(fact.origin)
        if last is not None:
            self._follows(now, process, origin, last, fact)
        self._last[process.index][fact.origin] = fact
        key = (fact.origin, fact.generation, fact.number)
        if self._times.setdefault(key, fact.ltime) != fact.ltime:
            text = f"event {fact.number} of {origin.name} has Lamport time {fact.ltime}, elsewhere {self._times[key]}"
            self.violated(now, process, text)
        if process is origin:
            self._owe(now, process, key)
        elif key in self._owed:
            self._owed[key].missing.pop(process.index, None)
        self._look_for_gaps(now, process, origin, fact, 0 if last is None else last.number)

    def _follows(
        self, now: Instant, process: Process, origin: Process, last: EventDelivered, fact: EventDelivered
    ) -> None:
        if (fact.generation, fact.number) <= (last.generation, last.number):
            told = f"event {fact.number} of life {fact.generation} of {origin.name}"
            after = f"event {last.number} of life {last.generation}"
            self.violated(now, process, f"gives its users {told} after {after}")
        elif fact.ltime <= last.ltime and not (origin.lost_data and fact.generation > last.generation):
            text = f"Lamport time {fact.ltime} of {origin.name} comes after {last.ltime}"
            self.violated(now, process, text)

    def _owe(self, now: Instant, origin: Process, key: Key) -> None:
        missing = {
            process.index: process.boots
            for process in self.world.running()
            if process is not origin and hears_events(process.core)
        }
        self._owed[key] = Owed(origin, now, missing)
        if len(self._owed) > OWED_MAX:
            oldest = next(iter(self._owed))
            del self._owed[oldest]
            self._times.pop(oldest, None)

    def _look_for_gaps(
        self, now: Instant, process: Process, origin: Process, fact: EventDelivered, before: int
    ) -> None:
        """Events that were passed over will not come any more: that is for disturbed meshes only."""
        for number in range(max(before, fact.number - OWED_MAX) + 1, fact.number):
            owed = self._owed.get((fact.origin, fact.generation, number))
            if owed is None or owed.missing.pop(process.index, None) != process.boots:
                continue
            if self.world.disturbed_at <= owed.sent_at and not self.world.troubles and owed.life == origin.boots:
                self.violated(now, process, f"passes over event {number} of {origin.name}, which never went away")

    def deadline(self) -> Instant:
        processes = self.world.processes
        config = processes[0].config.swim
        rounds = ROUNDS * push_pull_scale(len(processes)) * config.push_pull_interval
        bound = agreement_bound(config, len(processes)) + rounds + GIVE_UP_AFTER
        return self.asked_since() + bound + self.disk_time(SAVES)

    def waits_for(self, now: Instant) -> str:
        if self.world.has_lied:
            return ""
        core = [process.index for process in self.world.core]
        for key, owed in list(self._owed.items()):
            processes = self.world.processes
            owed.missing = {
                index: life
                for index, life in owed.missing.items()
                if processes[index].up and processes[index].boots == life and index in core
            }
            if (
                not owed.missing
                or not owed.origin.up
                or owed.origin.boots != owed.life
                or owed.origin.index not in core
            ):
                del self._owed[key]
                continue
            names = ", ".join(processes[index].name for index in owed.missing)
            sent_s = (now - owed.sent_at) / NANOS_PER_S
            return f"event {key[2]} of {owed.origin.name}, sent {sent_s:.0f} s ago, has not come to {names}"
        return ""
