"""One node of a run: a protocol core, its disk and executor, and the driver's duties between them.

A driver's rules are those of `protocols/core.py`, kept here to the letter:
- an event's effects are carried out in order, before anything else happens at this node;
- `Save` goes to the disk; once durable, its `then` is carried out and `Saved` is fed, in one go;
- a bare promise (a `Pledge` outside of `Save.then`) is never said: it is a violation;
- one wake-up is pending at most: one that is earlier than wanted is left alone and armed anew when it comes.

The core's clock differs from virtual time by an offset that is drawn at every boot: instants of two nodes, or of two
lives of one, cannot be compared by accident and go unnoticed.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterable
from heapq import heappush
from typing import TYPE_CHECKING, TypeAlias

from msgspec.structs import replace

from protocols.config import NodeConfig
from protocols.core import (
    NANOS_PER_S,
    Command,
    Core,
    Effect,
    Endpoint,
    Event,
    Instant,
    InvariantViolation,
    Notify,
    Outcome,
    Perform,
    Performed,
    PerformId,
    Pledge,
    Put,
    Received,
    Record,
    Reply,
    Request,
    RequestId,
    Result,
    Save,
    Saved,
    SaveFailed,
    SaveSeq,
    Send,
    Then,
    Unknown,
    Woke,
)
from protocols.tasks.task import RunBody
from sim.disk import Disk
from sim.executor import Executor
from sim.kernel import EventFunction
from sim.network import Station

if TYPE_CHECKING:
    from sim.world import World

NEVER: Instant = 1 << 62
CLOCK_OFFSET_MAX = 1_000_000 * NANOS_PER_S
WOKE = Woke()

CoreFactory: TypeAlias = Callable[[NodeConfig, Iterable[Put], random.Random], Core]
OnOutcome: TypeAlias = Callable[[Instant, Outcome], None]
"""Called with the one outcome of a request. It may push events; it must not step a node by itself."""


class Process:
    """A node from the outside. `core` is None while it is down; `boots` counts its lives."""

    __slots__ = (
        "_clock_offset",
        "_heap",
        "_next_request",
        "_next_save",
        "_next_sequence",
        "_on_step",
        "_on_wake",
        "_send",
        "_tags",
        "_trace_key",
        "_trace_word",
        "_wake_pending",
        "_wake_wanted",
        "_watch",
        "boots",
        "config",
        "core",
        "disk",
        "down_since",
        "executor",
        "index",
        "name",
        "pending",
        "station",
        "up_since",
        "world",
    )

    def __init__(self, world: World, index: int, config: NodeConfig) -> None:
        self.world = world
        self.index = index
        self.config = config
        self.name = config.name
        self.core: Core | None = None
        self.boots = 0
        self.up_since: Instant = NEVER
        self.down_since: Instant = 0
        self.pending: dict[RequestId, tuple[Instant, Command, OnOutcome]] = {}
        """Requests without an outcome so far: since when, what, and whom to tell."""
        self._heap = world.kernel.heap
        self._next_sequence = world.kernel.next_sequence
        self._send = world.network.send
        self._watch = world.watch
        self._on_step = self._watch.on_step
        self._trace_word = world.trace.words.append
        self._trace_key = index << 40
        self._tags = world.trace.tags
        self._next_request: RequestId = 1
        self._next_save: SaveSeq = 0
        self._clock_offset: Instant = 0
        self._wake_pending: Instant = NEVER
        self._wake_wanted: Instant = NEVER
        self._on_wake: EventFunction = self._wake
        self.station = Station(index, Endpoint(config.node_id, config.address), self.step)
        self.disk = Disk(world.kernel, self, world.disk_profile)
        self.disk.on_durable = self._durable
        self.executor = Executor(world.kernel, self, world.body)
        self.executor.on_start = self._started
        world.network.attach(self.station)

    def clock(self, now: Instant) -> Instant:
        """What the clock of the present life shows at virtual time `now`."""
        return now + self._clock_offset

    # Life and death.

    @property
    def up(self) -> bool:
        return self.core is not None

    def reconfigure(self, *, seeds: tuple[str, ...]) -> None:
        """Name other seeds in the node's configuration, from the next boot on."""
        self.config = replace(self.config, seeds=seeds)

    def boot(self, now: Instant) -> None:
        """Build the core from what the disk holds, and wake it for the first time."""
        if self.core is not None:
            raise ValueError(f"{self.name} is running")
        stream = random.Random(f"{self.world.kernel.seed}/{self.name}/{self.boots}")
        self.boots += 1
        self._clock_offset = self.world.clock_random.randrange(CLOCK_OFFSET_MAX)
        self._next_save = 0
        self.core = self.world.core_factory(self.config, self.disk.load(), stream)
        self.station.up = True
        self.up_since = now
        for listener in self._watch.on_boot:
            listener(now, self)
        self.step(now, WOKE)

    def crash(self, now: Instant) -> None:
        """Lose the core, its bodies, its streams, and what is not durable. Callers learn that they will not learn."""
        if self.core is None:
            raise ValueError(f"{self.name} is down")
        self.core = None
        self._wake_pending = self._wake_wanted = NEVER
        self.up_since = NEVER
        self.down_since = now
        self.disk.crash(now)
        self.executor.crash()
        self.world.network.went_down(self.station)
        for listener in self._watch.on_crash:
            listener(now, self)
        pending, self.pending = self.pending, {}
        for _, command, on_outcome in pending.values():
            self._answer(now, command, on_outcome, Unknown(f"{self.name} went down before it answered"))

    def request(self, now: Instant, command: Command, on_outcome: OnOutcome) -> None:
        """Ask this node, which must be up; `on_outcome` is called exactly once, unless the node breaks its promise."""
        request_id = self._next_request
        self._next_request += 1
        self.pending[request_id] = (now, command, on_outcome)
        self.step(now, Request(request_id, command))

    # The driver.

    def step(self, now: Instant, event: Event, _: None = None) -> None:
        """Feed `event` to the core and carry out what comes of it. Nothing happens while the node is down."""
        core = self.core
        if core is None:
            self.world.network.drops["down"] += 1
            return
        offset = self._clock_offset
        try:
            effects, wake_at = core.step(now + offset, event)
        except Exception as error:
            self._stop_broken(now, event, error)
            return
        event_type = type(event.message) if type(event) is Received else type(event)
        word = self._trace_word
        word(now)
        word(self._trace_key | self._tags[event_type] << 8 | len(effects) & 0xFF)
        if effects:
            self._carry_out(now, effects)
        if wake_at is not None:
            wake_at -= offset
            word(wake_at)
            self._wake_wanted = wake_at
            if wake_at < self._wake_pending:
                self._arm(now, wake_at)
        else:
            self._wake_wanted = NEVER
        if self._on_step:
            for listener in self._on_step:
                listener(now, self, event)

    def _arm(self, now: Instant, wake_at: Instant) -> None:
        if wake_at < now:
            wake_at = now
        self._wake_pending = wake_at
        heappush(self._heap, (wake_at, self._next_sequence(), self._on_wake, None, None))

    def _wake(self, now: Instant, _a: None, _b: None) -> None:
        if now != self._wake_pending:
            return
        self._wake_pending = NEVER
        wanted = self._wake_wanted
        if wanted <= now:
            self.step(now, WOKE)
        elif wanted < NEVER:
            self._arm(now, wanted)

    def _carry_out(self, now: Instant, effects: list[Effect]) -> None:
        station = self.station
        send = self._send
        word = self._trace_word
        tags = self._tags
        facts = self._watch.facts
        listeners = self._watch.listeners
        for effect in effects:
            if type(effect) is Send:
                send(now, station, effect.to, effect.message)
            elif type(effect) is Notify:
                fact = effect.fact
                fact_type = type(fact)
                word(tags[fact_type])
                facts[fact_type] += 1
                for listener in listeners[fact_type]:
                    listener(now, self, fact)
            elif type(effect) is Save:
                self._save(now, effect)
            elif type(effect) is Reply:
                self._reply(now, effect)
            elif type(effect) is Perform:
                self.executor.perform(now, effect)
            else:
                self.violated(now, "promises_wait_for_the_disk", f"said {effect!r} without a save")

    def _carry_out_then(self, now: Instant, then: tuple[Then, ...]) -> None:
        for effect in then:
            if isinstance(effect, Send | Pledge):
                self._send(now, self.station, effect.to, effect.message)
            elif isinstance(effect, Perform):
                self.executor.perform(now, effect)
            elif isinstance(effect, Reply):
                self._reply(now, effect)
            else:
                self._carry_out(now, [effect])

    def _save(self, now: Instant, save: Save) -> None:
        if save.seq <= self._next_save:
            self.violated(now, "saves_are_numbered", f"save {save.seq} after save {self._next_save}")
        self._next_save = save.seq
        self.disk.save(now, save)

    def _reply(self, now: Instant, reply: Reply) -> None:
        asked = self.pending.pop(reply.request_id, None)
        if asked is None:
            self.violated(
                now, "one_reply", f"answered request {reply.request_id}, which was not open: {reply.outcome!r}"
            )
            return
        _, command, on_outcome = asked
        self._answer(now, command, on_outcome, reply.outcome)

    def _answer(self, now: Instant, command: Command, on_outcome: OnOutcome, outcome: Outcome) -> None:
        self.world.trace.value(outcome)
        for listener in self._watch.on_reply:
            listener(now, self, command, outcome)
        on_outcome(now, outcome)

    # What the disk and the executor tell.

    def saved(self, now: Instant, save: Save) -> None:
        """`save` is durable: carry out what waited for it, then tell the core."""
        self._carry_out_then(now, save.then)
        self.step(now, Saved(save.seq))

    def save_failed(self, now: Instant, save: Save, why: str) -> None:
        """Nothing of `save` is durable: what waited for it is dropped."""
        self.step(now, SaveFailed(save.seq, why))

    def performed(self, now: Instant, perform_id: PerformId, result: Result) -> None:
        """An action has ended."""
        self.step(now, Performed(perform_id, result))

    def violated(self, now: Instant, property_name: str, text: str) -> None:
        """This node broke a rule between a core and its driver."""
        self._watch.violated(property_name, now, self.name, text)

    def _durable(self, now: Instant, records: tuple[Record, ...]) -> None:
        self.world.trace.value(records)
        for listener in self._watch.on_durable:
            listener(now, self, records)

    def _started(self, now: Instant, action: RunBody) -> None:
        for listener in self._watch.on_start:
            listener(now, self, action)

    def _stop_broken(self, now: Instant, event: Event, error: Exception) -> None:
        """The core raised: a broken invariant, or a bug that a foreign message could reach. The run ends here."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        property_name = "invariant" if isinstance(error, InvariantViolation) else "no_exception"
        where = f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}"
        what = type(event.message).__name__ if isinstance(event, Received) else type(event).__name__
        self.violated(now, property_name, f"{type(error).__name__} at {where} while handling {what}: {error}")
        self.crash(now)
        self.world.stop()
