"""A tiny deterministic world for tests of the node core: virtual time, a network, disks and bodies, each with knobs.

It is a driver in the sense of `protocols.core` and keeps every rule of it; it also checks that the core keeps its own:
no bare promise, save numbers grow, each request is answered once, no step asks to be woken for ever at one instant.
Every message goes through the codec and must fit its carrier, every record goes through the codec on a restart.
Not the simulator: no faults by itself, no statistics. A test turns a knob and looks.
"""

from __future__ import annotations

import hashlib
import heapq
from base64 import b32encode
from collections.abc import Callable
from random import Random
from typing import TypeVar

from protocols.config import HandlerSpec, NodeConfig, SwimConfig, TaskConfig
from protocols.core import (
    NANOS_PER_MS,
    NANOS_PER_S,
    Carrier,
    Command,
    Effect,
    Endpoint,
    Event,
    Fact,
    Instant,
    Message,
    NodeId,
    Notify,
    Outcome,
    Perform,
    Performed,
    Pledge,
    Put,
    Received,
    Record,
    Reply,
    Request,
    Save,
    Saved,
    SaveFailed,
    Send,
    Then,
    Woke,
)
from protocols.limits import FRAME_BYTES_MAX, PACKET_BYTES_MAX
from protocols.membership.member import Accusation, Alive, Member, Profile, State, Update, precedence_of
from protocols.membership.messages import Ack, Gossip, Ping
from protocols.node import Node
from protocols.tasks.task import BodyEnded, BodyStatus, RunBody, StopBody, Stopped
from protocols.tools import ListLocalTools, LocalTools, ToolInfo
from protocols.wire import decode_message, decode_stored, encode_message, encode_stored
from tests.protocols.signing_kit import Stamp

SEAL_BYTES = 80
"""What sealing a datagram may add to the encoded message."""
WAKES_AT_ONE_INSTANT_MAX = 100

FactT = TypeVar("FactT", bound=Fact)
MessageT = TypeVar("MessageT", bound=Message)


def id_of(name: str) -> NodeId:
    """A node id that looks real: 26 lower-case base32 characters."""
    return b32encode(hashlib.sha256(name.encode()).digest()[:17]).decode().lower()[:26]


def address_of(name: str) -> str:
    return f"{name}.test:7000"


def endpoint_of(name: str) -> Endpoint:
    return Endpoint(id_of(name), address_of(name))


def config_of(
    name: str,
    *,
    seeds: tuple[str, ...] = (),
    handlers: tuple[HandlerSpec, ...] = (HandlerSpec("work", 4),),
    swim: SwimConfig | None = None,
    tasks: TaskConfig | None = None,
    called: str = "",
) -> NodeConfig:
    """A node's config; `seeds` are names of nodes, `called` is what it announces as its name."""
    return NodeConfig(
        node_id=id_of(name),
        name=called or name,
        mesh="test",
        address=address_of(name),
        seeds=tuple(address_of(seed) for seed in seeds),
        handlers=handlers,
        swim=swim or SwimConfig(),
        tasks=tasks or TaskConfig(),
        signer=Stamp(id_of(name)),
    )


def alive(name: str, generation: int = 1, incarnation: int = 0, *, called: str = "", at: str = "") -> Alive:
    """What node `name` announces, as the harness configures it."""
    profile = Profile(called or name, at or address_of(name), ("work",), version="0.1.0")
    return Alive(id_of(name), precedence_of(generation, incarnation, State.ALIVE), profile)


def accuse(name: str, state: State, generation: int = 1, incarnation: int = 0, *, by: str = "z") -> Accusation:
    """What `by` says of node `name`."""
    return Accusation(id_of(name), precedence_of(generation, incarnation, state), id_of(by))


def finish_well(action: RunBody) -> BodyEnded:
    return BodyEnded(BodyStatus.OK, f'"{action.handler} of {action.payload}"', "", 1)


