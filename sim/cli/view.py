"""`meshsim view`: one seed of a scenario file as a space-time diagram, in one HTML file that needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sim.cli.options import Changes, ScenarioFile, Seed, scenario_of
from sim.cli.outputs import check_file, write_file
from sim.cli.status import Exit
from sim.errors import ScenarioError

LIMIT_MAX = 5_000_000
"""More than this no browser takes in one file."""

HtmlFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The HTML file. (default: SCENARIO-SEED.html in this folder)")
]


def view_command(
    scenario: ScenarioFile,
    seed: Seed = None,
    out: HtmlFile = None,
    from_s: Annotated[
        float, typer.Option("--from", metavar="S", help="Show messages from this virtual second on.")
    ] = 0.0,
    to_s: Annotated[
        float | None,
        typer.Option("--to", metavar="S", help="… up to this one. (default: to the end)", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(metavar="EVENTS", help="Keep at most the last so many events.")] = 200_000,
) -> int:
    """Write what happens in one seed as a diagram: messages, faults, crashes, verdicts, violations."""
    wanted = scenario_of(scenario, Changes(), seed)
    _check(from_s, to_s, limit)
    path = out or Path(f"{scenario.stem}-{wanted.seed}.html")
    check_file("--out", path, scenario)

    from protocols.core import NANOS_PER_S
    from sim.record.recorder import record
    from sim.view import render

    report, recording = record(wanted, limit=limit, since_s=from_s, until_s=to_s)
    end_s = recording.end / NANOS_PER_S
    if from_s >= end_s:
        raise ScenarioError(f"--from {from_s:g}: the run is over at {end_s:.1f} s. Begin sooner.")
    write_file("--out", path, render(recording))
    outcome = "every property held" if report.held else f"{len(report.violations)} violations"
    print(f"seed {report.seed}: {outcome}, {len(recording.happenings):,} events")
    if recording.forgotten:
        print(f"{recording.forgotten:,} earlier events did not fit; --from, --to and --limit say which to keep.")
    print(f"wrote {path}; open it in any browser: {path.resolve().as_uri()}")
    return Exit.HELD if report.held else Exit.VIOLATED


def _check(from_s: float, to_s: float | None, limit: int) -> None:
    if not 0 <= from_s < float("inf"):
        raise ScenarioError(f"--from {from_s:g}: virtual time starts at 0 s.")
    if to_s is not None and not from_s < to_s < float("inf"):
        raise ScenarioError(f"--to {to_s:g} is not after --from {from_s:g}: there would be nothing to show.")
    if not 1 <= limit <= LIMIT_MAX:
        raise ScenarioError(f"--limit {limit}: it is a number of events, 1 to {LIMIT_MAX:,}.")
