"""The streams of a network: in order, never losing bytes silently; they delay, or they reset.

- One stream per (sender, receiver). What arrives on it arrives once and in the order in which it was sent. When it
  resets, everything that has not arrived is gone, and the next message opens a new one. Nothing tells the sender
  (core.py, `Carrier.STREAM`).
- Packet loss shows as retransmission: 200 ms late, 400 ms more, and so on, as long as the draws go against it; past
  `stream_stall_s` of that the stream resets.
- A cut in either direction (acknowledgements need the way back) and a clog in the message's own direction stall a
  stream: messages wait, those that were under way in front. When the way is free they go on, in order: after a
  retransmission delay where it was a cut, at once where it was a clog, for nothing was lost. A stall that lasts longer
  than `stream_stall_s`, or too many messages that wait, reset the stream.
- A crash of either end resets at once. So does a link's `reset`, with a message under way.
- A stream is forgotten while nothing is under way on it; opening one again costs no round trip here.
"""

from __future__ import annotations

from heapq import heappush
from typing import TYPE_CHECKING

from protocols.core import NANOS_PER_MS, NANOS_PER_S, Instant, Received
from sim.kernel import EventFunction
from sim.network.links import Link
from sim.network.pairs import Pairs

if TYPE_CHECKING:
    from sim.network.network import Network
    from sim.network.station import Station

STREAM_UNSENT_MAX = 1024
"""Messages that wait to be sent on a stalled stream; one more resets it, as a full outbox closes its connection."""
RETRANSMIT = 200 * NANOS_PER_MS
"""The usual minimum retransmission timeout; each further one of the same message takes twice as long."""


class Stream:
    """One direction of a connection."""

    __slots__ = ("broken", "key", "last_at", "receiver", "sender", "stalled_at", "under_way", "unsent", "waiting")

    def __init__(self, key: int, sender: Station, receiver: Station) -> None:
        self.key = key
        self.sender = sender
        self.receiver = receiver
        self.last_at: Instant = 0
        self.under_way = 0
        self.waiting: list[Received] = []
        """What was under way when the stall began, as it would have arrived; it goes before what is unsent."""
        self.unsent: list[Received] = []
        """What was sent during the stall."""
        self.stalled_at: Instant = -1
        """Since when messages wait; −1 while they flow."""
        self.broken = False


