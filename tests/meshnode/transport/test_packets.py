"""Sealing and opening while the keyring changes, and packets that come before their key (`transport/packets.py`)."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.certificates import node_id_of, node_id_to_raw
from meshnode.transport.packets import PARK_S, PARKED_MAX, Packets, Parked
from meshnode.transport.seal import MESSAGE_BYTES_MAX, SALTS_MAX, BadPacket, key_named_in, sender_named_in
from protocols.core import Endpoint
from protocols.keyring.ring import key_id
from protocols.membership.messages import Ping
from tests.meshnode.transport.mesh_party import Party, Tap, serving, two_parties

OLD, NEW, OTHER = (bytes([number]) * 32 for number in (1, 2, 3))
ALICE, BOB = (node_id_of(bytes([number]) * 32) for number in (1, 2))
TO_BOB = node_id_to_raw(BOB)


def packets_of(me: str, *keyring: bytes, generation: int = 5) -> Packets:
    return Packets(keyring or (OLD,), me, "m", generation=generation)


def refusal(packets: Packets, packet: bytes) -> str:
    with pytest.raises(BadPacket) as caught:
        packets.open(packet)
    return caught.value.reason


def test_a_rotation_opens_whatever_step_each_end_has_reached() -> None:
    steps: list[tuple[tuple[bytes, ...], tuple[bytes, ...]]] = [
        ((OLD, NEW), ()),
        ((NEW, OLD), ()),
        ((NEW,), (OLD,)),
        ((NEW,), ()),
    ]
    alice, bob = packets_of(ALICE), packets_of(BOB)
    for keyring, retiring in steps[:3]:
        for end in (alice, bob):  # one of the two a step ahead of the other
            end.rekey(keyring, retiring)
            assert bob.open(alice.seal(TO_BOB, b"x")).message == b"x"
    under_way = packets_of(ALICE, OLD).seal(TO_BOB, b"x")
    bob.rekey(*steps[3])
    assert refusal(bob, under_way) == "unknown_key"


def test_what_opened_before_a_rotation_opens_never_again() -> None:
    alice, bob = packets_of(ALICE), packets_of(BOB)
    early = [alice.seal(TO_BOB, b"1") for _ in range(3)]
    for packet in early[:2]:
        bob.open(packet)
    for keyring in ((OLD, NEW), (NEW, OLD), (OLD, NEW)):
        bob.rekey(keyring, ())
        assert [refusal(bob, packet) for packet in early[:2]] == ["replayed", "replayed"]
    assert bob.open(early[2]).message == b"1"
    bob.rekey((NEW,), (OLD,))
    assert refusal(bob, early[2]) == "replayed"
    bob.rekey((NEW,), ())
    assert [refusal(bob, packet) for packet in early] == ["unknown_key"] * 3


def test_no_nonce_is_used_twice_however_often_the_primary_goes_back_and_forth() -> None:
    alice, bob = packets_of(ALICE, OLD, NEW), packets_of(BOB, OLD, NEW)
    headers: list[bytes] = []
    opened: list[bytes] = []
    for keyring in ((NEW, OLD), (OLD, NEW), (OLD, NEW, OTHER), (NEW, OLD), (OLD,), (OLD, NEW)) * 3:
        alice.rekey(keyring, ())
        for _ in range(2):
            packet = alice.seal(TO_BOB, b"x")
            headers.append(packet[:41])
            opened.append(packet)
    assert len(set(headers)) == len(headers)
    for packet in opened:
        assert bob.open(packet).message == b"x"
    assert {refusal(bob, packet) for packet in opened} == {"replayed"}  # every window is still there


def test_the_window_of_a_key_that_is_in_use_outlives_any_number_of_others() -> None:
    alice, bob = packets_of(ALICE), packets_of(BOB)
    opened: list[bytes] = []
    for number in range(2 * SALTS_MAX):
        for primary in (OLD, bytes([50 + number]) * 32):
            alice.rekey((primary, OLD), ())
            bob.rekey((primary, OLD), ())
            packet = alice.seal(TO_BOB, b"x")
            bob.open(packet)
            if primary == OLD:
                opened.append(packet)
    assert {refusal(bob, packet) for packet in opened} == {"replayed"}


def test_a_key_that_comes_back_does_not_bring_back_what_it_had_opened() -> None:
    alice, bob = packets_of(ALICE), packets_of(BOB)
    packet = alice.seal(TO_BOB, b"x")
    bob.open(packet)
    bob.rekey((NEW,), ())
    bob.rekey((NEW, OLD), ())
    assert refusal(bob, packet) == "replayed"


def test_a_key_that_comes_back_seals_with_a_salt_of_its_own() -> None:
    alice = packets_of(ALICE)
    salts = []
    for keyring in ((OLD,), (NEW,), (OLD, NEW)):
        alice.rekey(keyring, ())
        salts.append(alice.seal(TO_BOB, b"x")[25:33])
    assert len(set(salts)) == 3


def test_a_renewed_generation_outdoes_the_one_before_under_every_key() -> None:
    alice, bob = packets_of(ALICE, OLD, NEW), packets_of(BOB, OLD, NEW)
    early = alice.seal(TO_BOB, b"1")
    alice.renew(6)
    bob.open(alice.seal(TO_BOB, b"2"))
    assert refusal(bob, early) == "replayed"
    alice.rekey((NEW, OLD), ())
    assert bob.open(alice.seal(TO_BOB, b"3")).generation == 6


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([(OLD,), (NEW,), (OLD, NEW), (NEW, OLD)]), max_size=4), st.binary(max_size=1500))
def test_no_bytes_do_anything_but_raise_bad_packet(keyrings: list[tuple[bytes, ...]], data: bytes) -> None:
    bob = packets_of(BOB)
    for keyring in keyrings:
        bob.rekey(keyring, ())
        refusal(bob, data)
        refusal(bob, b"\xa1" + key_id(keyring[0]) + data)


# Packets that wait.


def test_those_that_wait_are_few_and_wait_for_so_long() -> None:
    parked = Parked()
    packets = [packets_of(ALICE, key).seal(TO_BOB, b"") for key in (NEW, OTHER)]
    assert [parked.put(packets[number % 2], "h", number, float(number)) for number in range(PARKED_MAX)] == [
        0
    ] * PARKED_MAX
    assert parked.put(packets[0], "h", PARKED_MAX, float(PARKED_MAX)) == 1  # the oldest went
    assert parked.deadline_s == 1 + PARK_S
    assert [each.port for each in parked.take([OLD, NEW])] == list(range(2, PARKED_MAX + 1, 2))
    assert parked.expire(1 + PARK_S - 0.1) == 0
    assert parked.expire(5 + PARK_S) == 3
    assert parked.expire(1e9) == PARKED_MAX // 2 - 3
    assert parked.deadline_s is None


async def test_a_packet_that_overtakes_its_key_waits_and_is_delivered() -> None:
    alice, bob = two_parties()
    (old,) = alice.secrets.keyring
    async with serving(alice, bob):
        alice.transport.rekey((NEW, old))
        alice.ping(bob.endpoint, 1)
        alice.ping(bob.endpoint, 2)
        await bob.until(lambda: len(bob.named) == 2, "packets under an unknown key")
        assert bob.named == [alice.identity.node_id] * 2
        bob.transport.rekey((old, OTHER))  # not this one
        assert bob.received == []
        bob.transport.rekey((NEW, old))
        assert bob.messages == [Ping(1), Ping(2)]
        assert not bob.transport.drops


async def test_one_that_waits_in_vain_counts_as_dropped(jumping_clock: trio.testing.MockClock) -> None:
    alice, bob = two_parties()
    async with serving(alice, bob):
        alice.transport.rekey((NEW,))
        alice.ping(bob.endpoint, 1)
        await bob.until(lambda: len(bob.named) == 1)
        assert bob.transport.drops == {}
        began_s = trio.current_time()
        await bob.drop("packet_unknown_key")
        assert PARK_S - 0.1 <= trio.current_time() - began_s <= PARK_S + 1
        bob.transport.rekey((NEW,))
        assert bob.received == []


async def test_strangers_that_fill_the_places_push_out_the_oldest_and_no_more() -> None:
    alice, bob = two_parties()
    async with serving(alice, bob):
        with Tap() as tap:
            for number in range(PARKED_MAX):
                tap.send(b"\xa1" + number.to_bytes(4) + bytes(100), bob)
            await bob.until(lambda: len(bob.named) == PARKED_MAX)
            assert bob.transport.drops == {}
            tap.send(b"\xa1" + bytes(4) + bytes(1300), bob)
            await bob.drop("packet_unknown_key")
            alice.ping(bob.endpoint, 1)
            await bob.heard(1)


def test_what_a_packet_names_before_anything_is_proven() -> None:
    packet = packets_of(ALICE).seal(TO_BOB, bytes(MESSAGE_BYTES_MAX))
    assert key_named_in(packet) == key_id(OLD)
    assert sender_named_in(packet) == ALICE


async def test_a_sealed_message_of_another_version_is_understood_or_counted() -> None:
    """A newer writer appends fields and adds messages; what it may not do is counted, and changes nothing."""
    alice, bob = two_parties()
    sealed = Packets(alice.secrets.keyring, alice.identity.node_id, "testmesh", generation=1)
    to_bob = node_id_to_raw(bob.identity.node_id)
    says = [
        (b"\x92\x02\x96\xa4ping\x07\x90\xc0\x01\x02", None),  # version 2, two fields more
        (b"\x92\x02\x92\xa9not known\x01", "bad_message"),
        (b"\x92\x00\x93\xa4ping\x07\x90", "bad_message"),
        (b"\x92\xcd\xff\xff\x93\xa4ping\x07\x90", "bad_message"),
        (b"\x92\x01\x93\xa4ping\xff\x90", "bad_message"),
        (b"\x92\x01\x93\xa4ping\x07", "bad_message"),
        (b"", "bad_message"),
    ]
    async with serving(alice, bob):
        with Tap() as tap:
            for message, reason in says:
                tap.send(sealed.seal(to_bob, message), bob)
                if reason is not None:
                    await bob.drop(reason, says.index((message, reason)))
            await bob.heard(1)
        assert bob.received == [(Endpoint(alice.identity.node_id, bob.received[0][0].address), Ping(7))]
        assert bob.transport.drops == {"bad_message": len(says) - 1}


async def test_packets_of_another_mesh_do_not_open_even_with_the_same_key() -> None:
    alice, bob = two_parties()
    to_bob = node_id_to_raw(bob.identity.node_id)
    (key,) = alice.secrets.keyring
    async with serving(alice, bob):
        with Tap() as tap:
            tap.send(Packets((NEW,), alice.identity.node_id, "testmesh", generation=1).seal(to_bob, b"x"), bob)
            tap.send(Packets((key,), alice.identity.node_id, "another", generation=9).seal(to_bob, b"x"), bob)
            tap.send(bytes([0xA2]) + alice_packet(alice, to_bob)[1:], bob)
            tap.send(alice_packet(alice, to_bob)[:-1], bob)
            tap.send(alice_packet(alice, to_bob).ljust(65_507, b"\0"), bob)
            await bob.drop("packet_tampered", 2)
            await bob.drop("packet_version")
            await bob.drop("packet_oversized")
            await bob.drop("packet_unknown_key")
        alice.ping(bob.endpoint, 1)
        await bob.heard(1)
        assert len(bob.received) == 1


def alice_packet(alice: Party, to: bytes) -> bytes:
    return Packets(alice.secrets.keyring, alice.identity.node_id, "testmesh", generation=1).seal(to, b"x")
