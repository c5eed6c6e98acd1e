"""The network: who is where, what of a datagram arrives, and who cannot reach whom (DESIGN 10).

- A node is reached by address. A message for a named node that is not the one at the address goes nowhere: TLS and the
  packet seal would refuse it. A message without a name goes to whoever is there, but to nobody of another mesh, for
  both carry the label of their own.
- Datagrams: a cut link, or the loss rate, loses them at the sender. What is under way when a cut or a clog begins still
  arrives. Whoever is at the address on arrival gets it, be it a new life of the node; nobody there loses it.
- A clogged link delivers nothing; when the clog ends it delivers everything in a burst, in order. It holds a bounded
  number of datagrams; what comes on top is lost.
- Streams: `streams.py`. Delays and mishaps: `links.py`, one profile for all links, or one per pair of groups.
- Faults put `Pairs` in force: cuts, clogs, and changes that make links worse. Several may be; they add up.

What is in force is kept as one row per sender, rebuilt only when something begins or ends: a send then costs one
look-up, and one more test where any link is other than plain. Senders that are alike share a row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from heapq import heappush
from typing import TypeAlias

from protocols.core import Carrier, Endpoint, Event, Instant, Message, Received
from sim.counter import Counter
from sim.kernel import Kernel
from sim.network.links import Link, LinkProfile, Topology
from sim.network.pairs import Pairs, united
from sim.network.station import CUT, Station
from sim.network.streams import Streams

STREAM = Carrier.STREAM
SAMPLE_MASK = 255
CLOGGED_DATAGRAMS_MAX = 128
"""Datagrams that wait in one clogged link: the queue of a switch port, about 180 kB of full packets."""

MessageObserver: TypeAlias = Callable[[Instant, int, int, Message, Instant, str], None]
"""(now, sender, receiver or −1, message, arrival or −1, why). Told of every message when it is sent, and again, with
the same message, whenever its fate changes: it is under way (an arrival), waits on a stalled stream or in a clogged
link (neither an arrival nor a why), or is lost (no arrival, and why). The second copy of a doubled datagram has an
arrival and a why."""


class Change:
    """Makes the links of `pairs` worse while it is in force: `worse` gives the profile that a link has then."""

    __slots__ = ("pairs", "worse")

    def __init__(self, pairs: Pairs, worse: Callable[[LinkProfile], LinkProfile]) -> None:
        self.pairs = pairs
        self.worse = worse


class Network:
    """Carries messages between the stations of one run. `sent` counts by message type, `drops` by reason."""

    def __init__(self, kernel: Kernel, link: LinkProfile) -> None:
        self.kernel = kernel
        self._heap = kernel.heap
        self._next_sequence = kernel.next_sequence
        self._draw = kernel.random("network").random
        self.stations: list[Station] = []
        self._by_address: dict[str, Station] = {}
        self._cuts: list[Pairs] = []
        self._clogs: list[Pairs] = []
        self._changes: list[Change] = []
        self._waiting: dict[tuple[int, int], deque[Received]] = {}
        """Datagrams in clogged links, by (sender, receiver), in the order in which the links clogged up."""
        self.on_sample: Callable[[Instant, Message], None] = _nothing
        """Shown the first message of every type, and one in `SAMPLE_MASK + 1` after that, as it is sent."""
        self.observer: MessageObserver | None = None
        """Shown every message with its fate, where somebody records the run."""
        self.on_reach: Callable[[], None] = _nothing_new
        """Told when who reaches whom has changed."""
        self.streams = Streams(self)
        self.sent = Counter()
        self.drops = Counter()
        self.resets = 0
        """Streams that broke, for whatever reason."""
        self.duplicated = 0
        self.reordered = 0
        self.held_up = 0
        """Datagrams that found their link clogged."""
        self._enabled: dict[str, None] = {}
        """Every mishap that could have befallen a message so far."""
        self._topology: Topology | None = None
        self.set_link(link)

    # What links are like.

    def set_link(self, link: LinkProfile) -> None:
        """Let every link behave like `link` from now on, faults aside."""
        self.link = link
        self._topology = None
        self._rebuild_links()

    def set_topology(self, topology: Topology) -> None:
        """Let links behave as the groups of their ends say, from now on, faults aside."""
        if len(topology.groups) != len(self.stations):
            raise ValueError(f"groups of {len(topology.groups)} nodes in a network of {len(self.stations)}")
        self._topology = topology
        self._rebuild_links()

    def worsen(self, change: Change) -> None:
        """Put `change` in force."""
        self._of_this_size(change.pairs)
        self._changes.append(change)
        self._rebuild_links()

    def mend(self, change: Change) -> None:
        """End `change`."""
        self._changes.remove(change)
        self._rebuild_links()

    def link_between(self, sender: Station, receiver: Station) -> Link:
        """What the link from `sender` to `receiver` is like now."""
        links = sender.links
        return self.everywhere if links is None else links[receiver.index]

    def _rebuild_links(self) -> None:
        ready: dict[LinkProfile, Link] = {}

        def link_of(profile: LinkProfile) -> Link:
            if profile not in ready:
                ready[profile] = Link(profile)
            return ready[profile]

        self.everywhere = link_of(self.link)
        """What a link is like where nothing else is said."""
        topology = self._topology
        alike = topology is None and not self._changes
        shared: dict[tuple[object, ...], list[Link]] = {}
        for station in self.stations:
            if alike:
                station.links = None
                continue
            group = topology.groups[station.index] if topology else 0
            changed = tuple(change.pairs.rows[station.index] for change in self._changes)
            row = shared.get((group, *changed))
            if row is None:
                row = shared[group, *changed] = [link_of(profile) for profile in self._profiles(group, changed)]
            station.links = row
        for mishap in (mishap for link in ready.values() for mishap in link.mishaps):
            self._enabled[mishap] = None
        self._plain = alike and self.everywhere.plain
        self._latency_min = self.everywhere.latency_min
        self._latency_span = self.everywhere.latency_span
        self.loss_max = max(link.loss for link in ready.values())
        """The share of datagrams that the worst link loses now."""
        self.lossy = self.loss_max > 0
        self.one_way_max = max(link.latest for link in ready.values())
        """The longest that a datagram may be under way now, in nanoseconds; the second copy of a doubled one aside."""

    def _profiles(self, group: int, changed: tuple[bytes, ...]) -> list[LinkProfile]:
        """The profile of the link to each receiver, from a node of `group` to which the rows `changed` apply."""
        topology = self._topology
        count = len(self.stations)
        to = topology.groups if topology else (0,) * count
        base = topology.profiles[group] if topology else (self.link,)
        known: dict[tuple[int, ...], LinkProfile] = {}
        profiles: list[LinkProfile] = []
        for receiver in range(count):
            key = (to[receiver], *(row[receiver] for row in changed))
            profile = known.get(key)
            if profile is None:
                profile = base[to[receiver]]
                for change, row in zip(self._changes, changed, strict=True):
                    if row[receiver]:
                        profile = change.worse(profile)
                known[key] = profile
            profiles.append(profile)
        return profiles

    def attach(self, station: Station) -> None:
        """Put a station at its address. Raises `ValueError` when somebody is there."""
        if station.address in self._by_address:
            raise ValueError(f"two nodes at {station.address}")
        if station.index != len(self.stations):
            raise ValueError(f"node {station.index} attached as number {len(self.stations)}")
        self.stations.append(station)
        self._by_address[station.address] = station

    def station_at(self, address: str) -> Station | None:
        """Who is at `address` now, up or down."""
        return self._by_address.get(address)

    def readdress(self, addresses: Mapping[Station, str]) -> None:
        """Give stations other addresses, all at the same time. Raises `ValueError` when somebody else is at one."""
        left = {address: station for address, station in self._by_address.items() if station not in addresses}
        for station, address in addresses.items():
            if address in left:
                raise ValueError(f"two nodes at {address}")
            left[address] = station
        self._by_address = left
        for station, address in addresses.items():
            station.address = address
            station.endpoint = Endpoint(station.node_id, address)

    # Sending.

    def send(self, now: Instant, sender: Station, to: Endpoint, message: Message) -> None:
        """Carry `message` to whoever is at `to`, by the carrier that its type declares."""
        sent = self.sent
        kind = type(message)
        count = sent[kind] = sent[kind] + 1
        if count & SAMPLE_MASK == 1:
            self.on_sample(now, message)
        receiver = self._by_address.get(to.address)
        if receiver is None or (to.node_id != receiver.node_id if to.node_id else sender.mesh != receiver.mesh):
            self.lost(now, sender, receiver, message, "nobody_there")
            return
        if message.carrier is STREAM:
            self.streams.send(now, sender, receiver, Received(sender.endpoint, message))
            return
        barred = sender.barred
        if barred is not None and barred[receiver.index]:
            self._cannot_pass(now, sender, receiver, message, barred[receiver.index])
            return
        event = Received(sender.endpoint, message)
        if self._plain:
            at = now + self._latency_min + int(self._draw() * self._latency_span)
        else:
            at = self._befalls(now, sender, receiver, event)
            if at < 0:
                self.lost(now, sender, receiver, message, "loss")
                return
        if self.observer is not None:
            self.observer(now, sender.index, receiver.index, message, at, "")
        heappush(self._heap, (at, self._next_sequence(), receiver.on_event, event, None))

    def lost(self, now: Instant, sender: Station, receiver: Station | None, message: Message, why: str) -> None:
        """Count and tell a message that will not arrive."""
        self.drops[why] += 1
        if self.observer is not None:
            self.observer(now, sender.index, -1 if receiver is None else receiver.index, message, -1, why)

    def lost_on_arrival(self, now: Instant, receiver: Station, event: Event, why: str) -> None:
        """`event` got to the machine of `receiver`, and nobody there took it."""
        self.drops[why] += 1
        if self.observer is not None and type(event) is Received:
            sender = self._by_address.get(event.sender.address)  # or it has moved away since
            self.observer(now, -1 if sender is None else sender.index, receiver.index, event.message, -1, why)

    def _befalls(self, now: Instant, sender: Station, receiver: Station, event: Received) -> Instant:
        """Draw what befalls a datagram: when it arrives, or −1 when it is lost. Doubles it, too."""
        link = self.link_between(sender, receiver)
        draw = self._draw
        at = now + link.delay(draw())
        if link.loss and draw() < link.loss:
            return -1
        if link.duplicate and draw() < link.duplicate:
            self.duplicated += 1
            again = now + link.delay(draw()) + int(draw() * link.reorder_span)
            if self.observer is not None:
                self.observer(now, sender.index, receiver.index, event.message, again, "duplicate")
            heappush(self._heap, (again, self._next_sequence(), receiver.on_event, event, None))
        if link.reorder and draw() < link.reorder:
            self.reordered += 1
            at += int(draw() * link.reorder_span)
        return at

    # Cuts and clogs.

    def cut(self, cut: Pairs) -> None:
        """Put `cut` in force. Several may be; a packet must pass all of them."""
        self._of_this_size(cut)
        self._cuts.append(cut)
        self._rebuild_rows()

    def heal(self, now: Instant, cut: Pairs) -> None:
        """End `cut`. Streams that stalled go on after a retransmission delay of up to a second."""
        self._cuts.remove(cut)
        self._rebuild_rows()
        self.streams.way_is_free(now, lost=True)

    def clog(self, clog: Pairs) -> None:
        """Let the links of `clog` deliver nothing until `unclog`."""
        self._of_this_size(clog)
        self._enabled["clogged"] = None
        self._clogs.append(clog)
        self._rebuild_rows()

    def unclog(self, now: Instant, clog: Pairs) -> None:
        """End `clog`: what waited in links that are free now is delivered in a burst, in order."""
        self._clogs.remove(clog)
        self._rebuild_rows()
        self.streams.way_is_free(now, lost=False)
        for sender, receiver in list(self._waiting):
            if not self.stations[sender].is_clogged(self.stations[receiver]):
                self._deliver(now, self.stations[sender], self.stations[receiver])

    @property
    def whole(self) -> bool:
        """No cut is in force."""
        return not self._cuts

    def reachable(self, sender: int, receiver: int) -> bool:
        """Whether no cut keeps a packet of node `sender` from node `receiver` now; loss and clogs aside."""
        row = self.stations[sender].blocked
        return row is None or not row[receiver]

    def _cannot_pass(self, now: Instant, sender: Station, receiver: Station, message: Message, why: int) -> None:
        if why & CUT:
            self.lost(now, sender, receiver, message, "cut")
            return
        self.held_up += 1
        waiting = self._waiting.setdefault((sender.index, receiver.index), deque())
        if len(waiting) == CLOGGED_DATAGRAMS_MAX:
            self.lost(now, sender, receiver, message, "clogged")
            return
        waiting.append(Received(sender.endpoint, message))
        if self.observer is not None:
            self.observer(now, sender.index, receiver.index, message, -1, "")

    def _deliver(self, now: Instant, sender: Station, receiver: Station) -> None:
        at = now
        link = self.link_between(sender, receiver)
        for event in self._waiting.pop((sender.index, receiver.index)):
            if not self.reachable(sender.index, receiver.index):
                self.lost(now, sender, receiver, event.message, "cut")
                continue
            at = max(at, now + link.delay(self._draw()))
            if self.observer is not None:
                self.observer(now, sender.index, receiver.index, event.message, at, "")
            heappush(self._heap, (at, self._next_sequence(), receiver.on_event, event, None))

    def _of_this_size(self, pairs: Pairs) -> None:
        if len(pairs.rows) != len(self.stations):
            raise ValueError(f"a cut of {len(pairs.rows)} nodes in a network of {len(self.stations)}")

    def _rebuild_rows(self) -> None:
        shared: dict[tuple[bytes, ...], tuple[bytes | None, bytes | None]] = {}
        for station in self.stations:
            cuts = tuple(cut.rows[station.index] for cut in self._cuts)
            clogs = tuple(clog.rows[station.index] for clog in self._clogs)
            rows = shared.get(cuts + clogs)
            if rows is None:
                rows = shared[cuts + clogs] = _rows(cuts, clogs)
            station.blocked, station.barred = rows
        self.on_reach()

    # Crashes, resets, and what has happened so far.

    def went_down(self, station: Station) -> None:
        """The node at `station` has crashed: its streams reset, in both directions."""
        station.up = False
        self.streams.went_down(station)

    def reset(self, pairs: Pairs) -> None:
        """Break every stream of `pairs` that has something under way or waiting."""
        self._enabled["reset"] = None
        self.streams.reset(pairs)

    @property
    def mishaps(self) -> dict[str, int]:
        """How often each mishap befell a message; 0 for one that could have and did not."""
        counts = {
            "loss": self.drops["loss"],
            "duplicate": self.duplicated,
            "reorder": self.reordered,
            "clogged": self.held_up + self.streams.held_up,
            "stream_reset": self.resets,
        }
        enabled = {"stream_reset" if name == "reset" else name for name in self._enabled}
        return {name: count for name, count in counts.items() if count or name in enabled}


def _rows(cuts: Sequence[bytes], clogs: Sequence[bytes]) -> tuple[bytes | None, bytes | None]:
    """The rows `blocked` and `barred` of a station. A byte of a row is 0 or 1; shifted by one bit it is 0 or 2."""
    blocked = united(cuts) if cuts else None
    if not clogs:
        return blocked, blocked
    bits = int.from_bytes(united(clogs), "little") << 1 | int.from_bytes(blocked or b"", "little")
    return blocked, bits.to_bytes(len(clogs[0]), "little")


def _nothing(now: Instant, message: Message) -> None:
    return None


def _nothing_new() -> None:
    return None
