"""Strangers, broken peers, members that break the form: each costs a counter and its own connection, nothing else."""

from __future__ import annotations

import random
import socket
import ssl

import msgspec
import pytest
import trio
import trio.testing

from meshnode.certificates import node_id_to_raw
from meshnode.identity import found_mesh
from meshnode.transport.frames import pack_frame
from meshnode.transport.incoming import HANDSHAKES_MAX
from meshnode.transport.seal import SALT_BYTES, Sealer
from meshnode.transport.streams import ALPN_JOIN, ALPN_MESH
from protocols.core import Endpoint
from protocols.limits import FRAME_BYTES_MAX, PACKET_BYTES_MAX
from protocols.membership.messages import PushPull
from protocols.wire import encode_message
from tests.meshnode.transport.mesh_party import (
    Party,
    Tap,
    admit,
    connect_mesh,
    connect_tls,
    hung_up,
    parties,
    serving,
    two_parties,
)


async def still_serves(party: Party, peer: Party) -> None:
    """The party is well: a peer reaches it by stream and by datagram."""
    before = len(party.received)
    peer.say(party.endpoint, "still there?")
    peer.ping(party.endpoint, 99)
    await party.heard(before + 2)


# Packets.


async def test_a_packet_opens_once() -> None:
    alice, bob = two_parties()
    with Tap() as tap:
        async with serving(alice, bob):
            alice.ping(Endpoint(bob.identity.node_id, tap.address), 7)
            packet = await tap.packet()
            tap.send(packet, bob)
            tap.send(packet, bob)
            await bob.drop("packet_replayed")
            assert len(bob.received) == 1
            await still_serves(bob, alice)


async def test_a_changed_packet_does_not_open() -> None:
    alice, bob = two_parties()
    with Tap() as tap:
        async with serving(alice, bob):
            alice.ping(Endpoint(bob.identity.node_id, tap.address), 7)
            packet = bytearray(await tap.packet())
            packet[-1] ^= 1
            tap.send(bytes(packet), bob)
            await bob.drop("packet_tampered")
            # The attempt has not used the packet up.
            packet[-1] ^= 1
            tap.send(bytes(packet), bob)
            await bob.heard(1)


async def test_a_packet_for_another_node_does_not_open() -> None:
    alice, bob, carol = parties("alice bob carol")
    with Tap() as tap:
        async with serving(alice, bob):
            alice.ping(Endpoint(carol.identity.node_id, tap.address), 7)
            tap.send(await tap.packet(), bob)
            await bob.drop("packet_tampered")
    assert bob.received == []


async def test_packets_of_an_earlier_start_do_not_open_after_a_later_one() -> None:
    alice, bob = two_parties()
    later = Party(alice.identity, alice.secrets, generation=2)
    with Tap() as tap:
        async with serving(alice, later, bob):
            alice.ping(Endpoint(bob.identity.node_id, tap.address), 1)
            held_back = await tap.packet()
            later.ping(bob.endpoint, 2)
            await bob.heard(1)
            tap.send(held_back, bob)
            await bob.drop("packet_replayed")


async def test_ones_own_packet_comes_back() -> None:
    alice, bob = two_parties()
    with Tap() as tap:
        async with serving(alice):
            alice.ping(Endpoint(bob.identity.node_id, tap.address), 1)
            tap.send(await tap.packet(), alice)
            await alice.drop("packet_own_packet")


async def test_garbage_packets() -> None:
    alice, bob = two_parties()
    rng = random.Random(7)
    with Tap() as tap:
        async with serving(alice, bob):
            tap.send(b"", bob)
            tap.send(b"\x00" * 10, bob)
            await bob.drop("packet_short", 2)
            tap.send(bytes(PACKET_BYTES_MAX + 1), bob)
            tap.send(bytes(30_000), bob)
            await bob.drop("packet_oversized", 2)
            tap.send(bytes(200), bob)
            await bob.drop("packet_version")
            for _ in range(50):
                tap.send(b"\xa1" + rng.randbytes(rng.randrange(56, 1399)), bob)
            await bob.drop("packet_unknown_key", 50)
            await still_serves(bob, alice)


async def test_a_member_that_seals_nonsense() -> None:
    alice, bob = two_parties()
    sealer = Sealer(alice.secrets.keyring[0], alice.identity.node_id, "testmesh", generation=1, salt=bytes(SALT_BYTES))
    to_bob = node_id_to_raw(bob.identity.node_id)
    with Tap() as tap:
        async with serving(alice, bob):
            tap.send(sealer.seal(to_bob, b""), bob)
            tap.send(sealer.seal(to_bob, b"\x92\x01\x92\xa7unknown\x01"), bob)
            await bob.drop("bad_message", 2)
            # A packet proves membership only: what must come from a certain peer comes by stream.
            tap.send(sealer.seal(to_bob, encode_message(PushPull((), False))), bob)
            await bob.drop("wrong_carrier")
            await still_serves(bob, alice)


