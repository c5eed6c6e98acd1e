"""Outgoing streams: one for each peer, dialled when there is something to say, with a bounded outbox.

- A full outbox refuses the newest message (`outbox_full`); nothing that was taken is dropped while the peer is there.
- Whatever waits goes out in one piece, up to BATCH_BYTES: under load many frames share a record, an idle stream sends
  at once.
- A connection that breaks loses the batch under way and nothing else; the rest waits for the next connection.
  Redialling has a growing, jittered pause, and happens only while something waits.
- A name is looked up again and again (names.py), and every address that it has is tried. Where nobody in particular is
  wanted (a seed), a name with several may stand for several nodes: such a stream is let go soon, and each begins with a
  random one of them, so that all are met in time.
- A peer that cannot be reached for UNREACHABLE_S, or that is not who it should be, costs the outbox (each message
  counts as `undelivered`); the protocols' timers repair what that breaks.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from functools import partial

import trio

from meshnode.transport.addresses import BadAddress, is_literal, split_address
from meshnode.transport.dialling import first_greeted
from meshnode.transport.frames import pack_frame
from meshnode.transport.streams import (
    ALPN_MESH,
    CLOSE_S,
    HANDSHAKE_S,
    STREAM_ERRORS,
    Local,
    Rejected,
    TlsStream,
    close,
    exchange_hellos,
    log_unforeseen,
    proven_id,
    shake_hands,
    tune,
)
from protocols.core import Endpoint, NodeId

OUTBOX_FRAMES_MAX = 4096
OUTBOX_BYTES_MAX = 8 * 1024 * 1024
STREAMS_MAX = 1024
BATCH_BYTES = 64 * 1024
SEND_S = 10.0
"""A peer that takes no batch for so long is dialled anew."""
IDLE_S = 300.0
ANYBODY_IDLE_S = 1.0
"""The same for a stream to whoever of several nodes answers to a name."""
UNREACHABLE_S = 10.0
PAUSE_S_MIN = 0.05
PAUSE_S_MAX = 5.0
STEADY_S = 5.0
"""A connection that lasted so long is no flapping one: the next pause is the shortest again."""
REFUSAL_S = 1.0
"""How long a peer that was rejected is not dialled again."""
_PASSING = frozenset({"connect_timeout", "connect_failed", "handshake_failed", "stream_truncated", "unresolved"})
"""Reasons to dial again: the peer may be starting, or the network may be down."""


class Outbox:
    """Frames that wait for one peer, bounded by count and bytes."""

    __slots__ = ("_bytes", "_frames")

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def offer(self, frame: bytes) -> bool:
        """Take `frame`, or say that there is no room."""
        if len(self._frames) >= OUTBOX_FRAMES_MAX or self._bytes + len(frame) > OUTBOX_BYTES_MAX:
            return False
        self._frames.append(frame)
        self._bytes += len(frame)
        return True

    def take_batch(self) -> bytes:
        """The oldest frames, together: at least one, further ones up to BATCH_BYTES."""
        frames = self._frames
        batch = [frames.popleft()]
        size = len(batch[0])
        while frames and size + len(frames[0]) <= BATCH_BYTES:
            size += len(frames[0])
            batch.append(frames.popleft())
        self._bytes -= size
        return b"".join(batch)

    def clear(self) -> int:
        """Drop everything; how many frames that were."""
        count = len(self._frames)
        self._frames.clear()
        self._bytes = 0
        return count


class OutgoingStream:
    """The way to one peer. `peer_id` is empty until the first connection shows it, where only an address was given; and
    for good where that is a name of several addresses."""

    def __init__(self, to: Endpoint, local: Local, on_learned: Callable[[OutgoingStream], None]) -> None:
        self.peer_id: NodeId = to.node_id
        self.address = to.address
        self.connected = False
        self._local = local
        self._on_learned = on_learned
        self._outbox = Outbox()
        self._wake: trio.Event | None = None
        self._anybody = False
        self._rejected = False
        self._sending = False
        self._peer_gone = False

    def offer(self, frame: bytes) -> bool:
        """Queue `frame`; False, and counted, where it is not taken."""
        if self._rejected:
            self._local.drop("undelivered")
            return False
        if not self._outbox.offer(frame):
            self._local.drop("outbox_full")
            return False
        if self._wake is not None:
            self._wake.set()
        return True

    async def run(self) -> None:
        """Dial and send until nothing is left to say."""
        pause_s = PAUSE_S_MIN
        give_up_at = trio.current_time() + UNREACHABLE_S
        while True:
            try:
                stream = await self.dial()
            except Rejected as rejection:
                self._local.drop(rejection.reason)
                if rejection.reason not in _PASSING:
                    await self._refuse_for_a_while()
                    return
            else:
                connected_at = trio.current_time()
                await self._use(stream)
                give_up_at = trio.current_time() + UNREACHABLE_S
                if trio.current_time() - connected_at >= STEADY_S:
                    pause_s = PAUSE_S_MIN
            left_s = give_up_at - trio.current_time()
            if left_s <= 0:
                self._drop_outbox()
                return
            await trio.sleep(min(pause_s * random.uniform(0.5, 1.0), left_s))
            pause_s = min(pause_s * 2, PAUSE_S_MAX)
            if not self._outbox:
                return

    async def _refuse_for_a_while(self) -> None:
        self._drop_outbox()
        self._rejected = True
        await trio.sleep(REFUSAL_S)

    def _drop_outbox(self) -> None:
        for _ in range(self._outbox.clear()):
            self._local.drop("undelivered")

    async def dial(self) -> TlsStream:
        """A stream to the right peer, hellos said. Raises Rejected, with a reason of `_PASSING` where it may pass."""
        try:
            host, port = split_address(self.address)
        except BadAddress:
            raise Rejected("bad_address") from None
        if is_literal(host):
            _, stream = await self._dial_one_of((host,), port)
        else:
            stream = await self._dial_name(host, port)
        peer_id = proven_id(stream)
        if not self.peer_id and not self._anybody:
            self.peer_id = peer_id
            self._on_learned(self)
        return stream

    async def _dial_name(self, host: str, port: int) -> TlsStream:
        names = self._local.names
        addresses = await names.addresses(host)
        if not addresses:
            raise Rejected("unresolved")
        if not self.peer_id and len(addresses) > 1:
            first = random.randrange(len(addresses))
            addresses = addresses[first:] + addresses[:first]
            self._anybody = True
        try:
            address, stream = await self._dial_one_of(addresses, port)
        except Rejected:
            names.useless(host)
            raise
        if self.peer_id:
            names.greeted(host, address)
        return stream

    async def _dial_one_of(self, addresses: tuple[str, ...], port: int) -> tuple[str, TlsStream]:
        try:
            with trio.fail_after(HANDSHAKE_S):
                return await first_greeted(addresses, partial(self._dial_address, port=port), _PASSING)
        except trio.TooSlowError:
            raise Rejected("connect_timeout") from None

    async def _dial_address(self, host: str, port: int) -> TlsStream:
        try:
            tcp = await trio.open_tcp_stream(host, port)
            tune(tcp)
            stream = trio.SSLStream(tcp, self._local.client_tls)
            try:
                await self._greet(stream)
            except BaseException:
                await close(stream, polite=False)
                raise
            return stream
        except STREAM_ERRORS:
            raise Rejected("connect_failed") from None
        except Rejected:
            raise
        except Exception as error:
            log_unforeseen(f"dialling {self.address}", error)
            raise Rejected("internal_error") from None

    async def _greet(self, stream: TlsStream) -> None:
        await shake_hands(stream)
        if stream.selected_alpn_protocol() != ALPN_MESH:
            raise Rejected("no_alpn")
        node_id = proven_id(stream)
        if self.peer_id and node_id != self.peer_id:
            raise Rejected("wrong_peer")
        _, rest = await exchange_hellos(stream, self._local, node_id)
        if rest:
            raise Rejected("bad_hello")  # nothing is ever said in this direction but a hello

    async def _use(self, stream: TlsStream) -> None:
        """Send what waits, until the stream has been idle for long or is broken."""
        self.connected, self._sending, self._peer_gone = True, False, False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, stream, nursery.cancel_scope)
                await self._send_batches(stream)
                nursery.cancel_scope.cancel()
        finally:
            self._wake = None
            await self._hang_up(stream)
            self.connected = False

    async def _watch(self, stream: TlsStream, both: trio.CancelScope) -> None:
        """Notice that the peer has gone. Whatever it says here is a breach of the form, and ends the stream as well."""
        try:
            if await stream.receive_some():
                self._local.drop("unexpected_data")
        except STREAM_ERRORS:
            pass  # counted below where it cost a batch
        self._peer_gone = True
        self._local.hung_up(self.peer_id)
        both.cancel()

    async def _send_batches(self, stream: TlsStream) -> None:
        while True:
            if not self._outbox:
                self._wake = trio.Event()
                with trio.move_on_after(ANYBODY_IDLE_S if self._anybody else IDLE_S):
                    await self._wake.wait()
                self._wake = None
                if not self._outbox:
                    return
            await trio.lowlevel.checkpoint_if_cancelled()  # a batch that was not begun can still go out in `_hang_up`
            self._sending = True
            with trio.move_on_after(SEND_S) as patience:
                try:
                    await stream.send_all(self._outbox.take_batch())
                except STREAM_ERRORS:
                    self._peer_gone = True
                    return
            if patience.cancelled_caught:
                self._local.drop("stream_stalled")
                self._peer_gone = True
                return
            self._sending = False

    async def _hang_up(self, stream: TlsStream) -> None:
        """Close; when this node stops in between two batches, what waits still goes out."""
        if self._sending:
            self._local.drop("stream_reset")  # a batch was under way: nobody knows how much of it arrived
        broken = self._sending or self._peer_gone
        if not broken and self._outbox:
            with trio.move_on_after(CLOSE_S / 2, shield=True):
                try:
                    while self._outbox:
                        await stream.send_all(self._outbox.take_batch())
                except STREAM_ERRORS:
                    broken = True
        await close(stream, polite=not broken)


class OutgoingStreams:
    """All outgoing streams of one node, by peer. They live in `nursery`."""

    def __init__(self, local: Local, nursery: trio.Nursery) -> None:
        self._local = local
        self._nursery = nursery
        self._streams: dict[tuple[NodeId, str], OutgoingStream] = {}
        self._dialling = True

    @property
    def open(self) -> int:
        """Streams that are connected now."""
        return sum(stream.connected for stream in set(self._streams.values()))

    def send(self, to: Endpoint, data: bytes) -> bool:
        """Queue one message for `to`, dialling if there is no stream yet; False, and counted, where it is not taken."""
        key = (to.node_id, to.address)
        stream = self._streams.get(key)
        if stream is None:
            if not self._dialling:
                self._local.drop("not_running")
                return False
            if len(self._streams) >= STREAMS_MAX:
                self._local.drop("too_many_peers")
                return False
            stream = self._streams[key] = OutgoingStream(to, self._local, self._learned)
            self._nursery.start_soon(self._run, stream)
        return stream.offer(pack_frame(data))

    async def greet(self, address: str) -> None:
        """Exchange hellos with whoever is at `address`, and hang up."""
        try:
            stream = await OutgoingStream(Endpoint("", address), self._local, lambda stream: None).dial()
        except Rejected:
            return
        await close(stream, polite=True)

    def stop_dialling(self) -> None:
        """The node stops: streams that stand say what waits, and no new one is begun. The nursery may be closed by the
        time that a save, which cannot be cancelled, is done and lets something be said."""
        self._dialling = False

    def _learned(self, stream: OutgoingStream) -> None:
        """A stream to a mere address has found out whose it is: what is said to that peer goes the same way."""
        self._streams.setdefault((stream.peer_id, stream.address), stream)

    async def _run(self, stream: OutgoingStream) -> None:
        try:
            await stream.run()
        finally:
            for key in [key for key, one in self._streams.items() if one is stream]:
                del self._streams[key]
