"""Who a node is: its Ed25519 key, the mesh's certificate authority, certificates and the packet keyring (DESIGN 8).

What lies in DIR/identity (directory 0700, files 0600):

    node.key   node.crt   ca.crt   mesh.json (label, keyring, founder)   ca.key (only where the mesh was founded)

The directory appears whole or not at all: the first save fills a directory beside it and renames it. Later saves
replace file by file, each atomically. A save never replaces another node's key. Nothing here logs or prints a secret.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import secrets as entropy
import shutil
import ssl
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Meta

from meshnode.certificates import (
    BadCertificate,
    check_certificate,
    common_name,
    make_ca_certificate,
    make_node_certificate,
    node_id_of,
    parse_certificate,
)
from meshnode.errors import ExitCode, MeshError
from protocols.core import NodeId
from protocols.keyring.ring import KEY_BYTES, KEYS_MAX
from protocols.limits import ADDRESS_CHARS_MAX, MESH_LABEL_CHARS_MAX, NAME_CHARS_MAX

__all__ = [
    "KEYS_MAX",
    "KEY_BYTES",
    "NAME_PATTERN",
    "Identity",
    "MeshSecrets",
    "check_name",
    "client_context",
    "found_mesh",
    "has_identity",
    "identity_directory",
    "load_identity",
    "node_id_of",
    "pending_key",
    "public_bytes",
    "save_identity",
    "server_context",
    "sign_node_certificate",
    "write_private_file",
]

IDENTITY_FILE_BYTES_MAX = 64 * 1024

_DIRECTORY = "identity"
_STAGING = "identity.new"
_PENDING_KEY = "join.key"
NAME_PATTERN = re.compile(r"[A-Za-z0-9._-]+")
"""What names of meshes and nodes are made of; their lengths are bounded beside."""


@dataclass(frozen=True)
class Identity:
    """A node's key and the certificates that vouch for it. `node_id` is the key's fingerprint."""

    node_id: NodeId
    private_key: Ed25519PrivateKey = field(repr=False)
    certificate_pem: bytes = field(repr=False)
    ca_certificate_pem: bytes = field(repr=False)

    @cached_property
    def name(self) -> str:
        """The name that the CA has admitted this node under."""
        return common_name(x509.load_pem_x509_certificate(self.certificate_pem))

    @cached_property
    def ca_fingerprint(self) -> bytes:
        """SHA-256 of the CA certificate (32 bytes): what a join token pins."""
        return x509.load_pem_x509_certificate(self.ca_certificate_pem).fingerprint(hashes.SHA256())


@dataclass(frozen=True)
class MeshSecrets:
    """What the members of a mesh share. `keyring` holds AES-256 keys, the first seals and all open. On disk they are
    those of the day that the node joined; what has changed since lies in node.db."""

    mesh: str
    keyring: tuple[bytes, ...] = field(repr=False)
    ca_private_key_pem: bytes | None = field(default=None, repr=False)
    """Only where the mesh was founded."""
    founder_address: str = ""
    """Where this node joined: the founder's `host:port` of that time, told to newcomers who knock here."""


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """The raw public key (32 bytes) of a private one."""
    return key.public_key().public_bytes_raw()


def check_name(what: str, text: str, chars_max: int = NAME_CHARS_MAX) -> str:
    """`text`, if it can name a node or a mesh: letters, digits, `.`, `_`, `-`. Raises MeshError("bad_name")."""
    if len(text) > chars_max or not NAME_PATTERN.fullmatch(text):
        raise MeshError(
            "bad_name",
            f"{text[:80]!r} cannot name a {what}.",
            f"Use 1 to {chars_max} letters, digits, dots, underscores and dashes.",
            ExitCode.USAGE,
        )
    return text


# Making keys and certificates.


def found_mesh(mesh: str, name: str) -> tuple[Identity, MeshSecrets]:
    """A new mesh and its first node: CA, node key and certificate, keyring. Raises MeshError("bad_name")."""
    check_name("mesh", mesh, MESH_LABEL_CHARS_MAX)
    ca_key = Ed25519PrivateKey.generate()
    ca_certificate = make_ca_certificate(mesh, ca_key)
    secrets = MeshSecrets(mesh, (entropy.token_bytes(KEY_BYTES),), _key_to_pem(ca_key))
    node_key = Ed25519PrivateKey.generate()
    ca_pem = ca_certificate.public_bytes(serialization.Encoding.PEM)
    certificate_pem = sign_node_certificate(secrets, ca_pem, public_bytes(node_key), name)
    return Identity(node_id_of(public_bytes(node_key)), node_key, certificate_pem, ca_pem), secrets


