"""Signatures: what a node says in such a way that it can be shown to others, who were not there.

What comes over a stream is authenticated by the stream: whoever hears it knows who says it, and can prove that to
nobody. A signed statement can be passed on, kept, and checked by somebody who has never met its signer. Rules:

- Keys stay with the driver. A core signs and checks through the `Signer` of its config, as rarely as it can: a
  signature costs as much as a few hundred steps.
- What is signed is always (domain, mesh, statement), framed so that no two of them read the same (`framed`). So a
  signature given for one protocol is none for another, and one of another mesh is none here, whatever the statements.
- A `credential` says whose key it is, to anybody in the mesh: it goes with the signature. What it is made of is known
  to the driver alone; it is bounded, and foreign until it is checked.
- `verify` judges as of now, as TLS does: a credential that has run out vouches for nothing any more. What has to come
  out alike at every node and at every time, as the replay of a log, must not ask it: it is asked once, at the door.
- One statement has one encoding, which the signer of the statement fixes for ever under its domain. Who has more to say
  signs it under another one, for older nodes build the bytes anew from the fields that they know.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Protocol

from protocols.core import NodeId

SIGNATURE_BYTES: Final = 64
"""An Ed25519 signature (RFC 8032)."""
_PREFIX = b"meshnode signed v1"
"""Nothing else that is signed with a node's key begins so: neither a TLS 1.3 handshake nor a request to join."""


class Domain(Enum):
    """What signatures are given for, each kind of statement under a name of its own."""

    REACH = "reach"
    """`detector/statements.py`: whether one member answers another."""


class Verifier(Protocol):
    """Whoever can tell whether a member of this mesh has signed something."""

    def verify(self, by: NodeId, credential: bytes, domain: Domain, statement: bytes, signature: bytes) -> bool:
        """Whether the member `by`, to whom `credential` belongs, has signed `statement`. All of it may be foreign, and
        nothing is raised whatever it holds."""
        ...


class Signer(Verifier, Protocol):
    """A node's own key, and those of others as far as credentials tell them."""

    @property
    def credential(self) -> bytes:
        """What shows others whose signatures these are; at most `CREDENTIAL_BYTES_MAX`."""
        ...

    def sign(self, domain: Domain, statement: bytes) -> bytes:
        """This node's signature, of `SIGNATURE_BYTES`. The same for the same statement."""
        ...


class Keyless:
    """The signer of a node that has no key: it signs nothing, and believes no signature."""

    credential = b""

    def sign(self, domain: Domain, statement: bytes) -> bytes:
        return b""

    def verify(self, by: NodeId, credential: bytes, domain: Domain, statement: bytes, signature: bytes) -> bool:
        return False


KEYLESS: Final[Signer] = Keyless()


def framed(domain: Domain, mesh: bytes, statement: bytes) -> bytes:
    """The bytes that a signature is over. `mesh` tells meshes apart, also those of one label; at most 64 KB."""
    name = domain.value.encode()
    return b"".join((_PREFIX, len(name).to_bytes(2), name, len(mesh).to_bytes(2), mesh, statement))
