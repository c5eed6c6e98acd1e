"""What probes and gossip cost a node does not grow with the mesh, but for the logarithm in SWIM section 4.1.

Counted over a run: every datagram of membership (`Network.sent`), every update that arrived in one, and the sizes of
both from real encodings of a sample. Judged at the end, packets and updates each for themselves, against what the
protocol may have needed, for D probes (one an interval and node that was up, and one a boot), k indirect probes,
r(N) copies of a piece of news (`gossip.retransmits`) and a gossip fan-out of f:

    packets  ≤ 2 · D             in a mesh that nothing disturbs, where acks are in time: a ping and its ack
             ≤ 2 · D + 7 · Q + 2 · changes
                                 else, with Q requests for indirect probes, at most k · D: each request with a ping, its
                                 ack, a nack, and the ack passed on late; one more ping, and its ack, of a target that
                                 nobody reached; and one of a member that a table accuses
             + 12 · A            with A times that a node was asked whether a member answers it (`meshnode why`): three
                                 pings and their acks at most, and as many at the asker, who asks itself
    updates  ≤ (r(N) − 1 + f) · P
                                 a piece of news is sent while it has been sent fewer than r(N) times; f at once
             + two a probe packet, where the mesh was disturbed: whoever is doubted is told so in every ping and ack,
                                 and answers
    P        ≤ (1 + c) · (changes + N · refutations) + starts + refutations + boots
                                 pieces of news queued: a change is news once, a suspicion up to c = mult − 2 times
                                 more when others confirm it; a doubt that moves to a newer incarnation is no change
                                 that is told, and there is one a node and refutation at most; a life leaves once

Gossip packets carry at least one update each, so the same bound holds them. P is what happened, told by the nodes; per
node it is the number of events in the mesh. What is left of N is r(N). Table exchanges travel on streams and are not
meant here: one table an interval, which `healing.py` stretches by log N.

Everything that lets packets be doubled, or clocks run fast, or timers be late, is allowed for by a factor of two, and
only where it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from protocols.core import NANOS_PER_S, Instant, Message
from protocols.detector.confirm import CHECK_PINGS
from protocols.detector.messages import AskReach
from protocols.membership.facts import MemberChanged, NodeStarted, Refuted
from protocols.membership.gossip import retransmits
from protocols.membership.messages import Ack, Gossip, Nack, Ping, PingReq
from protocols.wire import encode_message
from sim.checkers.agreement import probes_may_fail
from sim.checkers.checker import Checker
from sim.clock import PAR
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World

UPDATE_BYTES = 128
"""Size of an update where none was in the sample (about that of an announcement)."""
PROBE_SIZE_BYTES = 32
"""Size of a probe packet without updates where none was in the sample."""


class TrafficIsFlat(Checker):
    """A node spends no more bytes on probes and gossip in a large mesh than in a small one, but for a logarithm."""

    name = "traffic_is_flat"
    news = (Ack, Ping, Gossip)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.node_time: Instant = 0
        """Nanoseconds that nodes were up, all together, without the present life of those that are."""
        self._since = [0] * len(world.processes)
        self.updates = 0
        """Updates that have arrived in datagrams."""
        self._header_bytes = [0, 0]
        """Sum of the sizes of sampled datagrams without their updates, and how many."""
        self._update_bytes = [0, 0]

    def on_boot(self, now: Instant, process: Process) -> None:
        self._since[process.index] = now

    def on_crash(self, now: Instant, process: Process) -> None:
        self.node_time += now - self._since[process.index]

    def on_message(self, now: Instant, process: Process, message: Ack | Ping | Gossip) -> None:
        self.updates += len(message.updates)

    def on_sample(self, now: Instant, message: Message) -> None:
        if not isinstance(message, Ping | PingReq | Ack | Gossip):
            return
        header = len(encode_message(replace(message, updates=())))
        self._header_bytes[0] += header
        self._header_bytes[1] += 1
        self._update_bytes[0] += len(encode_message(message)) - header
        self._update_bytes[1] += len(message.updates)

    def packets(self) -> int:
        """Datagrams that were sent to probe; those that only spread news are counted by their updates."""
        sent = self.world.network.sent
        return sent[Ping] + sent[PingReq] + sent[Ack] + sent[Nack]

    def bytes_of(self, packets: int, updates: int) -> float:
        """What so many packets and updates weigh, by the sample."""
        header, headers = self._header_bytes
        update, counted = self._update_bytes
        return packets * (header / headers if headers else PROBE_SIZE_BYTES) + updates * (
            update / counted if counted else UPDATE_BYTES
        )

    def node_seconds(self, now: Instant) -> float:
        """Seconds that nodes have been up, all together."""
        present = sum(now - self._since[process.index] for process in self.world.running())
        return (self.node_time + present) / NANOS_PER_S

    def bounds(self, now: Instant) -> tuple[int, int]:
        """(packets, updates) that the protocol may have needed so far (see above)."""
        world = self.world
        config = world.processes[0].config.swim
        count = len(world.processes)
        facts = world.watch.facts
        boots = sum(process.boots for process in world.processes)
        fastest = 1 + world.clock.drift_ppm / PAR
        probes = int(self.node_seconds(now) * fastest * NANOS_PER_S / config.probe_interval) + boots
        confirmations = max(0, config.suspicion_mult - 2)
        pieces = (1 + confirmations) * (facts[MemberChanged] + count * facts[Refuted]) + facts[NodeStarted]
        pieces += facts[Refuted] + boots
        updates = pieces * (retransmits(config, count) - 1 + config.gossip_fanout)
        calm = not world.disturbed and not world.network.drops and not probes_may_fail(world)
        checks = 4 * CHECK_PINGS * world.network.sent[AskReach]
        if calm and not facts[MemberChanged]:
            return 2 * probes + checks, updates
        packets = 2 * probes + checks + 7 * min(world.network.sent[PingReq], config.indirect_probes * probes)
        packets += 2 * facts[MemberChanged]
        factor = 2 if world.paced_at or world.network.duplicated else 1
        return factor * packets, factor * (updates + 2 * packets)

    def finish(self, now: Instant) -> None:
        seconds = self.node_seconds(now)
        if not seconds or self.world.has_lied:
            return
        packets, updates = self.bounds(now)
        if self.packets() > packets or self.updates > updates:
            text = f"{self.packets()} packets for probes where {packets} would do, and {self.updates} updates where "
            text += f"{updates} would: {self.bytes_of(self.packets(), self.updates) / seconds:.0f} B/s a node"
            self.violated(now, None, text)
