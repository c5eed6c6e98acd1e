"""Operators who give their nodes another configuration while tasks run and other things go wrong: handlers come and go,
with more and less of them at once; zones and weights change.

No task may be lost over it, nor run for ever at a node that does not offer it any more (`checkers/one_result.py`); what
a member announces is one value per incarnation (`checkers/one_profile.py`); and where tasks go follows what is
configured (`checkers/ring_owners.py`). Configurations change one by one and in bursts. As in the daemon, the changed
file is also what a node that is down, or goes down over it, starts with.

In the end one of the nodes offers everything again, so that every task can be done somewhere.
"""

from __future__ import annotations

import random
from typing import ClassVar, Self

from msgspec.structs import replace

from protocols.config import HandlerSpec
from protocols.core import NANOS_PER_S, Instant, Outcome
from protocols.node import Node
from protocols.reconfiguring import Reconfigure
from sim.faults.fault import SPAN_S_MIN, Chance, NodeFault, Stage, Undo, check_span, nanos
from sim.inspect import own_row
from sim.process import Process

BURST = 4
BURSTS = 0.2
"""Of the changes, how many are a burst of them."""
OFFERED = 0.6
"""Of the handlers, how many a configuration offers."""
CONCURRENCIES = (1, 2, 8)
ZONES = ("", "east", "west")
WEIGHT_MAX = 4
ASK_AGAIN = NANOS_PER_S // 2
"""How long an operator waits for a node that is starting."""


class Reconfiguring(NodeFault, frozen=True, tag="reconfigure", forbid_unknown_fields=True):
    """Handlers, zone and weight of some nodes are changed, at each every `every_s` on average, while it runs."""

    every_s: float = 4.0

    mixed: ClassVar[Chance | None] = Chance(per_minute=0.5, lasts_s_min=3.0, lasts_s_max=15.0, count_max=3)
    misleads: ClassVar[bool] = False

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        return cls(start_s, end_s, count, every_s=draw.choice((0.3, 1.0, 4.0)))

    def describe(self) -> str:
        return f"{self.whom} reconfigured every {self.every_s:g} s or so {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        check_span(self, "every_s", self.every_s, SPAN_S_MIN)
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        draw = stage.random
        victims = stage.victims(self, list(stage.world.processes))
        everything = {victim.name: victim.config.handlers for victim in victims}

        def change(now: Instant, victim: Process) -> None:
            stage.after(1 + int(draw.expovariate(1) * nanos(self.every_s)), lambda now: change(now, victim))
            for _ in range(BURST if draw.random() < BURSTS else 1):
                handlers = tuple(
                    replace(handler, concurrency=draw.choice(CONCURRENCIES))
                    for handler in everything[victim.name]
                    if draw.random() < OFFERED
                )
                zone, weight = draw.choice(ZONES), draw.randint(1, WEIGHT_MAX)
                if not _is_starting(victim):
                    _configure(now, victim, handlers, zone, weight)

        def offer_everything(now: Instant) -> None:
            victim = victims[0]
            if _is_starting(victim):
                stage.world.kernel.push(now + ASK_AGAIN, lambda now, _a, _b: offer_everything(now))
                return
            _configure(now, victim, everything[victim.name], victim.config.zone, victim.config.weight)

        for victim in victims:
            change(now, victim)
        return offer_everything if victims else None


def _is_starting(victim: Process) -> bool:
    """Whether it runs and takes no configuration yet."""
    return isinstance(victim.core, Node) and own_row(victim.core) is None


def _configure(now: Instant, victim: Process, handlers: tuple[HandlerSpec, ...], zone: str, weight: int) -> None:
    """Change the file, and have the node read it if it runs."""
    victim.reconfigure(handlers=handlers, zone=zone, weight=weight)
    if isinstance(victim.core, Node):
        victim.request(now, Reconfigure(handlers, zone, weight, victim.config.tags), _heard)


def _heard(now: Instant, outcome: Outcome) -> None:
    """A node that leaves, or goes down over it, starts with the changed file."""
