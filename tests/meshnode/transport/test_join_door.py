"""Joining over real connections: newcomers, nodes without a desk, men in the middle, answers that are lost."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.lowlevel
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from meshnode.errors import ExitCode, MeshError
from meshnode.identity import Identity, MeshSecrets, found_mesh, public_bytes, server_context
from meshnode.joining import JOIN_FRAME_BYTES_MAX, JoinDesk, JoinReply, JoinRequest, JoinWelcome, join_mesh
from meshnode.token import JoinToken, TokenBook, format_token
from meshnode.transport.frames import FrameBuffer, pack_frame
from meshnode.transport.joins import FAILURES_MAX, JOIN_S, JOINS_MAX
from meshnode.transport.streams import ALPN_JOIN
from protocols.core import Endpoint
from tests.meshnode.transport.mesh_party import DEADLINE_S, Party, Raw, Relay, admit, hung_up, serving


class Founder(Party):
    """A party that keeps the join desk."""

    def __init__(self, directory: Path) -> None:
        identity, secrets = found_mesh("testmesh", "alice")
        self.names: dict[str, str] = {}
        self.seen: list[JoinRequest] = []
        self.before_answer: Callable[[], Awaitable[None]] | None = None
        self.desk = JoinDesk(
            identity,
            secrets,
            TokenBook(directory / "tokens.json", "testmesh", identity.ca_fingerprint),
            name_in_use=self.names.get,
            seeds=lambda: (self.transport.address,),
        )
        super().__init__(identity, secrets, on_join=self._join)

    async def _join(self, request: JoinRequest) -> JoinReply:
        self.seen.append(request)
        reply = await self.desk.handle(request)
        if self.before_answer is not None:
            await self.before_answer()
        return reply

    async def token(self, uses: int = 1, seeds: tuple[str, ...] = ()) -> str:
        text, token = await self.desk.issue(3600.0, uses)
        return format_token(msgspec.structs.replace(token, seeds=seeds)) if seeds else text


@pytest.fixture
def alice(tmp_path: Path) -> Founder:
    return Founder(tmp_path)


async def refusal(token: str, name: str = "bob", key: Ed25519PrivateKey | None = None) -> MeshError:
    with trio.fail_after(2 * DEADLINE_S), pytest.raises(MeshError) as caught:
        await join_mesh(token, name, private_key=key)
    assert caught.value.message
    assert caught.value.next_step
    return caught.value


async def test_a_newcomer_joins_and_talks(alice: Founder) -> None:
    async with serving(alice) as nursery:
        identity, secrets, grant = await join_mesh(await alice.token(), "bob")
        assert identity.name == "bob"
        assert secrets.ca_private_key_pem is None
        assert secrets.keyring == alice.secrets.keyring
        assert grant.seeds == (alice.transport.address,)
        assert secrets.founder_address == alice.transport.address
        bob = Party(identity, secrets)
        await nursery.start(bob.transport.run)
        bob.say(Endpoint("", grant.seeds[0]), "here I am")
        bob.ping(alice.endpoint, 1)
        await alice.heard(2)
        alice.say(alice.received[0][0], "welcome")
        await bob.heard(1)
    assert not alice.dropped


async def test_refusals_reach_the_newcomer_in_words(alice: Founder) -> None:
    async with serving(alice):
        used = await alice.token()
        await join_mesh(used, "bob")
        assert (await refusal(used, "carol")).code == "token_used_up"
        alice.names["dave"] = "another node"
        token = await alice.token()
        taken = await refusal(token, "dave")
        assert (taken.code, "'dave'" in taken.message) == ("name_taken", True)
        text, parsed = await alice.desk.issue(0.001, 1)
        await trio.sleep(0.01)
        assert (await refusal(text, "erin")).code == "token_expired"
        forged = format_token(msgspec.structs.replace(parsed, secret=os.urandom(32)))
        assert (await refusal(forged, "erin")).code == "bad_token"
        await alice.drop("join_refused", 4)
        await join_mesh(token, "erin")  # the refusal by name has not used it up


async def test_a_tampered_token_is_not_even_tried(alice: Founder) -> None:
    async with serving(alice):
        token = await alice.token()
        error = await refusal(token[:-5] + "AAAAA")
        assert (error.code, error.exit_code) == ("bad_token", ExitCode.USAGE)
        assert (await refusal(token, "not a name")).code == "bad_name"
        assert alice.seen == []


async def test_two_newcomers_race_for_one_use(alice: Founder) -> None:
    results: list[str] = []

    async def race(token: str, name: str) -> None:
        try:
            await join_mesh(token, name)
            results.append("in")
        except MeshError as error:
            results.append(error.code)

    async with serving(alice):
        token = await alice.token()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(race, token, "bob")
            nursery.start_soon(race, token, "carol")
    assert sorted(results) == ["in", "token_used_up"]


async def test_an_answer_that_was_lost_is_asked_for_again(alice: Founder) -> None:
    async with serving(alice) as nursery:
        relay = Relay(nursery, alice.port)
        await relay.start()

        async def cut_once() -> None:
            alice.before_answer = None
            relay.cut()
            await trio.lowlevel.checkpoint()

        alice.before_answer = cut_once
        token = await alice.token(seeds=(relay.address,))
        identity, _, _ = await join_mesh(token, "bob")
        assert len(alice.seen) == 2  # the use was counted at the first, and the same key was let in at the second
        assert {request.public_key for request in alice.seen} == {public_bytes(identity.private_key)}


async def test_a_newcomer_that_starts_again_with_its_key_is_let_in(alice: Founder) -> None:
    async with serving(alice):
        token, key = await alice.token(), Ed25519PrivateKey.generate()
        first, _, _ = await join_mesh(token, "bob", private_key=key)
        second, _, _ = await join_mesh(token, "bob", private_key=key)
        assert first.node_id == second.node_id


async def test_a_member_without_a_desk_names_the_founder(alice: Founder) -> None:
    identity, secrets = admit(alice.identity, alice.secrets, "bob")
    async with serving(alice):
        secrets = MeshSecrets(secrets.mesh, secrets.keyring, None, alice.transport.address)
        async with serving(bob := Party(identity, secrets)):
            token = await alice.token(seeds=(bob.transport.address,))
            newcomer, _, grant = await join_mesh(token, "carol")
            assert newcomer.name == "carol"
            assert grant.seeds[0] == alice.transport.address


async def test_no_desk_at_all(alice: Founder) -> None:
    identity, secrets = admit(alice.identity, alice.secrets, "bob")
    async with serving(bob := Party(identity, secrets)):
        assert (await refusal(await _token_for(alice, bob.transport.address))).code == "not_founder"


async def _token_for(founder: Founder, address: str) -> str:
    founder.transport.bind()
    try:
        return await founder.token(seeds=(address,))
    finally:
        founder.transport.close()


async def test_dead_seeds_do_not_stop_a_join(alice: Founder) -> None:
    async with serving(alice):
        dead = trio.socket.socket()
        await dead.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{dead.getsockname()[1]}"
        dead.close()
        token = await alice.token(seeds=(nobody, "not an address", alice.transport.address))
        identity, _, grant = await join_mesh(token, "bob")
        assert identity.name == "bob"
        assert grant.seeds == (alice.transport.address,)


async def test_nobody_there(alice: Founder, jumping_clock: trio.testing.MockClock) -> None:
    alice.transport.bind()
    address = alice.transport.address
    alice.transport.close()
    token = format_token(JoinToken("testmesh", alice.identity.ca_fingerprint, (address,), "0" * 16, bytes(32), 2e9))
    began_s = trio.current_time()
    error = await refusal(token)
    assert error.code == "seeds_unreachable"
    assert address in error.message
    assert trio.current_time() - began_s <= 21


# Men in the middle.


@asynccontextmanager
async def impostor(
    identity: Identity, ca_der: bytes, record: list[bytes], *, alpn: str = ALPN_JOIN
) -> AsyncIterator[str]:
    """A server with another mesh's certificate that shows `ca_der` as its CA and records all that it is told."""
    context = server_context(identity)
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([alpn])

    async def serve(tcp: trio.SocketStream) -> None:
        stream = trio.SSLStream(tcp, context, server_side=True)
        try:
            await stream.send_all(pack_frame(msgspec.msgpack.encode(JoinWelcome(ca_der, bytes(32)))))
            while data := await stream.receive_some():
                record.append(bytes(data))
        except trio.BrokenResourceError:
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


