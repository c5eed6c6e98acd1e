"""A random mix of faults: how often each kind strikes, and what else is drawn from the seed (swarm testing).

Groce et al., "Swarm Testing" (ISSTA 2012): tests that each leave out some features find more than tests that all have
everything, for features get in each other's way. So a swarm also draws, per seed, which kinds take part at all.

Nothing here touches a run. `strikes` gives faults with explicit times, counts, options and salts; they are printed,
written to files, shrunk and replayed without the mix. Every kind, and every option, has a stream of its own
(`mix/{kind}`, `swarm/{option}`): to add or drop one does not move the draws of the others. Only the limits tie kinds
together: a strike that would be one too many is left out, and what it drew is not given to another.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from math import isfinite
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from sim.errors import ScenarioError, nearest
from sim.faults import KINDS, AnyFault, Chance, Fault

PER_MINUTE_MAX = 600.0
STRIKES_MAX = 10_000
"""Faults that one mix may make of one seed."""
NODES_MAX = 1_000_000
CAN_HAPPEN_S = 3600.0

Preset = Literal["full", "swarm"]
PRESETS: tuple[Preset, ...] = ("full", "swarm")


class Swarm(Struct, frozen=True, forbid_unknown_fields=True):
    """What is drawn anew for every seed, beside the strikes; it takes the place of what the scenario says."""

    kinds: float = 0.5
    """Probability that a kind of the mix takes part at all; one always does."""
    nodes_min: int = 0
    nodes_max: int = 0
    """How many nodes; both 0: as many as the scenario says."""
    loss_max: float = 0.1
    duplicate_max: float = 0.1
    reorder_max: float = 0.2
    reset_max: float = 0.02
    """For each mishap on links: in half of the seeds none, else a probability up to this."""
    latency: bool = True
    """Whether the links are those of a LAN, a crowded LAN, a WAN, or a bad day."""
    disk: bool = True
    """Whether the disks are fast, usual, or slow."""
    tasks_per_s_max: float = 8.0
    """The workload: none in a quarter of the seeds, else up to this rate; 0: as the scenario says."""
    start: bool = True
    """Whether the mesh starts converged or joins."""


class Mix(Struct, frozen=True, forbid_unknown_fields=True):
    """Kinds of faults and their chances; an empty `kinds` is every kind that a mesh survives, as its class says."""

    kinds: dict[str, Chance] = {}
    at_once_max: int = 5
    """Faults in force at the same time; a strike that would be one more is left out."""
    down_max: int | None = None
    """Nodes that faults may keep down or stopped at the same time (None: no limit)."""
    start_s: float = 1.0
    """Before this, nothing strikes."""
    swarm: Swarm | None = None

    @classmethod
    def full(cls) -> Mix:
        """Every survivable kind, at the rates of its class."""
        return cls()

    @classmethod
    def preset(cls, name: Preset) -> Mix:
        """`full`, or `swarm`: the same kinds, of which every seed draws some, and its own network, disks and load."""
        return cls.full() if name == "full" else cls(swarm=Swarm())

    @property
    def chances(self) -> Mapping[str, Chance]:
        """Every kind that may take part, with its chance."""
        return self.kinds or {kind: cls.mixed for kind, cls in KINDS.items() if cls.mixed is not None}

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        """Raise `ScenarioError` for the first thing that is wrong in a run of nodes `names` that lasts `seconds`."""
        for kind, chance in self.kinds.items():
            if kind not in KINDS:
                raise ScenarioError(f"The mix: there is no kind {kind!r}. {nearest(kind, KINDS)}")
            _check_chance(kind, chance)
            complaint = _impossible(kind, chance, names)
            if complaint:
                raise ScenarioError(f"The mix: {kind} cannot strike here. {complaint}")
        if self.at_once_max < 1:
            raise ScenarioError(f"The mix: at_once_max {self.at_once_max} lets nothing happen. Allow at least 1.")
        if self.down_max is not None and self.down_max < 0:
            raise ScenarioError(f"The mix: down_max {self.down_max} must be 0 or more nodes.")
        if not 0 <= self.start_s < seconds:
            raise ScenarioError(f"The mix: start_s {self.start_s:g} must lie in the run, which lasts {seconds:g} s.")
        expected = sum(chance.per_minute for chance in self.chances.values()) * seconds / 60
        if expected > STRIKES_MAX:
            raise ScenarioError(
                f"The mix: about {expected:.0f} faults in {seconds:g} s; at most {STRIKES_MAX} can be used. "
                "Lower per_minute, or run for less long."
            )
        if self.swarm is not None:
            _check_swarm(self.swarm)


Enabled: TypeAlias = dict[str, Chance]


def enabled(mix: Mix, seed: int, names: tuple[str, ...]) -> Enabled:
    """The kinds that take part in this seed, in the order of `KINDS`: those that can happen, and that are drawn."""
    chances = mix.chances
    possible = [kind for kind in KINDS if kind in chances and not _impossible(kind, chances[kind], names)]
    if mix.swarm is None:
        return {kind: chances[kind] for kind in possible}
    # One draw per kind from its own stream. Where none is drawn, the luckiest takes part.
    luck = {kind: stream(seed, f"swarm/kind/{kind}").random() for kind in possible}
    taken = [kind for kind in possible if luck[kind] < mix.swarm.kinds] or sorted(possible, key=luck.__getitem__)[:1]
    return {kind: chances[kind] for kind in taken}


def strikes(
    mix: Mix, seed: int, names: tuple[str, ...], seconds: float, salts: Iterable[int] = ()
) -> tuple[AnyFault, ...]:
    """What strikes in this seed, in the order of time, within the limits. No fault gets one of `salts`."""
    drawn: list[Fault] = []
    taken = set(salts)
    for kind, chance in enabled(mix, seed, names).items():
        for number, fault in enumerate(_timeline(mix, seed, kind, chance, names, seconds)):
            salt = _salt(kind, number)
            while salt in taken:
                salt += 1
            taken.add(salt)
            drawn.append(replace(fault, salt=salt))
    drawn.sort(key=lambda fault: fault.start_s)  # stable: kinds that strike at the same time stay in their order
    kept: list[Fault] = []
    in_force: list[Fault] = []
    for fault in drawn:
        in_force = [other for other in in_force if other.end_s is not None and other.end_s > fault.start_s]
        down = sum(other.nodes_down(len(names)) for other in (*in_force, fault))
        too_many_down = mix.down_max is not None and fault.nodes_down(len(names)) > 0 and down > mix.down_max
        if len(in_force) < mix.at_once_max and not too_many_down:
            kept.append(fault)
            in_force.append(fault)
    return tuple(kept[:STRIKES_MAX])  # type: ignore[arg-type]  # all in KINDS are of `AnyFault`


def _timeline(
    mix: Mix, seed: int, kind: str, chance: Chance, names: tuple[str, ...], seconds: float
) -> Iterable[Fault]:
    """One kind's strikes, as they would come if it were alone. Draws from its own stream only."""
    draw = stream(seed, f"mix/{kind}")
    at_s = mix.start_s
    while chance.per_minute > 0:
        at_s += draw.expovariate(chance.per_minute / 60)
        lasts_s = draw.uniform(chance.lasts_s_min, chance.lasts_s_max)
        count = min(draw.randint(chance.count_min, chance.count_max), len(names))
        start_s = round(at_s, 3)
        if start_s >= seconds:
            return
        fault = KINDS[kind].drawn(draw, start_s, min(round(at_s + lasts_s, 3), seconds), count)
        if fault.end_s is not None and fault.end_s > start_s and not _complaint(fault, names, seconds):
            yield fault