class Host:
    """One machine: a disk that survives, and a core while it is up.

    Knobs: `hold_saves` (they wait for `release_saves`), `disk_error` (saves fail with it), `hold_bodies` (they end by
    `end_body`), `body` and `body_takes`, `tools` (None: never lists them). Records: `said`, `facts`, `outcomes`.
    """

    def __init__(self, world: World, config: NodeConfig) -> None:
        self.world = world
        self.config = config
        self.name = config.address.partition(".")[0]
        self.endpoint = Endpoint(config.node_id, config.address)
        self.core: Node | None = None
        self.disk: dict[str, bytes] = {}
        self.lives = 0
        self.checked = True
        """Whether the core's invariants are checked after every step: off where a test makes thousands of tasks."""
        self.hold_saves = False
        self.disk_error = ""
        self.save_takes = 1 * NANOS_PER_MS
        self.hold_bodies = False
        self.body: Callable[[RunBody], BodyEnded] = finish_well
        self.body_takes = 5 * NANOS_PER_MS
        self.tools: tuple[ToolInfo, ...] | None = ()
        self.said: list[tuple[Endpoint, Message]] = []
        self.facts: list[Fact] = []
        self.outcomes: dict[int, Outcome] = {}
        self.starts: list[RunBody] = []
        self.running: dict[int, RunBody] = {}
        self.commands: dict[int, Command] = {}
        self._saves: list[Save] = []
        self._committing = False
        self._last_seq = 0
        self._next_request = 1
        self._next_wake: Instant | None = None
        self._unread: list[Event] | None = None
        self._instant = -1
        self._wakes_at_instant = 0

    # Life.

    @property
    def node(self) -> Node:
        assert self.core is not None, f"{self.name} is down"
        return self.core

    def start(self) -> Host:
        assert self.core is None
        saved = [Put(key, decode_stored(data)) for key, data in self.disk.items()]
        self.lives += 1
        self.core = Node(self.config, saved, Random(f"{self.world.seed}/{self.name}/{self.lives}"))
        self._last_seq = 0
        self.feed(Woke())
        return self

    def crash(self, *, unsaved_survives: bool = False) -> None:
        """Lose everything but the disk; open requests are never answered.

        `unsaved_survives`: what was handed to the disk reached it after all, and nobody was told.
        """
        for save in self._saves if unsaved_survives else ():
            self._make_durable(save)
        self.core = None
        self._saves = []
        self._committing = False
        self._next_wake = None
        self.running = {}
        for request_id in self.commands.keys() - self.outcomes.keys():
            del self.commands[request_id]

    def stop(self) -> None:
        """SIGSTOP: nothing is handled until `go_on`; what comes meanwhile waits, a timer that is due included."""
        self._unread = []

    def go_on(self) -> None:
        """SIGCONT: all that has come is handled now, in the order in which it came."""
        unread, self._unread = self._unread or [], None
        for event in unread:
            self.feed(event)

    def restart(self) -> Host:
        self.crash()
        return self.start()

    def sleep(self, seconds: float) -> None:
        """Be frozen while the others go on; what is said to it meanwhile is lost. Then its timers are due."""
        frozen, self.core = self.node, None
        self.world.run(seconds)
        self.core = frozen
        self.feed(Woke())

    # The driver.

    def feed(self, event: Event) -> None:
        """One step of the core, and everything that it asks for."""
        if self._unread is not None:
            self._unread.append(event)
            return
        now = self.world.now
        if now != self._instant:
            self._instant, self._wakes_at_instant = now, 0
        if isinstance(event, Woke):
            self._wakes_at_instant += 1
            assert self._wakes_at_instant < WAKES_AT_ONE_INSTANT_MAX, f"{self.name} spins: time does not move on"
        node = self.node
        effects, wake_at = node.step(now, event)
        if self.checked:
            node.check()
        for effect in effects:
            self._carry_out(effect)
        if wake_at is not None and wake_at != self._next_wake:
            self.world.at(max(now, wake_at), lambda: self._wake(node, wake_at))
        self._next_wake = wake_at

    def _wake(self, node: Node, wake_at: Instant) -> None:
        if self.core is node and self._next_wake == wake_at:
            self._next_wake = None
            self.feed(Woke())

    def _carry_out(self, effect: Effect | Then, *, durable: bool = False) -> None:
        match effect:
            case Pledge():
                assert durable, f"a promise was said before it was durable: {effect}"
                self._say(effect.to, effect.message)
            case Send():
                self._say(effect.to, effect.message)
            case Save():
                assert effect.seq > self._last_seq, "save numbers must grow"
                self._last_seq = effect.seq
                self._saves.append(effect)
                self._commit_soon()
            case Reply():
                assert effect.request_id in self.commands, f"nobody asked {effect.request_id}"
                assert effect.request_id not in self.outcomes, f"request {effect.request_id} was answered twice"
                self.outcomes[effect.request_id] = effect.outcome
            case Notify():
                self.facts.append(effect.fact)
            case Perform():
                self._perform(effect)

    def _say(self, to: Endpoint, message: Message) -> None:
        self.said.append((to, message))
        self.world.on_said(self, message)
        data = encode_message(message)
        room = PACKET_BYTES_MAX - SEAL_BYTES if message.carrier is Carrier.DATAGRAM else FRAME_BYTES_MAX
        assert len(data) <= room, f"{type(message).__name__} of {len(data)} bytes does not fit its carrier"
        self.world.carry(self, to, data, message.carrier)

    # The disk.

    def _commit_soon(self) -> None:
        if self._saves and not self._committing and not self.hold_saves:
            self._committing = True
            node = self.node
            self.world.after(self.save_takes, lambda: self._commit(node))

    def _commit(self, node: Node) -> None:
        if self.core is not node:
            return
        batch, self._saves = self._saves, []
        for save in batch:
            if self.disk_error:
                self.feed(SaveFailed(save.seq, self.disk_error))
            else:
                self._make_durable(save)
                for effect in save.then:
                    self._carry_out(effect, durable=True)
                self.feed(Saved(save.seq))
            if self.core is not node:
                return
        self._committing = False
        self._commit_soon()

    def _make_durable(self, save: Save) -> None:
        for record in save.records:
            self.world.on_durable(self, record)
            if isinstance(record, Put):
                self.disk[record.key] = encode_stored(record.value)
            else:
                self.disk.pop(record.key, None)

    def release_saves(self) -> None:
        self.hold_saves = False
        self._commit_soon()

    def stored(self, key: str) -> object:
        """What is durable under `key`, or None."""
        data = self.disk.get(key)
        return None if data is None else decode_stored(data)

    # Bodies and tools.

    def _perform(self, perform: Perform) -> None:
        node = self.node
        match perform.action:
            case RunBody() as body:
                assert perform.id not in self.running
                self.starts.append(body)
                self.running[perform.id] = body
                if not self.hold_bodies:
                    self.world.after(self.body_takes, lambda: self._body_over(node, perform.id, self.body(body)))
            case StopBody() as stop:
                stopped = BodyEnded(BodyStatus.CANCELLED, detail="stopped")
                self.world.after(NANOS_PER_MS, lambda: self._body_over(node, stop.run, stopped))
                self.world.after(NANOS_PER_MS, lambda: self._performed(node, Performed(perform.id, Stopped())))
            case ListLocalTools() as listing:
                if self.tools is not None:
                    found = LocalTools(self.tools[: listing.query.limit], len(self.tools))
                    self.world.after(NANOS_PER_MS, lambda: self._performed(node, Performed(perform.id, found)))
            case _:
                raise AssertionError(f"no driver does {perform.action}")

    def _body_over(self, node: Node, perform_id: int, ended: BodyEnded) -> None:
        if self.core is node and self.running.pop(perform_id, None) is not None:
            self.feed(Performed(perform_id, ended))

    def _performed(self, node: Node, event: Performed) -> None:
        if self.core is node:
            self.feed(event)

    def end_body(self, ended: BodyEnded | None = None, *, task_id: str = "") -> RunBody:
        """End a body that is held: the oldest one, or that of `task_id`."""
        for perform_id, action in self.running.items():
            if task_id in ("", action.task_id):
                self._body_over(self.node, perform_id, ended or self.body(action))
                return action
        raise AssertionError(f"{self.name} runs no such body")

    # What a test does and sees.

    def request(self, command: Command) -> int:
        request_id = self._next_request
        self._next_request += 1
        self.commands[request_id] = command
        self.feed(Request(request_id, command))
        return request_id

    def ask(self, command: Command, within_s: float = 30) -> Outcome:
        """The outcome of `command`, letting time pass until it is there."""
        request_id = self.request(command)
        self.world.run_until(lambda: request_id in self.outcomes, within_s)
        return self.outcomes[request_id]

    def hears(self, sender: Endpoint, message: Message) -> None:
        """`message` arrives from anybody, known to the world or not."""
        self.feed(Received(sender, decode_message(encode_message(message))))

    def row(self, name: str) -> Member | None:
        return self.node.swim.table.get(id_of(name))

    def sees(self, name: str) -> State | None:
        row = self.row(name)
        return None if row is None else row.state

    def facts_of(self, kind: type[FactT]) -> list[FactT]:
        return [fact for fact in self.facts if isinstance(fact, kind)]

    def said_of(self, kind: type[MessageT], to: str = "") -> list[MessageT]:
        """Messages of one type that this host has said, to anybody or to one node."""
        return [m for endpoint, m in self.said if isinstance(m, kind) and to in ("", endpoint.address.split(".")[0])]

    def told(self, about: str = "") -> list[Update]:
        """Every piece of news that this host has sent in a packet: all of it, or about one node."""
        return [update for _, update in self.told_to() if about == "" or update.node_id == id_of(about)]

    def told_to(self) -> list[tuple[Endpoint, Update]]:
        """Every piece of news that this host has sent in a packet, each with whom it was sent to."""
        return [
            (to, update)
            for to, message in self.said
            if isinstance(message, Ping | Ack | Gossip)
            for update in message.updates
        ]

    def hush(self) -> None:
        """Forget what was said so far."""
        self.said.clear()
        self.facts.clear()