def der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)


async def test_a_man_in_the_middle_learns_nothing(alice: Founder) -> None:
    mallory, _ = found_mesh("testmesh", "alice")
    told: list[bytes] = []
    # With its own CA, and with the true CA's certificate shown (it is no secret) over a key that the CA never signed.
    for ca_der in (der(mallory.ca_certificate_pem), der(alice.identity.ca_certificate_pem)):
        async with impostor(mallory, ca_der, told) as address:
            error = await refusal(await _token_for(alice, address))
            assert error.code == "wrong_mesh"
    assert told == []


async def test_a_genuine_seed_is_found_behind_an_impostor(alice: Founder) -> None:
    mallory, _ = found_mesh("testmesh", "alice")
    told: list[bytes] = []
    async with serving(alice), impostor(mallory, der(mallory.ca_certificate_pem), told) as address:
        token = await alice.token(seeds=(address, alice.transport.address))
        identity, _, _ = await join_mesh(token, "bob")
        assert identity.name == "bob"
    assert told == []


async def test_a_server_of_another_kind_is_no_seed(alice: Founder, jumping_clock: trio.testing.MockClock) -> None:
    mallory, _ = found_mesh("testmesh", "alice")
    token = JoinToken("testmesh", alice.identity.ca_fingerprint, ("h:1",), "0" * 16, bytes(32), 2e9)
    async with impostor(mallory, b"x", [], alpn="h2") as address:
        error = await refusal(format_token(msgspec.structs.replace(token, seeds=(address,))))
        assert error.code == "seeds_unreachable"


