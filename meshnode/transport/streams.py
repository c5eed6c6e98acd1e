"""What both ends of a mesh stream do alike: TLS, who the peer is, the hellos, and closing.

A peer is who its certificate's key says it is. A stream is refused (`Rejected`) where the peer is of another mesh, is
this node itself, speaks no common wire version, or does not keep to the form. Trouble of the network comes as one of
`STREAM_ERRORS`. Deadlines are set by the callers, around these functions.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import trio

from meshnode.certificates import BadCertificate, peer_node_id
from meshnode.logs import Log
from meshnode.transport.frames import BadFrame, FrameBuffer, pack_frame
from meshnode.transport.hello import HELLO_BYTES_MAX, BadHello, Hello, decode_hello
from meshnode.transport.names import Names
from meshnode.transport.traffic import Traffic
from meshnode.transport.twins import Life
from protocols.core import NodeId

ALPN_MESH = "meshnode/1"
ALPN_JOIN = "meshnode-join/1"

HANDSHAKE_S = 5.0
"""From the connection to the peer's hello."""
CLOSE_S = 0.8
"""What closing a stream politely, with what still waits in its outbox, may take. A whole shutdown stays below 1 s."""
KEEPALIVE_IDLE_S = 30
KEEPALIVE_INTERVAL_S = 10
KEEPALIVE_PROBES = 3
UNACKNOWLEDGED_MS_MAX = 20_000
"""A connection whose data nobody acknowledges for so long is over."""

TlsStream: TypeAlias = trio.SSLStream[trio.SocketStream]
STREAM_ERRORS = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)

log = Log("meshnode.transport")


class Rejected(Exception):
    """This node wants nothing of the peer at the other end. `reason` is one word, fit for a counter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Local:
    """What the streams of one node have in common. `drop` and `traffic` count; `hello(up_ms)` is packed."""

    node_id: NodeId
    mesh: str
    life: Life
    hello: Callable[[int], bytes]
    server_tls: ssl.SSLContext
    client_tls: ssl.SSLContext
    drop: Callable[[str], None]
    hung_up: Callable[[NodeId], None]
    """Told of a peer that has ended a stream, or lost it."""
    names: Names
    traffic: Traffic


@dataclass(frozen=True)
class Peer:
    """Who is at the other end: the id is proven, the hello is what it says of itself."""

    node_id: NodeId
    hello: Hello


def log_unforeseen(what: str, error: Exception) -> None:
    """Log an exception that one connection ran into and that nobody foresaw: a bug, but not worth the whole node."""
    log.error(f"{what} failed in an unforeseen way", error=repr(error), traceback=traceback.format_exc())


def tune(stream: trio.SocketStream) -> None:
    """Frames leave at once, and dead connections are noticed."""
    options = [
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", KEEPALIVE_PROBES),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", UNACKNOWLEDGED_MS_MAX),
    ]
    for level, name, value in options:
        option = getattr(socket, name, None)  # some systems lack the finer ones
        if option is not None:
            stream.setsockopt(level, option, value)


async def shake_hands(stream: TlsStream) -> None:
    """TLS. Raises Rejected("untrusted_peer") where this end does not trust the other, ("handshake_failed") else."""
    try:
        await stream.do_handshake()
    except STREAM_ERRORS as error:
        untrusted = isinstance(error.__cause__, ssl.SSLCertVerificationError)
        raise Rejected("untrusted_peer" if untrusted else "handshake_failed") from None


def proven_id(stream: TlsStream) -> NodeId:
    """The id of the peer, from the certificate that TLS has verified. Raises Rejected."""
    certificate = stream.getpeercert(binary_form=True)
    if not certificate:
        raise Rejected("no_certificate")
    try:
        return peer_node_id(certificate)
    except BadCertificate:
        raise Rejected("bad_certificate") from None


async def exchange_hellos(stream: TlsStream, local: Local, node_id: NodeId) -> tuple[Peer, bytes]:
    """Say hello, hear the peer's, and agree; also what came behind it. Raises Rejected and STREAM_ERRORS."""
    up_ms = local.life.up_ms()
    await stream.send_all(pack_frame(local.hello(up_ms)))
    buffer = FrameBuffer(HELLO_BYTES_MAX)
    try:
        hello = decode_hello(await read_frame(stream, buffer))
    except (BadFrame, BadHello):
        raise Rejected("bad_hello") from None
    if hello.mesh != local.mesh:
        raise Rejected("wrong_mesh")
    if not hello.understandable:
        raise Rejected("wire_version")
    if node_id == local.node_id:
        local.life.met(up_ms, hello)
        raise Rejected("self_connection")
    return Peer(node_id, hello), buffer.rest()


async def read_frame(stream: TlsStream, buffer: FrameBuffer) -> bytes:
    """The next frame. Raises BadFrame, Rejected("stream_truncated") and STREAM_ERRORS."""
    while (frame := buffer.next_frame()) is None:
        data = await stream.receive_some()
        if not data:
            raise Rejected("stream_truncated")
        buffer.feed(data)
    return frame


async def close(stream: TlsStream, *, polite: bool) -> None:
    """Close within CLOSE_S, whatever state the stream is in, also while cancelled. Polite: with TLS's goodbye."""
    with trio.move_on_after(CLOSE_S, shield=True), contextlib.suppress(*STREAM_ERRORS):
        if polite:
            await stream.aclose()
        else:
            await trio.aclose_forcefully(stream)
