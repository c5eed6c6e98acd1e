"""One node of a run: a protocol core, its disk and executor, and the driver's duties between them.

A driver's rules are those of `protocols/core.py`, kept here to the letter:
- an event's effects are carried out in order, before anything else happens at this node;
- `Save` goes to the disk; once durable, its `then` is carried out and `Saved` is fed, in one go;
- a bare promise (a `Pledge` outside of `Save.then`) is never said: it is a violation;
- what a core says to its own id comes back to it at once, without a network;
- one wake-up is pending at most: one that is earlier than wanted is left alone and armed anew when it comes.

The core is stepped with its node's own clock, which has an offset and a rate of its own (`sim/clock.py`).

A node may be stopped without being down (SIGSTOP): none of its events is handled. What the operating system does for
it goes on: packets pile up in a socket buffer that drops the newest when it is full, stream messages wait, bodies run,
a sync ends unnoticed. When it goes on, all of that comes at once, and due timers are late. The heap holds `step`
itself, and a node that is not stopped pays nothing for this: `step` finds no core to feed, as in a node that is down.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterable
from heapq import heappush
from typing import TYPE_CHECKING, TypeAlias

from msgspec.structs import replace

from protocols.config import HandlerSpec, NodeConfig
from protocols.core import (
    NANOS_PER_S,
    Command,
    Core,
    Effect,
    Endpoint,
    Event,
    Instant,
    InvariantViolation,
    Message,
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
from protocols.tasks.task import RunBody, Submit
from sim.backlog import Backlog
from sim.clock import PAR, Clock, WallClock
from sim.disk import Disk
from sim.executor import Executor
from sim.kernel import EventFunction
from sim.network import Station
from sim.versions import PRESENT

if TYPE_CHECKING:
    from sim.world import World

NEVER: Instant = 1 << 62
CLOCK_OFFSET_MAX = 1_000_000 * NANOS_PER_S
RATE_MIN = PAR // 10
"""However many faults slow a clock down, it runs at this at least."""
WOKE = Woke()
NO_LISTENERS: tuple[tuple[()], tuple[()]] = ((), ())

CoreFactory: TypeAlias = Callable[[NodeConfig, Iterable[Put], random.Random], Core]
SendFunction: TypeAlias = Callable[[Instant, Station, Endpoint, Message], None]
OnOutcome: TypeAlias = Callable[[Instant, Outcome], None]
"""Called with the one outcome of a request. It may push events; it must not step a node by itself."""


class Process:
    """A node from the outside. `core` is None while it is down; `boots` counts its lives.

    `installed` is the version that the next boot runs, `version` the one that runs, or ran last. `lost_data` is set
    for good once something that the disk had acknowledged was destroyed: nobody can ask this node for it any more.
    """

    __slots__ = (
        "_backlog",
        "_clock",
        "_drift",
        "_heap",
        "_live",
        "_me",
        "_next_request",
        "_next_save",
        "_next_sequence",
        "_on_late",
        "_on_message",
        "_on_step",
        "_on_wake",
        "_send",
        "_tags",
        "_trace_key",
        "_trace_word",
        "_wake_asked",
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
        "installed",
        "lost_data",
        "name",
        "pending",
        "station",
        "stopped",
        "up_since",
        "version",
        "wall",
        "world",
    )

    def __init__(self, world: World, index: int, config: NodeConfig) -> None:
        self.world = world
        self.index = index
        self.config = config
        self.name = config.name
        self.core: Core | None = None
        self.stopped = False
        self._live: Core | None = None
        """`core`, but None also while it is stopped: whom `step` feeds."""
        self.boots = 0
        self.version = self.installed = PRESENT
        self.lost_data = False
        self.up_since: Instant = NEVER
        self.down_since: Instant = 0
        self.pending: dict[RequestId, tuple[Instant, Command, OnOutcome]] = {}
        """Requests without an outcome so far: since when, what, and whom to tell."""
        self._heap = world.kernel.heap
        self._next_sequence = world.kernel.next_sequence
        self._send: SendFunction = world.network.send
        self._watch = world.watch
        self._on_message = self._watch.on_message
        self._on_step = self._watch.on_step
        self._trace_word = world.trace.words.append
        self._trace_key = index << 40
        self._tags = world.trace.tags
        self._next_request: RequestId = 1
        self._next_save: SaveSeq = 0
        self._drift = world.clock_rates.randint(-world.clock.drift_ppm, world.clock.drift_ppm)
        self._clock = Clock(PAR + self._drift)
        self.wall = WallClock(world.clock_rates.randint(-world.clock.skew_ms, world.clock.skew_ms))
        self._me = config.node_id
        self._backlog = Backlog()
        self._wake_asked: Instant = NEVER
        """When the core wants to be woken, by its own clock; `_wake_wanted` is the same in virtual time."""
        self._wake_pending: Instant = NEVER
        self._wake_wanted: Instant = NEVER
        self._on_wake: EventFunction = self._wake
        self._on_late: EventFunction = self._late
        self.station = Station(index, Endpoint(config.node_id, config.address), self.step, config.mesh)
        self.disk = Disk(world.kernel, self, world.disk_profile)
        self.disk.on_durable = self._durable
        self.executor = Executor(world.kernel, self, world.body, world.hosts)
        self.executor.on_start = self._started
        world.network.attach(self.station)

    def clock(self, now: Instant) -> Instant:
        """What the clock of the present life shows at virtual time `now`."""
        return self._clock.shown(now)

    def drift(self, now: Instant, ppm: int) -> None:
        """Let the clock gain `ppm` millionths more than it does, or lose where that is below 0."""
        self._drift += ppm
        self._clock.run_at(now, max(RATE_MIN, PAR + self._drift))
        self._wake_by_clock(now)

    def leap(self, now: Instant, by: Instant) -> None:
        """Let the clock of the present life step forward by `by`."""
        self._clock.leap(by)
        self._wake_by_clock(now)

    def _wake_by_clock(self, now: Instant) -> None:
        """The clock has changed: work out anew when it comes to what the core has asked for."""
        if self._wake_asked < NEVER:
            self._wake_wanted = self._clock.when(self._wake_asked)
            if self._wake_wanted < self._wake_pending:
                self._arm(now, self._wake_wanted)

    # Life and death.

    @property
    def up(self) -> bool:
        return self.core is not None

    def reconfigure(
        self,
        *,
        seeds: tuple[str, ...] | None = None,
        weight: int | None = None,
        address: str | None = None,
        zone: str | None = None,
        handlers: tuple[HandlerSpec, ...] | None = None,
    ) -> None:
        """Give the node another configuration, from the next boot on."""
        config = self.config
        self.config = replace(
            config,
            seeds=config.seeds if seeds is None else seeds,
            weight=config.weight if weight is None else weight,
            address=config.address if address is None else address,
            zone=config.zone if zone is None else zone,
            handlers=config.handlers if handlers is None else handlers,
        )

    def boot(self, now: Instant) -> None:
        """Build the core from what the disk holds, and wake it for the first time.

        Raises `Damaged`, and leaves the node down, where the disk holds something that cannot be read.
        """
        if self.core is not None:
            raise ValueError(f"{self.name} is running")
        saved = self.world.versions.load(now, self)
        stream = random.Random(f"{self.world.kernel.seed}/{self.name}/{self.boots}")
        self.boots += 1
        self._clock.restart(now, self.world.clock_random.randrange(CLOCK_OFFSET_MAX))
        self._next_save = 0
        self.core = self._live = self.world.core_factory(self.config, saved, stream)
        self.station.up = True
        self.up_since = now
        for listener in self._watch.on_boot:
            listener(now, self)
        self.step(now, WOKE)

    def crash(self, now: Instant) -> None:
        """Lose the core, its bodies, its streams, and what is not durable. Callers learn that they will not learn."""
        if self.core is None:
            raise ValueError(f"{self.name} is down")
        self.core = self._live = None
        self.stopped = False
        for event in self._backlog.take():
            if type(event) is Received:
                self.world.network.lost_on_arrival(now, self.station, event, "down")
        self._wake_pending = self._wake_wanted = self._wake_asked = NEVER
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
        if type(command) is Submit and not command.submitted_unix_ms:
            command = replace(command, submitted_unix_ms=self.wall.unix_ms(now))  # as the daemon does
        request_id = self._next_request
        self._next_request += 1
        self.pending[request_id] = (now, command, on_outcome)
        self.step(now, Request(request_id, command))

    # Stopped and continued.

    def stop(self, now: Instant) -> None:
        """SIGSTOP: handle nothing until `go_on`."""
        if self.core is None or self.stopped:
            raise ValueError(f"{self.name} is not running")
        self.stopped = True
        self._live = None
        self.disk.stop()

    def go_on(self, now: Instant) -> None:
        """SIGCONT: everything that has come meanwhile is handled now, in the order in which it came.

        It is handled here and not by way of the heap, where something else that comes at this very instant may stand
        in front of it: on a stream, what was said later.
        """
        if not self.stopped:
            raise ValueError(f"{self.name} is not stopped")
        self.stopped = False
        self._live = self.core
        for event in self._backlog.take():
            self.step(now, event)
        self.disk.go_on(now)

    def _wait(self, now: Instant, event: Event) -> None:
        why, lost = self._backlog.add(event)
        self.world.network.resets += why == "reset"
        for each in lost:
            self.world.network.lost_on_arrival(now, self.station, each, why)

    def _late(self, now: Instant, event: Event, life: int) -> None:
        """Something from this node to itself, said in its life number `life`."""
        if life == self.boots and self.core is not None:
            self.step(now, event)

    # The driver.

    def step(self, now: Instant, event: Event, _: None = None) -> None:
        """Feed `event` to the core and carry out what comes of it. Nothing happens while the node is down."""
        core = self._live
        if core is None:
            if self.stopped:
                self._wait(now, event)
            else:
                self.world.network.lost_on_arrival(now, self.station, event, "down")
            return
        clock = self._clock
        try:
            effects, wake_at = core.step(clock.origin + (now - clock.since) * clock.rate // PAR, event)
        except Exception as error:
            self._stop_broken(now, event, error)
            return
        message = event.message if type(event) is Received else None
        event_type = type(event) if message is None else type(message)
        word = self._trace_word
        word(now)
        word(self._trace_key | self._tags[event_type] << 8 | len(effects) & 0xFF)
        if effects:
            self._carry_out(now, effects)
        if wake_at is None:
            self._wake_asked = self._wake_wanted = NEVER
        else:
            if wake_at != self._wake_asked:
                self._wake_asked = wake_at
                self._wake_wanted = clock.when(wake_at)
            wanted = self._wake_wanted
            word(wanted)
            if wanted < self._wake_pending:
                self._arm(now, wanted)
        if message is not None:
            every, news = self._on_message.get(event_type, NO_LISTENERS)
            for told in every:
                told(now, self, message)
            if news and message.updates:  # type: ignore[attr-defined]  # all types that `Checker.news` may name have
                for told in news:
                    told(now, self, message)
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
        me = self._me
        word = self._trace_word
        tags = self._tags
        facts = self._watch.facts
        listeners = self._watch.listeners
        for effect in effects:
            if type(effect) is Send:
                if effect.to.node_id == me:
                    self._say_to_self(now, effect)
                else:
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
                if effect.to.node_id == self._me:
                    self._say_to_self(now, effect)
                else:
                    self._send(now, self.station, effect.to, effect.message)
            elif isinstance(effect, Perform):
                self.executor.perform(now, effect)
            elif isinstance(effect, Reply):
                self._reply(now, effect)
            else:
                self._carry_out(now, [effect])

    def _say_to_self(self, now: Instant, effect: Send | Pledge) -> None:
        event = Received(self.station.endpoint, effect.message)
        heappush(self._heap, (now, self._next_sequence(), self._on_late, event, self.boots))

    def _save(self, now: Instant, save: Save) -> None:
        if save.seq <= self._next_save:
            self.violated(now, "saves_are_numbered", f"save {save.seq} after save {self._next_save}")
        self._next_save = save.seq
        for listener in self._watch.on_save:
            listener(now, self, save)
        if save.records or not self.disk.idle:
            self.disk.save(now, save)
            return
        # A barrier with nothing in front of it: all that was said to be durable is, so nobody waits, not even for this
        # step to end. (As the daemon does it.)
        for answered in self._watch.on_saved:
            answered(now, self, save, "")
        self._carry_out_then(now, save.then)
        heappush(self._heap, (now, self._next_sequence(), self._on_late, Saved(save.seq), self.boots))

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

    def say(self, now: Instant, to: Endpoint, message: Message) -> None:
        """Say something that the core did not say: this node lies (`faults/liar.py`)."""
        if self._live is not None:
            self._send(now, self.station, to, message)

    def speak_through(self, send: SendFunction) -> None:
        """Hand what the core says to `send` from now on."""
        self._send = send

    # What the disk and the executor tell.

    def saved(self, now: Instant, save: Save) -> None:
        """`save` is durable: carry out what waited for it, then tell the core."""
        for listener in self._watch.on_saved:
            listener(now, self, save, "")
        self._carry_out_then(now, save.then)
        self.step(now, Saved(save.seq))

    def save_failed(self, now: Instant, save: Save, why: str) -> None:
        """Nothing of `save` is durable: what waited for it is dropped."""
        for listener in self._watch.on_saved:
            listener(now, self, save, why)
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
