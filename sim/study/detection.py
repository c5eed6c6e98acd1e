"""A member crashes: who knows when, beside what the formula of the suspicion timeout predicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from protocols.config import SwimConfig
from protocols.core import NANOS_PER_S
from protocols.membership.member import State
from sim.faults import Crash
from sim.scenario import Scenario
from sim.study.closed_forms import first_to_know_s, spread_s, suspicion_s
from sim.study.findings import Goal, Plot, Section, Series, Table
from sim.study.mesh import Mesh, Verdicts, seconds
from sim.study.numbers import median, quantile
from sim.study.trial import Experiment, Figures, Samples, Trial

CRASH_S = 5.0
ARM = "crash"
SLACK = 1.2
"""How far above the prediction a median may lie: rounds of probes are no Poisson process in a small mesh."""


class Detection(Experiment):
    """One crash a seed, in a mesh in which nothing else happens."""

    name = "detection"
    title = "Detection of a crash"
    share: ClassVar[Mapping[int, int]] = {5: 100, 20: 60, 100: 25, 1000: 2}

    def arms(self, nodes: int) -> tuple[str, ...]:
        return (ARM,)

    def run(self, trial: Trial) -> Figures:
        config = self.config
        _, longest, _ = suspicion_s(config, trial.nodes)
        end_s = CRASH_S + longest + 2 * trial.nodes * config.probe_interval / NANOS_PER_S
        scenario = Scenario(trial.nodes, end_s, trial.seed, membership=self.membership, faults=(Crash(CRASH_S),))
        mesh = Mesh(scenario, [Verdicts])
        (verdicts,) = mesh.observers
        assert isinstance(verdicts, Verdicts)
        mesh.run_until(CRASH_S)
        (victim,) = [process for process in mesh.world.processes if not process.up]
        crashed_at = victim.down_since
        known: dict[int, int] = {}
        at_s = CRASH_S
        while len(known) < trial.nodes - 1 and at_s < end_s:
            at_s += 1
            mesh.run_until(at_s)
            known = verdicts.first(victim.index, State.DEAD)
        doubted = verdicts.first(victim.index, State.SUSPECT)
        after = sorted(seconds(at - crashed_at) for at in known.values())
        figures = {"survivors": [trial.nodes - 1.0], "knowing": [float(len(known))]}
        if doubted:
            figures["doubted_s"] = [seconds(min(doubted.values()) - crashed_at)]
        if len(known) == trial.nodes - 1:
            figures |= {"first_s": [after[0]], "last_s": [after[-1]]}
        return figures

    def section(self, samples: Samples) -> Section:
        config = self.config
        goals: list[Goal] = []
        rows: list[tuple[str | float | None, ...]] = []
        for nodes in samples.sizes:
            first, last = samples.values(ARM, nodes, "first_s"), samples.values(ARM, nodes, "last_s")
            shortest, longest, _ = suspicion_s(config, nodes)
            predicted = [first_to_know_s(config, nodes, share) for share in (0.5, 0.99)]
            spread = spread_s(config, nodes)
            rows.append(
                (
                    *(f"{nodes:,}", samples.seeds(ARM, nodes), shortest, longest),
                    median(samples.values(ARM, nodes, "doubted_s")),
                    *(median(first), predicted[0], quantile(first, 0.99), predicted[1]),
                    *(median(last), predicted[0] + spread, quantile(last, 0.99), predicted[1] + spread),
                )
            )
            what = f"N = {nodes:,}: median of the {{}} to know (predicted, × {SLACK:g})"
            limits = SLACK * predicted[0], SLACK * (predicted[0] + spread)
            goals.append(Goal(what.format("first"), median(first), "at most", limits[0], "s", "ours"))
            goals.append(Goal(what.format("last"), median(last), "at most", limits[1], "s", "ours"))
        blind = sum(samples.total(ARM, n, "survivors") - samples.total(ARM, n, "knowing") for n in samples.sizes)
        if samples.sizes:
            goals.insert(0, Goal("survivors that never came to know", blind, "at most", 0, "", "SWIM, completeness"))
        return Section(
            name=self.name,
            title=self.title,
            asked="How long after a crash does the first member declare it dead, and how long until the last one has?",
            done=f"A drawn member of a quiet mesh crashes {CRASH_S:g} s after the start, once a seed. Links take 0.2 "
            "to 2 ms.",
            goals=tuple(goals),
            tables=(
                Table(
                    "Seconds from the crash; predictions from the formula of the suspicion timeout",
                    (
                        *("N", "seeds", "T_min", "T_max", "doubted: median"),
                        *("first: median", "predicted", "first: p99", "predicted"),
                        *("last: median", "predicted", "last: p99", "predicted"),
                    ),
                    tuple(rows),
                ),
            ),
            plots=_plots(samples, config),
            sources=(
                "The prediction: one probe interval + X + max(T_min, Y), where pings of the dead member come as a "
                "Poisson process of one an interval (SWIM, DSN 2002, section 3.1): X is the wait for the first, Y for "
                "the k = 2 further accusers that bring T(n) down to T_min (Lifeguard, DSN 2018, section IV-B). The "
                "last to know: the same, and the spread of the verdict by serf's curve.",
            ),
        )


def _plots(samples: Samples, config: SwimConfig) -> tuple[Plot, ...]:
    sizes = [nodes for nodes in samples.sizes if samples.values(ARM, nodes, "first_s")]
    if not sizes:
        return ()

    def line(name: str, figure: str, share: float) -> Series:
        points = [(float(n), quantile(samples.values(ARM, n, figure), share) or 0.0) for n in sizes]
        return Series(name, tuple(points))

    predicted = tuple((float(nodes), first_to_know_s(config, nodes, 0.5)) for nodes in sizes)
    ranks = tuple(
        Series(
            f"N = {nodes:,}",
            tuple((value, (rank + 1) / samples.seeds(ARM, nodes)) for rank, value in enumerate(last)),
        )
        for nodes in sizes
        if (last := sorted(samples.values(ARM, nodes, "last_s")))
    )
    return (
        Plot(
            "From the crash to the verdict, by the size of the mesh",
            "members",
            "seconds",
            (
                line("last to know, p99", "last_s", 0.99),
                line("last to know, median", "last_s", 0.5),
                line("first to know, median", "first_s", 0.5),
                Series("first to know, predicted median", predicted, "dashed"),
                Series("T_min", tuple((float(n), suspicion_s(config, n)[0]) for n in sizes), "dashed"),
            ),
            log_x=True,
        ),
        Plot("Share of crashes that all survivors knew of", "seconds since the crash", "share of seeds", ranks),
    )