async def test_a_member_that_announces_what_are_no_tags() -> None:
    alice, bob = two_parties()
    sealer = Sealer(alice.secrets.keyring[0], alice.identity.node_id, "testmesh", generation=1, salt=bytes(SALT_BYTES))
    to_bob = node_id_to_raw(bob.identity.node_id)
    announced = ["a", alice.identity.node_id, 1 << 34, ["alice", "127.0.0.1:9", [], "", 1, "0.1.0", []], 0]
    profile = announced[3]
    assert isinstance(profile, list)
    broken: list[object] = [
        [["room", "\x1b]0;owned\x07"]],
        [["room", "\u202ehtron"]],
        [["b", ""], ["a", ""]],
        [["a", ""], ["a", ""]],
        [["a", "v" * 1000]],
        [[f"k{number:02}", ""] for number in range(100)],
    ]
    with Tap() as tap:
        async with serving(alice, bob):
            for tags in broken:
                profile[-1] = tags
                tap.send(sealer.seal(to_bob, msgspec.msgpack.encode([1, ["gossip", [announced]]])), bob)
            await bob.drop("bad_message", len(broken))
            assert bob.received == []
            profile[-1] = [[".later", "1"], ["gpu", ""]]
            tap.send(sealer.seal(to_bob, msgspec.msgpack.encode([1, ["gossip", [announced]]])), bob)
            await bob.heard(1)
            await still_serves(bob, alice)


# Connections that are no mesh streams.


async def test_garbage_connections() -> None:
    alice, bob = two_parties()
    rng = random.Random(11)
    pieces = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\xff\xff" + rng.randbytes(3000),
        rng.randbytes(100),
        b"",
    ]
    async with serving(alice, bob):
        for piece in pieces:
            async with await trio.open_tcp_stream("127.0.0.1", bob.port) as stream:
                await stream.send_all(piece)
                await stream.send_eof()
                assert await hung_up_after_alert(stream)
        await bob.drop("handshake_failed", len(pieces))
        await still_serves(bob, alice)


async def hung_up_after_alert(stream: trio.SocketStream) -> bool:
    """The other end closes, after an alert or at once."""
    while not await hung_up(stream):
        pass
    return True


async def test_old_tls_is_refused() -> None:
    alice, bob = two_parties()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(alice, bob):
        stream = trio.SSLStream(await trio.open_tcp_stream("127.0.0.1", bob.port), context)
        with pytest.raises(trio.BrokenResourceError):
            await stream.do_handshake()
        await trio.aclose_forcefully(stream)
        await bob.drop("handshake_failed")
        await still_serves(bob, alice)


async def test_a_mesh_stream_needs_a_certificate_of_the_mesh() -> None:
    alice, bob = two_parties()
    stranger, _ = found_mesh("testmesh", "mallory")
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.check_hostname = False
    nobody.verify_mode = ssl.CERT_NONE
    nobody.set_alpn_protocols([ALPN_MESH])
    async with serving(alice, bob):
        stream = trio.SSLStream(await trio.open_tcp_stream("127.0.0.1", bob.port), nobody)
        await stream.do_handshake()
        assert await hung_up(stream)
        await bob.drop("no_certificate")
        await trio.aclose_forcefully(stream)
        with pytest.raises(trio.BrokenResourceError):  # the stranger does not trust bob, to begin with
            await connect_tls(stranger, bob)
        await still_serves(bob, alice)


async def test_a_protocol_that_nobody_speaks() -> None:
    alice, bob = two_parties()
    async with serving(alice, bob):
        stream = await connect_tls(alice.identity, bob, "h2")
        assert await hung_up(stream)
        await bob.drop("no_alpn")
        await trio.aclose_forcefully(stream)


async def test_a_silent_connection_is_closed(jumping_clock: trio.testing.MockClock) -> None:
    alice, bob = two_parties()
    async with serving(alice, bob):
        began_s = trio.current_time()
        async with await trio.open_tcp_stream("127.0.0.1", bob.port) as before_tls:
            assert await hung_up(before_tls)
        assert 4.9 <= trio.current_time() - began_s <= 6
        after_tls = await connect_tls(alice.identity, bob)
        assert not await hung_up(after_tls)  # bob's hello
        assert await hung_up(after_tls)
        await bob.drop("handshake_timeout", 2)
        await trio.aclose_forcefully(after_tls)
        await still_serves(bob, alice)


async def test_a_crowd_of_silent_connections_shuts_nobody_out(jumping_clock: trio.testing.MockClock) -> None:
    alice, bob = two_parties()
    async with serving(alice, bob):
        crowd = [socket.create_connection(("127.0.0.1", bob.port)) for _ in range(HANDSHAKES_MAX + 30)]
        began_s = trio.current_time()
        await still_serves(bob, alice)
        assert trio.current_time() - began_s < 3
        evicted = bob.transport.drops["handshake_evicted"]
        assert evicted >= 31
        assert sum(is_closed(stranger) for stranger in crowd) >= evicted
        for stranger in crowd:
            stranger.close()


