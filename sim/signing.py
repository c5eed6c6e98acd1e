"""Signatures in a run: real Ed25519 keys, drawn from the seed, so that a run signs the same bytes every time.

The daemon has a certificate authority and certificates; a run has an authority and credentials, which say no more than
that a key is that of a node id: the key, and the authority's signature. Ids of simulated nodes are made before any key,
so they are no fingerprints. Keys are made when they are first needed, for most runs sign nothing.
"""

from __future__ import annotations

from hashlib import blake2b

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocols.core import NodeId
from protocols.signing import SIGNATURE_BYTES, Domain, framed

KEY_BYTES = 32
CREDENTIAL_BYTES = KEY_BYTES + SIGNATURE_BYTES


class Keys:
    """All keys of one run of a mesh."""

    def __init__(self, seed: int, mesh: str) -> None:
        self._seed = seed
        self.mesh = mesh.encode()
        self._keys: dict[NodeId, Ed25519PrivateKey] = {}
        self._credentials: dict[NodeId, bytes] = {}

    def key(self, node_id: NodeId) -> Ed25519PrivateKey:
        """The private key of a node; that of the authority for an empty id."""
        key = self._keys.get(node_id)
        if key is None:
            drawn = blake2b(f"{self._seed}/keys/{node_id}".encode(), digest_size=KEY_BYTES).digest()
            key = self._keys[node_id] = Ed25519PrivateKey.from_private_bytes(drawn)
        return key

    def credential(self, node_id: NodeId) -> bytes:
        """What the authority has given a node: its public key, and the authority's signature."""
        credential = self._credentials.get(node_id)
        if credential is None:
            public = self.key(node_id).public_key().public_bytes_raw()
            credential = self._credentials[node_id] = public + self.key("").sign(self._admission(node_id, public))
        return credential

    def admits(self, node_id: NodeId, credential: bytes) -> bool:
        """Whether the authority has given this credential to that node."""
        public, signature = credential[:KEY_BYTES], credential[KEY_BYTES:]
        return is_signature(self.key("").public_key().public_bytes_raw(), signature, self._admission(node_id, public))

    def _admission(self, node_id: NodeId, public: bytes) -> bytes:
        return b"credential " + self.mesh + b" " + node_id.encode() + b" " + public


class SeededSigner:
    """Signs as one node of a run, and checks signatures of the others (`protocols.signing.Signer`)."""

    __slots__ = ("_admitted", "_keys", "_node_id")

    def __init__(self, keys: Keys, node_id: NodeId) -> None:
        self._keys = keys
        self._node_id = node_id
        self._admitted: dict[NodeId, bytes] = {}
        """By node: the credential that was checked. As many as there are nodes, at most."""

    @property
    def credential(self) -> bytes:
        return self._keys.credential(self._node_id)

    def sign(self, domain: Domain, statement: bytes) -> bytes:
        return self._keys.key(self._node_id).sign(framed(domain, self._keys.mesh, statement))

    def verify(self, by: NodeId, credential: bytes, domain: Domain, statement: bytes, signature: bytes) -> bool:
        if len(signature) != SIGNATURE_BYTES or len(credential) != CREDENTIAL_BYTES:
            return False
        if self._admitted.get(by) != credential:
            if not self._keys.admits(by, credential):
                return False
            self._admitted[by] = credential
        return is_signature(credential[:KEY_BYTES], signature, framed(domain, self._keys.mesh, statement))


def is_signature(public: bytes, signature: bytes, signed: bytes) -> bool:
    """Whether `signature` is that of the holder of the raw `public` key over `signed`."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True
