"""Whatever comes in from the network: it is counted under one reason, changes nothing, and the node goes on answering.

A whole node in this process: real sockets and TLS, the driver, and the core that the daemon runs. Its timers are set so
far apart that nothing of what is looked at changes by itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from random import Random

import msgspec
import pytest
import trio
import trio.testing
from msgspec.structs import replace

from meshnode.certificates import node_id_to_raw
from meshnode.driver import Driver
from meshnode.identity import found_mesh
from meshnode.signing import IdentitySigner
from meshnode.transport.frames import pack_frame
from meshnode.transport.packets import Packets
from protocols.config import NodeConfig, SwimConfig
from protocols.core import NANOS_PER_S, Action, Endpoint, Fact, Message, Outcome, Received, Record, Result
from protocols.detector.messages import AskReach, Reach, Reached
from protocols.detector.statements import signed
from protocols.detector.why import Explanation, Why
from protocols.keyring.messages import Keys
from protocols.keyring.ring import KeyEntry, Keyring, first_keyring, key_id
from protocols.limits import FRAME_BYTES_MAX
from protocols.membership.member import (
    GENERATION_MAX,
    INCARNATION_MAX,
    Accusation,
    Alive,
    Believed,
    Profile,
    Refutation,
    State,
    precedence_of,
)
from protocols.membership.messages import Gossip, Ping, PushPull
from protocols.membership.rumours import LAMPORT_BITS, NUMBER_BITS, EventDigest, Events, Mark, UserEvent, UserQuery
from protocols.membership.views import GetStatus, NodeStatus
from protocols.node import Node
from protocols.wire import encode_message
from tests.meshnode.transport.mesh_party import Party, Tap, connect_mesh, parties, serving
from tests.protocols.detector.confirm_kit import numbered

HOUR = 3600 * NANOS_PER_S
STILL = SwimConfig(
    probe_interval=HOUR, gossip_interval=HOUR, push_pull_interval=HOUR, heal_interval=HOUR, join_retry_interval=HOUR
)
MESH = "testmesh"
KEY = b"a key of somebody else's mesh..."
HEADER_BYTES = 41


class Disk:
    """Keeps everything that it is given for as long as the test runs."""

    def commit(self, records: list[Record]) -> None:
        return None


class Living(Party):
    """A party with a node behind its transport."""

    def live(self) -> None:
        self.transport.bind()
        config = NodeConfig(
            self.identity.node_id,
            self.identity.name,
            MESH,
            self.transport.address,
            swim=STILL,
            keyring=first_keyring(self.secrets.keyring),
            signer=IdentitySigner(self.identity, MESH),
        )
        self.core = Node(config, (), Random(7))
        self.facts: list[Fact] = []
        self.driver = Driver(
            config.node_id,
            config.address,
            self.core,
            disk=Disk(),
            send=self.transport.send,
            perform=self.perform,
            on_fact=self.facts.append,
        )

    async def perform(self, action: Action) -> Result:
        raise AssertionError(f"nobody asked for {action}")

    def _on_message(self, sender: Endpoint, message: Message) -> None:
        self.driver.feed(Received(sender, message))
        super()._on_message(sender, message)

    def state(self) -> object:
        """All that others could have changed."""
        core, events = self.core, self.core.spreading.events
        rows = {row.alive.node_id: (row.alive, row.precedence, row.by) for row in core.members()}
        near = core.membership.nearness
        assert near is not None
        return (
            (core.generation, core.phase, rows, core.keyring.ring),
            (events.clock.time, events._digest(answer=False).marks),
            (near.vivaldi.coordinate, near.vivaldi.error, {id_: core.vitals.view(0, id_) is None for id_ in rows}),
        )

    async def counts(self) -> dict[str, int]:
        """Everything that counts what is dropped or refused, by reason."""
        status = await self.driver.request(GetStatus())
        assert isinstance(status, NodeStatus)
        return {**self.transport.drops, **{f"refused {about}": count for about, count in status.refused.items()}}


@dataclass
class Scene:
    """A node, a member that it knows and that answers what it is asked, and hands to do bad things with."""

    node: Living
    peer: Party
    tap: Tap
    sealed: Packets
    stream: trio.abc.Stream

    @property
    def node_raw(self) -> bytes:
        return node_id_to_raw(self.node.identity.node_id)

    def packet(self, data: bytes) -> None:
        self.tap.send(data, self.node)

    def seal(self, data: bytes) -> bytes:
        return self.sealed.seal(self.node_raw, data)

    def datagram(self, message: Message) -> None:
        self.packet(self.seal(encode_message(message)))

    async def frame(self, message: Message) -> None:
        await self.stream.send_all(pack_frame(encode_message(message)))

    @property
    def peer_id(self) -> str:
        return self.peer.identity.node_id


@contextlib.asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    founder, peer = parties("alice bob")
    node = Living(founder.identity, founder.secrets)
    node.live()
    with Tap() as tap:
        async with serving(node, peer) as nursery:
            await nursery.start(node.driver.run)
            await trio.testing.wait_all_tasks_blocked(0.02)
            alive = Alive(
                peer.identity.node_id, precedence_of(1, 0, State.ALIVE), Profile("bob", peer.transport.address)
            )
            peer.transport.send(node.endpoint, Gossip((alive,)))
            await node.until(lambda: node.core.swim.table.get(peer.identity.node_id) is not None)
            stream = await connect_mesh(peer.identity, node, address=peer.transport.address)
            sealed = Packets(peer.secrets.keyring, peer.identity.node_id, MESH, generation=2)
            try:
                yield Scene(node, peer, tap, sealed, stream)
            finally:
                await trio.aclose_forcefully(stream)


# Packets, none of which is from a member, or whole.


def flipped(scene: Scene, bit: int) -> bytes:
    packet = bytearray(scene.seal(encode_message(Ping(5))))
    packet[bit // 8] ^= 1 << bit % 8
    return bytes(packet)


def of_another_mesh(scene: Scene, label: str, keys: tuple[bytes, ...] | None) -> bytes:
    keyring = tuple(scene.peer.secrets.keyring) if keys is None else keys
    return Packets(keyring, scene.peer_id, label, generation=9).seal(scene.node_raw, encode_message(Ping(5)))


def plain(version: int, *message: object) -> bytes:
    return msgspec.msgpack.encode([version, [*message]])


FORGED: dict[str, tuple[str, Callable[[Scene], bytes]]] = {
    "nothing": ("packet_short", lambda scene: b""),
    "cut in its header": ("packet_short", lambda scene: scene.seal(b"x")[:20]),
    "cut by one byte": ("packet_tampered", lambda scene: scene.seal(encode_message(Ping(5)))[:-1]),
    "longer by one byte": ("packet_tampered", lambda scene: scene.seal(encode_message(Ping(5))) + b"\0"),
    "64 KB": ("packet_oversized", lambda scene: scene.seal(b"x").ljust(65_507, b"\0")),
    "of another format": ("packet_version", lambda scene: b"\xa2" + scene.seal(b"x")[1:]),
    "a bit of the sender flipped": ("packet_tampered", lambda scene: flipped(scene, 8 * 8)),
    "a bit of the generation flipped": ("packet_tampered", lambda scene: flipped(scene, 8 * 22)),
    "a bit of the salt flipped": ("packet_tampered", lambda scene: flipped(scene, 8 * 27)),
    "a bit of the counter flipped": ("packet_tampered", lambda scene: flipped(scene, 8 * 39)),
    "a bit of the message flipped": ("packet_tampered", lambda scene: flipped(scene, 8 * (HEADER_BYTES + 2))),
    "a bit of the tag flipped": ("packet_tampered", lambda scene: flipped(scene, 8 * (HEADER_BYTES + 20))),
    "for another node": ("packet_tampered", lambda scene: scene.sealed.seal(bytes(16), encode_message(Ping(5)))),
    "of another mesh with its own key": ("packet_unknown_key", lambda scene: of_another_mesh(scene, "other", (KEY,))),
    "of another mesh with our key": ("packet_tampered", lambda scene: of_another_mesh(scene, "other", None)),
    "no message": ("bad_message", lambda scene: scene.seal(b"\xc1" * 40)),
    "wire version 0": ("bad_message", lambda scene: scene.seal(plain(0, "ping", 5))),
    "wire version 128": ("bad_message", lambda scene: scene.seal(plain(128, "ping", 5))),
    "a kind that nobody knows yet": ("bad_message", lambda scene: scene.seal(plain(2, "hello", 5))),
    "a number that is too large": ("bad_message", lambda scene: scene.seal(plain(1, "ping", 1 << 62))),
    "a number that is negative": ("bad_message", lambda scene: scene.seal(plain(1, "ping", -1))),
    "no number": ("bad_message", lambda scene: scene.seal(plain(1, "ping", float("nan")))),
    "infinite": ("bad_message", lambda scene: scene.seal(plain(1, "ping", float("inf")))),
    "nested without an end": ("bad_message", lambda scene: scene.seal(b"\x92\x01" + b"\x91" * 1200)),
    "vitals out of bounds": ("bad_message", lambda scene: scene.seal(plain(1, "ping", 5, [], [1 << 16, 0, 0]))),
    "a coordinate out of the world": (
        "bad_message",
        lambda scene: scene.seal(plain(1, "ack", 5, [], None, [[10_000_001] * 8, 0, 0, 0])),
    ),
    "a coordinate of other dimensions": (
        "bad_message",
        lambda scene: scene.seal(plain(1, "ack", 5, [], None, [[0] * 9, 0, 0, 0])),
    ),
    "a table in a packet": ("wrong_carrier", lambda scene: scene.seal(encode_message(PushPull((), False)))),
    "keys in a packet": ("wrong_carrier", lambda scene: scene.seal(encode_message(Keys(scene.node.core.keyring.ring)))),
}


@pytest.mark.parametrize("kind", FORGED)
async def test_a_bad_packet_costs_one_count(kind: str) -> None:
    reason, forge = FORGED[kind]
    async with scene() as at:
        before, state = await at.node.counts(), at.node.state()
        at.packet(forge(at))
        if reason == "packet_unknown_key":
            at.node.transport.rekey(at.node.secrets.keyring)  # it would wait a while for its key
        await at.node.until(lambda: sum(at.node.transport.drops.values()) > 0)
        await unchanged(at, before | {reason: before.get(reason, 0) + 1}, state)


async def test_a_replayed_packet_costs_one_count() -> None:
    async with scene() as at:
        packet = at.seal(encode_message(Ping(5)))
        at.packet(packet)
        await at.tap.packet()
        before, state = await at.node.counts(), at.node.state()
        at.packet(packet)
        await at.node.drop("packet_replayed")
        await unchanged(at, before | {"packet_replayed": 1}, state)


# Frames.


def member_row(number: int) -> list[object]:
    return ["a", f"{number:026d}", 1 << 34, [f"n{number}", "h:1"]]


FRAMES: dict[str, tuple[str, Callable[[Scene], bytes]]] = {
    "no message": ("bad_message", lambda scene: pack_frame(b"\xc1" * 40)),
    "nothing": ("bad_message", lambda scene: pack_frame(b"")),
    "ten thousand members": (
        "bad_message",
        lambda scene: pack_frame(plain(1, "pushpull", [member_row(number) for number in range(10_000)], False)),
    ),
    "a member with a name of 64 KB": (
        "bad_message",
        lambda scene: pack_frame(plain(1, "pushpull", [["a", "b" * 26, 1 << 34, ["n" * 65_536, "h:1"]]], False)),
    ),
    "a precedence that is none": (
        "bad_message",
        lambda scene: pack_frame(plain(1, "pushpull", [["a", "b" * 26, 1 << 62, ["n", "h:1"]]], False)),
    ),
    "an age before all time": (
        "bad_message",
        lambda scene: pack_frame(
            plain(1, "pushpull", [["b", ["a", "b" * 26, 1 << 34, ["n", "h:1"]], 1 << 34, "c" * 26, -1]], False)
        ),
    ),
    "a keyring of a thousand keys": (
        "bad_message",
        lambda scene: pack_frame(
            plain(1, "keys", {"type": "keyring", "entries": [[bytes(4), 0, bytes(32)]] * 1000, "primary": None})
        ),
    ),
    "a digest of everybody there ever was": (
        "bad_message",
        lambda scene: pack_frame(plain(1, "eventdigest", 1, [["b" * 26, 1, 1]] * 5000, False, True)),
    ),
}


@pytest.mark.parametrize("kind", FRAMES)
async def test_a_bad_frame_costs_one_count(kind: str) -> None:
    reason, forge = FRAMES[kind]
    async with scene() as at:
        before, state = await at.node.counts(), at.node.state()
        await at.stream.send_all(forge(at))
        await at.node.drop(reason)
        await unchanged(at, before | {reason: 1}, state)


@pytest.mark.parametrize("length", [FRAME_BYTES_MAX + 1, (1 << 32) - 1])
async def test_a_frame_that_is_too_large_costs_one_count_and_its_stream(length: int) -> None:
    async with scene() as at:
        before, state = await at.node.counts(), at.node.state()
        await at.stream.send_all(length.to_bytes(4))
        await at.node.drop("frame_too_big")
        await unchanged(at, before | {"frame_too_big": 1}, state)


# Members that are broken: what they say is well-formed, and false.

LAST = precedence_of(GENERATION_MAX, INCARNATION_MAX, State.ALIVE)
FAR = precedence_of(1 << 20, 0, State.ALIVE)
LAMPORT_MAX = (1 << LAMPORT_BITS) - 1
NUMBER_MAX = (1 << NUMBER_BITS) - 1


def event(at: Scene, generation: int, number: int, ltime: int, origin: str = "") -> UserEvent:
    return UserEvent(origin or at.peer_id, generation, number, ltime, "name", "payload")


def keyring(at: Scene, secret: bytes, version: int) -> Keyring:
    entry = KeyEntry(key_id(secret), version, secret)
    return Keyring((entry,), entry)


OTHER = "c" * 26
BROKEN: dict[str, tuple[str, Callable[[Scene], Message]]] = {
    "says that a third one is dead in the last life": (
        "refused members",
        lambda at: Gossip((Accusation(at.node.identity.node_id, LAST | State.DEAD, OTHER),)),
    ),
    "says that it is in the last life itself": ("refused members", lambda at: Gossip((Refutation(at.peer_id, LAST),))),
    "says that this node lives far ahead": (
        "refused members",
        lambda at: Gossip((Alive(at.node.identity.node_id, FAR, Profile("alice", "h:1")),)),
    ),
    "accuses with the state of a living": (
        "refused members",
        lambda at: Gossip((Accusation(at.peer_id, precedence_of(1, 9, State.ALIVE), OTHER),)),
    ),
    "announces a stranger in the last life": (
        "refused members",
        lambda at: Gossip((Alive(OTHER, LAST, Profile("carol", "h:1")),)),
    ),
    "has a row that believes less than was announced": (
        "refused members",
        lambda at: PushPull((Believed(Alive(OTHER, FAR, Profile("carol", "h:1")), FAR - 1, OTHER, 0),), False),
    ),
    "tells an event at the end of time": (
        "refused events",
        lambda at: Gossip((), (event(at, 1, 1, LAMPORT_MAX),)),
    ),
    "tells an event of a life that nobody has met": (
        "refused events",
        lambda at: Gossip((), (event(at, GENERATION_MAX, 1, 1),)),
    ),
    "tells an event of a stranger": ("refused events", lambda at: Events((event(at, 1, 1, 1, OTHER),))),
    "tells an event without a number": ("refused events", lambda at: Events((event(at, 1, 0, 1),))),
    "has a clock at the end of time": (
        "refused events",
        lambda at: EventDigest(LAMPORT_MAX, (Mark(at.peer_id, 1, NUMBER_MAX),), False, False),
    ),
    "asks for a stranger": (
        "refused queries",
        lambda at: Gossip((), (UserQuery(OTHER, 1, 1, 1000, "members", ""),)),
    ),
    "asks from a life that it has not had": (
        "refused queries",
        lambda at: Gossip((), (UserQuery(at.peer_id, 9, 1, 1000, "members", ""),)),
    ),
    "has a keyring of a version that nobody came to": (
        "refused keyrings",
        lambda at: Keys(keyring(at, bytes(32), (1 << 62) - 1)),
    ),
    "has a key that is not what its name says": (
        "refused keyrings",
        lambda at: Keys(Keyring((KeyEntry(b"name", 1, bytes(32)),), KeyEntry(b"name", 1, bytes(32)))),
    ),
    "has a keyring without a primary": ("refused keyrings", lambda at: Keys(Keyring())),
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_broken_member_costs_one_count(kind: str) -> None:
    reason, say = BROKEN[kind]
    async with scene() as at:
        before, state = await at.node.counts(), at.node.state()
        heard = len(at.node.received)
        await at.frame(say(at))
        await at.node.heard(heard + 1)
        await unchanged(at, before | {reason: before[reason] + 1}, state)


SAYS_OF_ITSELF: dict[str, tuple[bool, Callable[[Scene, Reached], Reached]]] = {
    "as it should be": (True, lambda at, found: by_bob(at, found)),
    "without the certificate": (False, lambda at, found: replace(by_bob(at, found), credential=b"")),
    "with the certificate of the node": (
        False,
        lambda at, found: replace(by_bob(at, found), credential=IdentitySigner(at.node.identity, MESH).credential),
    ),
    "and something else was signed": (False, lambda at, found: replace(by_bob(at, found), silent_ms=60_000)),
    "of another mesh": (
        False,
        lambda at, found: by_bob(at, found, IdentitySigner(found_mesh(MESH, "bob")[0], MESH)),
    ),
}


def by_bob(at: Scene, found: Reached, signer: IdentitySigner | None = None) -> Reached:
    """What `bob` says of itself to the node that asks."""
    signer = signer or IdentitySigner(at.peer.identity, MESH)
    return signed(signer, at.peer_id, at.node.identity.node_id, at.peer_id, found)


@pytest.mark.parametrize("kind", SAYS_OF_ITSELF)
async def test_a_signature_that_is_wrong_costs_one_count_and_what_was_said(kind: str) -> None:
    good, say = SAYS_OF_ITSELF[kind]
    found = Reached(numbered(1), Reach.ANSWERS, precedence_of(1, 0, State.ALIVE))
    async with scene() as at:
        before = await at.node.counts()
        explained: list[Outcome] = []

        async def ask() -> None:
            explained.append(await at.node.driver.request(Why("bob")))

        async with trio.open_nursery() as nursery:  # waits for what comes of the question
            nursery.start_soon(ask)
            await at.peer.until(lambda: any(isinstance(message, AskReach) for _, message in at.peer.received))
            await at.frame(say(at, found))
        [explanation] = explained
        assert isinstance(explanation, Explanation)
        believed = {finding.by.name: finding.signed for finding in explanation.findings}
        assert believed == ({"alice": True, "bob": True} if good else {"alice": True})
        assert [teller.name for teller in explanation.refused] == ([] if good else ["bob"])
        assert await at.node.counts() == before | {"refused signatures": 0 if good else 1}


async def unchanged(at: Scene, counts: dict[str, int], state: object) -> None:
    """One more count and nothing else, and the node goes on answering."""
    assert await at.node.counts() == counts
    assert at.node.state() == state
    at.node.core.check()
    before = len(at.node.received)
    at.datagram(Ping(77))
    await at.node.heard(before + 1)
    assert await at.tap.packet()
    assert at.node.state() == state
