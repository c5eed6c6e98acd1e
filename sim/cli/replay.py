"""`meshsim replay`: one seed of a scenario file, every figure, and its failure told in full."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sim.cli.options import AsJson, Changes, ScenarioFile, Seed, ShrinkSeconds, scenario_of
from sim.cli.outputs import check_folder
from sim.cli.single import run_single

Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Write the failing seed there as TOML. Without it nothing is written."),
]


def replay_command(
    scenario: ScenarioFile, seed: Seed = None, as_json: AsJson = False, out: Out = None, shrink: ShrinkSeconds = 20.0
) -> int:
    """Run one seed of a scenario again: every figure, and what failed in full."""
    wanted = scenario_of(scenario, Changes(), seed)
    check_folder("--out", out)
    return run_single(wanted, file=scenario, changes=Changes(), as_json=as_json, out=out, shrink_s=shrink)