def sign_node_certificate(secrets: MeshSecrets, ca_certificate_pem: bytes, public_key: bytes, name: str) -> bytes:
    """A certificate (PEM) that admits the holder of `public_key` under `name`. Raises MeshError.

    Codes: `bad_name`; `not_founder` where the CA's key is not on this machine.
    """
    check_name("node", name)
    if secrets.ca_private_key_pem is None:
        raise MeshError("not_founder", "This node does not hold the mesh's CA key.", "Ask the node that made the mesh.")
    certificate = make_node_certificate(
        secrets.mesh,
        _load_key(secrets.ca_private_key_pem),
        x509.load_pem_x509_certificate(ca_certificate_pem),
        public_key,
        name,
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


# TLS.


def server_context(identity: Identity) -> ssl.SSLContext:
    """TLS 1.3 only; the peer must show a certificate of this mesh's CA. Raises MeshError("no_temporary_file")."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0  # nobody resumes here, and a ticket is bytes that the peer may not be reading yet
    return _equip(context, identity)


def client_context(identity: Identity) -> ssl.SSLContext:
    """TLS 1.3 only; the server must show a certificate of this mesh's CA.

    Host names are not checked: who the peer is follows from its key (`peer_node_id`), not from where it was reached.
    Raises MeshError("no_temporary_file").
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    return _equip(context, identity)


def _equip(context: ssl.SSLContext, identity: Identity) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=identity.ca_certificate_pem.decode())
    # OpenSSL takes a chain from a file only: the key goes there under a password that dies with this call.
    password = entropy.token_hex(16)
    encrypted = identity.private_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password.encode()),
    )
    try:
        with tempfile.NamedTemporaryFile(prefix="meshnode-") as file:
            file.write(encrypted + identity.certificate_pem)
            file.flush()
            context.load_cert_chain(file.name, password=password)
    except OSError as error:
        raise MeshError(
            "no_temporary_file",
            f"TLS could not be set up: no temporary file could be written ({error.strerror or error}).",
            "Free space in the temporary directory, or name another one in TMPDIR.",
        ) from error
    return context


# On disk.

KeyText = Annotated[str, Meta(min_length=44, max_length=44)]


class _MeshFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """mesh.json. Keys are base64."""

    mesh: Annotated[str, Meta(max_length=MESH_LABEL_CHARS_MAX)]
    keyring: Annotated[tuple[KeyText, ...], Meta(min_length=1, max_length=KEYS_MAX)]
    founder_address: Annotated[str, Meta(max_length=ADDRESS_CHARS_MAX)] = ""
    founded_here: bool = False
    """Then ca.key must be there."""
    format: Annotated[int, Meta(ge=1, le=1)] = 1


def identity_directory(directory: Path) -> Path:
    """Where the identity of the node of data directory `directory` lies."""
    return directory / _DIRECTORY


def has_identity(directory: Path) -> bool:
    """Whether `directory` belongs to a node already, however broken its files may be."""
    return identity_directory(directory).exists()


def save_identity(directory: Path, identity: Identity, secrets: MeshSecrets) -> None:
    """Write DIR/identity: whole or not at all when it is new, else file by file. Durable on return.

    Raises MeshError: `identity_exists` where the directory belongs to another node; `identity_unwritable`.
    """
    files = {
        "node.key": _key_to_pem(identity.private_key),
        "node.crt": identity.certificate_pem,
        "ca.crt": identity.ca_certificate_pem,
        "mesh.json": _mesh_file(secrets),
    }
    if secrets.ca_private_key_pem is not None:
        files["ca.key"] = secrets.ca_private_key_pem
    target = identity_directory(directory)
    try:
        if target.exists():
            _refuse_another_node(target, identity)
            for name, data in files.items():
                write_private_file(target / name, data)
        else:
            _create_whole(directory, target, files)
        (directory / _PENDING_KEY).unlink(missing_ok=True)
    except OSError as error:
        raise MeshError(
            "identity_unwritable",
            f"The node's identity could not be written to {target}: {error.strerror or error}.",
            "Check free space and permissions of that directory, then run the command again.",
        ) from error


