"""What the operating system keeps for a process that is stopped: its sockets, and what its timers and bodies did.

- Datagrams share one socket buffer. When it is full the newest is dropped, as a kernel does.
- Messages on a stream are acknowledged by the kernel and wait in order. When no window is left the sender's outbox
  fills up behind it, and the sender gives the connection up: all that waits of it is gone.
- Everything else (a timer that has come due, a body that has ended, a caller's request) waits and is never dropped.
"""

from __future__ import annotations

from protocols.core import Carrier, Event, Received
from sim.counter import Counter
from sim.network import STREAM_UNSENT_MAX

DATAGRAMS_MAX = 256
"""Packets that fit the socket buffer: 208 KiB (the usual `net.core.rmem_max`, doubled by the kernel), of which each
takes two pages, overhead included."""


class Backlog:
    """The events that wait for one stopped node, in the order in which they came."""

    __slots__ = ("_datagrams", "_events", "_of_sender")

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._datagrams = 0
        self._of_sender = Counter()
        """Stream messages that wait, by sender."""

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: Event) -> tuple[str, list[Received]]:
        """Let `event` wait. What is lost over that, and why: "socket_full" (the event itself), or "reset"."""
        if type(event) is Received:
            if event.message.carrier is Carrier.DATAGRAM:
                if self._datagrams == DATAGRAMS_MAX:
                    return "socket_full", [event]
                self._datagrams += 1
            else:
                sender = event.sender.node_id
                self._of_sender[sender] += 1
                if self._of_sender[sender] > STREAM_UNSENT_MAX:
                    return "reset", [*self._reset(sender), event]
        self._events.append(event)
        return "", []

    def _reset(self, sender: str) -> list[Received]:
        lost: list[Received] = []
        kept: list[Event] = []
        for event in self._events:
            if (
                type(event) is Received
                and event.sender.node_id == sender
                and event.message.carrier is not Carrier.DATAGRAM
            ):
                lost.append(event)
            else:
                kept.append(event)
        self._events = kept
        self._of_sender[sender] = 0
        return lost

    def take(self) -> list[Event]:
        """All of it, leaving nothing."""
        events, self._events = self._events, []
        self._datagrams = 0
        self._of_sender.clear()
        return events
