"""`meshsim run`: one seed of a scenario, or many, and what was violated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim.cli.options import (
    AsJson,
    Changes,
    OptionalFile,
    Out,
    Seed,
    ShrinkSeconds,
    check_jobs,
    scenario_of,
)
from sim.cli.outputs import FAILURES, check_file, check_folder
from sim.cli.single import run_single
from sim.errors import ScenarioError
from sim.seeds import parse_seeds

if TYPE_CHECKING:
    from sim.scenario import Report, Scenario


def run_command(
    scenario: OptionalFile = None,
    seed: Seed = None,
    seeds: Annotated[str, typer.Option(metavar="A..B", help="Run every seed from A up to, not including, B.")] = "",
    jobs: Annotated[int, typer.Option(help="Processes for --seeds; 0: one per core. Results do not depend on it.")] = 0,
    dask: Annotated[str, typer.Option(metavar="ADDRESS", help="A Dask scheduler that takes the seeds: tcp://…")] = "",
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write JUnit XML, a case per seed.")] = None,
    as_json: AsJson = False,
    out: Out = None,
    shrink: ShrinkSeconds = 20.0,
    nodes: Annotated[int | None, typer.Option(help="How many nodes. (default: 5)")] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Virtual seconds, before the mesh is given time to settle. (default: 60)")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="converged (the default): all know each other; join: they find each other.")
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="SPEC", help="KIND[:COUNT]@START-END, as in isolate:2@10-40. Repeatable."),
    ] = None,
    partition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC", help="halves@30-60, isolate:2@10-40 (2 nodes), oneway:2@10-40 (unheard). Repeatable."
        ),
    ] = None,
    crash: Annotated[
        list[str] | None,
        typer.Option(metavar="SPEC", help="3@20-35: 3 nodes are down from 20 to 35 s; 3@20: for good. Repeatable."),
    ] = None,
    disk_full: Annotated[
        list[str] | None,
        typer.Option(metavar="SPEC", help="2@20-40: every write of 2 nodes fails from 20 to 40 s. Repeatable."),
    ] = None,
    loss: Annotated[float | None, typer.Option(metavar="P", help="Probability that a datagram is lost.")] = None,
    duplicate: Annotated[float | None, typer.Option(metavar="P", help="… that a datagram arrives twice.")] = None,
    reorder: Annotated[float | None, typer.Option(metavar="P", help="… that a datagram is overtaken.")] = None,
    tasks: Annotated[float | None, typer.Option(metavar="RATE", help="Tasks handed in per virtual second.")] = None,
    events: Annotated[float | None, typer.Option(metavar="RATE", help="User events per virtual second.")] = None,
) -> int:
    """Run a mesh, or one per seed, and say what was violated."""
    if seed is not None and seeds:
        raise ScenarioError(f"--seed {seed} is one run, --seeds {seeds} are many. Leave one of the two out.")
    faults, cuts = tuple(fault or ()), tuple(partition or ())
    crashes, full = tuple(crash or ()), tuple(disk_full or ())
    changes = Changes(nodes, seconds, start, faults, cuts, crashes, full, loss, duplicate, reorder, tasks, events)
    wanted = scenario_of(scenario, changes, seed)
    check_jobs(jobs)
    chosen = parse_seeds("--seeds ", seeds) if seeds else range(wanted.seed, wanted.seed + 1)
    check_folder("--out", out)
    check_file("--junit", junit, scenario)
    folder = FAILURES if out is None else out
    if not seeds and junit is None and not dask:
        return run_single(wanted, file=scenario, changes=changes, as_json=as_json, out=folder, shrink_s=shrink)

    from sim.cli.sweeping import Sweep

    sweep = Sweep(
        wanted,
        chosen,
        file=scenario,
        changes=changes,
        as_json=as_json,
        out=folder,
        junit=junit,
        shrink_s=shrink,
        whole=bool(seeds),
    )
    return sweep.run(_reports(wanted, chosen, jobs, dask))


def _reports(scenario: Scenario, seeds: range, jobs: int, dask: str) -> Iterator[Report]:
    from sim.sweep import sweep, usable_cores

    if not dask:
        return sweep(scenario, seeds, jobs or usable_cores())
    from sim.sweep.dask import dask_sweep

    return dask_sweep(scenario, seeds, dask)
