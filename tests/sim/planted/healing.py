"""Broken healing: meshes that do not find themselves again."""

from __future__ import annotations

from contextlib import AbstractContextManager

from protocols.membership.healing import Healer
from protocols.membership.settings import MembershipSettings
from sim.faults import Groups
from sim.scenario import Scenario
from tests.sim.planted.mutant import Mutant, mutant_by, patched

FORGOTTEN = Scenario(
    nodes=4,
    seconds=331,
    membership=MembershipSettings(remember_dead_s=120),
    faults=(Groups(10, 330, groups=(("n0", "n1"), ("n2", "n3"))),),
)


def gives_up_on_those_it_has_forgotten() -> AbstractContextManager[None]:
    """Who was dead for longer than it is remembered is never looked for again."""
    return patched(Healer, "_last_resort", lambda self, table: [])


HEALING: tuple[Mutant, ...] = (mutant_by(gives_up_on_those_it_has_forgotten, FORGOTTEN, "agreement", seeds=2),)
