"""How results are printed: one JSON document for machines, tables for people. Decides nothing."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from sim.faults.short import spec_of
from sim.scenario import Report, Scenario

if TYPE_CHECKING:
    from rich.console import Console

VIOLATIONS_SHOWN = 20
Document = dict[str, Any]


def run_document(scenario: Scenario, report: Report) -> Document:
    """The JSON document of one run."""
    return {"held": report.held, **msgspec.to_builtins(report), "scenario": msgspec.to_builtins(scenario)}


def sweep_document(scenario: Scenario, reports: list[Report]) -> Document:
    """The JSON document of a sweep; `trace_hash` is over the hashes of all runs, in the order of the seeds."""
    whole = blake2b(digest_size=16)
    for report in reports:
        whole.update(report.trace_hash.encode())
    return {
        "held": all(report.held for report in reports),
        "seeds": len(reports),
        "violated_seeds": [report.seed for report in reports if not report.held],
        "trace_hash": whole.hexdigest(),
        "scenario": msgspec.to_builtins(scenario),
        "runs": [msgspec.to_builtins(report) for report in reports],
    }


def print_json(document: Document) -> None:
    """The document on stdout, and nothing else."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")


def repro(scenario: Scenario, seed: int) -> str:
    """The command line that runs one seed of a scenario again."""
    words = [
        "meshsim",
        "run",
        "--nodes",
        str(scenario.nodes),
        "--seconds",
        f"{scenario.seconds:g}",
        "--seed",
        str(seed),
    ]
    if scenario.start != "converged":
        words += ["--start", scenario.start]
    for fault in scenario.faults:
        option = {"crash": "--crash", "diskfull": "--disk-full"}.get(fault.kind(), "--partition")
        words += [option, spec_of(fault)]
    for name in ("loss", "duplicate", "reorder"):
        if getattr(scenario.link, name):
            words += [f"--{name}", f"{getattr(scenario.link, name):g}"]
    if scenario.tasks_per_s:
        words += ["--tasks", f"{scenario.tasks_per_s:g}"]
    return shlex.join(words)


def with_progress(reports: Iterator[Report], total: int, *, quiet: bool) -> Iterable[Report]:
    """Pass `reports` through under a progress bar on stderr, where a person is there to see it."""
    if quiet or not sys.stderr.isatty():
        yield from reports
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    rate = TextColumn("{task.speed:.1f} seeds/s")
    with Progress(
        BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task("seeds", total=total)
        for report in reports:
            bar.advance(task)
            yield report


def show_report(scenario: Scenario, report: Report) -> None:
    """One run for people."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(headline(scenario), highlight=False, soft_wrap=True)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in _figures(report):
        table.add_row(name, value)
    console.print(table)
    _show_violations(console, scenario, [report])


def show_sweep(scenario: Scenario, reports: list[Report]) -> None:
    """A sweep for people."""
    from rich.console import Console

    console = Console()
    document = sweep_document(scenario, reports)
    events = sum(report.events for report in reports)
    wall_s = sum(report.wall_seconds for report in reports)
    console.print(headline(scenario), highlight=False, soft_wrap=True)
    console.print(
        f"{len(reports)} seeds, {events:,} events, {wall_s:.1f} s of computing, trace hash {document['trace_hash']}",
        highlight=False,
        soft_wrap=True,
    )
    _show_violations(console, scenario, reports)


def headline(scenario: Scenario) -> str:
    """What is run, in words."""
    parts = [f"{scenario.nodes} nodes", f"{scenario.seconds:g} virtual seconds", f"start {scenario.start}"]
    parts += [fault.describe() for fault in scenario.faults]
    for name in ("loss", "duplicate", "reorder"):
        if getattr(scenario.link, name):
            parts.append(f"{name} {getattr(scenario.link, name):g}")
    if scenario.tasks_per_s:
        parts.append(f"{scenario.tasks_per_s:g} tasks/s")
    return ", ".join(parts)


def _figures(report: Report) -> list[tuple[str, str]]:
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
            figures.append((name, ", ".join(f"{key} {count:,}" for key, count in counts.items())))
    if report.agreed_after_s is not None:
        figures.append(("agreed", f"{report.agreed_after_s:.1f} s after the last disturbance"))
    return figures


def _show_violations(console: Console, scenario: Scenario, reports: list[Report]) -> None:
    from rich.text import Text

    bad = [report for report in reports if not report.held]
    if not bad:
        console.print(Text("every property held", style="green"))
        return
    shown = 0
    for report in bad:
        for violation in report.violations:
            if shown == VIOLATIONS_SHOWN:
                break
            shown += 1
            where = f"{violation.node}: " if violation.node else ""
            line = f"seed {report.seed}, {violation.time_s:.3f} s, {where}{violation.text}"
            console.print(Text.assemble((violation.property, "bold red"), "  ", line), soft_wrap=True)
    total = sum(len(report.violations) for report in bad)
    if total > shown:
        console.print(f"… and {total - shown} more", highlight=False)
    console.print(Text(f"{len(bad)} of {len(reports)} seeds violated a property. Again, with every figure:"))
    console.print(Text("  " + repro(scenario, bad[0].seed), style="bold"), soft_wrap=True)
