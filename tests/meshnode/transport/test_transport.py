"""Two and more nodes that talk: messages arrive, in order, from whom they say; streams come back after trouble."""

from __future__ import annotations

import itertools
import socket

import pytest
import trio
import trio.testing

from meshnode.certificates import node_id_of
from meshnode.errors import MeshError
from meshnode.identity import found_mesh, server_context
from meshnode.transport.frames import pack_frame
from meshnode.transport.hello import encode_hello
from meshnode.transport.outgoing import OUTBOX_BYTES_MAX, OUTBOX_FRAMES_MAX
from meshnode.transport.streams import ALPN_MESH
from meshnode.transport.transport import Transport
from protocols.core import Endpoint, Message, NodeId
from protocols.limits import FRAME_BYTES_MAX, OUTPUT_BYTES_MAX
from protocols.membership.member import Accusation, State, precedence_of
from protocols.membership.messages import Gossip, Ping, PushPull
from protocols.tasks.messages import Concluded, RunEnded
from protocols.tasks.task import BodyStatus
from tests.meshnode.transport.mesh_party import (
    DEADLINE_S,
    Party,
    Relay,
    admit,
    connect_mesh,
    eventually,
    hung_up,
    parties,
    serving,
    two_parties,
)


async def test_both_carriers_both_ways() -> None:
    alice, bob = two_parties()
    async with serving(alice, bob):
        alice.say(bob.endpoint, "by stream")
        bob.say(alice.endpoint, "back")
        alice.ping(bob.endpoint, 1)
        bob.ping(alice.endpoint, 2)
        await alice.heard(2)
        await bob.heard(2)
        # Stream or datagram: the sender is who it is, at the address where it listens.
        assert {sender for sender, _ in bob.received} == {alice.endpoint}
        assert {sender for sender, _ in alice.received} == {bob.endpoint}
        assert set(map(repr, bob.messages)) == {repr(Concluded("by stream")), repr(Ping(1))}
        assert alice.transport.streams_open == bob.transport.streams_open == 2
    assert not alice.dropped
    assert not bob.dropped


async def test_twenty_thousand_messages_arrive_in_order() -> None:
    alice, bob = two_parties()
    count = 20_000
    async with serving(alice, bob):
        for number in range(count):
            alice.say(bob.endpoint, str(number))
            if number % 2000 == 1999:
                await bob.heard(number - 1000)
        await bob.heard(count)
    assert bob.texts == [str(number) for number in range(count)]
    assert not alice.dropped


async def test_large_messages_fit() -> None:
    alice, bob = two_parties()
    ended = RunEnded("t", 1, BodyStatus.OK, "x" * OUTPUT_BYTES_MAX, "", 5)
    async with serving(alice, bob):
        for _ in range(8):
            alice.transport.send(bob.endpoint, ended)
        await bob.heard(8)
    assert bob.messages == [ended] * 8


async def test_a_seed_is_known_by_its_address_alone() -> None:
    alice, bob = two_parties()
    async with serving(alice, bob):
        alice.say(Endpoint("", bob.transport.address), "hello, whoever you are")
        await bob.heard(1)
        # Now that its id is known, the same stream carries what is said to the peer by name.
        alice.say(bob.endpoint, "hello, bob")
        await bob.heard(2)
        assert alice.transport.streams_open == 1
        # A packet is sealed for one node: without an id there is none.
        alice.ping(Endpoint("", bob.transport.address), 1)
        assert alice.transport.drops["unknown_receiver"] == 1


async def test_a_hostname_is_looked_up_beside_the_traffic() -> None:
    alice, bob = two_parties()
    async with serving(alice, bob):
        by_name = Endpoint(bob.identity.node_id, f"localhost:{bob.port}")
        alice.say(by_name, "stream")
        with trio.fail_after(DEADLINE_S):
            while Ping(1) not in bob.messages:
                alice.ping(by_name, 1)
                await trio.sleep(0.02)
        assert alice.transport.drops["unresolved"] >= 1
        assert "stream" in bob.texts
        alice.ping(Endpoint(bob.identity.node_id, "no port here"), 2)
        assert alice.transport.drops["unresolved"] >= 2