# Bad newcomers.


async def knock(to: Party) -> tuple[Raw, JoinWelcome]:
    """A join connection made by hand, up to the welcome."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([ALPN_JOIN])
    stream = trio.SSLStream(await trio.open_tcp_stream("127.0.0.1", to.port), context)
    await stream.do_handshake()
    buffer = FrameBuffer(JOIN_FRAME_BYTES_MAX)
    while (frame := buffer.next_frame()) is None:
        data = await stream.receive_some()
        assert data
        buffer.feed(data)
    return stream, msgspec.msgpack.decode(frame, type=JoinWelcome)


async def test_garbage_to_the_desk(alice: Founder) -> None:
    async with serving(alice):
        pieces = [pack_frame(b"garbage"), pack_frame(b""), (JOIN_FRAME_BYTES_MAX + 1).to_bytes(4)]
        for piece in pieces:
            stream, welcome = await knock(alice)
            assert welcome.refusal is None
            await stream.send_all(piece)
            assert await hung_up(stream)
            await trio.aclose_forcefully(stream)
        await alice.drop("join_garbage", len(pieces))
        stream, _ = await knock(alice)
        await trio.aclose_forcefully(stream)
        await join_mesh(await alice.token(), "bob")
        assert len(alice.seen) == 1


async def test_a_key_must_be_ones_own(alice: Founder) -> None:
    async with serving(alice):
        _, token = await alice.desk.issue(60.0, 1)
        stream, _ = await knock(alice)
        stolen = public_bytes(Ed25519PrivateKey.generate())
        asked = JoinRequest(token.token_id, token.secret, stolen, "bob", bytes(64))
        await stream.send_all(pack_frame(msgspec.msgpack.encode(asked)))
        assert b"bad_proof" in await stream.receive_some()
        await trio.aclose_forcefully(stream)
        assert alice.seen == []


async def test_a_source_that_keeps_failing_must_wait(alice: Founder) -> None:
    async with serving(alice):
        for _ in range(FAILURES_MAX):
            stream, welcome = await knock(alice)
            assert welcome.refusal is None
            await stream.send_all(pack_frame(b"garbage"))
            assert await hung_up(stream)
            await trio.aclose_forcefully(stream)
        stream, welcome = await knock(alice)
        assert welcome.refusal is not None
        assert welcome.refusal.code == "busy"
        assert welcome.refusal.retry_after_s > 0
        await trio.aclose_forcefully(stream)
        assert alice.transport.drops["join_rate_limited"] == 1


async def test_only_so_many_join_at_once_and_the_silent_are_sent_away(
    alice: Founder, jumping_clock: trio.testing.MockClock
) -> None:
    async with serving(alice):
        crowd = [(await knock(alice))[0] for _ in range(JOINS_MAX)]
        stream, welcome = await knock(alice)
        assert welcome.refusal is not None
        assert welcome.refusal.code == "busy"
        await trio.aclose_forcefully(stream)
        began_s = trio.current_time()
        for silent in crowd:
            assert await hung_up(silent)
            await trio.aclose_forcefully(silent)
        assert trio.current_time() - began_s <= JOIN_S + 1
        assert alice.transport.drops["join_timeout"] == JOINS_MAX
        stream, welcome = await knock(alice)
        assert welcome.refusal is None
        await trio.aclose_forcefully(stream)