def load_identity(directory: Path) -> tuple[Identity, MeshSecrets]:
    """The identity in DIR/identity, checked: key, certificate, CA and label belong together and are valid now.

    Raises MeshError: `no_identity`, `identity_unreadable`, `identity_broken`, `certificate_invalid`.
    """
    target = identity_directory(directory)
    if not target.exists():
        raise MeshError(
            "no_identity",
            f"{directory} belongs to no node yet.",
            "Make a mesh with `meshnode init`, or join one with `meshnode up --join TOKEN`.",
            ExitCode.USAGE,
        )
    node_key = _parse_key(target / "node.key")
    certificate_pem, ca_pem = _read(target / "node.crt"), _read(target / "ca.crt")
    certificate, ca = _parse_pem(target / "node.crt", certificate_pem), _parse_pem(target / "ca.crt", ca_pem)
    mesh_file = _parse_mesh_file(target / "mesh.json")
    ca_path = target / "ca.key"
    ca_key = _parse_key(ca_path) if mesh_file.founded_here else None
    if certificate.public_key() != node_key.public_key():
        raise _broken(target / "node.crt", "it is not the certificate of node.key")
    if ca_key is not None and ca.public_key() != ca_key.public_key():
        raise _broken(ca_path, "it is not the key of ca.crt")
    try:
        node_id = check_certificate(certificate, ca, mesh_file.mesh)
    except BadCertificate as error:
        raise MeshError(
            "certificate_invalid",
            f"The certificate in {target / 'node.crt'} is not good: {error}.",
            "Check this machine's clock; else restore the directory from a backup, or join again with a new token "
            "from an empty data directory.",
        ) from None
    keyring = tuple(base64.b64decode(key) for key in mesh_file.keyring)
    secrets = MeshSecrets(mesh_file.mesh, keyring, _key_to_pem(ca_key) if ca_key else None, mesh_file.founder_address)
    return Identity(node_id, node_key, certificate_pem, ca_pem), secrets


def pending_key(directory: Path) -> Ed25519PrivateKey:
    """The key to join with: made once, kept in DIR/join.key until `save_identity`, so that a join whose answer was lost
    may be tried again with the same token. Raises MeshError("identity_unwritable")."""
    path = directory / _PENDING_KEY
    with contextlib.suppress(OSError, ValueError):
        return _load_key(path.read_bytes()[:IDENTITY_FILE_BYTES_MAX])
    key = Ed25519PrivateKey.generate()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private_file(path, _key_to_pem(key))
    except OSError as error:
        raise MeshError(
            "identity_unwritable",
            f"{path} could not be written: {error.strerror or error}.",
            "Check free space and permissions of that directory, then run the command again.",
        ) from error
    return key


def write_private_file(path: Path, data: bytes) -> None:
    """Replace `path` (0600) by `data` atomically; durable on return. Raises OSError with the old file untouched."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_directory(path.parent)


def _create_whole(directory: Path, target: Path, files: dict[str, bytes]) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    staging = directory / _STAGING
    shutil.rmtree(staging, ignore_errors=True)  # left by a save that was cut short: never in use
    staging.mkdir(mode=0o700)
    try:
        for name, data in files.items():
            write_private_file(staging / name, data)
        os.rename(staging, target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    _sync_directory(directory)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_another_node(target: Path, identity: Identity) -> None:
    path = target / "node.key"
    with contextlib.suppress(MeshError):
        if node_id_of(public_bytes(_parse_key(path))) == identity.node_id:
            return
    raise MeshError(
        "identity_exists",
        f"{target} holds the identity of another node; it was left alone.",
        "Use another data directory (--dir), or remove this one if that node is not needed any more.",
        ExitCode.USAGE,
    )


def _mesh_file(secrets: MeshSecrets) -> bytes:
    keys = tuple(base64.b64encode(key).decode() for key in secrets.keyring)
    founded_here = secrets.ca_private_key_pem is not None
    document = _MeshFile(secrets.mesh, keys, secrets.founder_address, founded_here)
    return msgspec.json.format(msgspec.json.encode(document), indent=2)


def _parse_mesh_file(path: Path) -> _MeshFile:
    try:
        parsed = msgspec.json.decode(_read(path), type=_MeshFile)
        for key in parsed.keyring:
            if len(base64.b64decode(key, validate=True)) != KEY_BYTES:
                raise _broken(path, f"a key in it has not {KEY_BYTES} bytes")
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _broken(path, str(error)) from None
    return parsed


def _parse_key(path: Path) -> Ed25519PrivateKey:
    try:
        return _load_key(_read(path))
    except ValueError as error:
        raise _broken(path, str(error)) from None


def _parse_pem(path: Path, data: bytes) -> x509.Certificate:
    try:
        return parse_certificate(data)
    except BadCertificate as error:
        raise _broken(path, str(error)) from None


def _load_key(pem: bytes) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise ValueError("it is not a private key in PEM form") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("it is not an Ed25519 key")
    return key


def _key_to_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(IDENTITY_FILE_BYTES_MAX)
    except FileNotFoundError:
        raise _broken(path, "it is missing") from None
    except OSError as error:
        raise MeshError(
            "identity_unreadable",
            f"{path} could not be read: {error.strerror or error}.",
            "Run the command as the user who owns the data directory, or correct its permissions.",
        ) from None


def _broken(path: Path, why: str) -> MeshError:
    return MeshError(
        "identity_broken",
        f"The node's identity cannot be used: {path.name} in {path.parent} is not good ({why}).",
        "Restore that directory from a backup; without one, join again with a new token from an empty data directory.",
    )