async def test_this_node_is_never_its_own_peer() -> None:
    alice, bob = two_parties()
    async with serving(alice, bob):
        alice.say(alice.endpoint, "me")
        alice.say(Endpoint("", alice.transport.address), "me again")
        assert alice.transport.drops["self_connection"] == 2
        # Another address of the same node shows only once the certificate is seen.
        alice.say(Endpoint("", f"localhost:{alice.port}"), "me by another name")
        await alice.drop("undelivered")
        alice.say(bob.endpoint, "you")
        await bob.heard(1)
    assert alice.received == []
    assert alice.transport.drops["self_connection"] >= 3


async def test_another_node_at_a_peers_address_gets_nothing() -> None:
    alice, bob, carol = parties("alice bob carol")
    async with serving(alice, bob):
        alice.say(Endpoint(carol.identity.node_id, bob.transport.address), "for carol only")
        await alice.drop("wrong_peer")
        await alice.drop("undelivered")
        alice.say(bob.endpoint, "for bob")
        await bob.heard(1)
    assert bob.texts == ["for bob"]


async def test_two_meshes_never_meet() -> None:
    alice, _ = two_parties()
    stranger = Party(*found_mesh("testmesh", "mallory"))  # same label, another CA
    async with serving(alice, stranger):
        alice.say(stranger.endpoint, "?")
        stranger.ping(alice.endpoint, 1)
        await alice.drop("untrusted_peer")
        await alice.drop("undelivered")
        await alice.drop("packet_unknown_key")
        await stranger.drop("handshake_failed")
    assert alice.received == stranger.received == []


async def test_a_label_separates_meshes_of_one_ca() -> None:
    founder, secrets = found_mesh("testmesh", "alice")
    alice = Party(founder, secrets)
    bob_identity, bob_secrets = admit(founder, secrets, "bob")
    bob = Party(bob_identity, type(bob_secrets)("othermesh", bob_secrets.keyring))
    async with serving(alice, bob):
        alice.say(bob.endpoint, "?")
        bob.ping(alice.endpoint, 1)
        await alice.drop("wrong_mesh")
        await bob.drop("wrong_mesh")
        await alice.drop("packet_tampered")
    assert alice.received == bob.received == []


async def test_a_peer_that_restarts_on_its_port_is_found_again() -> None:
    alice, bob = two_parties()
    async with serving(alice):
        async with serving(bob):
            alice.say(bob.endpoint, "before")
            alice.ping(bob.endpoint, 1)
            await bob.heard(2)
            port = bob.port
        again = Party(bob.identity, bob.secrets, listen=("127.0.0.1", port), generation=2)
        alice.say(bob.endpoint, "while it was down")
        async with serving(again):
            alice.ping(again.endpoint, 2)
            await again.heard(2)
            again.ping(alice.endpoint, 3)
            await alice.heard(1)
    assert "while it was down" in again.texts
    assert Ping(2) in again.messages


async def test_a_cut_connection_costs_what_was_under_way_and_no_more() -> None:
    alice, bob = two_parties()
    async with serving(alice, bob) as nursery:
        relay = Relay(nursery, bob.port)
        await relay.start()
        by_relay = Endpoint(bob.identity.node_id, relay.address)
        alice.say(by_relay, "one")
        await bob.heard(1)
        relay.cut()
        await eventually(lambda: alice.transport.streams_open == 0)
        alice.say(by_relay, "two")
        await bob.heard(2)
        assert relay.connections == 2
    assert bob.texts == ["one", "two"]


async def test_what_arrives_under_cuts_is_in_order_and_never_twice() -> None:
    alice, bob = two_parties()
    async with serving(alice, bob) as nursery:
        relay = Relay(nursery, bob.port)
        await relay.start()
        by_relay = Endpoint(bob.identity.node_id, relay.address)
        number = 0
        for round_number in range(5):
            if round_number:
                relay.cut()
            before = len(bob.received)
            while len(bob.received) < before + 200:
                for _ in range(20):
                    alice.say(by_relay, str(number))
                    number += 1
                await trio.sleep(0.001)
        assert relay.connections >= 2
    numbers = [int(text) for text in bob.texts]
    assert numbers == sorted(set(numbers))


