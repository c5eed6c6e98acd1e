"""Links that work one way, or on and off: how often what consumers see of the members changes."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import ClassVar

from protocols.core import NANOS_PER_S
from protocols.membership.steady import returns_max
from sim.faults import AnyFault, Flapping, Lossy, OneWay
from sim.faults.fault import nanos
from sim.scenario import Scenario
from sim.study.findings import Cell, Goal, Plot, Section, Series, Table
from sim.study.mesh import Mesh
from sim.study.numbers import mean, quantile
from sim.study.trial import Experiment, Figures, Samples, Trial
from sim.study.views import Views

ARMS = {
    "deaf on and off": "hear nothing for 20 s, then everything for 20 s, and so on",
    "mute on and off": "are not heard for 20 s, then are for 20 s, and so on",
    "deaf": "hear nothing all the time",
    "mute": "are not heard all the time",
    "80 % loss": "lose 80 % of all datagrams that they send",
    "flapping links": "have links that come and go every few seconds",
}
PERCENT = 1
BEGIN_S = 10.0
TURN_S = 20.0
MINUTES = 4.0
END_S = BEGIN_S + 60 * MINUTES


class Stability(Experiment):
    """A hundredth of the members, one at least, is badly connected for four minutes."""

    name = "stability"
    title = "Visible view changes under bad links"
    share: ClassVar[Mapping[int, int]] = {20: 4, 100: 1, 1000: 0}
    sizes_min = 3

    def arms(self, nodes: int) -> tuple[str, ...]:
        return tuple(ARMS)

    def run(self, trial: Trial) -> Figures:
        bad = faulty(trial)
        faults = _faults(trial.arm, bad, tuple(f"n{i}" for i in range(trial.nodes)))
        mesh = Mesh(Scenario(trial.nodes, END_S, trial.seed, membership=self.membership, faults=faults), [Views])
        (views,) = mesh.observers
        assert isinstance(views, Views)
        mesh.run_until(END_S)
        names = {process.config.node_id: process.name for process in mesh.world.processes}
        seen = [0] * trial.nodes
        below = of_healthy = 0
        for at, observer, members in views.views:
            if at >= nanos(BEGIN_S) and f"n{observer}" not in bad:
                seen[observer] += 1
                of_healthy += sum(names[member] not in bad for member in members)
        for at, observer, _ in views.tables:
            below += at >= nanos(BEGIN_S) and f"n{observer}" not in bad
        rates = [seen[index] / MINUTES / len(bad) for index in range(trial.nodes) if f"n{index}" not in bad]
        return {
            "mean": [mean(rates) or 0.0],
            "most": [max(rates)],
            "of_healthy": [of_healthy / MINUTES / len(rates)],
            "in_table": [below / MINUTES / len(bad) / len(rates)],
        }

    def section(self, samples: Samples) -> Section:
        goals: list[Goal] = []
        rows: list[tuple[Cell, ...]] = []
        most_allowed = 2 * returns_max(self.config, nanos(60 * MINUTES)) / MINUTES
        for arm in ARMS:
            for nodes in samples.sizes_of(arm):
                most = samples.values(arm, nodes, "most")
                healthy = mean(samples.values(arm, nodes, "of_healthy"))
                rows.append(
                    (
                        *(arm, f"{nodes:,}", samples.seeds(arm, nodes), mean(samples.values(arm, nodes, "mean"))),
                        *(quantile(most, 0.5), max(most), healthy, mean(samples.values(arm, nodes, "in_table"))),
                    )
                )
                goals.append(
                    Goal(
                        f"N = {nodes:,}, {arm}: changes a minute and faulty member, the worst observer",
                        max(most),
                        "at most",
                        most_allowed,
                        source="ours",
                    )
                )
        return Section(
            name=self.name,
            title=self.title,
            asked="Links that work one way, or on and off, make memberlist oscillate. How many view changes a minute "
            "does a consumer at a healthy member see?",
            done=f"{PERCENT} % of the members, one at least, are badly connected for {MINUTES:g} minutes: "
            + "; ".join(f"{arm}: they {what}" for arm, what in ARMS.items())
            + ". A view change is a published view with which members go (dead, left) or come back; a suspect is a "
            "member. The issue asks for a bound; ours follows from the settings: a member is back in views 3 + T / "
            f"flap_cost times in any T at most, and as often gone: {most_allowed:g} a minute over so long, "
            f"and {2 * 60 * NANOS_PER_S / self.config.flap_cost:g} in the long run.",
            goals=tuple(goals),
            tables=(
                Table(
                    "Visible view changes a minute and faulty member, at healthy members",
                    (
                        "links",
                        "N",
                        "seeds",
                        "mean",
                        "worst observer: median",
                        "worst of all",
                        "about healthy members",
                        "in the table: mean",
                    ),
                    tuple(rows),
                ),
            )
            if rows
            else (),
            plots=_plots(samples, most_allowed),
            sources=(
                "Rapid (Suresh et al.: Stable and Consistent Membership at Scale with Rapid, USENIX ATC 2018), section "
                "7: one hundredth of the processes with one-way connectivity that flip-flops every 20 s, and with 80 % "
                "loss; memberlist oscillates and never removes all of them.",
            ),
        )


def faulty(trial: Trial) -> tuple[str, ...]:
    """The badly connected members, drawn."""
    count = max(1, round(trial.nodes * PERCENT / 100))
    return tuple(f"n{index}" for index in Random(f"{trial.seed}/study/faulty").sample(range(trial.nodes), count))


def _faults(arm: str, bad: tuple[str, ...], names: tuple[str, ...]) -> tuple[AnyFault, ...]:
    others = tuple(name for name in names if name not in bad)
    match arm.removesuffix(" on and off"):
        case "80 % loss":
            return (Lossy(BEGIN_S, END_S, nodes=bad, loss=0.8, way="out"),)
        case "flapping links":
            return (Flapping(BEGIN_S, END_S, nodes=bad, to=others[: len(others) // 2], down_s_max=8.0, up_s_max=8.0),)
        case "deaf":
            speakers, listeners = others, bad
        case _:
            speakers, listeners = bad, others
    turn_s = TURN_S if arm.endswith("on and off") else END_S - BEGIN_S
    cuts: list[AnyFault] = []
    at_s = BEGIN_S
    while at_s < END_S:
        cuts.append(OneWay(at_s, min(at_s + turn_s, END_S), nodes=speakers, to=listeners))
        at_s += 2 * turn_s
    return tuple(cuts)


def _plots(samples: Samples, most_allowed: float) -> tuple[Plot, ...]:
    sizes = samples.sizes
    if not sizes:
        return ()
    series = [
        Series(
            f"N = {nodes:,}",
            tuple(
                (float(place), mean(samples.values(arm, nodes, "mean")) or 0.0)
                for place, arm in enumerate(ARMS)
                if samples.seeds(arm, nodes)
            ),
        )
        for nodes in sizes
    ]
    return (
        Plot(
            "View changes a minute and faulty member, mean over healthy observers",
            "links",
            "a minute",
            tuple(series),
            groups=tuple(ARMS),
            line_at=most_allowed,
            line_says="bound",
        ),
    )
