"""Foreign bytes: whatever they hold, `BadMessage` comes out and nothing else, soon and without memory (DESIGN 8)."""

from __future__ import annotations

import struct
import tracemalloc
from contextlib import suppress
from random import Random
from time import process_time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.core import Carrier, Message, Refused
from protocols.limits import (
    ADDRESS_CHARS_MAX,
    DETAIL_CHARS_MAX,
    FRAME_BYTES_MAX,
    HANDLER_CHARS_MAX,
    NAME_CHARS_MAX,
    PACKET_BYTES_MAX,
    UPDATES_PER_PACKET_MAX,
)
from protocols.membership.member import Accusation, Alive, Believed, Profile, State, Update, precedence_of
from protocols.membership.messages import Ack, Gossip, Ping, PingReq, PushPull
from protocols.membership.records import ChangedTags, Generation, Peers
from protocols.tasks.messages import (
    Answer,
    Ask,
    Assign,
    CheckRuns,
    Concluded,
    RefusalCode,
    RunEnded,
    RunRef,
    RunRefused,
    RunState,
    RunStates,
    Standing,
)
from protocols.tasks.task import BodyStatus, GetTask, TaskProgress, TaskSpec, TaskState
from protocols.tools import ToolInfo, ToolsFound
from protocols.wire import BadMessage, decode_message, decode_stored, encode_message, encode_stored
from tests.protocols.harness import SEAL_BYTES, World, address_of, endpoint_of, id_of

PEER = id_of("peer")
PROFILE = Profile("peer", address_of("peer"), ("work", "mcp:files"), "zone", 3, "0.1.0", (("cuda", "12"), ("gpu", "")))
ALIVE = Alive(PEER, precedence_of(3, 1, State.ALIVE), PROFILE)
ACCUSED = Accusation(PEER, precedence_of(3, 1, State.SUSPECT), id_of("other"))
TOOL = ToolInfo(PEER, "peer", "files", "read", "Reads a file.", "{}")
SAMPLES: tuple[Message, ...] = (
    Ping(7, (ALIVE, ACCUSED)),
    PingReq(8, PEER, address_of("peer")),
    Ack(9, (ACCUSED,)),
    Gossip((ALIVE, ACCUSED)),
    PushPull((ALIVE, Believed(ALIVE, precedence_of(3, 1, State.DEAD), PEER)), answer=True),
    Assign("abcdefghijkl.peerpeer", 2, "work", '{"n": 1}', 60_000),
    CheckRuns((RunRef("abcdefghijkl.peerpeer", 2),)),
    RunStates((RunState("abcdefghijkl.peerpeer", 2, Standing.RUNNING),)),
    RunRefused("abcdefghijkl.peerpeer", 2, RefusalCode.BUSY),
    RunEnded("abcdefghijkl.peerpeer", 2, BodyStatus.OK, '"out"', "", 12),
    Concluded("abcdefghijkl.peerpeer"),
    Ask(1, GetTask("abcdefghijkl.peerpeer", 100)),
    Answer(1, Refused("unknown_task", "No node has it.", "Check the id.", 1.5)),
    Answer(2, ToolsFound((TOOL,), 1, ("silent",))),
)
STORED = (
    Generation(3),
    Peers((address_of("peer"),)),
    ChangedTags((("cuda", "12"), ("gpu", ""))),
    TaskSpec("abcdefghijkl.peerpeer", "work", "null", "", "once", 1000, 0),
    TaskProgress("abcdefghijkl.peerpeer", TaskState.FAILED, 2, PEER, 3, 1, "", "error: x", 5, 9),
)


def decoded_or_refused(data: bytes) -> bool:
    """Whether `data` is a message. Any exception but `BadMessage` fails the test."""
    try:
        decode_message(data)
    except BadMessage as bad:
        reason = bad.reason
    else:
        return True
    assert reason in ("invalid", "malformed")
    return False


def test_ten_thousand_packets_of_noise_are_refused() -> None:
    random = Random(1)
    for _ in range(10_000):
        assert not decoded_or_refused(random.randbytes(random.randrange(200)))


def test_ten_thousand_packets_of_noise_behind_a_valid_beginning_are_refused_or_read() -> None:
    random = Random(2)
    for _ in range(10_000):
        good = encode_message(random.choice(SAMPLES))
        cut = random.randrange(len(good))
        decoded_or_refused(good[:cut] + random.randbytes(random.randrange(40)))


def test_ten_thousand_mutated_packets_are_refused_or_read() -> None:
    random = Random(3)
    encoded = [encode_message(message) for message in SAMPLES]
    read = 0
    for _ in range(10_000):
        read += decoded_or_refused(mutated(random, random.choice(encoded), random.choice(encoded)))
    assert 100 < read < 9_900, "the mutations are too gentle, or too rough, to test anything"