async def test_an_unreachable_peer_costs_its_outbox_after_a_while(jumping_clock: trio.testing.MockClock) -> None:
    alice, bob = two_parties()
    bob = Party(bob.identity, bob.secrets, listen=("127.61.7.5", 0))  # where nobody takes the port once it is free
    bob.transport.bind()
    nobody_there = bob.endpoint
    bob.transport.close()
    async with serving(alice):
        began_s = trio.current_time()
        for number in range(10):
            alice.say(nobody_there, str(number))
        await alice.drop("undelivered", 10)
        assert 9 <= trio.current_time() - began_s < 18
        assert 3 <= alice.transport.drops["connect_failed"] <= 20  # with growing pauses


async def test_a_full_outbox_refuses_the_newest() -> None:
    alice, bob = two_parties()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)  # accepts, and never says a word
        stuck = Endpoint(bob.identity.node_id, f"127.0.0.1:{silent.getsockname()[1]}")
        async with serving(alice, bob):
            for number in range(OUTBOX_FRAMES_MAX + 7):
                alice.say(stuck, str(number))
            assert alice.transport.drops == {"outbox_full": 7}
            # Other peers are not held up by it.
            alice.say(bob.endpoint, "unaffected")
            await bob.heard(1)


async def test_a_full_outbox_is_full_by_bytes_too() -> None:
    alice, bob = two_parties()
    ended = RunEnded("t", 1, BodyStatus.OK, "x" * OUTPUT_BYTES_MAX, "", 5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        stuck = Endpoint(bob.identity.node_id, f"127.0.0.1:{silent.getsockname()[1]}")
        async with serving(alice):
            for _ in range(40):
                alice.transport.send(stuck, ended)
            fit = OUTBOX_BYTES_MAX // (OUTPUT_BYTES_MAX + 50)
            assert alice.transport.drops == {"outbox_full": 40 - fit}


async def test_a_peer_that_does_not_read_is_given_up_and_dialled_again(jumping_clock: trio.testing.MockClock) -> None:
    alice, bob = two_parties()
    context = server_context(bob.identity)
    context.set_alpn_protocols([ALPN_MESH])
    greeted_send, greeted = trio.open_memory_channel[None](10)

    async def greet_and_sleep(tcp: trio.SocketStream) -> None:
        stream = trio.SSLStream(tcp, context, server_side=True)
        await stream.send_all(pack_frame(encode_hello("testmesh", "127.0.0.1:9", "bob")))
        await greeted_send.send(None)
        await trio.sleep_forever()

    ended = RunEnded("t", 1, BodyStatus.OK, "x" * OUTPUT_BYTES_MAX, "", 5)
    async with serving(alice) as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, greet_and_sleep, listeners)
        sleeper = Endpoint(bob.identity.node_id, f"127.0.0.1:{listeners[0].socket.getsockname()[1]}")
        for _ in range(31):
            alice.transport.send(sleeper, ended)
        await greeted.receive()
        await alice.drop("stream_stalled")
        await greeted.receive()
        assert alice.transport.drops["stream_reset"] >= 1
        nursery.cancel_scope.cancel()


async def test_an_idle_stream_is_closed_and_comes_back(jumping_clock: trio.testing.MockClock) -> None:
    alice, bob = two_parties()
    async with serving(alice, bob):
        alice.say(bob.endpoint, "one")
        await bob.heard(1)
        await trio.sleep(310)
        await eventually(lambda: alice.transport.streams_open == bob.transport.streams_open == 0)
        alice.say(bob.endpoint, "two")
        await bob.heard(2)
    assert not alice.dropped
    assert not bob.dropped


async def test_what_waits_still_goes_out_when_the_node_stops() -> None:
    alice, bob = two_parties()
    async with serving(bob):
        async with serving(alice):
            alice.say(bob.endpoint, "first")
            await bob.heard(1)
            for number in range(100):
                alice.say(bob.endpoint, str(number))
        await bob.heard(101)
    assert not bob.dropped


