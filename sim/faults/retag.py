"""Operators who change the tags of their nodes while other things go wrong: no harm by itself, but to be got right.

What a member announces is one value per incarnation, is durable before it is announced, and reaches everybody in the
end (`checkers/one_profile.py`, `checkers/latest_tags.py`). Changes come one by one and in bursts, set keys and unset
them.
"""

from __future__ import annotations

import random
from typing import ClassVar, Self

from protocols.core import Instant, Outcome
from protocols.membership.tagging import SetTags
from sim.faults.fault import SPAN_S_MIN, Chance, NodeFault, Stage, Undo, check_span, nanos
from sim.process import Process

BURST = 5
BURSTS = 0.2
"""Of the changes, how many are a burst of them."""
WORDS = ("gpu", "rack", "spot", "draining")


class Retag(NodeFault, frozen=True, tag="retag", forbid_unknown_fields=True):
    """The tags of some nodes are changed, at each every `every_s` on average, while it runs."""

    every_s: float = 1.0

    mixed: ClassVar[Chance | None] = Chance(per_minute=0.5, lasts_s_min=3.0, lasts_s_max=15.0, count_max=2)
    misleads: ClassVar[bool] = False

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        return cls(start_s, end_s, count, every_s=draw.choice((0.1, 1.0, 4.0)))

    def describe(self) -> str:
        return f"the tags of {self.whom} changed every {self.every_s:g} s or so {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        check_span(self, "every_s", self.every_s, SPAN_S_MIN)
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        draw = stage.random
        changes = 0

        def change(now: Instant, victim: Process) -> None:
            nonlocal changes
            stage.after(1 + int(draw.expovariate(1) * nanos(self.every_s)), lambda now: change(now, victim))
            for _ in range(BURST if draw.random() < BURSTS else 1):
                changes += 1
                word = draw.choice(WORDS)
                unset = draw.random() < 0.4
                values = {"rev": str(changes)} if unset else {"rev": str(changes), word: draw.choice(("", "1", "2"))}
                if victim.up:
                    victim.request(now, SetTags(values, (word,) if unset else ()), _heard)

        victims = stage.victims(self, list(stage.world.processes))
        for victim in victims:
            change(now, victim)
        return _nothing_to_undo if victims else None


def _heard(now: Instant, outcome: Outcome) -> None:
    """What came of it is looked at by `checkers/latest_tags.py`."""


def _nothing_to_undo(now: Instant) -> None:
    return None
