"""The network: datagrams that may be lost, doubled or reordered, and streams that delay or reset (DESIGN 10).

- A node is reached by address. A message for a named node that is not the one at the address goes nowhere: TLS and the
  packet seal would refuse it. A message without a name goes to whoever is there.
- Datagrams: a cut link, or the loss rate, loses them at the sender. What is under way when a cut begins still arrives.
  Whoever is at the address on arrival gets it, be it a new life of the node; nobody there loses it.
- Streams: one per (sender, receiver), in order, never losing bytes silently. Packet loss shows as a retransmission
  delay. A cut in either direction (acknowledgements need the way back) stalls a stream: messages wait. When the cut
  heals they go on, in order, after a retransmission delay; when it lasts longer than `stream_stall_s` the stream resets
  and what waited is lost. A crash of either end resets at once. Nothing tells the sender (core.py, `Carrier.STREAM`).
- A stream is forgotten while nothing is under way on it; opening one again costs no round trip here.

Cuts are kept as one row of bytes per sender (1: cannot reach that receiver), rebuilt only when a cut begins or ends; a
send then costs one look-up, and senders on the same side of everything share a row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappush
from typing import TypeAlias

from msgspec import Struct

from protocols.core import NANOS_PER_MS, NANOS_PER_S, Carrier, Endpoint, Instant, Message, Received
from sim.counter import Counter
from sim.errors import ScenarioError
from sim.kernel import EventFunction, Kernel

STREAM = Carrier.STREAM
STREAM_UNSENT_MAX = 1024
"""Messages that wait to be sent on a stalled stream; one more resets it, as a full outbox closes its connection."""
SAMPLE_MASK = 255


class LinkProfile(Struct, frozen=True, forbid_unknown_fields=True):
    """How every link behaves. Latency is one way and uniform between the two bounds (a quiet LAN by default)."""

    latency_ms_min: float = 0.2
    latency_ms_max: float = 2.0
    loss: float = 0.0
    """Probability that a datagram is lost; a stream message is then 200 ms late instead (the usual minimum RTO)."""
    duplicate: float = 0.0
    """Probability that a datagram arrives a second time."""
    reorder: float = 0.0
    """Probability that a datagram is held up by up to `reorder_ms` more, letting later ones overtake it."""
    reorder_ms: float = 50.0
    stream_stall_s: float = 15.0
    """How long a stream may stall before it resets."""

    def check(self) -> None:
        """Raise `ScenarioError` for the first thing that is wrong."""
        for name in ("loss", "duplicate", "reorder"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ScenarioError(f"{name} {value:g}: it is a probability, 0 to 1. For 5 % write 0.05.")
        if not 0 <= self.latency_ms_min <= self.latency_ms_max:
            raise ScenarioError("The latency must be at least 0 ms, and its minimum no more than its maximum.")


class Station:
    """What the network knows of a node: its address, who it is, and where to hand what arrives."""

    __slots__ = ("address", "blocked", "endpoint", "index", "node_id", "on_event", "up")

    def __init__(self, index: int, endpoint: Endpoint, on_event: EventFunction) -> None:
        self.index = index
        self.endpoint = endpoint
        self.node_id = endpoint.node_id
        self.address = endpoint.address
        self.on_event = on_event
        self.up = False
        self.blocked: bytes | None = None
        """Row of the receivers that this node cannot reach, by index; None while no cut is in force."""


class Cut:
    """A partition in force. `labels[i]` is the side of node i; packets between different sides are lost.

    With `one_way`, only packets from side 1 to any other side are. Side −1 reaches, and is reached by, everyone.
    """

    __slots__ = ("labels", "one_way")

    def __init__(self, labels: Sequence[int], one_way: bool = False) -> None:
        self.labels = tuple(labels)
        self.one_way = one_way

    def row(self, sender: int) -> bytes:
        """One byte per receiver: 1 where `sender` cannot reach it."""
        side = self.labels[sender]
        if side == -1 or (self.one_way and side != 1):
            return bytes(len(self.labels))
        return bytes(label not in (side, -1) for label in self.labels)


class Stream:
    """One direction of a connection."""

    __slots__ = ("broken", "key", "last_at", "receiver", "sender", "stalled_at", "under_way", "unsent", "waiting")

    def __init__(self, key: int, sender: Station, receiver: Station) -> None:
        self.key = key
        self.sender = sender
        self.receiver = receiver
        self.last_at: Instant = 0
        self.under_way = 0
        self.waiting: deque[Received] = deque()
        """What was under way when the stall began, as it would have arrived; it goes before what is unsent."""
        self.unsent: deque[Received] = deque()
        """What was sent during the stall."""
        self.stalled_at: Instant = -1
        """Since when messages wait; −1 while they flow."""
        self.broken = False


MessageObserver: TypeAlias = Callable[[Instant, int, int, Message, Instant, str], None]
"""(now, sender, receiver or −1, message, arrival or −1, why it is lost or empty). Told when a datagram is sent, when a
stream message gets under way, and again, with the same message, of one that a reset loses under way."""


class Network:
    """Carries messages between the stations of one run. `sent` counts by message type, `drops` by reason."""

    def __init__(self, kernel: Kernel, link: LinkProfile) -> None:
        self._kernel = kernel
        self._heap = kernel.heap
        self._next_sequence = kernel.next_sequence
        self._draw = kernel.random("network").random
        self.stations: list[Station] = []
        self._by_address: dict[str, Station] = {}
        self._streams: dict[int, Stream] = {}
        self._cuts: list[Cut] = []
        self._on_stream_arrival = self._stream_arrival
        self._on_stall_over = self._stall_over
        self._on_resume = self._resume
        self.on_sample: Callable[[Instant, Message], None] = _nothing
        """Shown the first message of every type, and one in `SAMPLE_MASK + 1` after that, as it is sent."""
        self.observer: MessageObserver | None = None
        """Shown every message with its fate, where somebody records the run."""
        self.sent = Counter()
        self.drops = Counter()
        self.resets = 0
        self.duplicated = 0
        self.reordered = 0
        self.set_link(link)

    def set_link(self, link: LinkProfile) -> None:
        """Let every link behave like `link` from now on."""
        self.link = link
        self._latency_min = int(link.latency_ms_min * NANOS_PER_MS)
        self._latency_span = int((link.latency_ms_max - link.latency_ms_min) * NANOS_PER_MS)
        self._reorder_span = int(link.reorder_ms * NANOS_PER_MS)
        self._stall_max = int(link.stream_stall_s * NANOS_PER_S)
        self._imperfect = bool(link.loss or link.duplicate or link.reorder)

    def attach(self, station: Station) -> None:
        """Put a station at its address. Raises `ValueError` when somebody is there."""
        if station.address in self._by_address:
            raise ValueError(f"two nodes at {station.address}")
        if station.index != len(self.stations):
            raise ValueError(f"node {station.index} attached as number {len(self.stations)}")
        self.stations.append(station)
        self._by_address[station.address] = station

    # Sending.

    def send(self, now: Instant, sender: Station, to: Endpoint, message: Message) -> None:
        """Carry `message` to whoever is at `to`, by the carrier that its type declares."""
        sent = self.sent
        kind = type(message)
        count = sent[kind] = sent[kind] + 1
        if count & SAMPLE_MASK == 1:
            self.on_sample(now, message)
        receiver = self._by_address.get(to.address)
        if receiver is None or (to.node_id and to.node_id != receiver.node_id):
            self._lost(now, sender, receiver, message, "nobody_there")
            return
        if message.carrier is STREAM:
            self._send_on_stream(now, sender, receiver, Received(sender.endpoint, message))
            return
        blocked = sender.blocked
        if blocked is not None and blocked[receiver.index]:
            self._lost(now, sender, receiver, message, "cut")
            return
        at = now + self._latency_min + int(self._draw() * self._latency_span)
        event = Received(sender.endpoint, message)
        if self._imperfect:
            extra = self._mishap(now, receiver, event)
            if extra < 0:
                self._lost(now, sender, receiver, message, "loss")
                return
            at += extra
        if self.observer is not None:
            self.observer(now, sender.index, receiver.index, message, at, "")
        heappush(self._heap, (at, self._next_sequence(), receiver.on_event, event, None))

    def _lost(self, now: Instant, sender: Station, receiver: Station | None, message: Message, why: str) -> None:
        self.drops[why] += 1
        if self.observer is not None:
            self.observer(now, sender.index, -1 if receiver is None else receiver.index, message, -1, why)

    def _mishap(self, now: Instant, receiver: Station, event: Received) -> Instant:
        """Draw what befalls a datagram: −1 when it is lost, else by how much it is late. Doubles it, too."""
        link = self.link
        draw = self._draw
        if link.loss and draw() < link.loss:
            return -1
        if link.duplicate and draw() < link.duplicate:
            self.duplicated += 1
            again = now + self._latency_min + int(draw() * (self._latency_span + self._reorder_span))
            heappush(self._heap, (again, self._next_sequence(), receiver.on_event, event, None))
        if link.reorder and draw() < link.reorder:
            self.reordered += 1
            return int(draw() * self._reorder_span)
        return 0

    # Streams.

    def _send_on_stream(self, now: Instant, sender: Station, receiver: Station, event: Received) -> None:
        if not receiver.up:
            self._lost(now, sender, receiver, event.message, "refused")
            return
        key = sender.index * len(self.stations) + receiver.index
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = Stream(key, sender, receiver)
        if stream.stalled_at >= 0 or self._stalls(stream):
            self._stall(now, stream)
            stream.unsent.append(event)
            if len(stream.unsent) > STREAM_UNSENT_MAX:
                self._reset(stream)
        else:
            self._put_under_way(now, stream, event)

    def _put_under_way(self, now: Instant, stream: Stream, event: Received) -> None:
        delay = self._latency_min + int(self._draw() * self._latency_span)
        if self.link.loss and self._draw() < self.link.loss:
            delay += 200 * NANOS_PER_MS
        at = max(now + delay, stream.last_at)
        stream.last_at = at
        stream.under_way += 1
        if self.observer is not None:
            self.observer(now, stream.sender.index, stream.receiver.index, event.message, at, "")
        heappush(self._heap, (at, self._next_sequence(), self._on_stream_arrival, stream, event))

    def _stalls(self, stream: Stream) -> bool:
        there = stream.sender.blocked
        back = stream.receiver.blocked
        if there is None or back is None:
            return False
        return bool(there[stream.receiver.index] or back[stream.sender.index])

    def _stall(self, now: Instant, stream: Stream) -> None:
        if stream.stalled_at < 0:
            stream.stalled_at = now
            self._kernel.push(now + self._stall_max, self._on_stall_over, stream, now)

    def _stream_arrival(self, now: Instant, stream: Stream, event: Received) -> None:
        stream.under_way -= 1
        if stream.broken:
            self._lost(now, stream.sender, stream.receiver, event.message, "reset")
        elif stream.stalled_at >= 0 or self._stalls(stream):
            self._stall(now, stream)
            stream.waiting.append(event)
        else:
            if not stream.under_way:
                del self._streams[stream.key]
            stream.receiver.on_event(now, event, None)

    def _stall_over(self, now: Instant, stream: Stream, stalled_at: Instant) -> None:
        if stream.stalled_at == stalled_at and not stream.broken:
            self._reset(stream)

    def _reset(self, stream: Stream) -> None:
        """Lose all that has not arrived; the next send opens a new stream."""
        stream.broken = True
        self.resets += 1
        for event in (*stream.waiting, *stream.unsent):
            self._lost(self._kernel.now, stream.sender, stream.receiver, event.message, "reset")
        stream.waiting.clear()
        stream.unsent.clear()
        del self._streams[stream.key]

    def _resume(self, now: Instant, stream: Stream, stalled_at: Instant) -> None:
        if stream.broken or stream.stalled_at != stalled_at or self._stalls(stream):
            return
        if stream.under_way:
            # What was sent before the cut is still to arrive and joins what waits; only then is the order whole.
            self._kernel.push(max(now, stream.last_at), self._on_resume, stream, stalled_at)
            return
        stream.stalled_at = -1
        events = (*stream.waiting, *stream.unsent)
        stream.waiting.clear()
        stream.unsent.clear()
        for event in events:
            self._put_under_way(now, stream, event)

    # Cuts and crashes.

    def cut(self, cut: Cut) -> None:
        """Put `cut` in force. Several may be; a packet must pass all of them."""
        if len(cut.labels) != len(self.stations):
            raise ValueError(f"a cut of {len(cut.labels)} nodes in a network of {len(self.stations)}")
        self._cuts.append(cut)
        self._rebuild_rows()

    def heal(self, now: Instant, cut: Cut) -> None:
        """End `cut`. Streams that stalled go on after a retransmission delay of up to a second."""
        self._cuts.remove(cut)
        self._rebuild_rows()
        for stream in self._streams.values():
            if stream.stalled_at >= 0 and not self._stalls(stream):
                backoff = int(self._draw() * min(now - stream.stalled_at, NANOS_PER_S))
                self._kernel.push(now + backoff, self._on_resume, stream, stream.stalled_at)

    @property
    def whole(self) -> bool:
        """No cut is in force."""
        return not self._cuts

    def reachable(self, sender: int, receiver: int) -> bool:
        """Whether a packet from node `sender` could get to node `receiver` now, loss aside."""
        row = self.stations[sender].blocked
        return row is None or not row[receiver]

    def _rebuild_rows(self) -> None:
        if not self._cuts:
            for station in self.stations:
                station.blocked = None
            return
        shared: dict[tuple[int, ...], bytes] = {}
        for station in self.stations:
            sides = tuple(cut.labels[station.index] for cut in self._cuts)
            row = shared.get(sides)
            if row is None:
                blocked = 0
                for cut in self._cuts:
                    blocked |= int.from_bytes(cut.row(station.index), "little")
                row = shared[sides] = blocked.to_bytes(len(self.stations), "little")
            station.blocked = row

    def went_down(self, station: Station) -> None:
        """The node at `station` has crashed: its streams reset, in both directions."""
        station.up = False
        for stream in [s for s in self._streams.values() if s.sender is station or s.receiver is station]:
            self._reset(stream)

    @property
    def streams_active(self) -> int:
        """Streams with something under way or waiting."""
        return len(self._streams)


def _nothing(now: Instant, message: Message) -> None:
    return None
