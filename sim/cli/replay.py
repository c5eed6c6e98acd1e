"""`meshsim replay`: one seed of a scenario file, every figure, and its failure told in full."""

from __future__ import annotations

from sim.cli.options import AsJson, Changes, Out, ScenarioFile, Seed, ShrinkSeconds, scenario_of
from sim.cli.outputs import check_folder
from sim.cli.single import run_single


def replay_command(
    scenario: ScenarioFile, seed: Seed = None, as_json: AsJson = False, out: Out = None, shrink: ShrinkSeconds = 20.0
) -> int:
    """Run one seed of a scenario again: every figure, and what failed in full."""
    wanted = scenario_of(scenario, Changes(), seed)
    check_folder("--out", out)
    return run_single(wanted, file=scenario, changes=Changes(), as_json=as_json, out=out, shrink_s=shrink)