class World:
    """Virtual time and the network. Knobs: `latency`, `jitter`, `loss` and `copies` (probabilities), `lets_through`."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.now: Instant = 1_000 * NANOS_PER_S
        self.random = Random(f"world/{seed}")
        self.hosts: dict[str, Host] = {}
        self.latency = 1 * NANOS_PER_MS
        self.jitter = 0
        self.loss = 0.0
        self.copies = 0.0
        self.lets_through: Callable[[Host, Host, Message], bool] = lambda source, target, message: True
        self.on_said: Callable[[Host, Message], None] = lambda host, message: None
        """Told of all that is said."""
        self.on_durable: Callable[[Host, Record], None] = lambda host, record: None
        """Told of every record that becomes durable, before it replaces what was there."""
        self._sides: dict[str, int] = {}
        self._agenda: list[tuple[Instant, int, Callable[[], None]]] = []
        self._order = 0
        self._last_arrival: dict[tuple[str, str], Instant] = {}

    # Hosts.

    def add(self, name: str, config: NodeConfig | None = None) -> Host:
        """A host that is not started yet."""
        host = Host(self, config or config_of(name))
        self.hosts[name] = host
        return host

    def mesh(
        self, *names: str, swim: SwimConfig | None = None, tasks: TaskConfig | None = None, settle_s: float = 5
    ) -> list[Host]:
        """Started hosts that all know each other; the first is the seed of the others."""
        seeds = names[:1]
        hosts = [self.add(name, config_of(name, seeds=seeds, swim=swim, tasks=tasks)) for name in names]
        for host in hosts:
            host.start()
        self.run_until(lambda: all(host.sees(name) is State.ALIVE for host in hosts for name in names))
        self.run(settle_s)
        return hosts

    # Time.

    def at(self, when: Instant, what: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._agenda, (when, self._order, what))

    def after(self, delay: Instant, what: Callable[[], None]) -> None:
        self.at(self.now + delay, what)

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        end = self.now + int(seconds * NANOS_PER_S)
        while self._agenda and self._agenda[0][0] <= end:
            self._next()
        self.now = end

    def run_until(self, condition: Callable[[], bool], within_s: float = 60) -> None:
        """Let virtual time pass until `condition` holds; fails when it does not within the time."""
        end = self.now + int(within_s * NANOS_PER_S)
        while not condition():
            due = self._agenda[0][0] if self._agenda else end + 1
            assert due <= end, f"it did not come about within {within_s} s"
            self._next()

    def _next(self) -> None:
        self.now, _, what = heapq.heappop(self._agenda)
        what()

    # The network.

    def split(self, *sides: tuple[str, ...]) -> None:
        """Let only the hosts of one side reach each other; hosts that are not named are alone."""
        self._sides = {name: number for number, side in enumerate(sides, 1) for name in side}
        for number, name in enumerate(self.hosts.keys() - self._sides.keys()):
            self._sides[name] = -1 - number

    def heal(self) -> None:
        self._sides = {}

    def carry(self, source: Host, to: Endpoint, data: bytes, carrier: Carrier) -> None:
        """Deliver, lose or copy one message. Streams keep their order and lose only by a reset."""
        target = self.hosts.get(to.address.partition(".")[0])
        if target is None or (to.node_id and to.node_id != target.config.node_id):
            return
        if target is source:
            self.after(0, lambda: self._deliver(source, target, data))
            return
        if self._sides and self._sides.get(source.name) != self._sides.get(target.name):
            return
        copies = 2 if carrier is Carrier.DATAGRAM and self.random.random() < self.copies else 1
        for _ in range(copies):
            if self.random.random() < self.loss:
                continue
            arrival = self.now + self.latency + int(self.random.random() * self.jitter)
            if carrier is Carrier.STREAM:
                pair = (source.name, target.name)
                arrival = self._last_arrival[pair] = max(arrival, self._last_arrival.get(pair, 0))
            self.at(arrival, lambda: self._deliver(source, target, data))

    def _deliver(self, source: Host, target: Host, data: bytes) -> None:
        message = decode_message(data)
        if target.core is not None and self.lets_through(source, target, message):
            target.feed(Received(source.endpoint, message))
