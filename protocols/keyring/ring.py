"""The keyring of a mesh: AES-256 keys for packets, one of them primary (DESIGN 8). A join semilattice, without I/O.

Every key held opens packets; the primary seals them. A keyring is what is known of keys: which were added, which were
removed, and which one was last made primary. Two keyrings are joined entry by entry, the larger version winning, so
that nodes which tell each other theirs agree in whatever order and however often they do (a state-based CRDT: Shapiro
et al. 2011, section 2). Changes at two nodes at once therefore both count; of two primaries the larger (version, id)
wins everywhere.

- A change takes the next version above all that its node has seen, so it outdoes what it was made from.
- A removed key stays as an entry without its secret, so that no member that was away brings it back. The newest
  ENTRIES_MAX entries are kept: a member that was away for longer than so many changes may bring an old key back, which
  then opens packets until it is removed again, and seals none.
- The primary travels with its own secret and is held whatever became of its entry: a mesh is never without a key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from protocols.core import Stored

KEY_BYTES = 32
KEY_ID_BYTES = 4
KEYS_MAX = 8
"""Keys that a keyring is given: the primary, and those that a rotation has not retired yet. Two halves of a mesh that
were each given as many hold more, once joined, until some are removed."""
ENTRIES_MAX = 64
VERSION_LEAP_MAX = 1 << 20
"""How many changes another keyring may be ahead: no mesh sees so many, and only a broken member says so."""


class KeyEntry(Struct, frozen=True, array_like=True, gc=False):
    """What became of one key. `secret` is KEY_BYTES long; empty where the key was removed."""

    key_id: Annotated[bytes, Meta(min_length=KEY_ID_BYTES, max_length=KEY_ID_BYTES)]
    version: Annotated[int, Meta(ge=0, lt=1 << 62)]
    secret: Annotated[bytes, Meta(max_length=KEY_BYTES)] = b""

    def __repr__(self) -> str:
        return f"KeyEntry({self.key_id.hex()}, {self.version}, {'held' if self.secret else 'removed'})"


class Keyring(Stored, frozen=True, tag="keyring"):
    """Key `mesh/keyring`, and what nodes tell each other. `entries` in the order of their ids. Without a primary: none,
    as in a mesh whose packets are not sealed."""

    entries: Annotated[tuple[KeyEntry, ...], Meta(max_length=ENTRIES_MAX)] = ()
    primary: KeyEntry | None = None


NO_KEYRING = Keyring()


def key_id(secret: bytes) -> bytes:
    """How packets and people name a key: a truncated hash, which tells nothing of the key."""
    return hashlib.sha256(b"meshnode key id" + secret).digest()[:KEY_ID_BYTES]


def first_keyring(secrets: Sequence[bytes]) -> Keyring:
    """The keyring of a node that has seen no change yet; the first of `secrets` is the primary."""
    entries = {key_id(secret): KeyEntry(key_id(secret), 0, secret) for secret in secrets}
    primary = entries[key_id(secrets[0])] if secrets else None
    return Keyring(tuple(entries[name] for name in sorted(entries)), primary)


def held(ring: Keyring) -> tuple[KeyEntry, ...]:
    """The keys that open packets: the primary, which seals them, then the others, the newest first."""
    if ring.primary is None:
        return ()
    others = [entry for entry in ring.entries if entry.secret and entry.key_id != ring.primary.key_id]
    others.sort(key=lambda entry: (-entry.version, entry.key_id))
    return (ring.primary, *others)


def version_of(ring: Keyring) -> int:
    """The largest version in it: how many changes, at least, lie behind it."""
    versions = [entry.version for entry in ring.entries]
    return max(versions, default=0) if ring.primary is None else max(*versions, ring.primary.version, 0)


def joined(one: Keyring, other: Keyring) -> Keyring:
    """What both know together. Commutative, associative, idempotent."""
    known: dict[bytes, KeyEntry] = {}
    for entry in (*one.entries, *other.entries):
        best = known.get(entry.key_id)
        if best is None or _rank(entry) > _rank(best):
            known[entry.key_id] = entry
    newest = sorted(known.values(), key=lambda entry: (entry.version, entry.key_id))[-ENTRIES_MAX:]
    primaries = [ring.primary for ring in (one, other) if ring.primary is not None]
    primary = max(primaries, key=lambda entry: (entry.version, entry.key_id, entry.secret), default=None)
    return Keyring(tuple(sorted(newest, key=lambda entry: entry.key_id)), primary)


def _rank(entry: KeyEntry) -> tuple[int, bool, bytes]:
    return entry.version, not entry.secret, entry.secret


def is_sound(ring: Keyring, mine: Keyring) -> bool:
    """Whether a member that keeps to the rules could have said `ring` to one that holds `mine`."""
    primary = ring.primary
    if primary is None or not primary.secret or version_of(ring) - version_of(mine) > VERSION_LEAP_MAX:
        return False
    return all(
        not entry.secret or (len(entry.secret) == KEY_BYTES and key_id(entry.secret) == entry.key_id)
        for entry in (*ring.entries, primary)
    )


# Changes. Each takes the next version.


def with_added(ring: Keyring, secret: bytes) -> Keyring:
    return joined(ring, Keyring((KeyEntry(key_id(secret), version_of(ring) + 1, secret),)))


def with_primary(ring: Keyring, key: KeyEntry) -> Keyring:
    """`key`, which is held, made the primary. The one before it stays a key, also where it was held as the primary only
    (removed elsewhere at that moment, or its entry forgotten): others seal with it until they have heard."""
    version = version_of(ring) + 1
    entries = ring.entries
    if ring.primary is not None and not any(each.secret == ring.primary.secret for each in entries):
        entries = joined(ring, Keyring((replace(ring.primary, version=version),))).entries
    return Keyring(entries, replace(key, version=version))


def with_removed(ring: Keyring, name: bytes) -> Keyring:
    """The key of id `name`, which is not the primary, taken away."""
    return joined(ring, Keyring((KeyEntry(name, version_of(ring) + 1),)))


def was_removed(ring: Keyring, name: bytes) -> bool:
    return any(entry.key_id == name and not entry.secret for entry in ring.entries)
