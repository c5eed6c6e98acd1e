"""What every signer keeps, whoever drives the core: the daemon's certificates, the simulator's keys, and a stand-in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.identity import Identity, found_mesh, node_id_of, public_bytes, sign_node_certificate
from meshnode.signing import IdentitySigner
from protocols.core import NodeId
from protocols.limits import CREDENTIAL_BYTES_MAX
from protocols.signing import KEYLESS, SIGNATURE_BYTES, Domain, Signer, framed
from sim.signing import Keys, SeededSigner
from tests.protocols.harness import id_of
from tests.protocols.signing_kit import Stamp

SAID = b"what is said"
REACH = Domain.REACH


@dataclass(frozen=True)
class Mesh:
    """Ids and signers of three members. They have never met."""

    ids: tuple[NodeId, ...]
    signers: tuple[Signer, ...]


def certified(mesh: str) -> Mesh:
    first, secrets = found_mesh(mesh, "n0")
    identities = [first]
    for name in ("n1", "n2"):
        key = found_mesh(mesh, name)[0].private_key  # some new key
        certificate = sign_node_certificate(secrets, first.ca_certificate_pem, public_bytes(key), name)
        identities.append(Identity(node_id_of(public_bytes(key)), key, certificate, first.ca_certificate_pem))
    return Mesh(tuple(each.node_id for each in identities), tuple(IdentitySigner(each, mesh) for each in identities))


def seeded(mesh: str) -> Mesh:
    keys = Keys(7, mesh)
    ids = tuple(id_of(name) for name in "abc")
    return Mesh(ids, tuple(SeededSigner(keys, node_id) for node_id in ids))


def stamped(mesh: str) -> Mesh:
    ids = tuple(id_of(name) for name in "abc")
    return Mesh(ids, tuple(Stamp(node_id, mesh) for node_id in ids))


MAKERS: dict[str, Callable[[str], Mesh]] = {"certified": certified, "seeded": seeded, "stamped": stamped}


@pytest.fixture(scope="module", params=MAKERS.values(), ids=list(MAKERS))
def make(request: pytest.FixtureRequest) -> Callable[[str], Mesh]:
    maker: Callable[[str], Mesh] = request.param
    return maker


@pytest.fixture(scope="module")
def mesh(make: Callable[[str], Mesh]) -> Mesh:
    return make("ours")


def test_whoever_is_in_the_mesh_can_check_what_another_one_signed(mesh: Mesh) -> None:
    for by, signer in zip(mesh.ids, mesh.signers, strict=True):
        signature = signer.sign(REACH, SAID)
        assert len(signature) == SIGNATURE_BYTES
        assert len(signer.credential) <= CREDENTIAL_BYTES_MAX
        assert signature == signer.sign(REACH, SAID)
        for verifier in mesh.signers:
            for _ in range(2):  # the second time it knows the credential
                assert verifier.verify(by, signer.credential, REACH, SAID, signature)


def test_a_signature_is_of_one_member_and_one_statement(mesh: Mesh) -> None:
    signer, other, verifier = mesh.signers
    by, somebody, _ = mesh.ids
    signature = signer.sign(REACH, SAID)
    for _ in range(2):
        assert not verifier.verify(by, signer.credential, REACH, SAID + b"!", signature)
        assert not verifier.verify(by, signer.credential, REACH, b"", signature)
        assert not verifier.verify(somebody, signer.credential, REACH, SAID, signature)
        assert not verifier.verify(somebody, other.credential, REACH, SAID, signature)
        assert not verifier.verify(by, other.credential, REACH, SAID, signature)
        assert not verifier.verify(by, other.credential, REACH, SAID, other.sign(REACH, SAID))
        assert not verifier.verify("", signer.credential, REACH, SAID, signature)
        assert verifier.verify(by, signer.credential, REACH, SAID, signature)


def test_what_is_signed_in_another_mesh_is_not_signed_here(make: Callable[[str], Mesh], mesh: Mesh) -> None:
    there = make("theirs")
    for by, stranger in zip(there.ids, there.signers, strict=True):
        signature = stranger.sign(REACH, SAID)
        assert not mesh.signers[2].verify(by, stranger.credential, REACH, SAID, signature)
        own = mesh.signers[0].credential
        assert not mesh.signers[2].verify(mesh.ids[0], own, REACH, SAID, signature)


def test_a_flipped_bit_or_a_missing_byte_anywhere_is_noticed(mesh: Mesh) -> None:
    signer, _, verifier = mesh.signers
    by = mesh.ids[0]
    credential, signature = signer.credential, signer.sign(REACH, SAID)
    for broken in (*flipped(signature), signature[:-1], signature[1:], signature + b"\0", b""):
        assert not verifier.verify(by, credential, REACH, SAID, broken)
    for broken in flipped(SAID):
        assert not verifier.verify(by, credential, REACH, broken, signature)
    for broken in (*flipped(credential), *(credential[:end] for end in range(len(credential))), credential + b"\0"):
        assert not verifier.verify(by, broken, REACH, SAID, signature)
    assert verifier.verify(by, credential, REACH, SAID, signature)


def flipped(data: bytes) -> list[bytes]:
    """`data` with each one of its bits turned over."""
    return [
        data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
        for place in range(len(data))
        for bit in range(8)
    ]


@given(st.text(max_size=30), st.binary(max_size=1100), st.binary(max_size=99), st.binary(max_size=99))
@settings(max_examples=200, deadline=None)
def test_whatever_comes_it_is_only_refused(
    mesh: Mesh, by: NodeId, credential: bytes, statement: bytes, signature: bytes
) -> None:
    signer, _, verifier = mesh.signers
    assert not verifier.verify(by, credential, REACH, statement, signature)
    assert not verifier.verify(mesh.ids[0], credential, REACH, SAID, signer.sign(REACH, SAID)[: len(signature)])
    assert not verifier.verify(mesh.ids[0], signer.credential, REACH, statement, signature)


def test_who_has_no_key_signs_nothing_and_believes_nothing(mesh: Mesh) -> None:
    assert (KEYLESS.credential, KEYLESS.sign(REACH, SAID)) == (b"", b"")
    assert not KEYLESS.verify(mesh.ids[0], b"", REACH, SAID, b"")
    signer = mesh.signers[0]
    assert not KEYLESS.verify(mesh.ids[0], signer.credential, REACH, SAID, signer.sign(REACH, SAID))
    assert not signer.verify(mesh.ids[0], b"", REACH, SAID, b"")


@given(st.binary(max_size=6), st.binary(max_size=6), st.binary(max_size=6), st.binary(max_size=6))
def test_no_two_things_that_are_signed_read_the_same(one: bytes, said: bytes, other: bytes, also: bytes) -> None:
    same = framed(REACH, one, said) == framed(REACH, other, also)
    assert same == ((one, said) == (other, also))
    assert REACH.value.encode() in framed(REACH, one, said)
