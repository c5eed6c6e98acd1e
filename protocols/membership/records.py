"""What membership keeps on disk."""

from __future__ import annotations

from protocols.core import Stored

GENERATION_KEY = "node/generation"
PEERS_KEY = "membership/peers"


class Generation(Stored, frozen=True, tag="generation"):
    """Key `node/generation`: how many lives this node has had."""

    number: int


class Peers(Stored, frozen=True, tag="peers"):
    """Key `membership/peers`: where to look for the mesh after a restart."""

    addresses: tuple[str, ...]
