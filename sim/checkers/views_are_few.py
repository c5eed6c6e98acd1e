"""A node publishes few views, whatever happens; none is wrong; and when all is quiet the last one is the table.

Judged by each node's own clock and per life, from what it tells (`ViewChanged`):

- at most `views_per_minute` views in any minute, numbered 1, 2, 3, …;
- a member comes back into the view `3 + T / flap_cost` times in any T at most (`steady.py` says why); judged for
  T = `flap_cost`;
- a member is in one list at most, and in the right one: nobody goes who was told to have gone, or comes who was told to
  be there.

In the settling phase and at the end, of nodes that run, after the bound of `agreement.py` and the longest that a change
may wait (`view_wait_max`, and then one interval of the pace):

- a view differs from the table in held members alone. A member may be held for `flap_hold_max` after this node last
  told that it is dead, has left, or has begun another life, and only where that came three times or more;
- what was told, put together, is what the node takes for its view; in a life that began with a join, all of it.

No fault is an excuse, but that where a member lies (`faults/liar.py`) others begin life upon life, and are back each
time. In a large mesh an even sample of nodes is watched.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from protocols.core import NANOS_PER_MS, NANOS_PER_S, Fact, Instant, NodeId
from protocols.membership.facts import MemberChanged, ViewChanged
from protocols.membership.member import STATE_MASK, State
from protocols.membership.steady import FLAPS_AT_ONCE, MINUTE, returns_max
from sim.checkers.agreement import agreement_bound
from sim.checkers.checker import Checker
from sim.inspect import rows_of, view_of
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World

NODES_WATCHED_MAX = 128
ROUNDING = 1 * NANOS_PER_MS
"""A clock shows whole nanoseconds of a rate of its own."""


class Told:
    """What one life of a node has told. Times are of its own clock."""

    def __init__(self) -> None:
        self.published: deque[Instant] = deque()
        """When the views of the last minute were published."""
        self.number = 0
        self.in_view: dict[NodeId, bool] = {}
        """Of every member that a view spoke of: whether it is there."""
        self.returned: dict[NodeId, list[Instant]] = {}
        self.went: dict[NodeId, list[Instant]] = {}
        """When a member was told to be gone, or to have another life."""
        self.generation: dict[NodeId, int] = {}


class ViewsAreFew(Checker):
    """A node publishes few views, and in the end the table."""

    name = "views_are_few"
    facts = (ViewChanged, MemberChanged)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        count = len(world.processes)
        self._config = world.processes[0].config.swim
        self._every = -(-count // NODES_WATCHED_MAX)
        self._told: dict[int, Told] = {}
        pause = -(-MINUTE // (self._config.views_per_minute - self._config.views_per_minute // 2))
        self._waits_max = self._config.view_wait_max + pause + NANOS_PER_S

    def on_boot(self, now: Instant, process: Process) -> None:
        if process.index % self._every == 0:
            self._told[process.index] = Told()

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        told = self._told.get(process.index)
        if told is None:
            return
        clock = process.clock(now)
        if type(fact) is MemberChanged:
            # Where all knew all others from the start, that was in their first lives.
            known = told.generation.get(fact.node_id, 1 if process.boots == 1 else fact.generation)
            told.generation[fact.node_id] = fact.generation
            if fact.state >= State.DEAD or fact.generation > known:
                told.went.setdefault(fact.node_id, []).append(clock)
        elif type(fact) is ViewChanged:
            wrong = self._rate(clock, told, fact) or self._lists(clock, told, fact)
            if wrong:
                self.violated(now, process, wrong)

    def _rate(self, clock: Instant, told: Told, view: ViewChanged) -> str:
        published, most = told.published, self._config.views_per_minute
        while published and clock - published[0] >= MINUTE - ROUNDING:
            published.popleft()
        published.append(clock)
        told.number += 1
        if view.number != told.number:
            return f"publishes view {view.number} after view {told.number - 1}"
        return f"publishes {len(published)} views in a minute; {most} are allowed" if len(published) > most else ""

    def _lists(self, clock: Instant, told: Told, view: ViewChanged) -> str:
        """What is wrong with what a view says of single members."""
        listed = (*view.joined, *view.returned, *view.failed, *view.left, *view.changed)
        if not listed or len(set(listed)) < len(listed):
            return f"publishes view {view.number}, which says nothing, or two things of one member"
        for node_id in (*view.failed, *view.left):
            if told.in_view.get(node_id) is False:
                return f"publishes that {self._name(node_id)} went, which was not there"
            told.in_view[node_id] = False
        for node_id in view.joined:
            if told.in_view.get(node_id):
                return f"publishes that {self._name(node_id)} joined, which was there"
        span = self._config.flap_cost
        for node_id in view.returned:
            times = [each for each in told.returned.get(node_id, []) if clock - each < span - ROUNDING]
            told.returned[node_id] = [*times, clock]
            if len(times) + 1 > returns_max(self._config, span) and not self.world.has_lied:
                seconds = span / NANOS_PER_S
                return f"publishes that {self._name(node_id)} is back {len(times) + 1} times in {seconds:g} s"
        for node_id in (*view.joined, *view.returned, *view.changed):
            told.in_view[node_id] = True
        return ""

    # In the settling phase, and at the end.

    def deadline(self) -> Instant:
        return self.asked_since() + agreement_bound(self._config, len(self.world.processes)) + 2 * self._waits_max

    def waits_for(self, now: Instant) -> str:
        for process in self.world.core:
            view = view_of(process.core)
            if view is None or process.index not in self._told:
                continue
            for node_id in view.lags(process.clock(now)):
                return f"the view of {process.name} is not what its table says of {self._name(node_id)}"
        return ""

    def finish(self, now: Instant) -> None:
        for process in self.world.core:
            told = self._told.get(process.index)
            if process.core is not None and told is not None and not process.stopped:
                self._compare(now, process, told)

    def _compare(self, now: Instant, process: Process, told: Told) -> None:
        clock = process.clock(now)
        view = view_of(process.core)
        assert view is not None
        rows = rows_of(process.core)
        for node_id in dict.fromkeys((*rows, *told.in_view)):
            shown = view.shows(node_id)
            said = told.in_view.get(node_id)
            if shown != bool(said) and (said is not None or process.boots > 1):
                self.violated(now, process, f"takes {self._name(node_id)} to be {_there(shown)}, and has not told so")
                return
            row = rows.get(node_id)
            serves = row is not None and row.precedence & STATE_MASK < State.DEAD
            if serves != shown and not self._may_be_held(clock, told, node_id, process, now):
                text = f"tells that {self._name(node_id)} is {_there(shown)}, and takes it to be {_there(serves)}"
                self.violated(now, process, text)
                return

    def _may_be_held(self, clock: Instant, told: Told, node_id: NodeId, process: Process, now: Instant) -> bool:
        """Whether the view may lag behind the table: the change is young, or the member has come and gone too often."""
        row = rows_of(process.core).get(node_id)
        if row is not None and clock - row.since <= self._waits_max:
            return True
        went = told.went.get(node_id, [])
        lasts = self._config.flap_hold_max + self._waits_max
        return row is not None and len(went) > FLAPS_AT_ONCE and clock - went[-1] <= lasts

    def _name(self, node_id: NodeId) -> str:
        process = self.world.by_id.get(node_id)
        return node_id if process is None else process.name


def _there(there: bool) -> str:
    return "there" if there else "gone"
