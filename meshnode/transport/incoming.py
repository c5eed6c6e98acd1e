"""Incoming streams: who may come in, how many, and what they deliver.

- At most HANDSHAKES_MAX connections are being greeted at one time, each for HANDSHAKE_S at most. When all places are
  taken, the next one waits; a greeting that is slow by then gives its place up. So a crowd of silent connections delays
  a newcomer by a moment and shuts nobody out.
- At most STREAMS_MAX streams stand, and PER_PEER_MAX of one peer (the oldest goes: it is left over from a connection
  that broke without a word).
- A mesh stream needs a certificate of the mesh; a join needs none and is handed to the join desk. The protocol asked
  for (ALPN) decides; anything else is closed.
- Whatever a connection does wrong costs a counter and that connection. What `deliver` raises is this node's own fault:
  it is caught nowhere in here and stops the node.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from meshnode.transport.frames import BadFrame, FrameBuffer
from meshnode.transport.streams import (
    ALPN_JOIN,
    ALPN_MESH,
    HANDSHAKE_S,
    STREAM_ERRORS,
    Local,
    Peer,
    Rejected,
    TlsStream,
    close,
    exchange_hellos,
    log,
    log_unforeseen,
    proven_id,
    shake_hands,
    tune,
)
from protocols.core import Endpoint, Message, NodeId
from protocols.limits import FRAME_BYTES_MAX
from protocols.wire import BadMessage, decode_message

HANDSHAKES_MAX = 64
HANDSHAKE_GRACE_S = 1.0
"""A greeting that has taken so long gives its place to one that waits."""
STREAMS_MAX = 512
PER_PEER_MAX = 4
IDLE_S = 360.0
"""Longer than a peer keeps an idle stream open: it closes first, unless it is gone."""
FRAME_S = 30.0
"""From the first byte of a frame to its last."""
ACCEPT_PAUSE_S = 0.1


class Places:
    """The places for connections that are being greeted, oldest first."""

    def __init__(self, places: int, patience_s: float, grace_s: float, drop: Callable[[str], None]) -> None:
        self._places = places
        self._patience_s = patience_s
        self._grace_s = grace_s
        self._drop = drop
        self._taken: dict[trio.CancelScope, float] = {}
        self._freed = trio.Event()

    async def take(self) -> trio.CancelScope:
        """A place: a scope to be greeted in, which ends by itself. Give it back with `leave`."""
        while len(self._taken) >= self._places:
            oldest, since_s = next(iter(self._taken.items()))
            slow_at = since_s + self._grace_s
            if trio.current_time() >= slow_at:
                self._drop("handshake_evicted")
                oldest.cancel()
                self.leave(oldest)
                break
            self._freed = trio.Event()
            with trio.CancelScope(deadline=slow_at):
                await self._freed.wait()
        now_s = trio.current_time()
        scope = trio.CancelScope(deadline=now_s + self._patience_s)
        self._taken[scope] = now_s
        return scope

    def leave(self, scope: trio.CancelScope) -> None:
        """Give a place back; giving it back twice is harmless."""
        if self._taken.pop(scope, None) is not None:
            self._freed.set()


class IncomingStreams:
    """Accepts, greets and reads. `deliver(sender, message)`; `serve_join(stream, host)` speaks to newcomers."""

    def __init__(
        self,
        local: Local,
        deliver: Callable[[Endpoint, Message], None],
        serve_join: Callable[[TlsStream, str], Awaitable[None]],
    ) -> None:
        self._local = local
        self._deliver = deliver
        self._serve_join = serve_join
        self._places = Places(HANDSHAKES_MAX, HANDSHAKE_S, HANDSHAKE_GRACE_S, local.drop)
        self._standing: dict[NodeId, list[trio.CancelScope]] = {}
        self.open = 0
        """Mesh streams that stand."""

    async def run(self, listener: trio.SocketListener) -> None:
        """Serve until cancelled; closes `listener`."""
        async with trio.open_nursery() as nursery:
            with listener.socket:  # closed at once when this ends; the streams then have a moment to close
                while True:
                    try:
                        tcp = await listener.accept()
                    except OSError as error:
                        # Out of descriptors or memory: those who are in go on, the others wait in the backlog.
                        self._local.drop("accept_failed")
                        log.warning("connections cannot be accepted", error=str(error))
                        await trio.sleep(ACCEPT_PAUSE_S)
                        continue
                    try:
                        place = await self._places.take()
                    except trio.Cancelled:
                        tcp.socket.close()
                        raise
                    nursery.start_soon(self._serve, tcp, place)

    async def _serve(self, tcp: trio.SocketStream, place: trio.CancelScope) -> None:
        stream = trio.SSLStream(tcp, self._local.server_tls, server_side=True)
        polite = False
        try:
            came = await self._greet_bounded(stream, place)
            if came is None:
                return
            polite = True
            if isinstance(came, str):
                await self._serve_newcomer(stream, came)
            else:
                peer, rest = came
                await self._stand(stream, peer, rest)
        finally:
            await close(stream, polite=polite)

    async def _greet_bounded(self, stream: TlsStream, place: trio.CancelScope) -> tuple[Peer, bytes] | str | None:
        """A peer and what came behind its hello, or a newcomer's host; None (and counted) for everybody else."""
        try:
            with place:
                return await self._greet(stream)
        except Rejected as rejection:
            self._local.drop(rejection.reason)
            return None
        except STREAM_ERRORS:
            self._local.drop("handshake_failed")
            return None
        except Exception as error:
            log_unforeseen("greeting a connection", error)
            self._local.drop("internal_error")
            return None
        finally:
            self._places.leave(place)
        if trio.current_time() >= place.deadline:  # else it was evicted, and counted as that
            self._local.drop("handshake_timeout")
        return None

    async def _greet(self, stream: TlsStream) -> tuple[Peer, bytes] | str:
        tune(stream.transport_stream)
        host = str(stream.transport_stream.socket.getpeername()[0])
        await shake_hands(stream)
        protocol = stream.selected_alpn_protocol()
        if protocol == ALPN_MESH:
            return await exchange_hellos(stream, self._local, proven_id(stream))
        if protocol == ALPN_JOIN:
            return host
        raise Rejected("no_alpn")

    async def _serve_newcomer(self, stream: TlsStream, host: str) -> None:
        try:
            await self._serve_join(stream, host)
        except STREAM_ERRORS:
            self._local.drop("join_broken")
        except Exception as error:
            log_unforeseen("serving a newcomer", error)
            self._local.drop("internal_error")

    async def _stand(self, stream: TlsStream, peer: Peer, rest: bytes) -> None:
        """Read what `peer` says until it is over, within the bounds on how many may stand."""
        if self.open >= STREAMS_MAX:
            self._local.drop("too_many_streams")
            return
        scope = trio.CancelScope()
        scopes = self._standing.setdefault(peer.node_id, [])
        if len(scopes) >= PER_PEER_MAX:
            self._local.drop("stream_replaced")
            scopes.pop(0).cancel()
        scopes.append(scope)
        self.open += 1
        try:
            with scope:
                await self._read(stream, peer, rest, scope)
                self._local.hung_up(peer.node_id)
            if trio.current_time() >= scope.deadline:
                self._local.drop("stream_timeout")
        finally:
            self.open -= 1
            if scope in scopes:
                scopes.remove(scope)
            if not scopes and self._standing.get(peer.node_id) is scopes:
                del self._standing[peer.node_id]

    async def _read(self, stream: TlsStream, peer: Peer, data: bytes | bytearray, scope: trio.CancelScope) -> None:
        """Deliver messages in order. The stream's deadline stands on `scope`: idle, or in the middle of a frame."""
        sender = Endpoint(peer.node_id, peer.hello.address)
        buffer = FrameBuffer(FRAME_BYTES_MAX)
        within_frame = False
        while True:
            frames = self._complete_frames(buffer, data)
            if frames is None:
                return
            for frame in frames:
                try:
                    message = decode_message(frame)
                except BadMessage:
                    self._local.drop("bad_message")
                    continue
                self._local.traffic.heard(message, len(frame))
                self._deliver(sender, message)
            if frames or not within_frame:
                scope.deadline = trio.current_time() + (FRAME_S if buffer.partial else IDLE_S)
            within_frame = buffer.partial
            received = await self._receive(stream)
            if not received:
                if within_frame:
                    self._local.drop("stream_truncated")
                return
            data = received

    def _complete_frames(self, buffer: FrameBuffer, data: bytes | bytearray) -> list[bytes] | None:
        buffer.feed(data)
        try:
            return list(buffer.frames())
        except BadFrame:
            self._local.drop("frame_too_big")
            return None

    async def _receive(self, stream: TlsStream) -> bytes | bytearray:
        try:
            return await stream.receive_some()
        except STREAM_ERRORS:
            return b""  # a reset: the peer is gone without a word