async def test_what_is_said_to_strangers_in_any_moment_of_the_stop_is_lost_and_counted() -> None:
    alice, bob = two_parties()
    for _ in range(5):
        alice = Party(alice.identity, alice.secrets)
        with trio.fail_after(DEADLINE_S):  # streams that are begun for ever would keep it from stopping
            async with trio.open_nursery() as nursery:
                await nursery.start(talk_until_stopped, alice, bob.identity.node_id)
                async with serving(alice):
                    pass
                nursery.cancel_scope.cancel()
        assert alice.transport.drops["not_running"] > 0


async def talk_until_stopped(party: Party, stranger: NodeId, *, task_status: trio.TaskStatus[None]) -> None:
    """Say something to another address in every turn, from the start of `party` until it is over."""
    task_status.started()
    for number in itertools.count():
        party.say(Endpoint(stranger, f"127.61.7.4:{1 + number % 60_000}"), "?")
        await trio.lowlevel.checkpoint()


async def test_both_sides_of_a_stream_notice_when_the_other_is_gone_and_not_when_they_go_themselves() -> None:
    alice, bob = two_parties()
    async with serving(alice):
        async with serving(bob):
            alice.say(bob.endpoint, "x")
            await bob.heard(1)
            bob.say(alice.endpoint, "y")
            await alice.heard(1)
            assert not alice.hung_up
        ids = [bob.identity.node_id] * 2
        await alice.until(lambda: alice.hung_up == ids, "one stream each way")
    assert not bob.hung_up


async def test_stopping_is_quick_and_gives_the_port_back(jumping_clock: trio.testing.MockClock) -> None:
    alice, bob = two_parties()
    here = "127.61.7.2"  # of this test alone: nobody takes the port between its two uses
    alice = Party(alice.identity, alice.secrets, listen=(here, 0))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        async with serving(bob):
            async with serving(alice):
                alice.say(Endpoint("", f"127.0.0.1:{silent.getsockname()[1]}"), "nobody answers")
                alice.say(bob.endpoint, "x")
                bob.say(alice.endpoint, "y")
                await alice.heard(1)
                await bob.heard(1)
                port = alice.port
                began_s = trio.current_time()
            assert trio.current_time() - began_s < 1.0
            async with serving(Party(alice.identity, alice.secrets, listen=(here, port))):
                pass


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
async def test_a_busy_port_is_named(kind: socket.SocketKind) -> None:
    alice, _ = two_parties()
    with socket.socket(socket.AF_INET, kind) as occupant:
        occupant.bind(("127.61.7.3", 0))
        if kind == socket.SOCK_STREAM:
            occupant.listen(1)
        port = occupant.getsockname()[1]
        busy = Party(alice.identity, alice.secrets, listen=("127.61.7.3", port))
        with pytest.RaisesGroup(
            pytest.RaisesExc(MeshError, check=lambda error: error.code == "port_busy" and str(port) in error.message),
            allow_unwrapped=True,
            flatten_subgroups=True,
        ):
            async with trio.open_nursery() as nursery:
                await nursery.start(busy.transport.run)


@pytest.mark.parametrize(
    ("listen", "advertise", "code"),
    [
        (("203.0.113.7", 0), None, "bad_listen"),
        (("no such host.invalid", 0), None, "bad_listen"),
        (("127.0.0.1", 0), "nonsense", "bad_advertise"),
        (("127.0.0.1", 0), "::1", "bad_advertise"),
    ],
)
def test_an_address_that_cannot_be_used_is_named(listen: tuple[str, int], advertise: str | None, code: str) -> None:
    identity, secrets = found_mesh("testmesh", "alice")
    party = Party(identity, secrets, listen=listen, advertise=advertise)
    with pytest.raises(MeshError) as caught:
        party.transport.bind()
    assert caught.value.code == code
    assert caught.value.next_step


