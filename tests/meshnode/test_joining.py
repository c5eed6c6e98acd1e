"""The join desk's decisions, without a network: who is let in, and what a refusal costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.certificates import check_certificate, node_id_of
from meshnode.errors import MeshError
from meshnode.identity import KEY_BYTES, KEYS_MAX, found_mesh, public_bytes
from meshnode.joining import (
    NAME_PROMISED_S,
    BadJoinMessage,
    JoinDesk,
    JoinReply,
    JoinRequest,
    decode_request,
    proof_is_good,
    proof_text,
)
from meshnode.token import JoinToken, TokenBook
from meshnode.transport.joins import FAILURE_FORGIVEN_S, FAILURES_MAX, SOURCES_MAX, FailureLimiter

SEEDS = ("127.0.0.1:7000", "127.0.0.1:7001")


class Founder:
    """A desk, with the mesh's names and the wall clock in the test's hands."""

    def __init__(self, directory: Path) -> None:
        self.identity, self.secrets = found_mesh("m", "alice")
        self.names: dict[str, str] = {}
        self.now_unix_s = 1_800_000_000.0
        self.desk = JoinDesk(
            self.identity,
            self.secrets,
            TokenBook(directory / "tokens.json", "m", self.identity.ca_fingerprint),
            name_in_use=self.names.get,
            seeds=lambda: SEEDS,
            now_unix_s=lambda: self.now_unix_s,
        )

    async def ask(self, token: JoinToken, name: str, key: Ed25519PrivateKey | None = None) -> JoinReply:
        return await self.desk.handle(request_of(token, name, key or Ed25519PrivateKey.generate()))

    async def refusal(self, token: JoinToken, name: str, key: Ed25519PrivateKey | None = None) -> str:
        with pytest.raises(MeshError) as caught:
            await self.ask(token, name, key)
        assert caught.value.message
        assert caught.value.next_step
        return caught.value.code


@pytest.fixture
def founder(tmp_path: Path) -> Founder:
    return Founder(tmp_path)


def request_of(token: JoinToken, name: str, key: Ed25519PrivateKey) -> JoinRequest:
    return JoinRequest(token.token_id, token.secret, public_bytes(key), name, bytes(64))


async def test_a_newcomer_gets_the_packet_keys_of_the_day(founder: Founder) -> None:
    """A token outlives a rotation: what it lets in with is decided when it is used."""
    _, token = await founder.desk.issue(60.0, 2)
    keys = tuple(bytes([number]) * KEY_BYTES for number in range(KEYS_MAX + 3))
    founder.desk.rekey(keys[:2])
    assert (await founder.ask(token, "bob")).keyring == keys[:2]
    founder.desk.rekey(keys)  # two halves may hold more than a newcomer is given; it learns the others as it joins
    assert (await founder.ask(token, "carol")).keyring == keys[:KEYS_MAX]


async def test_a_newcomer_becomes_a_member(founder: Founder) -> None:
    _, token = await founder.desk.issue(60.0, 1)
    key = Ed25519PrivateKey.generate()
    reply = await founder.ask(token, "bob", key)
    certificate = x509.load_pem_x509_certificate(reply.certificate_pem)
    ca = x509.load_pem_x509_certificate(reply.ca_certificate_pem)
    assert check_certificate(certificate, ca, "m") == node_id_of(public_bytes(key))
    assert (reply.mesh, reply.keyring, reply.seeds) == ("m", founder.secrets.keyring, SEEDS)
    assert token.seeds == SEEDS
    assert founder.secrets.keyring[0].hex() not in repr(reply)
    assert "secret" not in repr(request_of(token, "bob", key))


async def test_refusals_by_token(founder: Founder) -> None:
    _, token = await founder.desk.issue(60.0, 1)
    forged = JoinToken(token.mesh, token.ca_fingerprint, token.seeds, token.token_id, b"x" * 32, token.expires_unix_s)
    assert await founder.refusal(forged, "bob") == "bad_token"
    await founder.ask(token, "bob")
    assert await founder.refusal(token, "carol") == "token_used_up"
    _, late = await founder.desk.issue(60.0, 1)
    founder.now_unix_s += 60
    assert await founder.refusal(late, "carol") == "token_expired"


async def test_the_same_key_may_ask_again(founder: Founder) -> None:
    _, token = await founder.desk.issue(60.0, 1)
    key = Ed25519PrivateKey.generate()
    await founder.ask(token, "bob", key)
    founder.names["bob"] = node_id_of(public_bytes(key))
    again = await founder.ask(token, "bob", key)
    certificate = x509.load_pem_x509_certificate(again.certificate_pem)
    assert certificate.public_key() == key.public_key()


async def test_a_name_belongs_to_one(founder: Founder) -> None:
    _, token = await founder.desk.issue(60.0, 3)
    founder.names["carol"] = "somebody else"
    assert await founder.refusal(token, "carol") == "name_taken"
    assert await founder.refusal(token, "alice") == "name_taken"  # the founder's own
    await founder.ask(token, "bob")
    # Promised, though the first bob has not shown up in the mesh yet.
    assert await founder.refusal(token, "bob") == "name_taken"
    assert await founder.refusal(token, "no such/name") == "bad_name"
    # None of these has used the token up.
    await founder.ask(token, "dave")
    await founder.ask(token, "erin")


async def test_a_promise_of_a_name_ends(founder: Founder, mock_clock: trio.testing.MockClock) -> None:
    _, token = await founder.desk.issue(60.0, 2)
    await founder.ask(token, "bob")
    mock_clock.jump(NAME_PROMISED_S + 1)
    await founder.ask(token, "bob")


async def test_two_newcomers_race_for_one_use(founder: Founder) -> None:
    _, token = await founder.desk.issue(60.0, 1)
    results: list[str] = []

    async def race(name: str) -> None:
        try:
            await founder.ask(token, name)
            results.append("in")
        except MeshError as error:
            results.append(error.code)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(race, f"node{number}")
    assert sorted(results) == ["in"] + ["token_used_up"] * 4


async def test_two_newcomers_race_for_one_name(founder: Founder) -> None:
    _, token = await founder.desk.issue(60.0, 5)
    results: list[str] = []

    async def race() -> None:
        try:
            await founder.ask(token, "bob")
            results.append("in")
        except MeshError as error:
            results.append(error.code)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(race)
    assert sorted(results) == ["in", "name_taken", "name_taken"]


def test_the_proof_is_bound_to_all_that_is_asked() -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    challenge, fingerprint = b"c" * 32, b"f" * 32

    def asked(sign: Callable[[bytes], bytes] = key.sign, name: str = "bob", nonce: bytes = challenge) -> JoinRequest:
        proof = sign(proof_text(nonce, fingerprint, "0" * 16, public_bytes(key), "bob"))
        return JoinRequest("0" * 16, b"s" * 32, public_bytes(key), name, proof)

    assert proof_is_good(asked(), challenge, fingerprint)
    assert not proof_is_good(asked(sign=other.sign), challenge, fingerprint)
    assert not proof_is_good(asked(name="eve"), challenge, fingerprint)
    assert not proof_is_good(asked(nonce=b"d" * 32), challenge, fingerprint)
    assert not proof_is_good(asked(), challenge, b"g" * 32)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_raise_bad_join_message_alone(data: bytes) -> None:
    with pytest.raises(BadJoinMessage):
        decode_request(data)


def test_the_limiter_slows_failures_down_and_forgives() -> None:
    limiter = FailureLimiter()
    for _ in range(FAILURES_MAX):
        assert limiter.wait_s("a", 0.0) == 0.0
        limiter.failed("a", 0.0)
    assert limiter.wait_s("a", 0.0) == pytest.approx(FAILURE_FORGIVEN_S)
    assert limiter.wait_s("a", FAILURE_FORGIVEN_S) == 0.0
    assert limiter.wait_s("b", 0.0) == 0.0
    for number in range(SOURCES_MAX):
        limiter.failed(f"other {number}", 1.0)
    assert limiter.wait_s("a", 1.0) == 0.0  # bounded memory: the longest silent source is forgotten
