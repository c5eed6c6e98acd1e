"""News under loss: a member leaves, and the others come to know; beside the curve of serf's simulator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from protocols.core import Instant, Outcome
from protocols.membership.member import State
from protocols.membership.views import Leave
from sim.faults.fault import nanos
from sim.network import LinkProfile
from sim.process import NEVER, Process
from sim.scenario import Scenario
from sim.study.closed_forms import INFORMED, SLACK, gossip_reaches, informed_share, spread_s
from sim.study.findings import Cell, Goal, Plot, Section, Series, Table
from sim.study.mesh import Mesh, Verdicts, seconds
from sim.study.numbers import quantile
from sim.study.trial import Experiment, Figures, Samples, Trial

LOSSES = (0, 10, 20, 30)
"""Per cent of all datagrams."""
BEGIN_S = 5.0
SPACING_S = 6.0
"""From one leave to the next: the news of the one before has left every queue."""
WATCHED_S = 20.0
"""How long after the last one it is noted who comes to know at all: gossip is long over."""
USUAL_NODES_MAX = 200
"""In larger meshes that lose a fifth or more, many probes fail, and their suspicions take minutes of computing."""
NEWS_MAX = 3
STEPS = 40
"""Points of the curve, up to twice the closed form."""
DEAD_LOSS_MAX = 20
"""Per cent of loss below which no leave may be taken for a failure."""

COLUMNS = (
    *("loss", "N", "seeds", "closed form", f"× {SLACK:g}", "in time, %", "within reach, %", "ever, %"),
    *("all know: median", "all know: p99", "taken for dead"),
)


class Dissemination(Experiment):
    """A few members leave gracefully, one after the other."""

    name = "dissemination"
    title = "Dissemination under loss"
    share: ClassVar[Mapping[int, int]] = {5: 100, 20: 40, 100: 4, 1000: 1}

    def arms(self, nodes: int) -> tuple[str, ...]:
        return tuple(arm_of(loss) for loss in LOSSES)

    def usual_arms(self, nodes: int) -> tuple[str, ...]:
        return self.arms(nodes) if nodes <= USUAL_NODES_MAX else tuple(arm_of(loss) for loss in LOSSES[:2])

    def run(self, trial: Trial) -> Figures:
        loss = int(trial.arm.partition(" ")[0]) / 100
        leavers = range(trial.nodes - min(NEWS_MAX, max(1, trial.nodes // 5)), trial.nodes)
        left_at = {index: nanos(BEGIN_S + SPACING_S * place) for place, index in enumerate(leavers)}
        end_s = BEGIN_S + SPACING_S * (len(leavers) - 1) + WATCHED_S
        link = LinkProfile(loss=loss)
        mesh = Mesh(Scenario(trial.nodes, end_s, trial.seed, link=link, membership=self.membership), [Verdicts])
        for index, at in left_at.items():
            mesh.world.kernel.push(at, _leave, mesh.world.processes[index])
        mesh.run_until(end_s)
        (verdicts,) = mesh.observers
        assert isinstance(verdicts, Verdicts)
        usual = spread_s(self.config, trial.nodes, loss)
        figures: Figures = {name: [0.0] for name in ("asked", "in_time", "ever", "taken_for_dead")}
        figures["all_s"] = []
        curve = [0.0] * (STEPS + 1)
        for index, at in left_at.items():
            known = verdicts.first(index, State.LEFT)
            others = [other for other in range(trial.nodes) if left_at.get(other, NEVER) > at]
            times = [seconds(known[other] - at) for other in others if other in known]
            figures["asked"][0] += len(others)
            figures["ever"][0] += len(times)
            figures["in_time"][0] += sum(time <= SLACK * usual for time in times)
            figures["taken_for_dead"][0] += len(verdicts.first(index, State.DEAD))
            if len(times) == len(others):
                figures["all_s"].append(max(times))
            for step in range(STEPS + 1):
                curve[step] += sum(time <= 2 * usual * step / STEPS for time in times)
        return figures | {f"curve {step}": [count] for step, count in enumerate(curve)}

    def section(self, samples: Samples) -> Section:
        goals: list[Goal] = []
        rows: list[tuple[Cell, ...]] = []
        for loss in LOSSES:
            for nodes in samples.sizes_of(arm_of(loss)):
                told, row = self._told(samples, loss, nodes)
                goals += told
                rows.append(row)
        return Section(
            name=self.name,
            title=self.title,
            asked="How fast does one piece of news reach everybody where links lose datagrams, and does it reach all?",
            done="Members of a mesh that is quiet otherwise leave gracefully, six seconds apart, and stop; every "
            f"other member is asked when it came to know. Who ever does is looked at {WATCHED_S:g} s after the last "
            "leave, when gossip is long over.",
            goals=tuple(goals),
            tables=(
                Table(
                    "Seconds from the leave; shares of all members asked, over all seeds",
                    COLUMNS,
                    tuple(rows),
                ),
            )
            if rows
            else (),
            plots=tuple(self._plot(samples, nodes) for nodes in samples.sizes if nodes >= min(samples.sizes[-1], 100)),
            sources=(
                "The closed form: serf's convergence simulator (serf.io, docs/internals/simulator), a logistic "
                "epidemic as in SWIM, section 4.1: after r rounds 1 / (1 + (N+1)·e^(−fanout·(1−loss)/2·r)) of the "
                f"members know; solved for {100 * INFORMED:g} %, times the gossip interval.",
                "Within reach: about how many gossip reaches at all, for news is passed on "
                "retransmit_mult·⌈log10(N+1)⌉ times, or in gossip_rounds_min rounds, and no more: "
                "1 − (1 − fanout·(1−loss)/(N−1))^((N−1)·rounds). Who is missed waits for an exchange of tables.",
            ),
        )

    def _told(self, samples: Samples, loss: int, nodes: int) -> tuple[list[Goal], tuple[Cell, ...]]:
        """What there is to say of one size at one rate of loss: goals, and a row of the table."""
        arm = arm_of(loss)
        asked = samples.total(arm, nodes, "asked")
        informed, ever = (100 * samples.total(arm, nodes, name) / asked for name in ("in_time", "ever"))
        reach = 100 * gossip_reaches(self.config, nodes, loss / 100)
        dead = samples.total(arm, nodes, "taken_for_dead")
        usual = spread_s(self.config, nodes, loss / 100)
        times = [quantile(samples.values(arm, nodes, "all_s"), share) for share in (0.5, 0.99)]
        what = f"N = {nodes:,}, loss {loss} %"
        in_time = f"{what}: informed within {SLACK:g} × the closed form"
        goals = [Goal(in_time, informed, "at least", 100 * INFORMED, "%")]
        if loss < DEAD_LOSS_MAX:
            goals.append(Goal(f"{what}: leaves taken for failures", dead, "at most", 0))
        first: tuple[Cell, ...] = (f"{loss} %", f"{nodes:,}", samples.seeds(arm, nodes), usual, SLACK * usual)
        return goals, (*first, informed, reach, ever, *times, dead)

    def _plot(self, samples: Samples, nodes: int) -> Plot:
        series: list[Series] = []
        longest = 2 * spread_s(self.config, nodes, max(LOSSES) / 100)
        for loss in LOSSES:
            arm = arm_of(loss)
            asked = samples.total(arm, nodes, "asked")
            if asked:
                usual = spread_s(self.config, nodes, loss / 100)
                points = [
                    (2 * usual * step / STEPS, 100 * samples.total(arm, nodes, f"curve {step}") / asked)
                    for step in range(STEPS + 1)
                ]
                series.append(Series(f"loss {loss} %", tuple(points)))
        for loss in (LOSSES[0], LOSSES[-1]):
            times = [longest * step / STEPS for step in range(STEPS + 1)]
            theory = tuple((at, 100 * informed_share(self.config, nodes, loss / 100, at)) for at in times)
            series.append(Series(f"serf's curve, loss {loss} %", theory, "dashed"))
        caption = f"Members that know, N = {nodes:,}"
        return Plot(caption, "seconds since the leave", "% of members", tuple(series))


def arm_of(loss: int) -> str:
    """What links are like: `10 % loss`."""
    return f"{loss} % loss"


def _leave(now: Instant, leaver: Process, _: None) -> None:
    """Let a node leave, and stop it once it says that the mesh knows, as the daemon does."""

    def gone(now: Instant, outcome: Outcome) -> None:
        leaver.world.kernel.push(now, lambda now, a, b: leaver.world.crash(leaver))

    leaver.request(now, Leave(), gone)
