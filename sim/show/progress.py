"""How far a sweep has come: a bar with seeds/s and time left for a person, a line now and then for a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

from sim.scenario import Report

LINE_EVERY_S = 30.0


def with_progress(
    reports: Iterator[Report],
    total: int,
    *,
    quiet: bool,
    clock: Callable[[], float] = time.monotonic,
    every_s: float = LINE_EVERY_S,
) -> Iterator[Report]:
    """Pass `reports` through, and show on stderr how many of `total` there have been."""
    if quiet:
        yield from reports
    elif sys.stderr.isatty():
        yield from _with_bar(reports, total)
    else:
        yield from _with_lines(reports, total, clock, every_s)


def _with_bar(reports: Iterator[Report], total: int) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("seeds", total=total, rate="")
        for report in reports:
            speed = bar.tasks[0].speed
            bar.update(task, advance=1, rate=f"{speed:.1f} seeds/s" if speed else "")
            yield report


def _with_lines(reports: Iterator[Report], total: int, clock: Callable[[], float], every_s: float) -> Iterator[Report]:
    begun = said_at = clock()
    violated = 0
    for number, report in enumerate(reports, start=1):
        violated += not report.held
        now = clock()
        if now - said_at >= every_s and number < total:
            said_at = now
            rate = number / (now - begun)
            bad = f", {violated} violated" if violated else ""
            left = f"{(total - number) / rate:.0f} s left"
            print(f"{number} of {total} seeds, {rate:.1f} seeds/s, {left}{bad}", file=sys.stderr, flush=True)
        yield report
