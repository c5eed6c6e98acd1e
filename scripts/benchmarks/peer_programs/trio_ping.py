"""The simulator's job on trio's MockClock: N nodes that each ping a random other one every second and wait for its ack.

    python trio_ping.py NODES SECONDS SEED

Prints {"events_per_s": …, "times_real_time": …}. An event is a send, an arrival or a timeout, as in `simpy_ping.py`.
"""

from __future__ import annotations

import json
import random
import sys
import time

import trio
import trio.testing

PROBE_INTERVAL_S = 1.0
PROBE_TIMEOUT_S = 0.5
LATENCY_S = (0.0002, 0.002)


class Mesh:
    """Mailboxes of nodes, and the count of events."""

    def __init__(self, nodes: int, seed: int, nursery: trio.Nursery) -> None:
        self.boxes = [trio.open_memory_channel[tuple[trio.Event, float]](1000) for _ in range(nodes)]
        self.random = random.Random(seed)
        self.nursery = nursery
        self.events = 0

    async def node(self) -> None:
        """Ping one other node a second, and wait for its ack."""
        await trio.sleep(self.random.random() * PROBE_INTERVAL_S)
        while True:
            begun = trio.current_time()
            ack = trio.Event()
            self.nursery.start_soon(self.travel, self.random.randrange(len(self.boxes)), ack)
            with trio.move_on_after(PROBE_TIMEOUT_S):
                await ack.wait()
            self.events += 2
            await trio.sleep(max(0.0, begun + PROBE_INTERVAL_S - trio.current_time()))
            self.events += 1

    async def travel(self, to: int, ack: trio.Event) -> None:
        latency_s = self.random.uniform(*LATENCY_S)
        await trio.sleep(latency_s)
        self.events += 1
        await self.boxes[to][0].send((ack, latency_s))
        self.events += 1

    async def answer(self, me: int) -> None:
        """Acknowledge every ping."""
        async for ack, latency_s in self.boxes[me][1]:
            self.events += 1
            self.nursery.start_soon(self.go_back, ack, latency_s)

    async def go_back(self, ack: trio.Event, latency_s: float) -> None:
        await trio.sleep(latency_s)
        self.events += 1
        ack.set()


async def main(nodes: int, seconds: float, seed: int) -> None:
    async with trio.open_nursery() as nursery:
        mesh = Mesh(nodes, seed, nursery)
        for me in range(nodes):
            nursery.start_soon(mesh.node)
            nursery.start_soon(mesh.answer, me)
        await trio.sleep(1.0)
        mesh.events = 0
        begun = time.perf_counter()
        await trio.sleep(seconds)
        taken = time.perf_counter() - begun
        print(json.dumps({"events_per_s": mesh.events / taken, "times_real_time": seconds / taken}))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    clock = trio.testing.MockClock(autojump_threshold=0)
    trio.run(main, int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), clock=clock)
