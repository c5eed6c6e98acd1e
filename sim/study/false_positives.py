"""Members that are starved, as in Lifeguard's experiments: who declares whom dead that is well.

What counts is a false positive at a healthy member: it declares another one dead that is neither starved nor crashed
(FP− in the paper). A few healthy members crash meanwhile, so that the same runs tell what the caution costs.

A starved member is blocked as in the paper: what it sends and what it is sent waits until the span is over, while its
timers run (`Clog`). That is what makes accusers; a process that is stopped altogether (`Starve`) hardly gets to accuse,
for it hears whom it would doubt before its timers go on. That is measured beside.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import ClassVar

from msgspec.structs import replace

from protocols.membership.member import State
from protocols.membership.settings import MembershipSettings
from sim.faults import AnyFault, Clog, Crash, Starve
from sim.faults.fault import nanos
from sim.scenario import Scenario
from sim.study.findings import Cell, Goal, Plot, Section, Series, Table
from sim.study.mesh import Mesh, Verdicts, seconds
from sim.study.numbers import median, quantile, ratio
from sim.study.trial import Experiment, Figures, Samples, Trial

QUIET = "quiet"
PERCENTS = (1, 4, 10)
MODES: dict[str, dict[str, int]] = {
    "on": {},
    "probes off": {"health_max": 0},
    "off": {"health_max": 0, "suspicion_max_factor": 1},
}
"""Lifeguard's local health: all of it; without the part that slows probes down; and without the part that lets a
suspicion last while few confirm it as well, which is plain SWIM as in the paper but for the buddy system."""
STOPPED = "stopped, "
STARVED_FROM_S = 10.0
STARVED_TO_S = 130.0
BLOCKED_S = 30.0
RUNS_S = 1.0
CRASHES_S = (40.0, 70.0, 100.0)
END_S = 160.0
QUIET_S = 120.0
STARVED_NODES_MIN = 100
"""A hundredth of a smaller mesh is nobody."""
FEWER = 20.0
SLOWER = 1.2


class FalsePositives(Experiment):
    """A share of the members is blocked for random spans of 0 to 30 s, for two minutes."""

    name = "false-positives"
    title = "False positives, and what caution costs"
    share: ClassVar[Mapping[int, int]] = {20: 10, 100: 2, 1000: 1}

    def arms(self, nodes: int) -> tuple[str, ...]:
        if nodes < STARVED_NODES_MIN:
            return (QUIET,)
        blocked = [arm_of(percent, mode) for percent in PERCENTS for mode in MODES]
        stopped = [STOPPED + arm_of(PERCENTS[-1], mode) for mode in ("on", "off")]
        return (QUIET, *blocked, *stopped)

    def usual_arms(self, nodes: int) -> tuple[str, ...]:
        if nodes > STARVED_NODES_MIN:
            return (QUIET,)
        return tuple(arm for arm in self.arms(nodes) if not arm.endswith("probes off"))

    def run(self, trial: Trial) -> Figures:
        if trial.arm == QUIET:
            return _count(trial, QUIET_S, self.membership, 0, ())
        percent, mode = trial.arm.removeprefix(STOPPED).split(" % ")
        starved = max(1, round(trial.nodes * int(percent) / 100))
        trouble = _stopped(starved) if trial.arm.startswith(STOPPED) else _blocked(trial, starved)
        crashes = [Crash(at_s, nodes=(name,)) for at_s, name in zip(CRASHES_S, _crashed(trial.nodes), strict=True)]
        settings: MembershipSettings = replace(self.membership, **MODES[mode])
        return _count(trial, END_S, settings, starved, (*trouble, *crashes))

    def section(self, samples: Samples) -> Section:
        goals = [
            Goal(f"N = {n:,}: doubts and deaths without faults", samples.total(QUIET, n, "doubts"), "at most", 0)
            for n in samples.sizes_of(QUIET)
        ]
        rows: list[tuple[Cell, ...]] = []
        for nodes in samples.sizes:
            for percent in PERCENTS:
                goals += _goals(samples, nodes, percent)
            rows += [
                _row(samples, arm, nodes) for arm in self.arms(nodes) if arm != QUIET and samples.seeds(arm, nodes)
            ]
        return Section(
            name=self.name,
            title=self.title,
            asked="Do members that are starved of CPU make healthy members declare healthy members dead? What does it "
            "cost in detection to keep them from it?",
            done=f"1, 4 and 10 % of the members are blocked for spans of 0 to {BLOCKED_S:g} s, with 0 to {RUNS_S:g} s "
            f"between, for {STARVED_TO_S - STARVED_FROM_S:g} s: what they send and are sent waits, their timers run. "
            "Three healthy members crash. Local health on; off for probes (health_max = 0); and off "
            f"(suspicion_max_factor = 1 too: plain SWIM). Stopped: the processes themselves are. Without faults: "
            f"{QUIET_S:g} s of a quiet mesh.",
            goals=tuple(goals),
            tables=(
                Table(
                    "Starved members; events a seed, seconds from a crash to the verdict at healthy members that knew",
                    (
                        *("starved, local health", "N", "seeds", "FP at healthy", "FP at all", "doubts at healthy"),
                        *("first: median", "first: p99", "last: median", "last: p99", "never knew"),
                    ),
                    tuple(rows),
                ),
            )
            if rows
            else (),
            plots=tuple(_plot(samples, n) for n in samples.sizes if samples.seeds(arm_of(10, "on"), n)),
            sources=(
                "Lifeguard (Dadgar, Phillips, Currey: Local Health Awareness for More Accurate Failure Detection, DSN "
                "2018), section 5: anomalous members block before sending and after receiving; FP− are false positives "
                "raised at healthy members. The paper reports about fifty times fewer with all of Lifeguard than with "
                "plain SWIM.",
            ),
        )


def arm_of(percent: int, mode: str) -> str:
    """What is done: `10 % off`."""
    return f"{percent} % {mode}"


def _crashed(nodes: int) -> list[str]:
    return [f"n{nodes - 1 - place}" for place in range(len(CRASHES_S))]


def _names(count: int) -> tuple[str, ...]:
    return tuple(f"n{index}" for index in range(count))


def _blocked(trial: Trial, starved: int) -> list[AnyFault]:
    """Each of the first `starved` nodes blocked again and again, by draws of its own."""
    spans: list[AnyFault] = []
    for name in _names(starved):
        draw = Random(f"{trial.seed}/study/{name}")
        at_s = STARVED_FROM_S + draw.random() * RUNS_S
        while at_s < STARVED_TO_S:
            end_s = at_s + draw.random() * BLOCKED_S
            spans.append(Clog(at_s, min(end_s, STARVED_TO_S), nodes=(name,)))
            at_s = end_s + draw.random() * RUNS_S
    return spans


def _stopped(starved: int) -> list[AnyFault]:
    names = _names(starved)
    return [Starve(STARVED_FROM_S, STARVED_TO_S, nodes=names, blocked_s=BLOCKED_S, runs_s=RUNS_S)]


def _count(
    trial: Trial, end_s: float, membership: MembershipSettings, starved: int, faults: tuple[AnyFault, ...]
) -> Figures:
    """Run, and count what is said of members that are well; the first `starved` nodes are not."""
    mesh = Mesh(Scenario(trial.nodes, end_s, trial.seed, membership=membership, faults=faults), [Verdicts])
    mesh.run_until(end_s)
    (verdicts,) = mesh.observers
    assert isinstance(verdicts, Verdicts)
    crashed = range(trial.nodes - len(CRASHES_S), trial.nodes) if starved else range(0)
    figures: Figures = {name: [0.0] for name in ("false_at_healthy", "false_at_all", "doubts", "doubts_at_healthy")}
    for verdict in verdicts.all:
        if verdict.subject < starved or verdict.subject in crashed:
            continue
        at_healthy = verdict.observer >= starved
        if verdict.state is State.DEAD:
            figures["false_at_all"][0] += 1
            figures["false_at_healthy"][0] += at_healthy
        if verdict.state in (State.DEAD, State.SUSPECT):
            figures["doubts"][0] += 1
            figures["doubts_at_healthy"][0] += at_healthy and verdict.state is State.SUSPECT
    if starved:
        figures |= {"first_s": [], "last_s": [], "unaware": [0.0]}
        believed = {(verdict.observer, verdict.subject): verdict.state for verdict in verdicts.all}
        healthy = range(starved, crashed.start)
        for at_s, name in zip(CRASHES_S, _crashed(trial.nodes), strict=True):
            victim = int(name[1:])
            known = verdicts.first(victim, State.DEAD, nanos(at_s))
            times = sorted(known[observer] for observer in healthy if observer in known)
            figures["unaware"][0] += sum(believed.get((observer, victim)) is not State.DEAD for observer in healthy)
            if times:
                figures["first_s"].append(seconds(times[0] - nanos(at_s)))
                figures["last_s"].append(seconds(times[-1] - nanos(at_s)))
    return figures


def _goals(samples: Samples, nodes: int, percent: int) -> list[Goal]:
    on, off = arm_of(percent, "on"), arm_of(percent, "off")
    if not samples.seeds(on, nodes) or not samples.seeds(off, nodes):
        return []
    what = f"N = {nodes:,}, {percent} % starved"
    with_health, without = (samples.total(arm, nodes, "false_at_healthy") for arm in (on, off))
    fewer = None  # nothing against nothing shows nothing
    if with_health or without:  # by seed, for who breaks off has more of the one; none at all is taken for one
        fewer = without / samples.seeds(off, nodes) / (max(1.0, with_health) / samples.seeds(on, nodes))
    unaware = samples.total(on, nodes, "unaware")
    goals = [
        Goal(f"{what}: times fewer false positives at healthy members", fewer, "at least", FEWER, "×"),
        Goal(f"{what}: healthy members that never knew of a crash", unaware, "at most", 0, "", "SWIM, completeness"),
    ]
    for figure, name in (("first_s", "first"), ("last_s", "last")):
        times = ratio(median(samples.values(on, nodes, figure)), median(samples.values(off, nodes, figure)))
        goals.append(Goal(f"{what}: median of the {name} to know, on against off", times, "at most", SLOWER, "×"))
    return goals


def _row(samples: Samples, arm: str, nodes: int) -> tuple[Cell, ...]:
    seeds = samples.seeds(arm, nodes)
    counts = [
        samples.total(arm, nodes, name) / seeds for name in ("false_at_healthy", "false_at_all", "doubts_at_healthy")
    ]
    times: list[Cell] = []
    for figure in ("first_s", "last_s"):
        values = samples.values(arm, nodes, figure)
        times += [median(values), quantile(values, 0.99)]
    return (arm, f"{nodes:,}", seeds, *counts, *times, samples.total(arm, nodes, "unaware") / seeds)


def _plot(samples: Samples, nodes: int) -> Plot:
    def bars(mode: str) -> Series:
        points: list[tuple[float, float]] = []
        for place, percent in enumerate(PERCENTS):
            seeds = samples.seeds(arm_of(percent, mode), nodes)
            total = samples.total(arm_of(percent, mode), nodes, "false_at_healthy")
            if seeds:
                points.append((float(place), total / seeds))
        return Series(f"local health {mode}", tuple(points))

    return Plot(
        f"False positives at healthy members a seed, N = {nodes:,}",
        "members starved",
        "events",
        tuple(bars(mode) for mode in reversed(MODES)),
        groups=tuple(f"{percent} %" for percent in PERCENTS),
        log_y=True,
    )
