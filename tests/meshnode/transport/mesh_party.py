"""Nodes for transport tests: real sockets and real TLS on loopback, and strangers that misbehave towards them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from meshnode.certificates import node_id_of
from meshnode.identity import Identity, MeshSecrets, client_context, found_mesh, public_bytes, sign_node_certificate
from meshnode.joining import JoinReply, JoinRequest
from meshnode.transport.addresses import split_address
from meshnode.transport.frames import FrameBuffer, pack_frame
from meshnode.transport.hello import encode_hello
from meshnode.transport.names import Names
from meshnode.transport.streams import ALPN_MESH
from meshnode.transport.transport import Transport
from meshnode.transport.twins import Twin
from protocols.core import Endpoint, Message, NodeId
from protocols.membership.messages import Ping
from protocols.tasks.messages import Concluded

DEADLINE_S = 60.0
LOOPBACK = ("127.0.0.1", 0)
Raw = trio.SSLStream[trio.SocketStream]


async def eventually(true: Callable[[], bool], what: str = "") -> None:
    """Wait until `true()`; a test fails that waits for DEADLINE_S."""
    with trio.move_on_after(DEADLINE_S):
        while not true():  # noqa: ASYNC110  # what is waited for has no event of its own
            await trio.sleep(0.005)
        return
    raise AssertionError(f"never happened: {what or true}")


def admit(founder: Identity, secrets: MeshSecrets, name: str) -> tuple[Identity, MeshSecrets]:
    """One more member of the founder's mesh."""
    key = Ed25519PrivateKey.generate()
    certificate = sign_node_certificate(secrets, founder.ca_certificate_pem, public_bytes(key), name)
    identity = Identity(node_id_of(public_bytes(key)), key, certificate, founder.ca_certificate_pem)
    return identity, MeshSecrets(secrets.mesh, secrets.keyring)


class Party:
    """A node's transport, and all that it has delivered."""

    def __init__(
        self,
        identity: Identity,
        secrets: MeshSecrets,
        *,
        listen: tuple[str, int] = LOOPBACK,
        advertise: str | None = None,
        on_join: Callable[[JoinRequest], Awaitable[JoinReply]] | None = None,
        generation: int = 1,
        names: Names | None = None,
    ) -> None:
        self.identity = identity
        self.secrets = secrets
        self.listen = listen
        self.received: list[tuple[Endpoint, Message]] = []
        self.dropped: list[str] = []
        self.hung_up: list[NodeId] = []
        self.twins: list[Twin] = []
        self.named: list[NodeId] = []
        """Senders that packets of an unknown key named."""
        self._changed = trio.Event()
        self.transport = Transport(
            identity,
            secrets,
            listen=listen,
            advertise=advertise,
            on_message=self._on_message,
            on_drop=self._on_drop,
            on_hung_up=self._on_hung_up,
            on_unknown_key=self._on_unknown_key,
            on_join=on_join,
            on_twin=self.twins.append,
            generation=generation,
            names=names,
        )

    def _on_message(self, sender: Endpoint, message: Message) -> None:
        self.received.append((sender, message))
        self._tell()

    def _on_drop(self, reason: str) -> None:
        self.dropped.append(reason)
        self._tell()

    def _on_unknown_key(self, sender: NodeId) -> None:
        self.named.append(sender)
        self._tell()

    def _on_hung_up(self, peer: NodeId) -> None:
        self.hung_up.append(peer)
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, true: Callable[[], bool], what: str = "") -> None:
        """Wait until `true()`, looking whenever something was delivered or dropped here."""
        with trio.move_on_after(DEADLINE_S):
            while not true():
                await self._changed.wait()
            return
        raise AssertionError(f"never happened: {what}; drops {self.transport.drops}, {len(self.received)} delivered")

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.identity.node_id, self.transport.address)

    @property
    def port(self) -> int:
        return split_address(self.transport.address)[1]

    @property
    def messages(self) -> list[Message]:
        return [message for _, message in self.received]

    @property
    def texts(self) -> list[str]:
        """What `say` made others send, in the order of its coming."""
        return [message.task_id for message in self.messages if isinstance(message, Concluded)]

    def say(self, to: Endpoint, text: str) -> None:
        """Send a message that travels by stream."""
        self.transport.send(to, Concluded(text))

    def ping(self, to: Endpoint, number: int) -> None:
        """Send a message that travels by datagram."""
        self.transport.send(to, Ping(number))

    async def drop(self, reason: str, count: int = 1) -> None:
        """Wait until `reason` was counted so often."""
        await self.until(lambda: self.transport.drops[reason] >= count, f"{count} x {reason}")

    async def heard(self, count: int) -> None:
        """Wait until so many messages have been delivered."""
        await self.until(lambda: len(self.received) >= count, f"{count} messages")


