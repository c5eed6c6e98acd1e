"""`meshsim study membership`: what the protocols do over many seeds, beside the goals, as text, HTML and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim.cli.interrupts import Interrupts
from sim.cli.options import check_jobs
from sim.cli.outputs import check_file, write_file
from sim.cli.status import Exit
from sim.errors import ScenarioError, nearest
from sim.seeds import parse_seeds

if TYPE_CHECKING:
    from sim.study.trial import Experiment, Figures, Trial

STUDIES = ("membership",)

Name = Annotated[str, typer.Argument(metavar="STUDY", help="membership is the one there is.", show_default=False)]


def study_command(
    name: Name,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="One HTML file with tables and plots. It fetches nothing.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Every figure. The same seeds give the same file.")
    ] = None,
    seeds: Annotated[
        str,
        typer.Option(metavar="A..B", help="Every seed of every size; 0..500 is the whole. (default: about 5 minutes)"),
    ] = "",
    nodes: Annotated[str, typer.Option(metavar="N,N,…", help="Sizes of the mesh.")] = "5,20,100,1000",
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this experiment. Repeatable; a wrong one lists all.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes; 0: one per core. Results do not depend on it.")] = 1,
) -> int:
    """Measure detection, false positives, dissemination, re-merge, traffic and stability, beside their goals."""
    if name not in STUDIES:
        raise ScenarioError(f"There is no study {name!r}. {nearest(name, STUDIES)}")
    check_jobs(jobs)
    check_file("--out", out)
    check_file("--json", json_file)
    chosen_seeds = parse_seeds("--seeds ", seeds) if seeds else None

    from sim.study.plan import chosen, conclude, parse_sizes, plan
    from sim.study.report import document, render, summary

    sizes = parse_sizes("--nodes", nodes)
    experiments = chosen("--only", only or ())
    trials = list(plan(experiments, sizes, chosen_seeds))
    if not trials:
        raise ScenarioError(_why_no_trials(experiments, sizes, nodes))
    taken, interrupted, errors = _measure(trials, jobs)
    if errors and not taken:
        raise errors[0]
    study = conclude(experiments, sizes, chosen_seeds, taken, len(trials))
    print(summary(study), end="")
    if out is not None:
        write_file("--out", out, render(study))
        print(f"wrote {out}; open it in any browser: {out.resolve().as_uri()}")
    if json_file is not None:
        write_file("--json", json_file, document(study))
        print(f"wrote {json_file}")
    if errors:
        raise errors[0]
    if interrupted:
        return Exit.INTERRUPTED
    return Exit.HELD if all(goal.met for goal in study.goals) else Exit.VIOLATED


def _why_no_trials(experiments: Sequence[Experiment], sizes: Sequence[int], nodes: str) -> str:
    if any(max(sizes) >= experiment.sizes_min for experiment in experiments):
        return f"--nodes {nodes}: the usual share has no seed of these experiments so large. Name --seeds, as in 0..2."
    return f"--nodes {nodes}: these experiments want larger meshes. Name 20 or more."


def _measure(trials: Sequence[Trial], jobs: int) -> tuple[list[tuple[Trial, Figures]], bool, list[ScenarioError]]:
    """What was measured; whether Ctrl-C ended it; what else did."""
    from sim.show.progress import with_progress
    from sim.study.pool import measure
    from sim.sweep import usable_cores

    taken: list[tuple[Trial, Figures]] = []
    running = with_progress(
        measure(trials, jobs or usable_cores()),
        sum(trial.nodes for trial in trials),
        quiet=False,
        noun="nodes",
        weight=lambda one: one[0].nodes,
    )
    with Interrupts() as interrupts:
        try:
            while (one := _next(running, interrupts)) is not None:
                taken.append(one)
        except KeyboardInterrupt:
            return taken, True, []
        except ScenarioError as error:
            return taken, False, [error]
    return taken, False, []


def _next(running: Iterator[tuple[Trial, Figures]], interrupts: Interrupts) -> tuple[Trial, Figures] | None:
    with interrupts.heeded():
        return next(running, None)