def mutated(random: Random, packet: bytes, other: bytes) -> bytes:
    data = bytearray(packet)
    for _ in range(random.randrange(1, 4)):
        place = random.randrange(len(data)) if data else 0
        match random.randrange(6):
            case 0 if data:
                data[place] ^= 1 << random.randrange(8)
            case 1 if data:
                data[place] = random.choice((0x00, 0x7F, 0x80, 0x90, 0xA0, 0xC0, 0xC1, 0xD9, 0xDD, 0xDF, 0xFF))
            case 2:
                del data[place : place + random.randrange(1, 8)]
            case 3:
                data[place:place] = random.randbytes(random.randrange(1, 8))
            case 4:
                start = random.randrange(len(other))
                data[place : place + 8] = other[start : start + 8]
            case _:
                data = data[:place]
    return bytes(data)


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    decoded_or_refused(data)
    decoded_or_refused(b"\x92\x01" + data)


def test_every_beginning_of_a_message_is_refused() -> None:
    for message in SAMPLES:
        encoded = encode_message(message)
        for length in range(len(encoded)):
            assert not decoded_or_refused(encoded[:length])


def test_bytes_behind_a_message_are_refused() -> None:
    for message in SAMPLES:
        assert not decoded_or_refused(encode_message(message) + b"\x00")


def test_mutated_records_are_refused_or_read() -> None:
    random = Random(4)
    encoded = [encode_stored(value) for value in STORED]
    for _ in range(5_000):
        with suppress(BadMessage):
            decode_stored(mutated(random, random.choice(encoded), random.choice(encoded)))


# Bombs: few bytes that promise much.


def array32(count: int) -> bytes:
    return b"\xdd" + struct.pack(">I", count)


def str32(count: int) -> bytes:
    return b"\xdb" + struct.pack(">I", count)


def map32(count: int) -> bytes:
    return b"\xdf" + struct.pack(">I", count)


def bin32(count: int) -> bytes:
    return b"\xc6" + struct.pack(">I", count)


MOST = (1 << 32) - 1
PING = b"\x92\x01\x93\xa4ping\x01"
GOSSIP = b"\x92\x01\x92\xa6gossip"
PUSH_PULL = b"\x92\x01\x93\xa8pushpull"
BOMBS = {
    "envelope": array32(MOST) + b"\x01",
    "message": b"\x92\x01" + array32(MOST) + b"\xa4ping\x01\x90",
    "updates": PING + array32(MOST),
    "updates of gossip": GOSSIP + array32(MOST),
    "rows": PUSH_PULL + array32(MOST),
    "one update": GOSSIP + b"\x91" + array32(MOST) + b"\xa1x",
    "handlers": GOSSIP + b"\x91\x94\xa1a\xa1b\x04\x93\xa1n\xa1a" + array32(MOST),
    "runs": b"\x92\x01\x92\xa5check" + array32(MOST),
    "tools": b"\x92\x01\x93\xa6answer\x01\x82\xa4type\xabtools_found\xa5tools" + array32(MOST),
    "tag": b"\x92\x01\x92" + str32(MOST),
    "node id": GOSSIP + b"\x91\x94\xa1a" + str32(MOST),
    "payload": b"\x92\x01\x96\xa6assign\xa1t\x01\xa1h" + str32(MOST),
    "binary for text": GOSSIP + b"\x91\x94\xa1a" + bin32(MOST),
    "map for list": GOSSIP + map32(MOST),
    "command": b"\x92\x01\x93\xa3ask\x01" + map32(MOST),
    "skipped list": b"\x92\x01\x94\xa4ping\x01\x90" + array32(MOST),
    "skipped text": b"\x92\x01\x94\xa4ping\x01\x90" + str32(MOST),
    "skipped map": b"\x92\x01\x94\xa4ping\x01\x90" + map32(MOST),
    "nested lists": b"\x91" * 100_000,
    "nested lists in a field": PING + b"\x91" * 100_000,
    "nested lists that are skipped": b"\x92\x01\x94\xa4ping\x01\x90" + b"\x91" * 100_000 + b"\xc0",
    "nested maps that are skipped": b"\x92\x01\x94\xa4ping\x01\x90" + b"\x81\xa1a" * 100_000 + b"\xc0",
    "nested maps in a command": b"\x92\x01\x93\xa3ask\x01" + b"\x81\xa4type" * 100_000,
    "nested growing lists": b"\xdd\xff\xff\xff\xff" * 20_000,
}


@pytest.mark.parametrize("what", BOMBS)
def test_bombs_are_refused_at_once_and_without_memory(what: str) -> None:
    tracemalloc.start()
    try:
        began = process_time()  # of the processor: the clock on the wall goes on while others have it
        with pytest.raises(BadMessage):
            decode_message(BOMBS[what])
        seconds = process_time() - began
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1_000_000
    assert seconds < 0.5


