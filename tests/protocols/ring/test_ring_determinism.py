"""All nodes compute one ring: the same placement in a fresh process, whatever its hash seed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PLACEMENT = """
import hashlib
from protocols.ring.movement import circle_movement
from protocols.ring.placement import Ring, RingMember, slot_of

members = {RingMember(f"member-{number}", 1 + number % 3, "abc"[number % 3]) for number in range(25)}
ids = {member.node_id for member in members}
ring = Ring(members)
smaller = Ring(member for member in members if member.node_id != "member-7")
keys = [f"key-{number}" for number in range(500)]
few = {f"member-{number}" for number in (3, 11)}
seen = (
    list(ring.tokens), list(ring.owners), [slot_of(key) for key in keys],
    [(ring.owner(key), ring.replicas(key, 3), ring.owner_among(key, few), list(ring.preference(key))) for key in keys],
    ring.assign_primaries(set(range(256))), ring.primary_caps(), circle_movement(ring, smaller),
)
print(hashlib.sha256(repr(seen).encode()).hexdigest(), list(ids) == sorted(ids))
"""


def _placement_digest(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = subprocess.run(
        [sys.executable, "-c", PLACEMENT], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    return run.stdout.split()[0]


@pytest.fixture(scope="module")
def digest_without_hash_randomisation() -> str:
    return _placement_digest("0")


@pytest.mark.parametrize("hash_seed", ["1", "4242"])
def test_a_fresh_process_with_another_hash_seed_computes_the_same_ring(
    hash_seed: str, digest_without_hash_randomisation: str
) -> None:
    """Members, slots and eligible ids go in as sets, whose order differs between these processes."""
    assert _placement_digest(hash_seed) == digest_without_hash_randomisation
