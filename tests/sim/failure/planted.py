"""Broken nodes for the tests of what follows a failure: each breaks one known property in a known way."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from protocols.config import NodeConfig
from protocols.core import Effect, Event, Instant, Put, Reply, Save, Step
from protocols.membership.records import GENERATION_KEY
from protocols.node import Node
from sim.faults import Crash, DiskFull, Halves, Isolate, OneWay
from sim.network import LinkProfile
from sim.scenario import Scenario

TWELVE = Scenario(
    name="twelve",
    nodes=8,
    seconds=60,
    tasks_per_s=2,
    link=LinkProfile(loss=0.02, duplicate=0.05),
    faults=(
        Halves(2, 5),
        Isolate(6, 9, 2),
        OneWay(7, 12, 1),
        Crash(10, 14, 2),
        DiskFull(12, 20, 1),
        Halves(22, 30),
        Isolate(25, 35, 1),
        OneWay(30, 33, 1),
        OneWay(37, 44, 2),
        DiskFull(40, 50, 2),
        Halves(45, 55),
        Isolate(50, 58, 3),
    ),
)
"""Twelve faults, of which the crash is the only one."""


class ForgetsItsGeneration(Node):
    """After a restart the generation is not found, so an old one is used once more: needs a crash, and nothing else."""

    def __init__(self, config: NodeConfig, saved: Iterable[Put], rng: Random) -> None:
        super().__init__(config, [put for put in saved if put.key != GENERATION_KEY], rng)


class AnswersBeforeSaving(Node):
    """Replies do not wait for the disk: needs tasks, and no fault at all."""

    def step(self, now: Instant, event: Event) -> Step:
        effects, wake_at = super().step(now, event)
        early: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Save):
                early += [each for each in effect.then if isinstance(each, Reply)]
                kept = tuple(each for each in effect.then if not isinstance(each, Reply))
                effect = Save(effect.seq, effect.records, kept)
            early.append(effect)
        return early, wake_at
