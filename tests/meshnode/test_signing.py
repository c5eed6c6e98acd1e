"""The daemon's signatures: what a certificate has to be, when it counts, and what is remembered of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from meshnode.certificates import CA_LIFETIME, NODE_LIFETIME, certified_key
from meshnode.identity import Identity, MeshSecrets, found_mesh, node_id_of, public_bytes, sign_node_certificate
from meshnode.signing import CERTIFICATES_MAX, IdentitySigner
from protocols.core import NANOS_PER_S
from protocols.detector.messages import Reach, Reached
from protocols.detector.statements import Asked, Question, SignedReach, proves, received, signed
from protocols.limits import CREDENTIAL_BYTES_MAX, MESH_LABEL_CHARS_MAX, NAME_CHARS_MAX
from protocols.membership.member import State, precedence_of
from protocols.signing import Domain

SAID = b"what is said"


class Clock:
    """A clock of a machine that can be set."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def admitted(founder: Identity, secrets: MeshSecrets, name: str) -> Identity:
    """A newcomer to the mesh."""
    key = Ed25519PrivateKey.generate()
    certificate = sign_node_certificate(secrets, founder.ca_certificate_pem, public_bytes(key), name)
    return Identity(node_id_of(public_bytes(key)), key, certificate, founder.ca_certificate_pem)


def believes(verifier: IdentitySigner, by: Identity, signer: IdentitySigner, credential: bytes = b"") -> bool:
    signature = signer.sign(Domain.REACH, SAID)
    return verifier.verify(by.node_id, credential or signer.credential, Domain.REACH, SAID, signature)


def test_a_certificate_counts_while_it_is_valid_however_often_it_was_seen() -> None:
    founder, secrets = found_mesh("ours", "desk")
    box = admitted(founder, secrets, "box")
    clock = Clock()
    made = clock.now
    verifier, signer = IdentitySigner(founder, "ours", clock), IdentitySigner(box, "ours")
    assert believes(verifier, box, signer)
    for since, good in (
        (timedelta(minutes=-59), True),
        (timedelta(minutes=-61), False),
        (NODE_LIFETIME - timedelta(minutes=1), True),
        (NODE_LIFETIME + timedelta(minutes=1), False),
        (CA_LIFETIME + timedelta(minutes=1), False),
        (timedelta(0), True),
    ):
        clock.now = made + since
        assert believes(verifier, box, signer) == good
        assert believes(IdentitySigner(founder, "ours", clock), box, signer) == good  # one that sees it the first time


def test_only_the_meshs_own_ca_admits_anybody() -> None:
    founder, _ = found_mesh("ours", "desk")
    impostor, _ = found_mesh("ours", "desk")  # the same names, another CA
    verifier, stranger = IdentitySigner(founder, "ours"), IdentitySigner(impostor, "ours")
    assert not believes(verifier, impostor, stranger)
    assert not believes(verifier, founder, stranger)
    assert not believes(verifier, founder, stranger, IdentitySigner(founder, "ours").credential)


def test_a_signature_of_a_mesh_with_the_same_ca_file_and_another_label_is_none() -> None:
    founder, _ = found_mesh("ours", "desk")
    assert believes(IdentitySigner(founder, "ours"), founder, IdentitySigner(founder, "ours"))
    assert not believes(IdentitySigner(founder, "theirs"), founder, IdentitySigner(founder, "ours"))


def test_the_cas_own_certificate_admits_nobody() -> None:
    founder, _ = found_mesh("ours", "desk")
    ca = x509.load_pem_x509_certificate(founder.ca_certificate_pem)
    verifier = IdentitySigner(founder, "ours")
    for claimed in (founder.node_id, node_id_of(certified_key(ca))):
        der = ca.public_bytes(Encoding.DER)
        assert not verifier.verify(claimed, der, Domain.REACH, SAID, verifier.sign(Domain.REACH, SAID))


def test_a_certificate_is_written_in_one_way() -> None:
    founder, _ = found_mesh("ours", "desk")
    verifier = IdentitySigner(founder, "ours")
    assert not believes(verifier, founder, verifier, founder.certificate_pem)
    assert believes(verifier, founder, verifier)


def test_the_certificate_with_the_longest_names_fits() -> None:
    mesh, name = "m" * MESH_LABEL_CHARS_MAX, "n" * NAME_CHARS_MAX
    founder, _ = found_mesh(mesh, name)
    signer = IdentitySigner(founder, mesh)
    assert 500 < len(signer.credential) < 800 < CREDENTIAL_BYTES_MAX
    assert believes(IdentitySigner(founder, mesh), founder, signer)


def test_certificates_that_are_remembered_are_bounded_and_the_oldest_are_checked_anew() -> None:
    founder, secrets = found_mesh("ours", "desk")
    verifier = IdentitySigner(founder, "ours")
    crowd = [admitted(founder, secrets, f"n{number}") for number in range(CERTIFICATES_MAX + 2)]
    for each in (*crowd, crowd[0]):
        assert believes(verifier, each, IdentitySigner(each, "ours"))
    assert len(verifier._admitted) == CERTIFICATES_MAX
    junk = [bytes([number]) * 100 for number in range(50)]
    for credential in junk:
        assert not believes(verifier, founder, verifier, credential)
    assert len(verifier._admitted) == CERTIFICATES_MAX
    assert all(each not in verifier._admitted for each in junk)


def test_a_member_that_met_none_of_them_checks_what_two_have_confirmed() -> None:
    founder, secrets = found_mesh("ours", "asker")
    voters = [admitted(founder, secrets, name) for name in ("v1", "v2", "v3")]
    third = IdentitySigner(admitted(founder, secrets, "third"), "ours")
    found = Reached(77, Reach.SILENT, precedence_of(3, 0, State.SUSPECT), (), True, 12_000, 11_000, 9)
    statements: list[SignedReach] = []
    for voter in voters[:2]:
        message = signed(IdentitySigner(voter, "ours"), voter.node_id, founder.node_id, "x" * 26, found)
        statement = received(voter.node_id, founder.node_id, "x" * 26, message)
        assert statement is not None
        statements.append(statement)
    question = Question("x" * 26, tuple(voter.node_id for voter in voters), 2, 10 * NANOS_PER_S)
    assert proves(Asked(question, founder.node_id, 77, 3), statements, third)
    assert not proves(Asked(question, founder.node_id, 78, 3), statements, third)
    elsewhere = IdentitySigner(found_mesh("ours", "third")[0], "ours")
    assert not proves(Asked(question, founder.node_id, 77, 3), statements, elsewhere)
