"""What a node tells its LAN of itself, and what it makes of what others tell (DESIGN 4, 8). Pure.

    instance    NODE_ID._meshnode._tcp.local.
    SRV, A, AAAA    port and addresses
    TXT         mesh=16 hex digits of a digest of the mesh's label and CA   id=NODE_ID   v=highest wire version

- Nothing in it is secret: the label cannot be told from the digest, the id is a fingerprint of a public key.
- Nothing in it is trusted: anybody on the LAN can say the same. It makes `Hint`s, and TLS decides (`protocols/
  membership/hints.py`). The digest only spares this node and other meshes useless tries.
- Every field is bounded before it is used. Addresses that can lead to nobody else are passed over, and so are those of
  loopback, unless this node itself is for this machine only.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meshnode.transport.addresses import join_address
from protocols.core import NodeId
from protocols.limits import NODE_ID_CHARS
from protocols.membership.hints import Hint
from protocols.wire import VERSION, VERSION_MIN

SERVICE = "_meshnode._tcp.local."
DIGEST_BYTES = 8
ADDRESSES_MAX = 4
"""Addresses of one service that are worth a try."""
VERSION_CHARS_MAX = 4


@dataclass(frozen=True)
class Found:
    """One service as the LAN describes it. Foreign: texts, lengths and numbers are anything."""

    properties: Mapping[bytes, bytes | None]
    addresses: Sequence[str]
    """IP addresses."""
    port: int


def mesh_digest(mesh: str, ca_fingerprint: bytes) -> str:
    """How members of one mesh recognise each other's announcements, and nobody learns its label."""
    digest = hashlib.sha256(b"meshnode zeroconf v1" + ca_fingerprint + mesh.encode())
    return digest.digest()[:DIGEST_BYTES].hex()


def describe(digest: str, node_id: NodeId) -> dict[str, str]:
    """The TXT record of this node."""
    return {"mesh": digest, "id": node_id, "v": str(VERSION)}


def hints_in(found: Found, digest: str, own_id: NodeId, *, loopback: bool) -> tuple[Hint, ...] | str:
    """What `found` suggests, or in one word why it suggests nothing: `other_mesh`, `myself`, `version`, `no_address`.

    `loopback`: this node can be reached on this machine only, so it looks for nodes on this machine.
    """
    if found.properties.get(b"mesh") != digest.encode():
        return "other_mesh"
    node_id = _text(found.properties.get(b"id"), NODE_ID_CHARS)
    if node_id == own_id:
        return "myself"
    version = _text(found.properties.get(b"v"), VERSION_CHARS_MAX)
    if not version.isascii() or not version.isdigit() or int(version) < VERSION_MIN:
        return "version"
    if not 0 < found.port < 65536:
        return "no_address"
    usable = [address for address in found.addresses if _is_usable(address, loopback=loopback)][:ADDRESSES_MAX]
    return tuple(Hint(join_address(address, found.port), node_id) for address in usable) or "no_address"


def _text(value: bytes | None, chars: int) -> str:
    """`value` as text; empty where it is none, or longer than it may be."""
    if value is None or len(value) > chars:
        return ""
    return value.decode("ascii", errors="replace")


def _is_usable(address: str, *, loopback: bool) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if ip.is_unspecified or ip.is_multicast or ip.is_reserved or (ip.version == 6 and ip.is_link_local):
        return False
    return loopback or not ip.is_loopback
