"""The simulator's job in simpy: N nodes that each ping a random other one every second and wait for its ack.

    python simpy_ping.py NODES SECONDS SEED

Prints {"events_per_s": …, "times_real_time": …}. An event is a send, an arrival or a timeout, as simpy schedules them.
There is no protocol in it beyond that: it shows what the event loop costs.
"""

from __future__ import annotations

import json
import random
import sys
import time
from typing import Any

import simpy  # type: ignore[import-not-found, unused-ignore]  # installed in the peers' environment only

PROBE_INTERVAL_S = 1.0
PROBE_TIMEOUT_S = 0.5
LATENCY_S = (0.0002, 0.002)


class Counter:
    def __init__(self) -> None:
        self.events = 0


def node(env: Any, inboxes: list[Any], me: int, random_: random.Random, counter: Counter) -> Any:
    """Ping one other node a second, and wait for its ack."""
    yield env.timeout(random_.random() * PROBE_INTERVAL_S)
    while True:
        begun = env.now
        other = random_.randrange(len(inboxes))
        ack = env.event()
        env.process(travel(env, inboxes[other], ack, random_.uniform(*LATENCY_S), counter))
        yield ack | env.timeout(PROBE_TIMEOUT_S)
        counter.events += 2
        yield env.timeout(max(0.0, begun + PROBE_INTERVAL_S - env.now))
        counter.events += 1


def travel(env: Any, inbox: Any, message: Any, latency_s: float, counter: Counter) -> Any:
    yield env.timeout(latency_s)
    counter.events += 1
    yield inbox.put((message, latency_s))
    counter.events += 1


def answer(env: Any, inbox: Any, counter: Counter) -> Any:
    """Acknowledge every ping."""
    while True:
        ack, latency_s = yield inbox.get()
        counter.events += 1
        env.process(go_back(env, ack, latency_s, counter))


def go_back(env: Any, ack: Any, latency_s: float, counter: Counter) -> Any:
    yield env.timeout(latency_s)
    counter.events += 1
    if not ack.triggered:
        ack.succeed()


def main() -> None:
    nodes, seconds, seed = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    env = simpy.Environment()
    counter = Counter()
    random_ = random.Random(seed)
    inboxes = [simpy.Store(env) for _ in range(nodes)]
    for me, inbox in enumerate(inboxes):
        env.process(node(env, inboxes, me, random_, counter))
        env.process(answer(env, inbox, counter))
    env.run(until=1.0)
    counter.events = 0
    begun = time.perf_counter()
    env.run(until=1.0 + seconds)
    taken = time.perf_counter() - begun
    print(json.dumps({"events_per_s": counter.events / taken, "times_real_time": seconds / taken}))


if __name__ == "__main__":
    main()
