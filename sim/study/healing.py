"""Cuts, short and long, and how long the mesh takes to be one again once they heal."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import ClassVar

from msgspec.structs import replace

from protocols.config import SwimConfig
from protocols.core import NANOS_PER_S
from protocols.membership.settings import PUSH_PULLS_REMEMBERED, MembershipSettings
from sim.faults import AnyFault, Groups
from sim.faults.fault import nanos
from sim.inspect import rows_of
from sim.scenario import Scenario
from sim.study.closed_forms import merge_bound_s, suspicion_s
from sim.study.findings import Cell, Goal, Plot, Section, Series, Table
from sim.study.mesh import Disagreement, Mesh, seconds
from sim.study.numbers import median, quantile
from sim.study.trial import Experiment, Figures, Samples, StudyError, Trial

CUTS = ("half | half", "1 | N−1")
LENGTHS = ("short", "long", "forgotten")
BEGIN_S = 5.0
JOINED_S = 90.0
"""When a mesh that has to find itself first has done so, and its first exchanges of tables are over."""
SHORT_S = 3.0
USUAL_NODES_MAX = 200
"""In larger meshes halves take minutes of computing each."""
STEADY_S = 5.0
"""For so long all must agree before that counts."""
PATIENCE = 3.0
"""How many times the bound is waited for before a mesh is given up."""


class Healing(Experiment):
    """One cut a seed, and then nothing but time."""

    name = "re-merge"
    title = "Re-merge after a cut"
    share: ClassVar[Mapping[int, int]] = {5: 15, 20: 8, 100: 2, 1000: 1}
    sizes_min = 3

    def arms(self, nodes: int) -> tuple[str, ...]:
        return tuple(arm_of(cut, length) for cut in CUTS for length in LENGTHS)

    def usual_arms(self, nodes: int) -> tuple[str, ...]:
        return self.arms(nodes) if nodes <= USUAL_NODES_MAX else (arm_of(CUTS[1], "long"),)

    def run(self, trial: Trial) -> Figures:
        cut, length = trial.arm.split(", ")
        config, settings, begin_s, cut_s = plan_of(self.membership, trial.nodes, length)
        bound_s = merge_bound_s(config, trial.nodes)
        heal_s = begin_s + cut_s
        fault: AnyFault = Groups(begin_s, heal_s, groups=_sides(trial, cut))
        scenario = Scenario(
            trial.nodes,
            heal_s + PATIENCE * bound_s,
            trial.seed,
            start="join" if length == "forgotten" else "converged",
            membership=settings,
            faults=(fault,),
        )
        mesh = Mesh(scenario, [Disagreement])
        (disagreement,) = mesh.observers
        assert isinstance(disagreement, Disagreement)
        mesh.run_until(begin_s)
        if disagreement.pairs or not _all_know_all(mesh):
            raise StudyError(f"the mesh of {trial.nodes} was not one before it was cut (seed {trial.seed})")
        mesh.run_until(heal_s)
        deaths, forgotten = disagreement.deaths, disagreement.forgotten
        merged_s = _until_merged(mesh, disagreement, heal_s, PATIENCE * bound_s)
        figures = {"deaths": [float(deaths)], "forgotten": [float(forgotten)], "merged": [float(merged_s is not None)]}
        return figures | {"merged_s": [PATIENCE * bound_s if merged_s is None else merged_s]}

    def section(self, samples: Samples) -> Section:
        goals: list[Goal] = []
        rows: list[tuple[Cell, ...]] = []
        for nodes in samples.sizes:
            for arm in self.arms(nodes):
                seeds = samples.seeds(arm, nodes)
                if not seeds:
                    continue
                config, _, _, cut_s = plan_of(self.membership, nodes, arm.split(", ")[1])
                bound = merge_bound_s(config, nodes)
                times = samples.values(arm, nodes, "merged_s")
                pairs = seeds * _pairs_cut(nodes, arm)
                shares = [100 * samples.total(arm, nodes, what) / pairs for what in ("deaths", "forgotten")]
                rows.append(
                    (arm, f"{nodes:,}", seeds, cut_s, *shares, median(times), quantile(times, 0.99), max(times), bound)
                )
                goals.append(Goal(f"N = {nodes:,}, {arm}: the slowest re-merge", max(times), "at most", bound, "s"))
        return Section(
            name=self.name,
            title=self.title,
            asked="After a cut of any sides and any length, how long until all members take all for alive again?",
            done="Short: shorter than any suspicion. Long: whoever was to be declared dead is, and is no longer "
            "gossiped to; no seeds are known. Forgotten: longer than the dead are remembered (set to four push-pull "
            "intervals), so that only seeds lead back to who is forgotten. (The one that is cut off alone probes and "
            "accuses slowly, for its health is poor.) Re-merged: all take all for alive, and do so for "
            f"{STEADY_S:g} s. A mesh that has not after {PATIENCE:g} times the bound is given up, and told with that.",
            goals=tuple(goals),
            tables=(
                Table(
                    "Seconds from the end of the cut until all agree",
                    (
                        *("cut", "N", "seeds", "cut for", "dead, %", "forgotten, %"),
                        *("median", "p99", "slowest", "bound"),
                    ),
                    tuple(rows),
                ),
            )
            if rows
            else (),
            plots=tuple(self._plot(samples, nodes) for nodes in samples.sizes),
            sources=(
                "The bound is the issue's: push_pull + 2·T_max + spread, with the push-pull interval as it is scaled "
                "for N, and serf's curve for the spread.",
            ),
        )

    def _plot(self, samples: Samples, nodes: int) -> Plot:
        def bars(name: str, cut: str, share: float) -> Series:
            points = [
                (float(place), time)
                for place, length in enumerate(LENGTHS)
                if (time := quantile(samples.values(arm_of(cut, length), nodes, "merged_s"), share)) is not None
            ]
            return Series(f"{cut}, {name}", tuple(points))

        bound = merge_bound_s(self.config, nodes)
        return Plot(
            f"From the end of the cut until all agree, N = {nodes:,}",
            "length of the cut",
            "seconds",
            tuple(bars(name, cut, share) for cut in CUTS for name, share in (("median", 0.5), ("slowest", 1.0))),
            groups=LENGTHS,
            line_at=bound,
            line_says=f"bound {bound:.0f} s",
            log_y=True,
        )


def arm_of(cut: str, length: str) -> str:
    """What is done: `half | half, long`."""
    return f"{cut}, {length}"


def plan_of(
    membership: MembershipSettings, nodes: int, length: str
) -> tuple[SwimConfig, MembershipSettings, float, float]:
    """What nodes are told, when the cut begins, and how long it is, in seconds."""
    config = membership.swim()
    _, longest, _ = suspicion_s(config, nodes)
    if length == "short":
        return config, membership, BEGIN_S, SHORT_S
    if length == "long":
        cut_s = 2 * longest + config.gossip_to_the_dead / NANOS_PER_S + 10
        return config, membership, BEGIN_S, cut_s
    push_pull_s = config.push_pull_interval / NANOS_PER_S
    settings: MembershipSettings = replace(membership, remember_dead_s=PUSH_PULLS_REMEMBERED * push_pull_s)
    config = settings.swim()
    return config, settings, JOINED_S, 2 * longest + config.remember_dead / NANOS_PER_S + 2 * push_pull_s


def _sides(trial: Trial, cut: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names = [f"n{index}" for index in range(trial.nodes)]
    Random(f"{trial.seed}/study/sides").shuffle(names)
    first = trial.nodes // 2 if cut == CUTS[0] else 1
    return tuple(names[:first]), tuple(names[first:])


def _all_know_all(mesh: Mesh) -> bool:
    processes = mesh.world.processes
    return all(len(rows_of(process.core)) == len(processes) for process in processes)


def _pairs_cut(nodes: int, arm: str) -> int:
    """Ordered pairs of members that cannot reach each other."""
    first = nodes // 2 if arm.startswith(CUTS[0]) else 1
    return 2 * first * (nodes - first)


def _until_merged(mesh: Mesh, disagreement: Disagreement, heal_s: float, patience_s: float) -> float | None:
    """Seconds from the heal until all agree, and go on agreeing; None where they do not within `patience_s`."""
    at_s = heal_s
    while at_s < heal_s + patience_s:
        at_s += 1
        mesh.run_until(at_s)
        agreed_at = max(disagreement.agreed_at, nanos(heal_s))
        if not disagreement.pairs and nanos(at_s) - agreed_at >= nanos(STEADY_S):
            return seconds(agreed_at - nanos(heal_s))
    return None
