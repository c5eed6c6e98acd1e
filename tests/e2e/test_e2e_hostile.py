"""Packets and streams that somebody has touched, and neighbours of another mesh: counted, dropped, and survived."""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from meshnode.certificates import node_id_to_raw
from meshnode.identity import client_context, found_mesh, load_identity
from meshnode.transport.frames import pack_frame
from meshnode.transport.hello import encode_hello
from meshnode.transport.packets import Packets
from meshnode.transport.streams import ALPN_MESH
from protocols.keyring.messages import Keys
from protocols.keyring.ring import first_keyring
from protocols.limits import FRAME_BYTES_MAX, PACKET_BYTES_MAX
from protocols.membership.member import Accusation, Alive, Profile
from protocols.membership.messages import Gossip, PushPull
from protocols.wire import encode_message
from scripts.localmesh import LocalNode
from tests.e2e.e2e_relay import Relay, flipped, unchanged
from tests.e2e.e2e_support import (
    LISTEN,
    all_see,
    at,
    drops_of,
    eventually,
    finished,
    meshnode,
    nodes_in,
    short_directory,
    start_mesh,
    states_seen,
    submit,
    token_of,
)

pytestmark = pytest.mark.xdist_group("e2e-hostile")

UDP_BYTES_MAX = 65_507
HEADER_BYTES = 41
"""Of a sealed packet: magic, key id, sender, generation, salt, counter (meshnode/transport/seal.py)."""


def listening_port(node: LocalNode) -> int:
    """Where a node that advertises another address really listens."""
    return int((node.directory / "listen").read_text().split()[0].rpartition(":")[2])


@dataclass
class Watched:
    """Two nodes; all that `desk` says to `shelf` passes the relay."""

    desk: LocalNode
    shelf: LocalNode
    relay: Relay

    @property
    def nodes(self) -> list[LocalNode]:
        return [self.desk, self.shelf]

    async def packet(self) -> bytes:
        """A sealed packet from `desk` that `shelf` has taken."""
        count = len(self.relay.packets)

        async def came() -> bool:
            return len(self.relay.packets) > count

        await eventually(came)
        return self.relay.packets[-1]

    async def caught_packet(self) -> bytes:
        """A sealed packet from `desk` that `shelf` has not seen."""
        caught: list[bytes] = []

        def catch(data: bytes) -> bytes | None:
            caught.append(data)
            return None

        async def came() -> bool:
            return bool(caught)

        self.relay.change_packet = catch
        await eventually(came)
        self.relay.change_packet = unchanged
        return caught[0]

    def throw(self, packet: bytes) -> None:
        """Send a packet to `shelf` from a stranger's socket."""
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.sendto(packet, ("127.0.0.1", listening_port(self.shelf)))


@asynccontextmanager
async def watched() -> AsyncIterator[Watched]:
    with short_directory() as root, nodes_in(root, "desk", "shelf") as [desk, shelf]:
        async with trio.open_nursery() as nursery:
            relay = Relay(lambda: listening_port(shelf))
            await nursery.start(relay.run)
            await desk.start(*LISTEN)
            await shelf.start(*LISTEN, "--advertise", relay.address, "--join", await token_of(desk))
            both = Watched(desk, shelf, relay)
            assert shelf.ready["listen"] == relay.address
            await all_see(both.nodes, 2)
            yield both
            nursery.cancel_scope.cancel()


async def counted(node: LocalNode, reason: str, before: dict[str, int], times: int = 1) -> None:
    """Wait until `node` has counted `reason` so many times more than `before`."""

    async def enough() -> bool:
        return (await drops_of(node)).get(reason, 0) >= before.get(reason, 0) + times

    await eventually(enough)


async def any_counted(node: LocalNode, before: dict[str, int], times: int) -> None:
    """Wait until `node` has refused so many packets more than `before`, for whatever reason."""

    async def enough() -> bool:
        now = await drops_of(node)
        return sum(now[reason] - before.get(reason, 0) for reason in now if reason.startswith("packet_")) >= times

    await eventually(enough)


async def both_well(both: Watched) -> None:
    """The two still are one mesh, in both directions."""
    await all_see(both.nodes, 2)
    for via in both.nodes:
        ids = [await submit(via, "echo", number) for number in range(8)]
        assert [(await finished(via, task_id)).output for task_id in ids] == [str(number) for number in range(8)]


async def test_packets_that_were_touched_copied_or_made_up_change_nothing() -> None:
    async with watched() as both:
        await packets_replayed(both)
        await packets_tampered(both)
        await packets_of_other_meshes_and_versions(both)
        await packets_tampered_on_the_way(both)
        await streams_tampered_on_the_way(both)


