"""X.509 as this mesh uses it: node ids, the CA's certificate, node certificates, and what a certificate must prove.

A node's id is the fingerprint of its public key, computed from a key whose possession was proven and never believed
from a field. A certificate says only that the mesh's CA has admitted the key; the name in it is for people. Pure but
for the clock that dates are checked against: no files, no sockets.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from warnings import catch_warnings, simplefilter

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from protocols.core import NodeId
from protocols.limits import NODE_ID_CHARS

CA_LIFETIME = timedelta(days=3653)
NODE_LIFETIME = timedelta(days=365)
CLOCK_SKEW = timedelta(hours=1)
"""Certificates are valid from so long before they are made: the clocks of two machines never agree."""
NODE_ID_BYTES = 16


class BadCertificate(Exception):
    """A certificate that does not vouch for what it should. The text says why, for people."""


def node_id_of(public_key_bytes: bytes) -> NodeId:
    """Fingerprint of a raw Ed25519 public key (32 bytes): 26 lower-case base32 characters, 128 bits."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(public_key_bytes)
    return node_id_from_raw(digest.finalize()[:NODE_ID_BYTES])


def node_id_from_raw(raw: bytes) -> NodeId:
    """The text form of the 16 bytes of a node id."""
    return base64.b32encode(raw).decode().rstrip("=").lower()


def node_id_to_raw(node_id: NodeId) -> bytes:
    """The 16 bytes of a node id (ValueError where it is none)."""
    if len(node_id) != NODE_ID_CHARS:
        raise ValueError(f"a node id has {NODE_ID_CHARS} characters, not {len(node_id)}")
    try:
        raw = base64.b32decode(node_id.upper() + "=" * (-NODE_ID_CHARS % 8))
    except ValueError:
        raise ValueError("not a node id") from None
    if node_id_from_raw(raw) != node_id:
        raise ValueError("not a node id in canonical form")
    return raw


def make_ca_certificate(mesh: str, key: Ed25519PrivateKey) -> x509.Certificate:
    """The self-signed certificate of a mesh's CA, which may sign node certificates and nothing deeper."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_x509_name(mesh))
        .issuer_name(_x509_name(mesh))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, algorithm=None)
    )


def make_node_certificate(
    mesh: str, ca_key: Ed25519PrivateKey, ca_certificate: x509.Certificate, public_key: bytes, name: str
) -> x509.Certificate:
    """A certificate for the holder of the raw `public_key`, for both ends of TLS (ValueError where it is no key)."""
    now = datetime.now(UTC)
    node_key = Ed25519PublicKey.from_public_bytes(public_key)
    uri = f"mesh://{mesh}/{node_id_of(public_key)}"
    return (
        x509.CertificateBuilder()
        .subject_name(_x509_name(name))
        .issuer_name(ca_certificate.subject)
        .public_key(node_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(min(now + NODE_LIFETIME, ca_certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(node_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, algorithm=None)
    )


def _x509_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def peer_node_id(certificate_der: bytes) -> NodeId:
    """The id of the peer that has just proven possession of this certificate's key. Raises BadCertificate."""
    return node_id_of(certified_key(parse_certificate(certificate_der)))


def parse_certificate(data: bytes) -> x509.Certificate:
    """A certificate from DER or PEM. Raises BadCertificate."""
    read = x509.load_pem_x509_certificate if data[:5] == b"-----" else x509.load_der_x509_certificate
    try:
        with catch_warnings():
            simplefilter("error")  # of what a later release will refuse: it may be foreign, and must not fill the log
            return read(data)
    except (ValueError, x509.InvalidVersion, Warning):
        raise BadCertificate("it cannot be read") from None


def certified_key(certificate: x509.Certificate) -> bytes:
    """The raw Ed25519 public key that a certificate is for. Raises BadCertificate."""
    try:
        key = certificate.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadCertificate("its key cannot be read") from None
    if not isinstance(key, Ed25519PublicKey):
        raise BadCertificate("its key is not an Ed25519 key")
    return key.public_bytes_raw()


def check_certificate(certificate: x509.Certificate, ca: x509.Certificate, mesh: str) -> NodeId:
    """The id of the node that `certificate` admits to `mesh`, signed by `ca` and valid now. Raises BadCertificate.

    For certificates that OpenSSL has not verified: one that was read from disk, or that a newcomer sees while the CA
    is known to him only by its fingerprint.
    """
    node_id = admitted_by(certificate, ca, mesh)
    check_dates(certificate, ca, datetime.now(UTC))
    return node_id


def admitted_by(certificate: x509.Certificate, ca: x509.Certificate, mesh: str) -> NodeId:
    """The id of the node that `certificate` admits to `mesh`, signed by `ca`, whenever that may be (`check_dates`).
    Raises BadCertificate."""
    try:
        constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints).value
        ca.verify_directly_issued_by(ca)
        certificate.verify_directly_issued_by(ca)
        own = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        uris = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        labels = uris.get_values_for_type(x509.UniformResourceIdentifier)
    except InvalidSignature:
        raise BadCertificate("it is not signed by the mesh's CA") from None
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound, x509.DuplicateExtension):
        raise BadCertificate("it was not made by the mesh's CA") from None
    if not constraints.ca or own.ca:
        raise BadCertificate("CA and node certificate are mixed up")
    if common_name(ca) != mesh:
        raise BadCertificate(f"its CA is that of mesh {common_name(ca)[:80]!r}")
    node_id = node_id_of(certified_key(certificate))
    if labels != [f"mesh://{mesh}/{node_id}"]:
        raise BadCertificate("it was made for another mesh or another key")
    return node_id


def check_dates(certificate: x509.Certificate, ca: x509.Certificate, now: datetime) -> None:
    """Whether both are valid at `now`. Raises BadCertificate."""
    for one, what in ((ca, "the CA's certificate"), (certificate, "it")):
        if now < one.not_valid_before_utc:
            raise BadCertificate(f"{what} is not valid before {one.not_valid_before_utc:%Y-%m-%d %H:%M} UTC")
        if now > one.not_valid_after_utc:
            raise BadCertificate(f"{what} expired on {one.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")


def common_name(certificate: x509.Certificate) -> str:
    """The common name of the subject: a node's name, or a mesh's label; empty where there is none."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""
