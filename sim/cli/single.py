"""One seed, run and told in full."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sim.cli.options import Changes, again
from sim.cli.status import Exit

if TYPE_CHECKING:
    from sim.scenario import Scenario


def run_single(
    scenario: Scenario, *, file: Path | None, changes: Changes, as_json: bool, out: Path | None, shrink_s: float
) -> int:
    """Run `scenario` with its own seed. The exit status."""
    from rich.console import Console

    from sim.cli.failing import failure_document, look_into
    from sim.failure.render import show
    from sim.failure.shrink import End
    from sim.show.documents import print_json, run_document
    from sim.show.tables import show_report
    from sim.sweep.seed import run_seed, run_whatever_comes

    report = run_whatever_comes(run_seed, scenario, scenario.seed)
    console = Console()
    if not as_json:
        show_report(console, scenario, report)
    failure = None
    if not report.held:
        repro = again(file, changes, report.seed)
        failure = look_into(scenario, report, passing=None, out=out, repro=repro, shrink_s=shrink_s, quiet=as_json)
    if as_json:
        tail = {"failure": None if failure is None else failure_document(failure)}
        print_json(run_document(scenario, report) | tail)
    elif failure is not None:
        console.print()
        show(failure, console)
    if failure is not None and failure.shrunk is not None and failure.shrunk.end is End.INTERRUPTED:
        return Exit.INTERRUPTED
    return Exit.HELD if report.held else Exit.VIOLATED