def test_what_peers_are_told() -> None:
    identity, secrets = found_mesh("testmesh", "alice")
    for listen, advertise, told in [
        (("127.0.0.1", 0), None, "127.0.0.1:{port}"),
        (("0.0.0.0", 0), "node.example:7000", "node.example:7000"),
        (("0.0.0.0", 0), "node.example:0", "node.example:{port}"),
    ]:
        transport = Party(identity, secrets, listen=listen, advertise=advertise).transport
        with pytest.raises(RuntimeError):
            _ = transport.address
        transport.bind()
        port = transport.bound.rpartition(":")[2]
        assert transport.address == told.format(port=port)
        transport.close()
    wildcard = Party(identity, secrets, listen=("0.0.0.0", 0)).transport
    wildcard.bind()
    assert not wildcard.address.startswith("0.0.0.0")
    wildcard.close()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
@pytest.mark.parametrize(("host", "advertise"), [("::1", None), ("::", "127.0.0.1:0"), ("::", "[::1]:0")])
async def test_ipv6(host: str, advertise: str | None) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 loopback here")
    founder, secrets = found_mesh("testmesh", "alice")
    alice = Party(founder, secrets, listen=(host, 0), advertise=advertise)
    bob = Party(*admit(founder, secrets, "bob"), listen=(host, 0), advertise=advertise)
    async with serving(alice, bob):
        alice.say(bob.endpoint, "stream")
        alice.ping(bob.endpoint, 1)
        await bob.heard(2)
        assert {sender for sender, _ in bob.received} == {alice.endpoint}


async def test_too_big_goes_nowhere_and_is_counted() -> None:
    alice, bob = two_parties()
    accused = Accusation(bob.identity.node_id, precedence_of(1, 1, State.SUSPECT), bob.identity.node_id)
    big_datagram = Gossip(tuple(accused for _ in range(64)))
    big_frame = RunEnded("t", 1, BodyStatus.OK, "x" * FRAME_BYTES_MAX, "", 5)
    async with serving(alice, bob):
        alice.transport.send(bob.endpoint, big_datagram)
        alice.transport.send(bob.endpoint, big_frame)
        assert alice.transport.drops == {"datagram_too_big": 1, "message_too_big": 1}


def test_nothing_is_sent_before_it_runs() -> None:
    alice, bob = two_parties()
    bob.transport.bind()
    alice.say(bob.endpoint, "x")
    alice.ping(bob.endpoint, 1)
    assert alice.transport.drops == {"not_running": 2}
    bob.transport.close()


@pytest.mark.parametrize("message", [Ping(1), PushPull((), False)])
async def test_a_fault_of_this_node_stops_it_loudly(message: Message) -> None:
    alice, bob = two_parties()

    def broken(sender: Endpoint, message: Message) -> None:
        raise OSError("an invariant is broken")  # even what looks like trouble of the network

    fragile = Transport(
        bob.identity, bob.secrets, listen=("127.0.0.1", 0), on_message=broken, on_drop=lambda reason: None
    )
    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="an invariant is broken"), flatten_subgroups=True):
        async with serving(alice) as nursery:
            await nursery.start(fragile.run)
            alice.transport.send(Endpoint(bob.identity.node_id, fragile.address), message)
            await trio.sleep(DEADLINE_S)
            raise AssertionError("it went on as if nothing had happened")


async def test_a_peer_has_few_streams_and_the_newest_count() -> None:
    alice, bob = two_parties()
    async with serving(alice):
        streams = [await connect_mesh(bob.identity, alice) for _ in range(5)]
        await alice.drop("stream_replaced")
        assert await hung_up(streams[0])
        await streams[-1].send_all(pack_frame(b"\x92\x01\x92\xa9concluded\xa1x"))
        await alice.heard(1)
        assert alice.texts == ["x"]
        assert alice.transport.streams_open == 4
        for stream in streams:
            await trio.aclose_forcefully(stream)


def test_ids_are_fingerprints_of_keys() -> None:
    assert node_id_of(bytes(32)) == node_id_of(bytes(32)) != node_id_of(bytes(31) + b"\x01")
    assert len(node_id_of(bytes(32))) == 26
