"""Turns what a person wrote into what is run: everything that is drawn from the seed is drawn here, once.

The result holds no chance but that of its streams: it can be printed, written to a file, shrunk, and run again. Every
option is drawn from a stream of its own, so that to fix one by hand does not move the others.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from sim.disk import DiskProfile
from sim.faults.mix import Swarm, enabled, stream, strikes
from sim.faults.rest import WAYS
from sim.network import LinkProfile
from sim.scenario.model import STARTS, Liveness, Scenario

LATENCIES: tuple[dict[str, Any], ...] = (
    {"latency_ms_min": 0.2, "latency_ms_max": 2.0},
    {"latency_ms_min": 0.2, "latency_ms_max": 60.0, "delay": "exponential"},
    {"latency_ms_min": 20.0, "latency_ms_max": 90.0, "delay": "lognormal", "typical_ms": 30.0},
    {"latency_ms_min": 1.0, "latency_ms_max": 120.0, "delay": "normal", "typical_ms": 40.0},
)
"""A LAN, a crowded LAN, a WAN, and a bad day. A probe and its ack are there within the usual timeout of 500 ms."""
DISKS = (DiskProfile(0.05, 0.3), DiskProfile(), DiskProfile(4.0, 40.0))


def expand(scenario: Scenario) -> Scenario:
    """`scenario` with every option drawn and every fault salted. An expanded scenario expands to itself."""
    mix = scenario.chosen_mix
    if mix is not None:
        if mix.swarm is not None:
            scenario = _drawn(scenario, mix.swarm)
        salts = [fault.salt for fault in scenario.faults]
        struck = strikes(mix, scenario.seed, scenario.names, scenario.seconds, salts)
        scenario = replace(scenario, faults=_salted(scenario).faults + struck, mix=None)
    zones = scenario.zone_nodes
    faults = tuple(fault.in_zones(zones) for fault in _salted(scenario).faults)
    return replace(scenario, faults=faults, liveness=_liveness(scenario))


def kinds_enabled(scenario: Scenario) -> tuple[str, ...]:
    """Every kind of fault that may strike in this seed: those of its list, and those of its mix, drawn or not.

    The ways in which a rest may stay broken are among them, as `rest-down` and its like.
    """
    kinds = dict.fromkeys(fault.kind() for fault in scenario.faults)
    mix = scenario.chosen_mix
    if mix is not None:
        scenario = scenario if mix.swarm is None else _drawn(scenario, mix.swarm)
        kinds |= dict.fromkeys(enabled(mix, scenario.seed, scenario.names))
    written = scenario.liveness.broken
    broken = _liveness(scenario).broken
    ways = WAYS if len(broken) > len(written) else tuple(written.values())
    return (*kinds, *dict.fromkeys(f"rest-{way}" for way in ways))


def _salted(scenario: Scenario) -> Scenario:
    used = {fault.salt for fault in scenario.faults}
    fresh = (number for number in range(1, len(scenario.faults) + len(used) + 2) if number not in used)
    faults = tuple(fault if fault.salt else replace(fault, salt=next(fresh)) for fault in scenario.faults)
    return replace(scenario, faults=faults)


def _drawn(scenario: Scenario, swarm: Swarm) -> Scenario:
    """`scenario` with what the swarm draws in the place of what it says."""
    seed = scenario.seed
    changes: dict[str, Any] = {"link": _link(scenario.link, swarm, seed)}
    if swarm.nodes_max:
        changes["nodes"] = stream(seed, "swarm/nodes").randint(swarm.nodes_min, swarm.nodes_max)
    if swarm.disk:
        changes["disk"] = stream(seed, "swarm/disk").choice(DISKS)
    if swarm.tasks_per_s_max and scenario.handlers:
        changes["tasks_per_s"] = _up_to(seed, "tasks_per_s", swarm.tasks_per_s_max, none=0.25, digits=2)
    if swarm.start:
        changes["start"] = stream(seed, "swarm/start").choice(STARTS)
    return replace(scenario, **changes)


def _link(link: LinkProfile, swarm: Swarm, seed: int) -> LinkProfile:
    changes: dict[str, Any] = {}
    for name in ("loss", "duplicate", "reorder", "reset"):
        most = getattr(swarm, f"{name}_max")
        if most:
            changes[name] = _up_to(seed, name, most, none=0.5, digits=4)
    if swarm.latency:
        plain = LinkProfile()
        usual: dict[str, Any] = {"delay": plain.delay, "typical_ms": plain.typical_ms}
        changes |= usual | stream(seed, "swarm/latency").choice(LATENCIES)
    return replace(link, **changes)


def _up_to(seed: int, option: str, most: float, *, none: float, digits: int) -> float:
    """0 with probability `none`, else up to `most`."""
    draw = stream(seed, f"swarm/{option}")
    chosen = draw.uniform(0.0, most)
    return 0.0 if draw.random() < none else min(most, max(round(chosen, digits), 10.0**-digits))


def _liveness(scenario: Scenario) -> Liveness:
    """Who is healed in the second phase, and how each of the others stays broken."""
    liveness = scenario.liveness
    if liveness.rest == "well":
        return liveness
    names = scenario.names
    core = liveness.core
    if not core:
        sound = [name for name in names if name not in liveness.broken]
        majority = min(len(names) // 2 + 1, len(sound))
        drawn = stream(scenario.seed, "rest/core").sample(sound, majority)
        core = tuple(name for name in names if name in drawn)
    broken = dict(liveness.broken)
    for name in names:
        if name not in core and name not in broken:
            broken[name] = stream(scenario.seed, f"rest/{name}").choice(WAYS)
    return replace(liveness, core=core, broken=broken)