async def packets_replayed(both: Watched) -> None:
    packet = await both.packet()
    before = await drops_of(both.shelf)
    for _ in range(20):
        both.throw(packet)
    await counted(both.shelf, "packet_replayed", before, 20)
    old = both.relay.packets[0]
    both.throw(old)
    await counted(both.shelf, "packet_replayed", before, 21)

    async def replied() -> bool:
        return bool(both.relay.replies)

    # Back to where it came from: a packet of its own is nobody's.
    await eventually(replied)
    both.throw(both.relay.replies[-1])
    await counted(both.shelf, "packet_own_packet", before)
    await both_well(both)


async def packets_tampered(both: Watched) -> None:
    packet = await both.caught_packet()
    changes: list[tuple[str, Callable[[bytes], bytes]]] = [
        ("packet_version", lambda data: flipped(data, 0)),
        ("packet_unknown_key", lambda data: flipped(data, 1)),
        ("packet_tampered", lambda data: flipped(data, 5)),  # the sender
        ("packet_tampered", lambda data: flipped(data, HEADER_BYTES - 8)),  # the counter, far ahead
        ("packet_tampered", lambda data: flipped(data, -1)),  # the tag
        ("packet_short", lambda data: data[:HEADER_BYTES]),
        ("packet_short", lambda data: b""),
        ("packet_oversized", lambda data: data.ljust(PACKET_BYTES_MAX + 1, b"\0")),
        ("packet_oversized", lambda data: data.ljust(60_000, b"\0")),
    ]
    for reason, change in changes:
        before = await drops_of(both.shelf)
        both.throw(change(packet))
        await counted(both.shelf, reason, before)
    # The packet itself was never spoilt by all that: it opens, once.
    before = await drops_of(both.shelf)
    both.throw(packet)
    both.throw(packet)
    await counted(both.shelf, "packet_replayed", before)
    assert (await drops_of(both.shelf))["packet_replayed"] == before["packet_replayed"] + 1

    numbers = random.Random(7)
    for _ in range(10):  # not all at once: the kernel drops what a busy daemon does not fetch in time
        before = await drops_of(both.shelf)
        for _ in range(20):
            both.throw(numbers.randbytes(numbers.randrange(1, 1500)))
        await any_counted(both.shelf, before, 20)
    await both_well(both)


async def packets_of_other_meshes_and_versions(both: Watched) -> None:
    """Each is counted by its reason; members and keys stay what they were, and the node goes on."""
    shelf, secrets = load_identity(both.shelf.directory)
    stranger, others = found_mesh("mesh", "stranger")
    (key,) = secrets.keyring
    to_shelf = node_id_to_raw(shelf.node_id)

    def sealed(message: bytes, *, by: bytes = key, mesh: str = secrets.mesh) -> bytes:
        return Packets((by,), stranger.node_id, mesh, generation=1).seal(to_shelf, message)

    accusation = Accusation(shelf.node_id, (1 << 62) - 1, stranger.node_id)
    unknown = Alive(stranger.node_id, (1 << 62) - 2, Profile("stranger", "127.0.0.1:1"))
    throws = [
        ("packet_unknown_key", sealed(encode_message(Gossip((accusation,))), by=others.keyring[0])),
        ("packet_tampered", sealed(encode_message(Gossip((accusation,))), mesh="another")),
        ("packet_oversized", sealed(b"").ljust(UDP_BYTES_MAX, b"\0")),
        ("bad_message", sealed(b"\x92\xcc\xff" + encode_message(Gossip((unknown,)))[2:])),  # version 255
        ("bad_message", sealed(encode_message(Gossip((unknown,)))[:-1])),
        ("bad_message", sealed(b"\x92\x01\x92\xa6gossip" + b"\x91" * 1000)),
        ("wrong_carrier", sealed(encode_message(PushPull((unknown,), True)))),
        ("wrong_carrier", sealed(encode_message(Keys(first_keyring([others.keyring[0]]))))),
    ]
    listed = await at(both.shelf, "keys")
    for reason, packet in throws:
        before = await drops_of(both.shelf)
        both.throw(packet)
        await counted(both.shelf, reason, before)
    assert (await at(both.shelf, "keys")).document == listed.document
    members = (await at(both.shelf, "members")).document["members"]
    assert {member["name"]: member["generation"] for member in members} == {"desk": 1, "shelf": 1}
    await both_well(both)


