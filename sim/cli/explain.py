"""`meshsim explain`: what a scenario will do, in words. Runs nothing."""

from __future__ import annotations

from sim.cli.options import Changes, ScenarioFile, Seed, scenario_of
from sim.cli.status import Exit


def explain_command(scenario: ScenarioFile, seed: Seed = None) -> int:
    """Say in words what a scenario will do, what is checked, and what a seed draws."""
    from rich.console import Console

    from sim.show.explain import explain

    console = Console()
    for line in explain(scenario_of(scenario, Changes(), seed), drawn=seed is not None):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return Exit.HELD
