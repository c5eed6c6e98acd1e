"""The transport of one node: one address for TCP and UDP, authenticated messages in and out (DESIGN 3, 8).

`send` never waits and never fails: a message goes out by the carrier that its type declares, or its loss is counted in
`drops`. What comes in is delivered with the sender's id as its certificate (stream) or the packet's seal (datagram)
has it. Whatever a stranger sends to the port costs a counter. An exception that `on_message` raises is a fault of this
node: it comes out of `run`.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial

import trio

from meshnode.certificates import node_id_to_raw
from meshnode.errors import ExitCode, MeshError
from meshnode.identity import Identity, MeshSecrets, client_context, server_context
from meshnode.joining import JoinReply, JoinRequest
from meshnode.transport.addresses import BadAddress, Resolver, join_address, source_address, split_address
from meshnode.transport.datagrams import DatagramPort
from meshnode.transport.hello import encode_hello
from meshnode.transport.incoming import IncomingStreams
from meshnode.transport.joins import JoinDoor
from meshnode.transport.names import Names
from meshnode.transport.outgoing import OutgoingStreams
from meshnode.transport.packets import Packets, Parked
from meshnode.transport.seal import MESSAGE_BYTES_MAX, BadPacket, sender_named_in
from meshnode.transport.streams import ALPN_JOIN, ALPN_MESH, Local
from meshnode.transport.traffic import Traffic
from meshnode.transport.twins import Life, Twin
from protocols.core import Carrier, Endpoint, Message, NodeId
from protocols.limits import FRAME_BYTES_MAX
from protocols.wire import BadMessage, decode_message, encode_message

BACKLOG = 512
PORT_TRIES = 64
"""How often a port is drawn that must be free for TCP and UDP alike."""
RAW_IDS_MAX = 8192
GREET_S = 2.0


class Transport:
    """Sends and receives for one node. `run` serves; `send` is called from within the same trio run.

    `on_message(sender, message)` and `on_drop(reason)` are called in between two steps of the trio loop and must not
    block; nor must `on_twin(twin)`, which is told of another process with this identity (twins.py), and
    `on_hung_up(peer)`, which hears who has ended a stream or lost it.
    `on_unknown_key(sender)` hears whom packets name, unproven, whose key this node does not hold. `on_join` is the
    join desk's `handle` where this node holds the CA's key, else None. `generation` must grow with every start of the
    node (seal.py); the wall clock serves unless a better one is given.
    """

    def __init__(
        self,
        identity: Identity,
        secrets: MeshSecrets,
        *,
        listen: tuple[str, int],
        advertise: str | None = None,
        on_message: Callable[[Endpoint, Message], None],
        on_drop: Callable[[str], None],
        on_unknown_key: Callable[[NodeId], None] | None = None,
        on_join: Callable[[JoinRequest], Awaitable[JoinReply]] | None = None,
        on_twin: Callable[[Twin], None] | None = None,
        on_hung_up: Callable[[NodeId], None] | None = None,
        generation: int | None = None,
        names: Names | None = None,
    ) -> None:
        self._identity = identity
        self._secrets = secrets
        self._listen = listen
        self._advertise = advertise
        self._on_message = on_message
        self._on_drop = on_drop
        self._on_hung_up = on_hung_up or (lambda peer: None)
        self._life = Life(on_twin or (lambda twin: None))
        self._door = JoinDoor(identity, secrets.founder_address, on_join, self._drop)
        self._packets = Packets(
            secrets.keyring,
            identity.node_id,
            secrets.mesh,
            generation=int(time.time()) if generation is None else generation,
        )
        self._parked = Parked()
        self._parking = trio.Event()
        self._on_unknown_key = on_unknown_key
        self._names = names or Names()
        self._sockets: tuple[socket.socket, socket.socket] | None = None
        self._address = ""
        self._raw_ids: dict[NodeId, bytes] = {}
        self._resolver: Resolver | None = None
        self._datagrams: DatagramPort | None = None
        self._incoming: IncomingStreams | None = None
        self._outgoing: OutgoingStreams | None = None
        self.drops: Counter[str] = Counter()
        """What was lost or refused, by reason."""
        self.traffic = Traffic()

    def renew(self, generation: int) -> None:
        """Seal packets as of `generation` from now on: peers that saw a newer one refuse older packets (seal.py)."""
        self._packets.renew(generation)

    def rekey(self, keyring: Sequence[bytes], retiring: Sequence[bytes] = ()) -> None:
        """Seal packets with the first key of `keyring` from now on, and open what it or `retiring` has sealed: also
        what came a moment ago and had to wait for its key."""
        self._packets.rekey(keyring, retiring)
        for waiting in self._parked.take(keyring):
            self._packet_came(waiting.packet, waiting.host, waiting.port)

    @property
    def address(self) -> str:
        """`host:port` that peers are told. Known once `bind` has been called, or `run` has started."""
        if not self._address:
            raise RuntimeError("the transport is not bound yet")
        return self._address

    @property
    def bound(self) -> str:
        """`host:port` where this node listens, the port drawn where 0 was asked for. Known when `address` is."""
        if self._sockets is None:
            raise RuntimeError("the transport is not bound")
        return join_address(self._listen[0], self._sockets[0].getsockname()[1])

    @property
    def streams_open(self) -> int:
        """Mesh streams that are connected, both ways."""
        incoming = self._incoming.open if self._incoming is not None else 0
        outgoing = self._outgoing.open if self._outgoing is not None else 0
        return incoming + outgoing

    def bind(self) -> None:
        """Take the port; `run` does it unless it was done before.

        Raises MeshError: `port_busy`, `port_forbidden`, `bad_listen`, `bad_advertise`.
        """
        if self._sockets is None:
            self._sockets = bind_both(*self._listen)
            port = self._sockets[0].getsockname()[1]
            try:
                self._address = advertised_address(self._listen[0], port, self._advertise)
            except MeshError:
                self.close()
                raise

    def close(self) -> None:
        """Give the port back, where `run` was never called."""
        if self._sockets is not None:
            for sock in self._sockets:
                sock.close()
            self._sockets = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, then close streams politely and give the port back, within a second.

        Raises MeshError as `bind` does, and whatever `on_message` raises.
        """
        self.bind()
        assert self._sockets is not None
        tcp, udp = self._sockets
        local = self._make_local()
        self._resolver = Resolver(udp.family, self._names.known)
        self._datagrams = DatagramPort(udp, self._packet_came, self._drop)
        self._incoming = IncomingStreams(local, self._on_message, self._door.serve)
        try:
            async with trio.open_nursery() as nursery:
                outgoing = self._outgoing = OutgoingStreams(local, nursery)
                nursery.start_soon(self._incoming.run, trio.SocketListener(trio.socket.from_stdlib_socket(tcp)))
                nursery.start_soon(self._datagrams.run)
                await nursery.start(self._names.run)
                nursery.start_soon(self._expire_parked)
                task_status.started()
                try:
                    await trio.sleep_forever()
                finally:
                    outgoing.stop_dialling()
        finally:
            self._outgoing = None
            self._datagrams = None
            self.close()

    def send(self, to: Endpoint, message: Message) -> None:
        """Send `message`, or count in `drops` why it was lost. Never blocks, never raises on trouble of the network."""
        if to.node_id == self._identity.node_id or (not to.node_id and to.address == self._address):
            self._drop("self_connection")
            return
        data = encode_message(message)
        if message.carrier is Carrier.DATAGRAM:
            self._send_datagram(to, message, data)
        elif len(data) > FRAME_BYTES_MAX:
            self._drop("message_too_big")
        elif self._outgoing is None:
            self._drop("not_running")
        elif self._outgoing.send(to, data):
            self.traffic.said(message, len(data))

    async def greet(self, address: str) -> None:
        """Say hello to whoever is at `address`, and hang up, within GREET_S. A twin there comes to `on_twin`."""
        if self._outgoing is not None:
            with trio.move_on_after(GREET_S):
                await self._outgoing.greet(address)

    def _send_datagram(self, to: Endpoint, message: Message, data: bytes) -> None:
        if self._datagrams is None or self._resolver is None:
            self._drop("not_running")
            return
        if len(data) > MESSAGE_BYTES_MAX:
            self._drop("datagram_too_big")
            return
        receiver = self._raw_id(to.node_id)
        if receiver is None:
            self._drop("unknown_receiver")  # a packet is sealed for one node: without its id there is none to seal for
            return
        where = self._resolver.lookup(to.address)
        if where is None:
            self._drop("unresolved")
            return
        packet = self._packets.seal(receiver, data)
        if self._datagrams.send(packet, where):
            self.traffic.said(message, len(packet))

    def _raw_id(self, node_id: NodeId) -> bytes | None:
        raw = self._raw_ids.get(node_id)
        if raw is None:
            try:
                raw = node_id_to_raw(node_id)
            except ValueError:
                return None
            if len(self._raw_ids) >= RAW_IDS_MAX:
                self._raw_ids.clear()
            self._raw_ids[node_id] = raw
        return raw

    def _packet_came(self, packet: bytes, host: str, port: int) -> None:
        try:
            opened = self._packets.open(packet)
            message = decode_message(opened.message)
        except BadPacket as bad:
            if bad.reason == "unknown_key":
                self._park(packet, host, port)
            else:
                self._drop(f"packet_{bad.reason}")
            return
        except BadMessage:
            self._drop("bad_message")
            return
        if message.carrier is not Carrier.DATAGRAM:
            self._drop("wrong_carrier")
            return
        self.traffic.heard(message, len(packet))
        self._on_message(Endpoint(opened.sender, source_address(host, port)), message)

    def _park(self, packet: bytes, host: str, port: int) -> None:
        """Let a packet wait for its key; it counts as dropped when it has waited in vain."""
        for _ in range(self._parked.put(packet, host, port, trio.current_time())):
            self._drop("packet_unknown_key")
        self._parking.set()
        if self._on_unknown_key is not None:
            self._on_unknown_key(sender_named_in(packet))

    async def _expire_parked(self) -> None:
        while True:
            deadline_s = self._parked.deadline_s
            if deadline_s is None:
                self._parking = trio.Event()
                await self._parking.wait()
                continue
            await trio.sleep_until(deadline_s)
            for _ in range(self._parked.expire(trio.current_time())):
                self._drop("packet_unknown_key")

    def _make_local(self) -> Local:
        server_tls, client_tls = server_context(self._identity), client_context(self._identity)
        # One listener serves both, and a newcomer has no certificate yet. A mesh stream without one is refused by
        # `proven_id`.
        server_tls.verify_mode = ssl.CERT_OPTIONAL
        server_tls.set_alpn_protocols([ALPN_MESH, ALPN_JOIN])
        client_tls.set_alpn_protocols([ALPN_MESH])
        mesh, life = self._secrets.mesh, self._life
        hello = partial(encode_hello, mesh, self.address, self._identity.name, life.name)
        return Local(
            self._identity.node_id,
            mesh,
            life,
            hello,
            server_tls,
            client_tls,
            self._drop,
            self._on_hung_up,
            self._names,
            self.traffic,
        )

    def _drop(self, reason: str) -> None:
        self.drops[reason] += 1
        self._on_drop(reason)