@contextlib.asynccontextmanager
async def serving(*parties: Party) -> AsyncIterator[trio.Nursery]:
    """Run the transports while the block runs."""
    async with trio.open_nursery() as nursery:
        for party in parties:
            await nursery.start(party.transport.run)
        yield nursery
        nursery.cancel_scope.cancel()


def two_parties() -> tuple[Party, Party]:
    """A founder and a member, not running yet."""
    founder, secrets = found_mesh("testmesh", "alice")
    return Party(founder, secrets), Party(*admit(founder, secrets, "bob"))


def parties(names: str) -> list[Party]:
    """Members of one mesh, the first one its founder, not running yet."""
    first, *others = names.split()
    founder, secrets = found_mesh("testmesh", first)
    return [Party(founder, secrets), *(Party(*admit(founder, secrets, name)) for name in others)]


async def connect_tls(identity: Identity, to: Party, alpn: str = ALPN_MESH) -> Raw:
    """A TLS stream to a party, made by hand."""
    context = client_context(identity)
    context.set_alpn_protocols([alpn])
    stream = trio.SSLStream(await trio.open_tcp_stream("127.0.0.1", to.port), context)
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def connect_mesh(identity: Identity, to: Party, *, mesh: str = "testmesh", address: str = "127.0.0.1:9") -> Raw:
    """A mesh stream to a party, greeted, to say whatever over."""
    stream = await connect_tls(identity, to)
    await stream.send_all(pack_frame(encode_hello(mesh, address, identity.name)))
    buffer = FrameBuffer(4096)
    while buffer.next_frame() is None:
        data = await stream.receive_some()
        assert data, "the party hung up before its hello"
        buffer.feed(data)
    return stream


async def hung_up(stream: trio.abc.ReceiveStream) -> bool:
    """Wait until the other end closes (True), unless it says something (False)."""
    with trio.fail_after(DEADLINE_S):
        try:
            return not await stream.receive_some(4096)
        except trio.BrokenResourceError:
            return True


class Relay:
    """A TCP relay in front of a party, whose connections can be cut, and that can be told to stop passing data."""

    def __init__(self, nursery: trio.Nursery, to_port: int) -> None:
        self._nursery = nursery
        self._to_port = to_port
        self._scopes: list[trio.CancelScope] = []
        self.connections = 0
        self.address = ""

    async def start(self) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.address = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        self._nursery.start_soon(trio.serve_listeners, self._pass_on, listeners)

    def cut(self) -> None:
        """Break every connection that stands."""
        for scope in self._scopes:
            scope.cancel()
        self._scopes.clear()

    async def _pass_on(self, near: trio.SocketStream) -> None:
        self.connections += 1
        with trio.CancelScope() as scope:
            self._scopes.append(scope)
            far = await trio.open_tcp_stream("127.0.0.1", self._to_port)
            async with far, trio.open_nursery() as nursery:
                nursery.start_soon(self._copy, near, far, scope)
                nursery.start_soon(self._copy, far, near, scope)

    async def _copy(self, source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in source:
                await sink.send_all(data)
        scope.cancel()


class Tap:
    """A UDP socket to send a party's packets to, so that they can be seen, changed and sent on."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(LOOPBACK)
        self._socket.setblocking(False)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    async def packet(self) -> bytes:
        """The next packet that came."""
        with trio.fail_after(DEADLINE_S):
            await trio.lowlevel.wait_readable(self._socket)
        return self._socket.recv(65536)

    def send(self, packet: bytes, to: Party) -> None:
        self._socket.sendto(packet, ("127.0.0.1", to.port))

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
