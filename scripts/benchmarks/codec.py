"""Messages per second through `protocols.wire`, beside plain msgpack on the same content.

Three messages: a ping that carries three updates, a gossip packet filled to its byte budget by the real queue, and an
assignment with a payload of 1 KB. The peer packs and unpacks the same nested lists; it checks no bounds and builds no
types, which is what decoding here does as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import msgpack  # type: ignore[import-untyped]  # it ships no types

from protocols.core import Message
from protocols.membership.gossip import GossipQueue
from protocols.membership.member import Alive, Profile, State, Update, precedence_of
from protocols.membership.messages import Gossip, Ping
from protocols.tasks.messages import Assign
from protocols.wire import decode_message, encode_message
from scripts.benchmarks.figures import BenchBroken, Row, Setting, figure, median

ROUNDS = 5
CHUNK = 200
"""Calls between two looks at the clock."""
PAYLOAD_CHARS = 1024


def run(setting: Setting) -> list[Row]:
    return measure(seconds=0.05 if setting.quick else 0.25)


def measure(*, seconds: float, rounds: int = ROUNDS) -> list[Row]:
    """Encode and decode each message for `seconds`, ours and the peer in turn, `rounds` times over."""
    note = f"median of {rounds} rounds of {seconds:g} s in turn with the peer, after one to warm up"
    peer = f"msgpack {'.'.join(str(part) for part in msgpack.version)}"
    rows: list[Row] = []
    for name, message in messages().items():
        data = encode_message(message)
        content = msgpack.unpackb(data)
        if decode_message(data) != message:
            raise BenchBroken(f"{name} did not survive the round trip")
        for verb, ours, theirs in (
            ("encode", partial(encode_message, message), partial(msgpack.packb, content)),
            ("decode", partial(decode_message, data), partial(msgpack.unpackb, data)),
        ):
            rates = [(_rate(ours, seconds), _rate(theirs, seconds)) for _ in range(rounds + 1)][1:]
            rows.append(
                figure(
                    "codec",
                    f"{verb} {name} ({len(data)} B)",
                    median([rate for rate, _ in rates]),
                    "messages/s",
                    peer=peer,
                    peer_value=median([rate for _, rate in rates]),
                    note=note,
                )
            )
    return rows


def messages() -> dict[str, Message]:
    """What is encoded, by name."""
    queue = GossipQueue()
    for index in range(64):
        queue.put(_announcement(index))
    return {
        "ping, 3 updates": Ping(probe=123_456, updates=tuple(_announcement(index) for index in range(3))),
        "full gossip packet": Gossip(updates=queue.take(limit=8)),
        "assign, 1 KB payload": Assign(
            task_id="abcdefghijkl.nodeabcd",
            attempt=1,
            handler="wordcount",
            payload='{"text":"' + "x" * PAYLOAD_CHARS + '"}',
            timeout_ms=600_000,
        ),
    }


def _announcement(index: int) -> Update:
    profile = Profile(f"node-{index}", f"192.0.2.{index}:7400", ("wordcount", "checksum"), "zone-a", 1, "0.1.0")
    return Alive(f"{index:026}", precedence_of(3, index, State.ALIVE), profile)


def _rate(call: Callable[[], object], seconds: float) -> float:
    """Calls per second."""
    done = 0
    begun = time.perf_counter()
    end = begun + seconds
    while (now := time.perf_counter()) < end:
        for _ in range(CHUNK):
            call()
        done += CHUNK
    return done / (now - begun)
