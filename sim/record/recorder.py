"""Records a run: hooks into a world, follows every message to its fate, and keeps what happened, bounded.

- It watches only. It draws from no stream and pushes no event: with or without it a run is the same run.
- A recording keeps the last `limit` happenings and says how many it forgot. Of those, what sets the stage (boots,
  crashes, faults, cuts, violations) is kept apart, bounded too. What is under way is held until its fate is known,
  which the network bounds. So memory does not grow with virtual time.
- A message is one happening, at the time when it was said. The network tells its fate as it changes
  (`MessageObserver`): it is under way, it waits on a stalled stream, it is lost, be it on arrival at a node that is
  down. What has been told last before its time of arrival is what came true.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from protocols.core import NANOS_PER_S, Command, Delete, Fact, Instant, Message, Outcome, Record, Refused
from protocols.node import Node
from protocols.tasks.task import RunBody
from sim.checkers.checker import Checker, Violation
from sim.process import CoreFactory, Process
from sim.record.happening import Happening, Kind, Recording
from sim.record.sides import Sides
from sim.record.words import clipped, short_id, tell
from sim.scenario.model import Scenario
from sim.scenario.report import Report
from sim.scenario.run import run
from sim.world import World

LIMIT = 200_000
"""Happenings that a recording keeps unless asked for more or less; about half a kilobyte each."""
BEFORE_MAX = 10_000
"""Of what was forgotten, at most so many boots, crashes, faults, cuts and violations are kept."""
KEYS_SHOWN_MAX = 4
STAGE = frozenset({Kind.BOOT, Kind.CRASH, Kind.FAULT, Kind.CUT, Kind.VIOLATION})
"""What sets the stage: kept whatever stretch of time was asked for."""
NEVER: Instant = 1 << 62
NOBODY = -1


class Entry:
    """A happening in the making. `message` is held only while its fate may still change."""

    __slots__ = ("at", "kind", "label", "message", "node", "peer", "text", "until", "what")

    def __init__(self, at: Instant, kind: Kind, node: int, what: str, text: str, peer: int, until: Instant) -> None:
        self.at = at
        self.kind = kind
        self.node = node
        self.what = what
        self.text = text
        self.peer = peer
        self.until = until
        self.label = ""
        self.message: Message | None = None

    def happening(self) -> Happening:
        """As it is known now."""
        return Happening(self.at, self.kind, self.node, self.what, self.text, self.peer, self.until, self.label)


Link: TypeAlias = tuple[int, int]
_Wanted: TypeAlias = Callable[[Entry], bool]


class Recorder:
    """Watches `world` from now on. Make it before the run starts; ask `recording` when it is over.

    Keeps the last `limit` (at least 1) of what happens from `since` to `until`; what sets the stage is kept whenever.
    """

    def __init__(
        self, world: World, *, limit: int = LIMIT, since: Instant = 0, until: Instant = NEVER, before: int = BEFORE_MAX
    ) -> None:
        if limit < 1:
            raise ValueError(f"a recording of {limit} happenings would tell nothing")
        self._world = world
        self._limit = limit
        self._since = since
        self._until = until
        self._entries: deque[Entry] = deque()
        self._before: deque[Entry] = deque(maxlen=before)
        self._forgotten = 0
        self._under_way: deque[Entry] = deque()
        """Messages whose arrival lies ahead, in the order of saying; the first ones may have arrived meanwhile."""
        self._waiting: dict[Link, deque[Entry]] = {}
        """Messages on stalled streams and in clogged links, by (sender, receiver)."""
        self._at_stopped: dict[int, deque[Entry]] = {}
        """Messages that had come to a node when it was last seen stopped, or down: where it was stopped it handles
        them later, or dies with them."""
        self._faults: dict[str, deque[Entry]] = {}
        """Faults in force, by their words."""
        self._sides = ""
        self._names = tuple(process.name for process in world.processes)
        self._by_id = {process.config.node_id: process.name for process in world.processes}
        self._index = {process.name: process.index for process in world.processes}
        self._hook()

    def _hook(self) -> None:
        network = self._world.network
        if network.observer is not None:
            raise ValueError("this world is being recorded already")
        network.observer = self._on_message
        network.on_reach = self._on_reach
        watch = self._world.watch
        watch.on_every_fact(self._on_fact)
        watch.on_durable.insert(0, self._on_durable)
        watch.on_reply.insert(0, self._on_reply)
        watch.on_start.insert(0, self._on_start)
        watch.on_boot.insert(0, self._on_boot)
        watch.on_crash.insert(0, self._on_crash)
        watch.on_trouble.insert(0, self._on_trouble)
        watch.on_violation.insert(0, self._on_violation)

    def recording(self, scenario: Scenario, trace_hash: str) -> Recording:
        """What has been kept so far. `scenario` is the run's, expanded."""
        now = self._world.kernel.now
        return Recording(
            scenario=scenario,
            names=self._names,
            happenings=tuple(entry.happening() for entry in self._entries),
            forgotten=self._forgotten,
            violations=tuple(self._world.watch.violations),
            trace_hash=trace_hash,
            end=now,
            since=min(self._since, now),
            until=min(self._until, now),
            before=tuple(entry.happening() for entry in self._before),
        )

    # What is kept.

    def _keep(self, entry: Entry) -> None:
        entries = self._entries
        if len(entries) == self._limit:
            oldest = entries.popleft()
            self._forgotten += 1
            if oldest.kind in STAGE:
                self._before.append(oldest)
        entries.append(entry)

    def _asked_for(self, now: Instant) -> bool:
        return self._since <= now <= self._until

    def _note(self, now: Instant, kind: Kind, node: int, what: str, text: str) -> Entry:
        entry = Entry(now, kind, node, what, text, NOBODY, -1)
        if kind in STAGE or self._asked_for(now):
            self._keep(entry)
        return entry

    # Messages.

    def _on_message(
        self, now: Instant, sender: int, receiver: int, message: Message, arrival: Instant, why: str
    ) -> None:
        under_way = self._under_way
        while under_way and under_way[0].until < now:
            self._arrived(under_way.popleft())
        if arrival >= 0:
            entry = self._take_waiting(sender, receiver, message)
            if entry is None:
                entry = self._said(now, Kind.MESSAGE, sender, receiver, message, why)
            entry.until = arrival
            entry.message = message
            under_way.append(entry)
            return
        entry = (
            self._take_waiting(sender, receiver, message)
            or self._take_arriving(now, sender, receiver, message)
            or self._take_from_stopped(sender, receiver, message)
        )
        if why:
            if entry is None:
                entry = self._said(now, Kind.LOST, sender, receiver, message, why)
            entry.kind = Kind.LOST
            entry.text = why
            entry.until = now
            entry.message = None
        else:
            if entry is None:
                entry = self._said(now, Kind.MESSAGE, sender, receiver, message, "")
            entry.until = -1
            entry.message = message
            self._waiting.setdefault((sender, receiver), deque()).append(entry)

    def _arrived(self, entry: Entry) -> None:
        """The time of arrival of `entry` is over, and no other fate has been told."""
        receiver = self._world.processes[entry.peer]
        if receiver.stopped or not receiver.up:
            self._at_stopped.setdefault(receiver.index, deque()).append(entry)
        else:
            entry.message = None
            if self._at_stopped:
                self._at_stopped.pop(receiver.index, None)

    def _said(self, now: Instant, kind: Kind, sender: int, receiver: int, message: Message, text: str) -> Entry:
        entry = Entry(now, kind, sender, type(message).__name__, text, receiver, -1)
        if self._asked_for(now):
            self._keep(entry)
        return entry

    def _take_waiting(self, sender: int, receiver: int, message: Message) -> Entry | None:
        """The entry of a message that waits on a stalled stream."""
        if not self._waiting:
            return None
        waiting = self._waiting.get((sender, receiver))
        found = None if waiting is None else _take(waiting, lambda entry: entry.message is message)
        if not waiting:
            self._waiting.pop((sender, receiver), None)
        return found

    def _take_arriving(self, now: Instant, sender: int, receiver: int, message: Message) -> Entry | None:
        """The entry of a message that gets there now."""
        return _take(
            self._under_way,
            lambda entry: (
                entry.until == now and entry.message is message and entry.node == sender and entry.peer == receiver
            ),
        )

    def _take_from_stopped(self, sender: int, receiver: int, message: Message) -> Entry | None:
        """The entry of a message that came to a node while that was stopped."""
        held = self._at_stopped.get(receiver)
        if held is None:
            return None
        return _take(held, lambda entry: entry.message is message and entry.node == sender)

    # Everything else.

    def _on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        if not self._asked_for(now):
            return
        told = tell(fact, self._by_id)
        kind = Kind.MARK if told.label else Kind.FACT
        entry = self._note(now, kind, process.index, type(fact).__name__, told.text)
        entry.label = told.label
        entry.peer = self._index.get(self._by_id.get(told.about, ""), NOBODY)

    def _on_durable(self, now: Instant, process: Process, records: tuple[Record, ...]) -> None:
        if not self._asked_for(now):
            return
        keys = [f"−{clipped(r.key)}" if isinstance(r, Delete) else clipped(r.key) for r in records[:KEYS_SHOWN_MAX]]
        more = len(records) - len(keys)
        text = ", ".join(keys) + (f" and {more} more" if more else "")
        self._note(now, Kind.DURABLE, process.index, "records", text)

    def _on_reply(self, now: Instant, process: Process, command: Command, outcome: Outcome) -> None:
        why = f": {outcome.code}" if isinstance(outcome, Refused) else ""
        self._note(now, Kind.REPLY, process.index, type(outcome).__name__, f"to {type(command).__name__}{why}")

    def _on_start(self, now: Instant, process: Process, action: RunBody) -> None:
        text = f"task {short_id(action.task_id)}, attempt {action.attempt}"
        self._note(now, Kind.START, process.index, action.handler, text)

    def _on_boot(self, now: Instant, process: Process) -> None:
        self._at_stopped.pop(process.index, None)
        text = "for the first time" if process.boots == 1 else f"again, life {process.boots}"
        self._note(now, Kind.BOOT, process.index, "boot", text)

    def _on_crash(self, now: Instant, process: Process) -> None:
        self._note(now, Kind.CRASH, process.index, "crash", f"at the end of life {process.boots}")

    def _on_trouble(self, now: Instant, what: str, begins: bool) -> None:
        if begins:
            entry = self._note(now, Kind.FAULT, NOBODY, "fault", what)
            self._faults.setdefault(what, deque()).append(entry)
            return
        in_force = self._faults.get(what)
        if in_force:
            in_force.popleft().until = now
            if not in_force:
                del self._faults[what]

    def _on_reach(self) -> None:
        sides = Sides([station.blocked for station in self._world.network.stations])
        text = sides.words(self._names)
        letters = sides.letters() if text else ""
        if letters + text != self._sides:
            self._sides = letters + text
            self._note(self._world.kernel.now, Kind.CUT, NOBODY, letters, text)

    def _on_violation(self, violation: Violation) -> None:
        node = self._index.get(violation.node, NOBODY)
        self._note(self._world.kernel.now, Kind.VIOLATION, node, violation.property, violation.text)


def _take(entries: deque[Entry], wanted: _Wanted) -> Entry | None:
    """Take the first entry that is wanted out of `entries`."""
    for position, entry in enumerate(entries):
        if wanted(entry):
            del entries[position]
            return entry
    return None


def record(
    scenario: Scenario,
    *,
    limit: int = LIMIT,
    since_s: float = 0.0,
    until_s: float | None = None,
    checkers: Sequence[type[Checker]] | None = None,
    core_factory: CoreFactory = Node,
) -> tuple[Report, Recording]:
    """Run `scenario` with a recorder on. Raises `ScenarioError` for one that cannot be run."""
    recorders: list[Recorder] = []
    since = round(since_s * NANOS_PER_S)
    until = NEVER if until_s is None else round(until_s * NANOS_PER_S)

    def watch(world: World) -> None:
        recorders.append(Recorder(world, limit=limit, since=since, until=until))

    report = run(scenario, checkers, core_factory, watch)
    return report, recorders[0].recording(report.expanded, report.trace_hash)
