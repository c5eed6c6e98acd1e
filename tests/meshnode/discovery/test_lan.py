"""Real multicast on loopback: announcing, looking, and bearing what strangers multicast."""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Iterator, Sequence

import pytest
import trio
import trio.lowlevel

from meshnode.discovery.announcement import SERVICE, Found, mesh_digest
from meshnode.discovery.lan import SERVICES_MAX, Announced, Discovery, Lan, announced_as
from protocols.membership.hints import HINTS_AT_ONCE_MAX, Hint
from tests.e2e.e2e_lan import MDNS, why_no_loopback_multicast

pytestmark = [
    pytest.mark.xdist_group("e2e-zeroconf"),
    pytest.mark.skipif(bool(why_no_loopback_multicast()), reason=why_no_loopback_multicast()),
]
LOOPBACK = ["127.0.0.1"]
RESPONSE, CLASS_IN, TTL_S = 0x8400, 1, 120
PTR, TXT, SRV, A = 12, 16, 33, 1
DEADLINE_S = 60.0
MESH = f"home-{os.getpid()}"
"""Nobody else on this loopback has a mesh of that name."""
OURS = mesh_digest(MESH, bytes(32)).encode()


@pytest.fixture
def lan() -> Iterator[Lan]:
    lan = Lan(LOOPBACK)
    yield lan
    lan.close()


def node(letter: str, port: int = 7400, mesh: str = MESH) -> Announced:
    return announced_as(letter * 26, mesh, bytes(32), bound=f"127.0.0.1:{port}", address=f"127.0.0.1:{port}")


def name_bytes(name: str) -> bytes:
    """A domain name on the wire (RFC 1035, section 3.1)."""
    labels = [label.encode() for label in name.rstrip(".").split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def record(name: str, kind: int, data: bytes) -> bytes:
    return name_bytes(name) + struct.pack("!HHIH", kind, CLASS_IN, TTL_S, len(data)) + data


def shout(*records: bytes) -> None:
    """Multicast made-up answers on loopback, in one packet."""
    say(struct.pack("!6H", 0, RESPONSE, 0, len(records), 0, 0) + b"".join(records))


def say(packet: bytes) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        sock.bind(("127.0.0.1", 0))
        sock.sendto(packet, MDNS)


def service(name: str, text: bytes, port: int = 7400) -> tuple[bytes, ...]:
    full, host = f"{name}.{SERVICE}", f"{name}.local."
    return (
        record(SERVICE, PTR, name_bytes(full)),
        record(full, SRV, struct.pack("!3H", 0, 0, port) + name_bytes(host)),
        record(full, TXT, text),
        record(host, A, socket.inet_aton("127.0.0.1")),
    )


async def look_until(lan: Lan, wanted: int) -> list[Found]:
    """What a look shows of this test's mesh, once it shows so much."""
    with trio.fail_after(DEADLINE_S):
        while True:
            found = [each for each in await trio.to_thread.run_sync(lan.look) if each.properties.get(b"mesh") == OURS]
            if len(found) == wanted:
                return found
            await trio.sleep(0.05)


class Mesh:
    """Takes what a `Discovery` suggests, all of it as news."""

    def __init__(self) -> None:
        self.hints: list[Hint] = []

    async def __call__(self, hints: tuple[Hint, ...]) -> int:
        self.hints += hints
        return len(hints)

    async def was_told(self, *hints: Hint) -> None:
        with trio.fail_after(DEADLINE_S):
            while not set(hints) <= set(self.hints):  # noqa: ASYNC110  # what is waited for has no event of its own
                await trio.sleep(0.05)


async def test_nodes_of_one_mesh_find_each_other_and_no_other_mesh() -> None:
    meshes = {letter: Mesh() for letter in "abc"}
    async with trio.open_nursery() as nursery:
        for port, (letter, mesh) in enumerate(meshes.items(), 7001):
            nursery.start_soon(Discovery(node(letter, port, "other" if letter == "c" else MESH), mesh).run)
        await meshes["a"].was_told(Hint("127.0.0.1:7002", "b" * 26))
        await meshes["b"].was_told(Hint("127.0.0.1:7001", "a" * 26))
        nursery.cancel_scope.cancel()
    assert meshes["c"].hints == []
    assert {hint.node_id[0] for hint in meshes["a"].hints + meshes["b"].hints} == {"a", "b"}


async def test_one_that_went_is_no_longer_suggested(lan: Lan) -> None:
    other = Lan(LOOPBACK)
    try:
        await trio.to_thread.run_sync(other.announce, node("d"))
        await look_until(lan, 1)
    finally:
        await trio.to_thread.run_sync(other.close)
    await look_until(lan, 0)


async def test_a_flood_of_services_is_kept_within_bounds_and_hides_nobody_for_ever(lan: Lan) -> None:
    for number in range(2000):
        shout(*service(f"flood{number}", b"\x06mesh=x"))
        if number % 50 == 0:
            await trio.lowlevel.checkpoint()
    with trio.fail_after(DEADLINE_S):
        while True:
            # The packets come in their order: once this one is there, all that the flood has left was taken in.
            shout(*service("true", b"\x06mesh=y"))
            found = await trio.to_thread.run_sync(lan.look)
            assert len(found) <= HINTS_AT_ONCE_MAX
            if any(each.properties.get(b"mesh") == b"y" for each in found):
                break
    assert SERVICES_MAX // 2 <= len(lan) <= SERVICES_MAX


async def test_garbage_stops_nothing(lan: Lan) -> None:
    """Texts that are cut short, names that are none, packets that are none; then a node that is one is found."""
    for number, text in enumerate((b"\xff", b"\xff\x00abc", b"\x00" * 400, b"\x05id=\xff\xfe", b"", b"=" * 200)):
        shout(*service(f"garbage{number}", text, port=number))
    for name in ("x" * 63, "ü.ä", "a.b.c", "_meshnode._tcp", "NODE" * 10, "\x00"):
        for broken in (f"{name}.{SERVICE}", name, f"{name}._http._tcp.local.", SERVICE):
            shout(record(SERVICE, PTR, name_bytes(broken)), record(broken, TXT, b"\x01"))
    rng = random.Random(1)
    good = struct.pack("!6H", 0, RESPONSE, 0, 4, 0, 0) + b"".join(service("flipped", b"\x06mesh=x"))
    for _ in range(300):
        flipped = bytearray(good)
        for _ in range(rng.randint(1, 8)):
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        say(bytes(flipped[: rng.randint(1, len(flipped))]))
    mesh = Mesh()
    other = Lan(LOOPBACK)
    try:
        await trio.to_thread.run_sync(other.announce, node("e", 7005))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Discovery(node("f"), mesh).run)
            await mesh.was_told(Hint("127.0.0.1:7005", "e" * 26))
            nursery.cancel_scope.cancel()
    finally:
        await trio.to_thread.run_sync(other.close)


