"""Bugs that show only from one process to another: code whose run depends on PYTHONHASHSEED.

Run as `python -m tests.sim.planted.hashes NAME`, prints the trace hash of one run with that bug (`none`: the code as it
stands). The hash of one seed must be the same under any PYTHONHASHSEED; with the bug it is not.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from random import Random

from msgspec.structs import replace

from protocols.core import NodeId
from protocols.membership.member import Member
from protocols.membership.table import MemberTable
from protocols.tasks.routing import Routing
from sim.scenario import run
from tests.sim.planted.mutant import CRASHES, patched


def gossips_in_the_order_of_a_set() -> AbstractContextManager[None]:
    """Whom to tell is picked from a set of ids, in whatever order that has."""

    def sample(self: MemberTable, rng: Random, count: int, wanted: Callable[[Member], bool]) -> list[Member]:
        pool = [self.rows[node_id] for node_id in set(self.rows) if wanted(self.rows[node_id])]
        return pool[:count]

    return patched(MemberTable, "sample", sample)


def places_in_the_order_of_a_set() -> AbstractContextManager[None]:
    """A task goes to the first capable node of a set."""

    def owner(self: Routing, handler: str, key: str, excluded: dict[NodeId, None]) -> Member | None:
        able = {member.alive.node_id for member in self.capable(handler)} - excluded.keys()
        return self._swim.table.get(next(iter(able))) if able else None

    return patched(Routing, "owner", owner)


BUGS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "none": nullcontext,
    "gossips_in_the_order_of_a_set": gossips_in_the_order_of_a_set,
    "places_in_the_order_of_a_set": places_in_the_order_of_a_set,
}


def trace_hash(name: str) -> str:
    """The hash of one run with the bug `name`."""
    with BUGS[name]():
        return run(replace(CRASHES, seconds=40.0), checkers=()).trace_hash


def trace_hashes(name: str, hash_seeds: tuple[int, ...]) -> list[str]:
    """The same from fresh processes, one under each PYTHONHASHSEED, side by side."""
    command = [sys.executable, "-m", "tests.sim.planted.hashes", name]
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONHASHSEED": str(seed)})
        for seed in hash_seeds
    ]
    return [child.communicate(timeout=300)[0].strip() for child in children]


if __name__ == "__main__":
    print(trace_hash(sys.argv[1]))