def is_closed(sock: socket.socket) -> bool:
    """Whether the other end has closed."""
    sock.setblocking(False)
    try:
        return not sock.recv(1)
    except ConnectionResetError:
        return True
    except BlockingIOError:
        return False


# Members that break the form.


@pytest.mark.parametrize(
    "hello",
    [
        pack_frame(b""),
        pack_frame(b"\xc1"),
        pack_frame(b"\x84\xa1v\x92\x01\x01\xa4mesh\xa8testmesh\xa7address\xa9not a url\xa4name\xa1x"),
        pack_frame(b"\xa9" * 3000),
        b"\xff\xff\xff\xff",
    ],
)
async def test_a_bad_hello(hello: bytes) -> None:
    alice, bob = two_parties()
    async with serving(alice, bob):
        stream = await connect_tls(alice.identity, bob)
        await stream.send_all(hello)
        await bob.drop("bad_hello")
        await trio.aclose_forcefully(stream)
        await still_serves(bob, alice)


async def test_no_common_wire_version() -> None:
    alice, bob = two_parties()
    async with serving(alice, bob):
        stream = await connect_tls(alice.identity, bob)
        await stream.send_all(
            pack_frame(b"\x84\xa1v\x92\x40\x41\xa4mesh\xa8testmesh\xa7address\xab127.0.0.1:9\xa4name\xa1x")
        )
        await bob.drop("wire_version")
        await trio.aclose_forcefully(stream)


async def test_an_oversized_frame_is_refused_on_its_length() -> None:
    alice, bob = two_parties()
    async with serving(alice, bob):
        stream = await connect_mesh(alice.identity, bob)
        await stream.send_all((FRAME_BYTES_MAX + 1).to_bytes(4))  # and not one byte of it
        await bob.drop("frame_too_big")
        assert await hung_up(stream)
        await trio.aclose_forcefully(stream)
        await still_serves(bob, alice)


async def test_a_bad_message_costs_itself_alone() -> None:
    alice, bob = two_parties()
    good = pack_frame(encode_message(PushPull((), False)))
    async with serving(alice, bob):
        stream = await connect_mesh(alice.identity, bob)
        await stream.send_all(good + pack_frame(b"garbage") + pack_frame(b"") + good)
        await bob.heard(2)
        assert bob.transport.drops == {"bad_message": 2}
        assert bob.messages == [PushPull((), False)] * 2
        assert {sender for sender, _ in bob.received} == {Endpoint(alice.identity.node_id, "127.0.0.1:9")}
        await trio.aclose_forcefully(stream)


async def test_a_stream_that_breaks_within_a_frame() -> None:
    alice, bob = two_parties()
    async with serving(alice, bob):
        stream = await connect_mesh(alice.identity, bob)
        await stream.send_all(pack_frame(b"x" * 1000)[:500])
        await trio.aclose_forcefully(stream)
        await bob.drop("stream_truncated")
        await bob.until(lambda: bob.transport.streams_open == 0)
        await still_serves(bob, alice)


async def test_a_frame_that_does_not_end(jumping_clock: trio.testing.MockClock) -> None:
    alice, bob = two_parties()
    async with serving(alice, bob):
        stream = await connect_mesh(alice.identity, bob)
        await stream.send_all((1000).to_bytes(4))
        began_s = trio.current_time()
        with pytest.RaisesGroup(trio.BrokenResourceError, allow_unwrapped=True, flatten_subgroups=True):
            while True:  # a byte now and then must not keep it open
                await trio.sleep(7)
                await stream.send_all(b"x")
        assert 25 <= trio.current_time() - began_s <= 45
        assert bob.transport.drops["stream_timeout"] == 1
        await trio.aclose_forcefully(stream)
        await still_serves(bob, alice)


async def test_a_newcomers_certificate_decides_nothing() -> None:
    """The join protocol is open to strangers and members alike; where nobody keeps a desk, it says so and closes."""
    alice, bob = two_parties()
    async with serving(alice, bob):
        stream = await connect_tls(alice.identity, bob, ALPN_JOIN)
        assert not await hung_up(stream)
        assert await hung_up(stream)
        await trio.aclose_forcefully(stream)
        await still_serves(bob, alice)


async def test_certificates_of_other_members_do_not_lend_their_names() -> None:
    """A hello may claim any name and address; the id is that of the key."""
    founder, secrets = found_mesh("testmesh", "alice")
    alice = Party(founder, secrets)
    mallory, _ = admit(founder, secrets, "mallory")
    async with serving(alice):
        stream = await connect_mesh(mallory, alice, address="127.0.0.1:1")
        await stream.send_all(pack_frame(encode_message(PushPull((), False))))
        await alice.heard(1)
        assert alice.received[0][0].node_id == mallory.node_id
        await trio.aclose_forcefully(stream)