class Streams:
    """All streams of one network that have something under way or waiting."""

    __slots__ = (
        "_active",
        "_draw",
        "_heap",
        "_kernel",
        "_network",
        "_next_sequence",
        "_on_arrival",
        "_on_break",
        "_on_resume",
        "_on_stall_over",
        "held_up",
    )

    def __init__(self, network: Network) -> None:
        kernel = network.kernel
        self._network = network
        self._kernel = kernel
        self._heap = kernel.heap
        self._next_sequence = kernel.next_sequence
        self._draw = kernel.random("network").random
        self._active: dict[int, Stream] = {}
        self._on_arrival = self._arrival
        self._on_break: EventFunction = self._break
        self._on_stall_over = self._stall_over
        self._on_resume = self._resume
        self.held_up = 0
        """Messages that found their way clogged when they were sent."""

    def __len__(self) -> int:
        return len(self._active)

    def send(self, now: Instant, sender: Station, receiver: Station, event: Received) -> None:
        """Carry `event` on the stream from `sender` to `receiver`, opening one where there is none."""
        if not receiver.up:
            self._network.lost(now, sender, receiver, event.message, "refused")
            return
        key = sender.index * len(self._network.stations) + receiver.index
        stream = self._active.get(key)
        if stream is None:
            stream = self._active[key] = Stream(key, sender, receiver)
        if stream.stalled_at >= 0 or stalls(stream):
            self._stall(now, stream)
            self.held_up += sender.is_clogged(receiver)
            self._waits(now, stream, event)
            stream.unsent.append(event)
            if len(stream.unsent) > STREAM_UNSENT_MAX:
                self._reset(stream)
        else:
            self._put_under_way(now, stream, event)

    def _put_under_way(self, now: Instant, stream: Stream, event: Received) -> None:
        network = self._network
        sender = stream.sender
        link = network.everywhere if sender.links is None else sender.links[stream.receiver.index]
        if link.plain:
            at = now + link.latency_min + int(self._draw() * link.latency_span)
            breaks = False
        else:
            delay, breaks = self._befalls(link)
            at = now + delay
        if at < stream.last_at:
            at = stream.last_at
        stream.last_at = at
        stream.under_way += 1
        if network.observer is not None:
            network.observer(now, sender.index, stream.receiver.index, event.message, at, "")
        if breaks:
            # At the same instant and before the message, which so arrives on a broken stream, as all behind it does.
            heappush(self._heap, (at, self._next_sequence(), self._on_break, stream, None))
        heappush(self._heap, (at, self._next_sequence(), self._on_arrival, stream, event))

    def _befalls(self, link: Link) -> tuple[Instant, bool]:
        """Draw what befalls a message: how long it takes, and whether the stream breaks with it under way."""
        draw = self._draw
        delay = link.delay(draw())
        if link.loss:
            retransmit = RETRANSMIT
            while draw() < link.loss:
                delay += retransmit
                retransmit *= 2
                if delay > link.stall_max:
                    return link.stall_max, True
        return delay, bool(link.reset and draw() < link.reset)

    def _arrival(self, now: Instant, stream: Stream, event: Received) -> None:
        stream.under_way -= 1
        if stream.broken:
            self._network.lost(now, stream.sender, stream.receiver, event.message, "reset")
        elif stream.stalled_at >= 0 or stalls(stream):
            self._stall(now, stream)
            self._waits(now, stream, event)
            stream.waiting.append(event)
        else:
            if not stream.under_way:
                del self._active[stream.key]
            stream.receiver.on_event(now, event, None)

    def _waits(self, now: Instant, stream: Stream, event: Received) -> None:
        if self._network.observer is not None:
            self._network.observer(now, stream.sender.index, stream.receiver.index, event.message, -1, "")

    # Stalls.

    def _stall(self, now: Instant, stream: Stream) -> None:
        if stream.stalled_at < 0:
            stream.stalled_at = now
            bound = self._network.link_between(stream.sender, stream.receiver).stall_max
            self._kernel.push(now + bound, self._on_stall_over, stream, now)

    def _stall_over(self, now: Instant, stream: Stream, stalled_at: Instant) -> None:
        if stream.stalled_at == stalled_at:
            self._break(now, stream, None)

    def way_is_free(self, now: Instant, *, lost: bool) -> None:
        """A cut or a clog has ended. `lost`: what waited must be sent again, and its senders have backed off."""
        for stream in self._active.values():
            if stream.stalled_at >= 0 and not stalls(stream):
                backoff = int(self._draw() * min(now - stream.stalled_at, NANOS_PER_S)) if lost else 0
                self._kernel.push(now + backoff, self._on_resume, stream, stream.stalled_at)

    def _resume(self, now: Instant, stream: Stream, stalled_at: Instant) -> None:
        if stream.broken or stream.stalled_at != stalled_at or stalls(stream):
            return
        if stream.under_way:
            # What was sent before the stall is still to arrive and joins what waits; only then is the order whole.
            self._kernel.push(max(now, stream.last_at), self._on_resume, stream, stalled_at)
            return
        stream.stalled_at = -1
        events = (*stream.waiting, *stream.unsent)
        stream.waiting.clear()
        stream.unsent.clear()
        for event in events:
            self._put_under_way(now, stream, event)

    # Resets.

    def _break(self, now: Instant, stream: Stream, _: None) -> None:
        if not stream.broken:
            self._reset(stream)

    def _reset(self, stream: Stream) -> None:
        """Lose all that has not arrived; the next send opens a new stream."""
        stream.broken = True
        self._network.resets += 1
        for event in (*stream.waiting, *stream.unsent):
            self._network.lost(self._kernel.now, stream.sender, stream.receiver, event.message, "reset")
        stream.waiting.clear()
        stream.unsent.clear()
        del self._active[stream.key]

    def reset(self, pairs: Pairs) -> None:
        """Break every stream of `pairs` that has something under way or waiting."""
        for stream in list(self._active.values()):
            if (stream.sender.index, stream.receiver.index) in pairs:
                self._reset(stream)

    def went_down(self, station: Station) -> None:
        """The node at `station` has crashed: its streams reset, in both directions."""
        for stream in [s for s in self._active.values() if s.sender is station or s.receiver is station]:
            self._reset(stream)


def stalls(stream: Stream) -> bool:
    """Whether nothing can pass on `stream` now: a cut either way, or a clog on the way there."""
    there = stream.sender.barred
    if there is not None and there[stream.receiver.index]:
        return True
    back = stream.receiver.blocked
    return back is not None and back[stream.sender.index] != 0
