"""All planted bugs, and the sample of them that the tests prove."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import protocols
from tests.sim.planted.detector import DETECTOR
from tests.sim.planted.events import EVENTS
from tests.sim.planted.healing import HEALING
from tests.sim.planted.leaving import LEAVING
from tests.sim.planted.liars import LIARS
from tests.sim.planted.membership import MEMBERSHIP
from tests.sim.planted.mutant import Mutant
from tests.sim.planted.reconfiguring import RECONFIGURING
from tests.sim.planted.ring import RING
from tests.sim.planted.signing import SIGNING
from tests.sim.planted.storage import STORAGE
from tests.sim.planted.tags import TAGS
from tests.sim.planted.tasks import TASKS
from tests.sim.planted.views import VIEWS

FAMILIES: dict[str, tuple[Mutant, ...]] = {
    "membership": (*MEMBERSHIP, *LEAVING, *HEALING),
    "events": EVENTS,
    "liars": LIARS,
    "detector": DETECTOR,
    "signing": SIGNING,
    "ring": RING,
    "tags": TAGS,
    "reconfiguring": RECONFIGURING,
    "views": VIEWS,
    "tasks": TASKS,
    "storage": STORAGE,
}
EVERY: tuple[Mutant, ...] = tuple(mutant for family in FAMILIES.values() for mutant in family)


def code_digest() -> int:
    """A number that changes whenever the protocol code does, and with nothing else."""
    digest = blake2b(digest_size=8)
    root = Path(protocols.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return int.from_bytes(digest.digest())


def sample(turn: int) -> tuple[Mutant, ...]:
    """Every third bug of each family, beginning at a place that `turn` says: three turns in a row prove all."""
    return tuple(mutant for family in FAMILIES.values() for mutant in family[turn % 3 :: 3])
