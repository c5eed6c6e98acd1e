"""A signer for tests of the core that costs next to nothing: what it proves holds among those who do not cheat."""

from __future__ import annotations

from hashlib import blake2b

from protocols.core import NodeId
from protocols.signing import SIGNATURE_BYTES, Domain, framed


class Stamp:
    """Signs as `node_id` with a key that anybody could work out (`protocols.signing.Signer`)."""

    def __init__(self, node_id: NodeId, mesh: str = "test") -> None:
        self._node_id = node_id
        self._mesh = mesh.encode()
        self.credential = _credential(node_id)

    def sign(self, domain: Domain, statement: bytes) -> bytes:
        return self._stamp(self._node_id, domain, statement)

    def verify(self, by: NodeId, credential: bytes, domain: Domain, statement: bytes, signature: bytes) -> bool:
        return credential == _credential(by) and signature == self._stamp(by, domain, statement)

    def _stamp(self, by: NodeId, domain: Domain, statement: bytes) -> bytes:
        return blake2b(framed(domain, self._mesh, statement), digest_size=SIGNATURE_BYTES, key=by.encode()).digest()


def _credential(node_id: NodeId) -> bytes:
    return b"this is " + node_id.encode()
