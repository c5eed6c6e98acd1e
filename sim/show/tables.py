"""Results for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.scenario import Report, Scenario
from sim.show.tally import Tally
from sim.show.words import counted, headline, listed, plural

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from sim.checkers import Violation

VIOLATIONS_SHOWN = 20


def show_report(console: Console, scenario: Scenario, report: Report) -> None:
    """One run: what it was, every figure, what it violated."""
    console.print(headline(scenario), markup=False, highlight=False, soft_wrap=True)
    show_figures(console, figures_of(report))
    if report.held:
        console.print("every property held", style="green")
    shown = [(report.seed, violation) for violation in report.violations[:VIOLATIONS_SHOWN]]
    show_violations(console, shown, len(report.violations))


def show_sweep(console: Console, scenario: Scenario, tally: Tally, total: int) -> None:
    """A sweep: what it was, its figures, what was violated by which seeds, and what it never came to."""
    coverage = tally.coverage
    console.print(headline(scenario), markup=False, highlight=False, soft_wrap=True)
    show_figures(console, sweep_figures(tally, total))
    show_violations(console, tally.violations, tally.violations_total)
    if coverage.violated:
        text = f"{coverage.violated:,} of {plural(tally.seeds, 'seed')} violated a property: "
        text += listed(coverage.violated_seeds, coverage.violated)
        console.print(text, style="bold", markup=False, highlight=False, soft_wrap=True)
    elif tally.seeds:
        console.print("every property held", style="green")
    for gap in tally.gaps():
        console.print(gap, style="bold red", markup=False, highlight=False, soft_wrap=True)
    if tally.broken_off:
        text = f"interrupted after {tally.seeds:,} of {plural(total, 'seed')}; this is what they gave"
        console.print(text, style="bold", highlight=False)


def sweep_figures(tally: Tally, total: int) -> list[tuple[str, str]]:
    """(name, value) of every figure of a sweep."""
    coverage = tally.coverage
    done = plural(tally.seeds, "seed") if tally.seeds == total else f"{tally.seeds:,} of {plural(total, 'seed')}"
    rate = f", {tally.seeds / tally.elapsed_s:.1f} seeds/s" if tally.elapsed_s else ""
    figures = [
        ("seeds", f"{done} in {tally.elapsed_s:.1f} s{rate}; {coverage.wall_seconds:.1f} s of computing"),
        ("virtual", f"{coverage.virtual_seconds / 3600:.1f} hours, {coverage.events:,} events"),
        ("trace hash", coverage.trace_hash),
    ]
    if coverage.faults:
        figures.append(("faults", counted(coverage.faults.items())))
    figures += [("sometimes", f"{name}: in {plural(count, 'seed')}") for name, count in coverage.sometimes.items()]
    if tally.agreed_after_s is not None:
        figures.append(("agreed", f"at the latest {tally.agreed_after_s:.1f} s after the last disturbance"))
    return figures


def figures_of(report: Report) -> list[tuple[str, str]]:
    """(name, value) of every figure of a run."""
    figures = [
        ("seed", str(report.seed)),
        ("trace hash", report.trace_hash),
        ("events", f"{report.events:,}"),
        ("virtual", f"{report.virtual_seconds:.1f} s"),
        ("wall", f"{report.wall_seconds:.2f} s, {report.times_real_time:g} × real time"),
        ("set-up", f"{report.setup_seconds:.2f} s"),
    ]
    for name, counts in (
        ("messages", report.messages),
        ("lost", report.drops),
        ("faults", report.faults),
        ("tasks", report.tasks),
    ):
        if counts:
            figures.append((name, counted(counts.items())))
    figures += [
        ("sometimes", f"{name}: {'yes' if was else 'not in this run'}") for name, was in report.sometimes.items()
    ]
    if report.agreed_after_s is not None:
        figures.append(("agreed", f"{report.agreed_after_s:.1f} s after the last disturbance"))
    return figures


def show_figures(console: Console, figures: Iterable[tuple[str, str]]) -> None:
    """A table without lines."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in figures:
        table.add_row(name, Text(value))
    console.print(table)


def show_violations(console: Console, violations: Iterable[tuple[int, Violation]], total: int) -> None:
    """The first violations, each with its seed; how many more there are."""
    from rich.text import Text

    shown = 0
    for seed, violation in violations:
        shown += 1
        where = f"{violation.node}: " if violation.node else ""
        line = f"seed {seed}, {violation.time_s:.3f} s, {where}{violation.text}"
        console.print(Text.assemble((violation.property, "bold red"), "  ", line), soft_wrap=True)
    if total > shown:
        console.print(f"… and {total - shown:,} more", highlight=False)