def bind_both(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A listening TCP socket and a UDP socket on one port of `host`, both non-blocking. Port 0: one free for both.

    Raises MeshError: `port_busy`, `port_forbidden`, `bad_listen`.
    """
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise _bad_listen(host, port, str(error)) from None
    ip = str(where[0])
    for _ in range(PORT_TRIES):
        with contextlib.ExitStack() as stack:
            tcp = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            udp = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            # A daemon that is started again must get its port back while old connections linger (TCP alone: for UDP
            # the same option would let two daemons share the port).
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                for sock in (tcp, udp):  # the IPv6 wildcard serves IPv4 as well
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, ip != "::")
            try:
                tcp.bind((ip, port))
                tcp.listen(BACKLOG)
                udp.bind((ip, tcp.getsockname()[1]))
            except OSError as error:
                if error.errno == errno.EADDRINUSE and port == 0:
                    continue  # free for TCP, taken for UDP: draw again
                raise _cannot_bind(host, port, error) from None
            stack.pop_all()
        tcp.setblocking(False)
        udp.setblocking(False)
        return tcp, udp
    raise _cannot_bind(host, port, OSError(errno.EADDRINUSE, "no port is free for both TCP and UDP"))


def _cannot_bind(host: str, port: int, error: OSError) -> MeshError:
    where = join_address(host, port)
    if error.errno == errno.EADDRINUSE:
        return MeshError(
            "port_busy",
            f"Another program uses {where} (TCP or UDP).",
            "Stop that program, or listen elsewhere: --listen HOST:PORT, port 0 for any that is free.",
        )
    if error.errno == errno.EACCES:
        return MeshError(
            "port_forbidden", f"This user may not listen at {where}.", "Use a port above 1023: --listen HOST:PORT."
        )
    return _bad_listen(host, port, error.strerror or str(error))


def _bad_listen(host: str, port: int, why: str) -> MeshError:
    return MeshError(
        "bad_listen",
        f"This machine cannot listen at {join_address(host, port)}: {why}.",
        "Name an address of this machine: --listen HOST:PORT, for example 0.0.0.0:7400 or 127.0.0.1:0.",
        ExitCode.USAGE,
    )


def advertised_address(listen_host: str, port: int, advertise: str | None) -> str:
    """What peers are told: `advertise` (its port 0 means the listening one), else where this node listens; for a
    wildcard, the address that this machine reaches others from. Raises MeshError("bad_advertise")."""
    if advertise is not None:
        try:
            host, advertised_port = split_address(advertise)
        except BadAddress as error:
            raise MeshError(
                "bad_advertise",
                f"{advertise!r} cannot be told to peers: {error}.",
                "Name host and port under which other machines reach this one: --advertise HOST:PORT.",
                ExitCode.USAGE,
            ) from None
        return join_address(host, advertised_port or port)
    if listen_host in ("", "0.0.0.0", "::"):
        return join_address(next(_own_addresses(listen_host), "127.0.0.1"), port)
    return join_address(listen_host, port)


def _own_addresses(wildcard: str) -> Iterator[str]:
    """Addresses that the system would send from. Connecting a UDP socket only asks the routing table."""
    probes = [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")]
    for family, elsewhere in reversed(probes) if wildcard == "::" else probes[:1]:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((elsewhere, 9))
            yield str(sock.getsockname()[0])
