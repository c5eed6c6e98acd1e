"""The ping and ack job of the peer programs on the simulator's own kernel and network, without a protocol core.

The same events are counted: a send, an arrival, a timeout. It shows what the event loop and the network cost; what a
mesh costs on top of that is told by the other rows.
"""

from __future__ import annotations

import time

from protocols.core import NANOS_PER_MS, NANOS_PER_S, Endpoint, Instant, Received
from protocols.membership.messages import Ack, Ping
from sim.kernel import Kernel
from sim.network import LinkProfile, Network, Station

PROBE_INTERVAL = 1 * NANOS_PER_S
PROBE_TIMEOUT = 500 * NANOS_PER_MS


class PingingNode:
    """Pings a random other node every second; answers pings."""

    def __init__(self, index: int, mesh: PingingMesh) -> None:
        self._mesh = mesh
        self._kernel = mesh.kernel
        self._draw = mesh.kernel.random("targets").random
        self.station = Station(index, Endpoint(str(index), f"node-{index}"), self.hear)
        self.station.up = True
        self._probe = 0
        self._acked = 0

    def start(self) -> None:
        self._kernel.push(int(self._draw() * PROBE_INTERVAL), self.ping)

    def ping(self, now: Instant, _a: None, _b: None) -> None:
        self._probe += 1
        mesh = self._mesh
        mesh.events += 1
        target = mesh.nodes[int(self._draw() * len(mesh.nodes))]
        mesh.network.send(now, self.station, target.station.endpoint, Ping(self._probe))
        self._kernel.push(now + PROBE_TIMEOUT, self.time_out)
        self._kernel.push(now + PROBE_INTERVAL, self.ping)

    def hear(self, now: Instant, event: Received, _: None) -> None:
        self._mesh.events += 1
        message = event.message
        if type(message) is Ping:
            self._mesh.events += 1
            self._mesh.network.send(now, self.station, event.sender, Ack(message.probe))
        elif type(message) is Ack:
            self._acked = message.probe

    def time_out(self, now: Instant, _a: None, _b: None) -> None:
        self._mesh.events += 1


class PingingMesh:
    """All of them."""

    def __init__(self, nodes: int, seed: int) -> None:
        self.events = 0
        self.kernel = Kernel(seed)
        self.network = Network(self.kernel, LinkProfile())
        self.nodes = [PingingNode(index, self) for index in range(nodes)]
        for node in self.nodes:
            self.network.attach(node.station)
            node.start()


def events_per_s(nodes: int, seconds: float, seed: int) -> tuple[float, float]:
    """(events per wall second, virtual over wall seconds)."""
    mesh = PingingMesh(nodes, seed)
    mesh.kernel.run(NANOS_PER_S)
    mesh.events = 0
    begun = time.perf_counter()
    mesh.kernel.run(NANOS_PER_S + int(seconds * NANOS_PER_S))
    taken = time.perf_counter() - begun
    return mesh.events / taken, seconds / taken
