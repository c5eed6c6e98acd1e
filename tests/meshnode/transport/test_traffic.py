"""Messages and bytes are counted by type, both ways, and only where they were really said or heard."""

from __future__ import annotations

import trio

from meshnode.transport.frames import pack_frame
from meshnode.transport.outgoing import OUTBOX_FRAMES_MAX
from meshnode.transport.traffic import Flow, Traffic
from protocols.core import Endpoint
from protocols.membership.messages import Ping
from protocols.tasks.messages import Concluded
from protocols.wire import encode_message
from tests.meshnode.transport.mesh_party import connect_mesh, eventually, serving, two_parties


def test_types_are_told_apart_by_the_tags_of_the_wire_and_in_order() -> None:
    traffic = Traffic()
    traffic.said(Ping(1), 10)
    traffic.said(Ping(2), 20)
    traffic.heard(Concluded("t"), 7)
    assert list(traffic.by_type().items()) == [("concluded", Flow(1, 7, 0, 0)), ("ping", Flow(0, 0, 2, 30))]


async def test_what_one_says_is_what_the_other_hears() -> None:
    alice, bob = two_parties()
    async with serving(alice, bob):
        for number in range(3):
            alice.say(bob.endpoint, "x" * number)
            alice.ping(bob.endpoint, number)
        await bob.heard(6)
        said, heard = alice.transport.traffic.by_type(), bob.transport.traffic.by_type()
        stream_bytes = sum(len(encode_message(Concluded("x" * number))) for number in range(3))
        assert said["concluded"] == Flow(0, 0, 3, stream_bytes)
        assert heard["concluded"] == Flow(3, stream_bytes, 0, 0)
        assert (said["ping"].messages_out, heard["ping"].messages_in) == (3, 3)
        assert said["ping"].bytes_out == heard["ping"].bytes_in
        assert said["ping"].bytes_out > sum(len(encode_message(Ping(number))) for number in range(3))


async def test_what_is_dropped_is_not_counted_as_traffic() -> None:
    alice, bob = two_parties()
    async with serving(alice, bob):
        nowhere = Endpoint(bob.identity.node_id, "no port here")
        alice.ping(nowhere, 1)
        alice.ping(Endpoint("", bob.transport.address), 1)
        with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as stranger:
            await stranger.sendto(b"garbage" * 20, ("127.0.0.1", bob.port))
        await eventually(lambda: bool(bob.transport.drops))
        async with await connect_mesh(alice.identity, bob) as stream:
            await stream.send_all(pack_frame(b"???"))
            await eventually(lambda: bob.transport.drops["bad_message"] == 1)
        assert alice.transport.traffic.by_type() == {}
        assert bob.transport.traffic.by_type() == {}


async def test_a_message_that_a_full_outbox_refuses_was_not_said() -> None:
    alice, bob = two_parties()
    async with serving(alice, bob):
        for number in range(OUTBOX_FRAMES_MAX + 5):
            alice.say(bob.endpoint, str(number))
        assert alice.transport.drops["outbox_full"] == 5
        assert alice.transport.traffic.by_type()["concluded"].messages_out == OUTBOX_FRAMES_MAX
