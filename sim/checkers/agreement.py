"""After the last disturbance, within a bound, all running nodes hold the same member table, and it is right.

Right means: every running node is alive in it, in its present generation and incarnation, and is what it announces
(in a large mesh an even sample of tables is asked for that); every node that is down is dead or has left. It is asked
of every cut, whatever its sides and length, and of restarts (DESIGN 4, healing).

The bound, from the last heal, crash or restart, for a mesh of N (all terms from the node's own config):

    suspicion T_max(N)            a crash, or a cut shorter than that, is still being judged when the disturbance ends
  + min(N, 2·ceil(ln N)+3) probe intervals, each stretched by poor local health
                                  until somebody's round reaches a given member: each of N nodes probes independently
  + 2 · heal_interval             a remembered dead member, or a seed, is tried for the first time (start is jittered)
  + suspicion T_max(N)            a dead row comes back as a suspicion; its refutation races with this
  + spread(N)                     N refutations pass through every gossip queue: N · retransmits / (updates per second)
  + 1.5 · push-pull interval(N)   anti-entropy mends what gossip missed

It is a bound for judging, not an expectation: the report says how long it took. Once they agree, tables must go on
agreeing while nothing disturbs the mesh, until the run is over; but not where packets are lost all the time, or take
longer than a probe waits, for there every probe that is not answered in time may make a suspect for a moment.

Where a scenario heals only a core and leaves the rest broken, the tables of the core must come to agree, and be right,
about the core's members, from when that is first found missing and within the same bound; of the other nodes only
those matter that are down all that time: none of them may be alive in the core's eyes. What the broken rest says goes
on being heard, so the core need be seen to agree once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from protocols.config import SwimConfig
from protocols.core import NANOS_PER_S, Instant
from protocols.detector.suspicion import suspicion_bounds
from protocols.membership.gossip import retransmits
from protocols.membership.healing import push_pull_scale
from protocols.membership.member import State
from sim.checkers.checker import Checker
from sim.inspect import own_row, rows_of
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World

NODES_ASKED_MAX = 128
UPDATES_PER_PACKET = 9
"""How many announcements fit a packet's gossip (`UPDATES_BYTES_MAX`): up to 133 bytes each; simulated ones take 100."""


def agreement_bound(config: SwimConfig, members: int) -> Instant:
    """Nanoseconds from the last disturbance to full agreement, at most (see above)."""
    _, suspicion, _ = suspicion_bounds(config, members)
    probes = min(members, 2 * math.ceil(math.log(max(2, members))) + 3) * slowest_probe(config)
    return 2 * suspicion + probes + 2 * config.heal_interval + spreading(config, members)


def slowest_probe(config: SwimConfig) -> Instant:
    """The probe interval, in nanoseconds, of a node whose local health is at its worst (Lifeguard section IV-A)."""
    return (1 + config.health_max) * config.probe_interval


def spreading(config: SwimConfig, members: int) -> Instant:
    """Nanoseconds in which N pieces of news reach everybody: by gossip, and what that missed by anti-entropy."""
    sends_per_s = config.gossip_fanout * NANOS_PER_S / config.gossip_interval
    spread = int(members * retransmits(config, members) / (sends_per_s * UPDATES_PER_PACKET) * NANOS_PER_S)
    return spread + 3 * push_pull_scale(members) * config.push_pull_interval // 2


def probes_may_fail(world: World) -> bool:
    """Whether a probe of a node that runs, and is not cut off, may be without an ack in time, as the links are now."""
    network = world.network
    return network.lossy or 2 * network.one_way_max > world.processes[0].config.swim.probe_timeout


