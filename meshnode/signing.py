"""The node's signatures: its Ed25519 identity key, and certificates of the mesh's CA that show others whose it is.

A signature goes with the certificate of its signer, so that somebody can check it who has never been connected to him.
A certificate is judged as TLS judges it: signed by the CA, made for this mesh and for the key that the node id is the
fingerprint of, and valid now, it and the CA's own. Its name is for people and is not looked at, for it proves nothing.
What tells meshes apart in a signature is the fingerprint of the CA's certificate: two may have one label.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from meshnode.certificates import BadCertificate, admitted_by, certified_key, check_dates, parse_certificate
from meshnode.identity import Identity
from protocols.core import NodeId
from protocols.limits import CREDENTIAL_BYTES_MAX
from protocols.signing import SIGNATURE_BYTES, Domain, framed

CERTIFICATES_MAX = 256
"""Certificates that were checked and are remembered, of under 1 KB each: the oldest are forgotten first. To check one
takes about three times as long as the signature beside it."""


_SIGNATURE_FOLLOWS = b"\x03\x41\x00"
"""In DER, in front of the CA's signature, which ends a certificate: a bit string of 64 bytes and no unused bits. The
parser lets some of them be unused, so that one certificate could be written in several ways."""


class _Admitted(Struct, frozen=True):
    """What a certificate has shown."""

    node_id: NodeId
    key: Ed25519PublicKey
    certificate: x509.Certificate


def now_utc() -> datetime:
    return datetime.now(UTC)


class IdentitySigner:
    """Signs as one node of a mesh, and checks signatures of the others (`protocols.signing.Signer`)."""

    def __init__(self, identity: Identity, mesh: str, now: Callable[[], datetime] = now_utc) -> None:
        self._key = identity.private_key
        self._mesh = mesh
        self._now = now
        self._ca = parse_certificate(identity.ca_certificate_pem)
        self._ca_fingerprint = identity.ca_fingerprint
        self._admitted: dict[bytes, _Admitted] = {}
        """By certificate."""
        self.credential = parse_certificate(identity.certificate_pem).public_bytes(Encoding.DER)
        assert len(self.credential) <= CREDENTIAL_BYTES_MAX

    def sign(self, domain: Domain, statement: bytes) -> bytes:
        return self._key.sign(framed(domain, self._ca_fingerprint, statement))

    def verify(self, by: NodeId, credential: bytes, domain: Domain, statement: bytes, signature: bytes) -> bool:
        if len(signature) != SIGNATURE_BYTES or len(credential) > CREDENTIAL_BYTES_MAX:
            return False
        try:
            admitted = self._admission(credential)
            if admitted.node_id != by:
                return False
            check_dates(admitted.certificate, self._ca, self._now())
            admitted.key.verify(signature, framed(domain, self._ca_fingerprint, statement))
        except (BadCertificate, InvalidSignature):
            return False
        return True

    def _admission(self, credential: bytes) -> _Admitted:
        """Whom a certificate admits, whenever that may be. Raises BadCertificate."""
        admitted = self._admitted.get(credential)
        if admitted is None:
            if credential[-SIGNATURE_BYTES - len(_SIGNATURE_FOLLOWS) : -SIGNATURE_BYTES] != _SIGNATURE_FOLLOWS:
                raise BadCertificate("it is not written as certificates of this mesh are")
            certificate = parse_certificate(credential)
            node_id = admitted_by(certificate, self._ca, self._mesh)
            key = Ed25519PublicKey.from_public_bytes(certified_key(certificate))
            if len(self._admitted) >= CERTIFICATES_MAX:
                del self._admitted[next(iter(self._admitted))]
            admitted = self._admitted[credential] = _Admitted(node_id, key, certificate)
        return admitted
