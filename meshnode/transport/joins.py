"""The door for newcomers: what a node says on a join connection, within bounds, before and around the join desk.

At most JOINS_MAX at once, JOIN_S each, frames of JOIN_FRAME_BYTES_MAX. A source address that keeps failing is told to
wait, and costs no signature check and no disk write until then. A node without a desk says so at once, so that no
newcomer tells it a secret. The desk decides; this only carries, checks the newcomer's proof, and words the refusals.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import msgspec
import trio
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from meshnode.errors import MeshError
from meshnode.identity import Identity
from meshnode.joining import (
    CHALLENGE_BYTES,
    JOIN_FRAME_BYTES_MAX,
    BadJoinMessage,
    JoinRefusal,
    JoinReply,
    JoinRequest,
    JoinWelcome,
    decode_request,
    proof_is_good,
)
from meshnode.transport.frames import BadFrame, FrameBuffer, pack_frame
from meshnode.transport.streams import Rejected, TlsStream, log, read_frame

JOINS_MAX = 8
JOIN_S = 10.0
FAILURES_MAX = 10
"""Failed attempts that a source address may make in a burst."""
FAILURE_FORGIVEN_S = 6.0
"""How often one failed attempt is forgiven."""
SOURCES_MAX = 1024


class FailureLimiter:
    """A token bucket for every source address, of failures alone: who succeeds is never slowed down."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def _count(self, source: str, now_s: float) -> float:
        count, since_s = self._failures.get(source, (0.0, now_s))
        return max(0.0, count - (now_s - since_s) / FAILURE_FORGIVEN_S)

    def wait_s(self, source: str, now_s: float) -> float:
        """Seconds until `source` may try again; 0 if it may now."""
        over = self._count(source, now_s) - (FAILURES_MAX - 1)
        return max(0.0, over * FAILURE_FORGIVEN_S)

    def failed(self, source: str, now_s: float) -> None:
        count = self._count(source, now_s) + 1.0
        self._failures[source] = (count, now_s)
        self._failures.move_to_end(source)
        if len(self._failures) > SOURCES_MAX:
            self._failures.popitem(last=False)


class JoinDoor:
    """Serves join connections for a node; `on_join` is the desk's `handle`, None where there is no desk."""

    def __init__(
        self,
        identity: Identity,
        founder_address: str,
        on_join: Callable[[JoinRequest], Awaitable[JoinReply]] | None,
        drop: Callable[[str], None],
    ) -> None:
        ca = x509.load_pem_x509_certificate(identity.ca_certificate_pem)
        self._ca_der = ca.public_bytes(serialization.Encoding.DER)
        self._ca_fingerprint = identity.ca_fingerprint
        self._founder_address = founder_address
        self._on_join = on_join
        self._drop = drop
        self._limiter = FailureLimiter()
        self._under_way = 0

    async def serve(self, stream: TlsStream, source: str) -> None:
        """Speak with one newcomer from IP address `source`. Raises STREAM_ERRORS; the caller closes."""
        self._under_way += 1
        try:
            with trio.move_on_after(JOIN_S) as patience:
                await self._serve(stream, source)
            if patience.cancelled_caught:
                self._drop("join_timeout")
                self._limiter.failed(source, trio.current_time())
        finally:
            self._under_way -= 1

    async def _serve(self, stream: TlsStream, source: str) -> None:
        challenge = os.urandom(CHALLENGE_BYTES)
        refusal = self._refusal_at_once(source)
        await self._say(stream, JoinWelcome(self._ca_der, challenge, refusal))
        if refusal is not None or self._on_join is None:
            return
        try:
            request = decode_request(await read_frame(stream, FrameBuffer(JOIN_FRAME_BYTES_MAX)))
        except (BadFrame, BadJoinMessage):
            self._drop("join_garbage")
            self._limiter.failed(source, trio.current_time())
            return
        except Rejected:
            self._drop("join_broken")  # the newcomer thought better of it, or was no newcomer
            return
        if not proof_is_good(request, challenge, self._ca_fingerprint):
            answer: JoinReply | JoinRefusal = JoinRefusal(
                "bad_proof",
                "The newcomer could not prove that the key is its own.",
                "Run the join again; if it fails again, something between the two nodes changes what they say.",
            )
        else:
            answer = await self._decide(request)
        if isinstance(answer, JoinRefusal):
            log.warning("refused to let a newcomer in", name=request.name, source=source, code=answer.code)
            self._drop("join_refused")
            self._limiter.failed(source, trio.current_time())
        await self._say(stream, answer)

    async def _decide(self, request: JoinRequest) -> JoinReply | JoinRefusal:
        assert self._on_join is not None
        try:
            return await self._on_join(request)
        except MeshError as error:
            return JoinRefusal(
                error.code[:64], error.message[:600], error.next_step[:600], min(error.retry_after_s, 3600.0)
            )

    def _refusal_at_once(self, source: str) -> JoinRefusal | None:
        if self._on_join is None:
            where = f" It was last seen at {self._founder_address}." if self._founder_address else ""
            return JoinRefusal(
                "not_founder",
                f"This node did not make the mesh and cannot let newcomers in.{where}",
                "Use a token of the node that made the mesh.",
                founder_address=self._founder_address,
            )
        wait_s = self._limiter.wait_s(source, trio.current_time())
        if wait_s > 0:
            self._drop("join_rate_limited")
            return JoinRefusal(
                "busy", "Too many attempts to join failed that came from this address.", "Wait.", min(wait_s, 3600.0)
            )
        if self._under_way > JOINS_MAX:
            self._drop("join_busy")
            return JoinRefusal("busy", "Too many nodes are joining at this moment.", "Try again.", 1.0)
        return None

    async def _say(self, stream: TlsStream, message: JoinWelcome | JoinReply | JoinRefusal) -> None:
        await stream.send_all(pack_frame(msgspec.msgpack.encode(message)))
