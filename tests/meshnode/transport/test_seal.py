"""Packet sealing: round trips, and that nothing but the very packet opens, once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.certificates import node_id_of, node_id_to_raw
from meshnode.transport.seal import (
    GENERATION_MAX,
    MESSAGE_BYTES_MAX,
    SALT_BYTES,
    SALTS_MAX,
    SEAL_OVERHEAD_BYTES,
    WINDOW_PACKETS,
    BadPacket,
    Opener,
    Sealer,
)
from protocols.keyring.ring import key_id
from protocols.limits import PACKET_BYTES_MAX, UPDATES_BYTES_MAX
from protocols.membership.coordinates import COORDINATE_BYTES_MAX
from protocols.membership.vitals import VITALS_BYTES_MAX

KEY, OLD_KEY, OTHER_KEY = (bytes([n]) * 32 for n in (1, 2, 3))
ALICE, BOB, CAROL = (node_id_of(bytes([n]) * 32) for n in (1, 2, 3))
TO_BOB = node_id_to_raw(BOB)


def sealer(key: bytes = KEY, sender: str = ALICE, mesh: str = "m", generation: int = 5, salt: int = 0) -> Sealer:
    return Sealer(key, sender, mesh, generation=generation, salt=salt.to_bytes(SALT_BYTES))


def opener(*keyring: bytes, me: str = BOB, mesh: str = "m", senders_max: int = 100) -> Opener:
    return Opener(keyring or (KEY,), me, mesh, senders_max=senders_max)


def refusal(one: Opener, packet: bytes) -> str:
    with pytest.raises(BadPacket) as caught:
        one.open(packet)
    return caught.value.reason


def test_what_is_sealed_fits_and_the_probe_fields_too() -> None:
    payloads = VITALS_BYTES_MAX + COORDINATE_BYTES_MAX
    assert UPDATES_BYTES_MAX + payloads + 20 + SEAL_OVERHEAD_BYTES <= PACKET_BYTES_MAX
    packet = sealer().seal(TO_BOB, bytes(MESSAGE_BYTES_MAX))
    assert len(packet) == PACKET_BYTES_MAX
    assert len(opener().open(packet).message) == MESSAGE_BYTES_MAX
    with pytest.raises(ValueError, match="do not fit"):
        sealer().seal(TO_BOB, bytes(MESSAGE_BYTES_MAX + 1))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=MESSAGE_BYTES_MAX), max_size=8), st.integers(0, GENERATION_MAX))
def test_round_trip(messages: list[bytes], generation: int) -> None:
    alice, bob = sealer(generation=generation), opener()
    for message in messages:
        assert bob.open(alice.seal(TO_BOB, message)) == (ALICE, generation, message)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40), st.data())
def test_no_bit_may_change(message: bytes, data: st.DataObject) -> None:
    packet = bytearray(sealer().seal(TO_BOB, message))
    bit = data.draw(st.integers(0, len(packet) * 8 - 1))
    packet[bit // 8] ^= 1 << bit % 8
    assert refusal(opener(), bytes(packet)) in {"version", "unknown_key", "tampered"}


@settings(deadline=None)
@given(st.binary(max_size=40), st.data())
def test_nothing_may_be_cut_or_added(message: bytes, data: st.DataObject) -> None:
    packet = sealer().seal(TO_BOB, message)
    shorter = data.draw(st.integers(0, len(packet) - 1))
    assert refusal(opener(), packet[:shorter]) in {"short", "tampered"}
    assert refusal(opener(), packet + data.draw(st.binary(min_size=1, max_size=20))) == "tampered"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=PACKET_BYTES_MAX + 10), st.booleans())
def test_any_bytes_raise_bad_packet_alone(data: bytes, with_the_right_start: bool) -> None:
    if with_the_right_start:
        data = sealer().seal(TO_BOB, b"")[:5] + data
    bob = opener()
    refusal(bob, data)
    assert len(bob) == 0  # what nobody sealed leaves no trace in memory


def test_it_is_for_one_receiver_in_one_mesh() -> None:
    packet = sealer().seal(TO_BOB, b"x")
    assert refusal(opener(me=CAROL), packet) == "tampered"
    assert refusal(opener(mesh="other"), packet) == "tampered"
    assert refusal(opener(me=ALICE), packet) == "own_packet"
    assert refusal(opener(OTHER_KEY), packet) == "unknown_key"
    assert opener().open(packet).message == b"x"


def test_a_keyring_opens_what_any_of_its_keys_sealed() -> None:
    bob = opener(KEY, OLD_KEY)
    assert bob.open(sealer(OLD_KEY).seal(TO_BOB, b"old")).message == b"old"
    assert bob.open(sealer(KEY).seal(TO_BOB, b"new")).message == b"new"
    assert key_id(KEY) not in KEY


def test_each_packet_opens_once_in_any_order() -> None:
    alice, bob = sealer(), opener()
    packets = [alice.seal(TO_BOB, bytes([n])) for n in range(100)]
    for packet in packets[50:] + packets[:50]:
        bob.open(packet)
    assert {refusal(bob, packet) for packet in packets} == {"replayed"}


def test_what_is_older_than_the_window_counts_as_replayed() -> None:
    alice, bob = sealer(), opener()
    packets = [alice.seal(TO_BOB, b"") for _ in range(WINDOW_PACKETS + 2)]
    bob.open(packets[-1])
    assert refusal(bob, packets[0]) == "replayed"
    assert refusal(bob, packets[1]) == "replayed"
    bob.open(packets[2])
    assert refusal(bob, packets[2]) == "replayed"


@settings(deadline=None)
@given(st.lists(st.integers(0, 3000), max_size=60))
def test_the_window_against_a_plain_set(order: list[int]) -> None:
    """RFC 4303, section 3.4.3, with the obvious implementation as the oracle."""
    alice, bob = sealer(), opener()
    packets = [alice.seal(TO_BOB, b"") for _ in range(3001)]
    seen: set[int] = set()
    for number in order:
        fresh = number not in seen and number > max(seen, default=-1) - WINDOW_PACKETS
        if fresh:
            bob.open(packets[number])
            seen.add(number)
        else:
            assert refusal(bob, packets[number]) == "replayed"


def test_a_restart_of_the_sender_ends_what_it_said_before() -> None:
    before, after, bob = sealer(generation=5, salt=1), sealer(generation=6, salt=2), opener()
    early, late = before.seal(TO_BOB, b"1"), before.seal(TO_BOB, b"2")
    bob.open(early)
    bob.open(after.seal(TO_BOB, b"3"))
    assert refusal(bob, late) == "replayed"
    bob.open(after.seal(TO_BOB, b"4"))


def test_a_forged_generation_does_not_silence_the_sender() -> None:
    alice, bob = sealer(), opener()
    packet = bytearray(alice.seal(TO_BOB, b"x"))
    packet[21:25] = b"\xff\xff\xff\xff"
    assert refusal(bob, bytes(packet)) == "tampered"
    assert bob.open(alice.seal(TO_BOB, b"y")).message == b"y"


def test_memory_is_bounded() -> None:
    bob = opener(senders_max=10)
    for number in range(50):
        bob.open(sealer(sender=node_id_of(bytes([number + 10]) * 32)).seal(TO_BOB, b""))
    assert len(bob) == 10
    # Processes of one sender within one generation are bounded too: the latest ones are known.
    packets = [sealer(salt=n).seal(TO_BOB, b"") for n in range(SALTS_MAX)]
    for packet in packets:
        bob.open(packet)
    assert {refusal(bob, packet) for packet in packets} == {"replayed"}


@pytest.mark.parametrize(
    ("key", "generation", "salt"),
    [(b"short", 1, bytes(8)), (KEY, -1, bytes(8)), (KEY, 1 << 32, bytes(8)), (KEY, 1, b"")],
)
def test_our_own_mistakes_are_value_errors(key: bytes, generation: int, salt: bytes) -> None:
    with pytest.raises(ValueError, match="out of range"):
        Sealer(key, ALICE, "m", generation=generation, salt=salt)