def stream(seed: int, concern: str) -> random.Random:
    """What one thing is drawn from, before a run: the same as a kernel's stream of that name would be."""
    return random.Random(f"{seed}/{concern}")


def _salt(kind: str, number: int) -> int:
    """The number of the stream of the `number`th strike of a kind: the same whatever else is in the mix."""
    return 1 + (int.from_bytes(blake2b(f"{kind}/{number}".encode(), digest_size=4).digest(), "little") >> 1)


def _impossible(kind: str, chance: Chance, names: tuple[str, ...]) -> str:
    """Why a kind can never strike in a mesh of nodes `names`; empty when it can."""
    count = min(chance.count_min, len(names))
    fault = KINDS[kind].drawn(random.Random(0), 0.0, CAN_HAPPEN_S, count)
    return _complaint(fault, names, CAN_HAPPEN_S)


def _complaint(fault: Fault, names: tuple[str, ...], seconds: float) -> str:
    try:
        fault.check(names, seconds)
    except ScenarioError as error:
        return str(error)
    return ""


def _check_chance(kind: str, chance: Chance) -> None:
    if not 0 < chance.per_minute <= PER_MINUTE_MAX:
        raise ScenarioError(
            f"The mix: {kind}: per_minute {chance.per_minute:g} must be above 0 and at most {PER_MINUTE_MAX:g}. "
            "To leave a kind out, do not name it."
        )
    if not (isfinite(chance.lasts_s_max) and 0 < chance.lasts_s_min <= chance.lasts_s_max):
        raise ScenarioError(
            f"The mix: {kind}: it lasts {chance.lasts_s_min:g} to {chance.lasts_s_max:g} s; "
            "the least must be above 0, and no more than the most."
        )
    if not 1 <= chance.count_min <= chance.count_max <= NODES_MAX:
        raise ScenarioError(
            f"The mix: {kind}: a count of {chance.count_min} to {chance.count_max}; the least must be at least 1, "
            "and no more than the most."
        )


def _check_swarm(swarm: Swarm) -> None:
    for name in ("kinds", "loss_max", "duplicate_max", "reorder_max", "reset_max"):
        value = getattr(swarm, name)
        if not 0 <= value <= 1:
            raise ScenarioError(f"The swarm: {name} {value:g} is a probability, 0 to 1. For 5 % write 0.05.")
    if (swarm.nodes_min or swarm.nodes_max) and not 1 <= swarm.nodes_min <= swarm.nodes_max <= NODES_MAX:
        raise ScenarioError(
            f"The swarm: {swarm.nodes_min} to {swarm.nodes_max} nodes; the least must be at least 1, and no more than "
            "the most."
        )
    if not (isfinite(swarm.tasks_per_s_max) and swarm.tasks_per_s_max >= 0):
        raise ScenarioError(f"The swarm: tasks_per_s_max {swarm.tasks_per_s_max:g} must be 0 or more.")