class Stumbling(Lan):
    """Fails where nobody foresaw it, in the first of its lives."""

    lives = 0

    def __init__(self, interfaces: Sequence[str]) -> None:
        super().__init__(interfaces)
        type(self).lives += 1
        self.life = self.lives

    def look(self) -> list[Found]:
        assert self.life > 1, "a record that the library cannot read"
        return super().look()


async def test_what_nobody_foresaw_is_logged_and_tried_again_and_stops_no_node(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mesh = Mesh()
    other = Lan(LOOPBACK)
    try:
        await trio.to_thread.run_sync(other.announce, node("h", 7008))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Discovery(node("i"), mesh, open_lan=Stumbling, retry_s=0.01).run)
            await mesh.was_told(Hint("127.0.0.1:7008", "h" * 26))
            nursery.cancel_scope.cancel()
    finally:
        await trio.to_thread.run_sync(other.close)
    assert Stumbling.lives == 2
    assert "a record that the library cannot read" in caplog.text


class Coming(Lan):
    """On a machine that loses its network again and again: there is none, it is there for a moment, and so on."""

    tries = 0

    def __init__(self, interfaces: Sequence[str]) -> None:
        type(self).tries += 1
        if self.tries % 2:
            raise OSError("no network")
        super().__init__(interfaces)
        self.interfaces = ["192.0.2.1"]  # where it was a moment ago


async def test_each_time_that_the_network_goes_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Discovery(node("k"), Mesh(), announce=False, open_lan=Coming, retry_s=0.01).run)
        with trio.fail_after(DEADLINE_S):
            while caplog.text.count("no network") < 2:  # noqa: ASYNC110  # what is waited for has no event of its own
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()


class Hoarse(Lan):
    """Cannot be heard at first."""

    tries = 0

    def announce(self, announced: Announced) -> None:
        self.tries += 1
        if self.tries < 3:
            raise OSError("the network is unreachable")
        super().announce(announced)


async def test_a_node_that_could_not_be_announced_is_announced_later(lan: Lan) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Discovery(node("j"), Mesh(), open_lan=Hoarse, retry_s=0.01).run)
        await look_until(lan, 1)
        nursery.cancel_scope.cancel()


async def test_a_copy_of_a_node_is_announced_beside_it() -> None:
    """Two processes with one id: the LAN must not hide the one from the other."""
    first, second = Lan(LOOPBACK), Lan(LOOPBACK)
    try:
        await trio.to_thread.run_sync(first.announce, node("g", 7001))
        await trio.to_thread.run_sync(second.announce, node("g", 7002))
        found = await look_until(first, 2)
        assert sorted(each.port for each in found) == [7001, 7002]
    finally:
        await trio.to_thread.run_sync(second.close)
        await trio.to_thread.run_sync(first.close)