def misjudged(running: Sequence[Process]) -> str:
    """The first member found that announces something else than some node believes; empty where there is none."""
    announced = [(process, own) for process in running if (own := own_row(process.core)) is not None]
    for observer in running[:: -(-len(running) // NODES_ASKED_MAX) or 1]:
        rows = rows_of(observer.core)
        for subject, own in announced:
            profile = rows[subject.config.node_id].alive.profile
            if profile is not own.alive.profile and profile != own.alive.profile:
                return f"{observer.name} takes {subject.name} for {profile!r}, but it is {own.alive.profile!r}"
    return ""


class Agreement(Checker):
    """Once the dust has settled, all running nodes hold the same member table, and it is right."""

    name = "agreement"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.agreed_at: Instant | None = None
        """When the tables were first seen to agree since the last disturbance."""
        self._disturbed: Instant = -1
        self._first_to_ask = 0

    @property
    def settled(self) -> bool:
        """The tables have been seen to agree, and nothing has disturbed the mesh since."""
        return self.agreed_at is not None and self._disturbed == self.asked_since()

    def deadline(self) -> Instant:
        processes = self.world.processes
        return self.asked_since() + agreement_bound(processes[0].config.swim, len(processes))

    def waits_for(self, now: Instant) -> str:
        if len(self.world.core) < len(self.world.processes):
            return self._core_waits_for(now)
        if self.world.disturbed_at != self._disturbed:
            self._disturbed = self.world.disturbed_at
            self.agreed_at = None
        if self.settled and probes_may_fail(self.world):
            return ""
        difference = self._difference()
        if not difference and self.agreed_at is None:
            self.agreed_at = now
        return difference

    def _difference(self) -> str:
        """The first row found that is not as it should be; empty when all agree."""
        running = self.world.running()
        if not running:
            return ""
        expected: dict[str, int] = {}
        reference = rows_of(running[0].core)
        for process in self.world.processes:
            node_id = process.config.node_id
            if process.core is None:
                row = reference.get(node_id)
                if row is not None and row.state < State.DEAD:
                    return f"{running[0].name} takes {process.name} for {row.state.name.lower()}, but it is down"
                if row is not None:
                    expected[node_id] = row.precedence
            else:
                own = own_row(process.core)
                if own is None:
                    return f"{process.name} has not begun its life"
                expected[node_id] = own.precedence
        # The node that differed last time is asked first: while the mesh is still settling, a look costs one table.
        turn = self._first_to_ask % len(running)
        for position, process in enumerate(running[turn:] + running[:turn]):
            rows = rows_of(process.core)
            if {node_id: row.precedence for node_id, row in rows.items()} == expected:
                continue
            self._first_to_ask = turn + position
            for node_id, precedence in expected.items():
                row = rows.get(node_id)
                if row is None or row.precedence != precedence:
                    return self._describe(process, node_id)
            return f"{process.name} knows {len(rows)} members, not {len(expected)}"
        return misjudged(running)

    def _core_waits_for(self, now: Instant) -> str:
        since = self.asked_since()
        if self._disturbed != since:
            self._disturbed = since
            self.agreed_at = None
        if self.agreed_at is not None:
            return ""
        difference = self._difference_in_core(since)
        if not difference:
            self.agreed_at = now
        return difference

    def _difference_in_core(self, since: Instant) -> str:
        """The first row of a core node that is not as it should be."""
        world = self.world
        core = [process for process in world.core if process.core is not None]
        down = [process for process in world.processes if process.core is None and process.down_since <= since]
        expected: dict[str, int] = {}
        for process in core:
            own = own_row(process.core)
            if own is None:
                return f"{process.name} has not begun its life"
            expected[process.config.node_id] = own.precedence
        for process in core:
            rows = rows_of(process.core)
            for node_id, precedence in expected.items():
                row = rows.get(node_id)
                if row is None or row.precedence != precedence:
                    return self._describe(process, node_id)
            for lost in down:
                row = rows.get(lost.config.node_id)
                if row is not None and row.state < State.DEAD:
                    return f"{process.name} takes {lost.name} for {row.state.name.lower()}, but it is down"
        return misjudged(core)

    def _describe(self, process: Process, node_id: str) -> str:
        other = self.world.by_id[node_id]
        row = rows_of(process.core).get(node_id)
        if row is None:
            return f"{process.name} does not know {other.name}"
        belief = f"{row.state.name.lower()}, generation {row.generation}, incarnation {row.incarnation}"
        own = own_row(other.core)
        if own is None:
            return f"{process.name} takes {other.name} (down) for {belief}; others do not"
        truth = f"{own.state.name.lower()}, generation {own.generation}, incarnation {own.incarnation}"
        return f"{process.name} takes {other.name} for {belief}, but it is {truth}"