def test_a_list_that_is_too_long_is_refused_before_its_elements_are_read() -> None:
    """One element more than the bound, and none of them there: the announced length alone is enough."""
    for count in (UPDATES_PER_PACKET_MAX + 1, 100_000, MOST):
        with pytest.raises(BadMessage) as caught:
            decode_message(GOSSIP + array32(count))
        assert caught.value.reason == "invalid"


def test_text_that_is_no_utf8_is_refused() -> None:
    for text in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"):
        with pytest.raises(BadMessage):
            decode_message(b"\x92\x01\x92\xa9concluded" + bytes([0xA0 + len(text)]) + text)


@pytest.mark.parametrize("number", [-1, 1 << 62, (1 << 64) - 1, -(1 << 63)])
def test_numbers_out_of_range_are_refused(number: int) -> None:
    with pytest.raises(BadMessage):
        decode_message(msgspec.msgpack.encode([1, ["ping", number]]))


# What this node says fits its carrier, whatever others have announced.


WIDE = "🜁"
PROFILES = st.builds(
    Profile,
    name=st.sampled_from(["n", "n" * NAME_CHARS_MAX, WIDE * NAME_CHARS_MAX]),
    address=st.sampled_from(["a:1", "a" * ADDRESS_CHARS_MAX, WIDE * ADDRESS_CHARS_MAX]),
    handlers=st.lists(st.sampled_from(["h", "h" * HANDLER_CHARS_MAX, WIDE * HANDLER_CHARS_MAX]), max_size=64).map(
        tuple
    ),
    zone=st.sampled_from(["", "z" * NAME_CHARS_MAX]),
)


@given(st.lists(st.tuples(PROFILES, st.sampled_from(list(State))), min_size=1, max_size=130), st.randoms())
@settings(max_examples=40, deadline=None)
def test_datagrams_fit_a_packet_however_full_the_queue_is(rows: list[tuple[Profile, State]], random: Random) -> None:
    """The harness asserts the size of everything that is said; here is much to say, and every reason to say it."""
    world = World()
    host = world.add("a").start()
    world.run(1)
    updates: list[Update] = []
    for number, (profile, state) in enumerate(rows):
        node_id = WIDE * 20 + str(number) if profile.name.startswith(WIDE) else id_of(str(number))
        updates.append(Alive(node_id, precedence_of(1, 0, State.ALIVE), profile))
        if state is not State.ALIVE:
            updates.append(Accusation(node_id, precedence_of(1, 0, state), WIDE * 26))
    for update in updates:
        host.hears(endpoint_of("b"), Gossip((update,)))
    host.hush()
    for number in range(30):
        node_id = id_of(str(number % len(rows)))
        host.hears(endpoint_of(str(number)), Ping(number))
        host.hears(endpoint_of("b"), PingReq(number, node_id, WIDE * ADDRESS_CHARS_MAX))
    world.run(3)
    sent = [message for _, message in host.said if message.carrier is Carrier.DATAGRAM]
    assert any(isinstance(message, Gossip | Ping | Ack) for message in sent)
    assert max(len(encode_message(message)) for message in sent) <= PACKET_BYTES_MAX - SEAL_BYTES


def test_news_that_fits_no_packet_does_not_hold_up_the_rest() -> None:
    world = World()
    host = world.add("a").start()
    world.run(1)
    huge = Profile("huge", "huge.test:1", tuple(WIDE * HANDLER_CHARS_MAX for _ in range(20)))
    host.hears(endpoint_of("b"), Gossip((Alive(id_of("huge"), precedence_of(1, 0, State.ALIVE), huge),)))
    host.hears(endpoint_of("b"), Gossip((ALIVE,)))
    world.run(5)
    told = [update for gossip in host.said_of(Gossip) for update in gossip.updates]
    assert ALIVE in told


def test_the_largest_task_messages_fit_a_frame() -> None:
    largest: tuple[Message, ...] = (
        CheckRuns(tuple(RunRef("t" * 64, (1 << 31) - 1) for _ in range(1024))),
        RunStates(tuple(RunState("t" * 64, (1 << 31) - 1, Standing.RUNNING) for _ in range(1024))),
        RunEnded("t" * 64, 1, BodyStatus.OK, "o" * 256 * 1024, WIDE * DETAIL_CHARS_MAX, 1),
        Assign("t" * 64, 1, "h" * 64, "p" * 256 * 1024, 1),
    )
    for message in largest:
        encoded = encode_message(message)
        assert len(encoded) <= FRAME_BYTES_MAX
        assert decode_message(encoded) == message
