"""The report for a person: one table, and what was missed by how much."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scripts.benchmarks.figures import Row

if TYPE_CHECKING:
    from scripts.benchmarks.runner import Report


WIDTH = 120
"""Columns where the output is no terminal: nothing is folded."""


def print_report(report: Report, console: Console | None = None) -> None:
    """On standard output, or on `console`."""
    console = console or Console()
    if not console.is_terminal:
        console.width = WIDTH
    machine = report.machine
    console.print(
        f"{machine.cpu}, {machine.cores} cores, {machine.memory_gb:g} GB; {machine.system}, {machine.python}; "
        f"fdatasync {machine.fdatasync_ms_p50:.2f} ms; load {machine.load_1m:g} at the start; commit {report.commit}",
        style="dim",
        highlight=False,
    )
    console.print(_table(report.rows))
    judged = [row for row in report.rows if row.met is not None]
    if judged:
        console.print(f"{sum(row.met is True for row in judged)} of {len(judged)} goals met", highlight=False)
    for row in judged:
        if not row.met:
            where = f"{row.bench}: {row.metric} is {_value(row)}"
            console.print(Text(f"missed  {where}, {row.missed_by} the goal of {row.goal}", style="yellow"))
    for row in report.rows:
        if row.value is None:
            console.print(Text(f"broke   {row.bench}: {row.note}", style="bold red"))
    notes = dict.fromkeys(text for row in report.rows for text in _notes(row))
    for text in notes:
        console.print(Text(text, style="dim"))


def _notes(row: Row) -> list[str]:
    peer = [f"{row.bench}: the peer is {row.peer}"] if row.peer else []
    return peer + ([f"{row.bench}: {row.note}"] if row.note else [])


def _table(rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("bench")
    table.add_column("metric")
    for heading in ("value", "peer", "ratio", "goal"):
        table.add_column(heading, justify="right")
    bench = ""
    for row in rows:
        table.add_row(
            row.bench if row.bench != bench else "",
            row.metric,
            _value(row),
            _number(row.peer_value),
            _ratio(row),
            _goal(row),
        )
        bench = row.bench
    return table


def _value(row: Row) -> str:
    return f"{'at most ' if row.at_most else ''}{_number(row.value)} {row.unit}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def _ratio(row: Row) -> Text:
    """Green where we are the better one."""
    if row.ratio is None:
        return Text("-")
    good = row.ratio >= 1 if row.better == "higher" else row.ratio <= 1
    return Text(f"{row.ratio:.2f}", style="green" if good else "yellow")


def _goal(row: Row) -> Text:
    if row.goal is None:
        return Text("")
    return Text(f"{row.goal} met", style="green") if row.met else Text(f"{row.goal} MISSED", style="bold yellow")