async def packets_tampered_on_the_way(both: Watched) -> None:
    """Every packet that is sent to `shelf` is spoilt for a while: streams carry on, and so does the membership."""
    before = await drops_of(both.shelf)
    both.relay.change_packet = lambda data: flipped(data, len(data) // 2)
    try:
        ids = [await submit(both.desk, "echo", number) for number in range(50)]
        for task_id in ids:
            await finished(both.desk, task_id)
        await counted(both.shelf, "packet_tampered", before, 3)
    finally:
        both.relay.change_packet = unchanged
    await both_well(both)


async def streams_tampered_on_the_way(both: Watched) -> None:
    """One chunk in ten is spoilt: TLS notices, the stream is dialled anew, and every task ends once."""
    numbers = random.Random(11)
    spoilt = 0

    def spoil(data: bytes) -> bytes:
        nonlocal spoilt
        if numbers.random() < 0.9:
            return data
        spoilt += 1
        return flipped(data, numbers.randrange(len(data)))

    both.relay.change_stream = spoil
    try:
        ids = [(via, await submit(via, "echo", number)) for number in range(60) for via in both.nodes]
        outputs = [(await finished(via, task_id)).output for via, task_id in ids]
    finally:
        both.relay.change_stream = unchanged
    assert outputs == [str(number) for number in range(60) for _ in both.nodes]
    assert spoilt
    await both_well(both)


async def test_a_member_that_breaks_the_form_loses_its_stream_and_nobody_else_notices() -> None:
    """Somebody with the certificate of `shelf` speaks to `desk`, and not as he should."""
    with short_directory() as root, nodes_in(root, "desk", "shelf") as nodes:
        desk, shelf = nodes
        await start_mesh(nodes)
        label = (await at(desk, "status")).document["mesh"]
        good = encode_hello(label, shelf.ready["listen"], "shelf")
        says: list[tuple[str, bytes]] = [
            ("frame_too_big", pack_frame(good) + b"\xff\xff\xff\xff"),
            ("frame_too_big", pack_frame(good) + (FRAME_BYTES_MAX + 1).to_bytes(4)),
            ("bad_message", pack_frame(good) + pack_frame(random.Random(3).randbytes(1000))),
            ("bad_message", pack_frame(good) + pack_frame(b"\x91" * 100_000)),
            ("bad_message", pack_frame(good) + pack_frame(b"")),
            ("wrong_mesh", pack_frame(encode_hello("another", shelf.ready["listen"], "shelf"))),
            ("bad_hello", pack_frame(b"\xc1 no hello")),
            ("bad_hello", b"\x7f\xff\xff\xff"),
            ("stream_truncated", pack_frame(good) + (1000).to_bytes(4) + b"half of it"),
        ]
        for reason, data in says:
            before = await drops_of(desk)
            async with member_stream(shelf.directory, desk.ready["listen"]) as stream:
                await stream.send_all(data)
                if reason != "stream_truncated":
                    await counted(desk, reason, before)
            await counted(desk, reason, before)
        await all_see(nodes, 2)
        for via in nodes:
            assert (await finished(via, await submit(via, "echo", 1))).output == "1"


@asynccontextmanager
async def member_stream(directory: Path, address: str) -> AsyncIterator[trio.SSLStream[trio.SocketStream]]:
    identity, _ = load_identity(directory)
    context = client_context(identity)
    context.set_alpn_protocols([ALPN_MESH])
    host, _, port = address.rpartition(":")
    tcp = await trio.open_tcp_stream(host, int(port))
    stream = trio.SSLStream(tcp, context)
    try:
        await stream.do_handshake()
        yield stream
    finally:
        await trio.aclose_forcefully(stream)


@pytest.mark.parametrize("label", ["mesh", "another"], ids=["of the same label", "of another label"])
async def test_a_node_of_another_mesh_as_a_seed_is_never_fused(label: str) -> None:
    with short_directory() as root, nodes_in(root, "desk", "stranger") as [desk, stranger]:
        (stranger.directory / "meshnode.toml").unlink()
        made = await meshnode("init", "--dir", stranger.directory, "--mesh", label, "--name", "stranger")
        assert made.status == 0, made.err
        stranger.configure((desk.directory / "meshnode.toml").read_text())
        await desk.start(*LISTEN)
        before = await drops_of(desk)
        await stranger.start(*LISTEN, "--seed", desk.ready["listen"])
        # Several tries: it goes on knocking, and is turned away each time, at both ends.
        await counted(desk, "handshake_failed", before, 2)
        await counted(stranger, "untrusted_peer", {}, 2)
        for node in (desk, stranger):
            assert await states_seen(node) == {node.name: "alive"}
            assert (await finished(node, await submit(node, "echo", node.name))).output == f'"{node.name}"'
        status = (await at(stranger, "status")).document
        assert (status["mesh"], status["phase"]) == (label, "joining")
