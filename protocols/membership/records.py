"""What membership keeps on disk."""

from __future__ import annotations

from protocols.core import Delete, Put, Stored
from protocols.membership.tags import Tags

GENERATION_KEY = "node/generation"
PEERS_KEY = "membership/peers"
TAGS_KEY = "membership/tags"
HEARD_PREFIX = "events/heard/"


class Generation(Stored, frozen=True, tag="generation"):
    """Key `node/generation`: how many lives this node has had."""

    number: int


class Peers(Stored, frozen=True, tag="peers"):
    """Key `membership/peers`: where to look for the mesh after a restart."""

    addresses: tuple[str, ...]


DISK_PROBE = (Put("disk/probe", Peers(())), Delete("disk/probe"))
"""Written and removed in one save, which shows whether the disk is well and leaves nothing behind."""


class Heard(Stored, frozen=True, tag="heard"):
    """Key `events/heard/ORIGIN`: the last user event of that node that this node's users were given, or that it sent
    itself. What it names, and all that the origin sent before, is not given to them again. `clock` is where this node's
    Lamport clock stood then: a later life begins there."""

    generation: int
    number: int
    clock: int


class ChangedTags(Stored, frozen=True, tag="tags"):
    """Key `membership/tags`: the tags that were set while the node ran; they win over those of its configuration."""

    tags: Tags
