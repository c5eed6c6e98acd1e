"""How far a sweep has come: a bar with seeds/s and time left for a person, a line now and then for a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

DoneT = TypeVar("DoneT")

LINE_EVERY_S = 30.0


def with_progress(
    reports: Iterator[DoneT],
    total: int,
    *,
    quiet: bool,
    noun: str = "seeds",
    weight: Callable[[DoneT], int] = lambda _: 1,
    violated: Callable[[DoneT], bool] = lambda _: False,
    clock: Callable[[], float] = time.monotonic,
    every_s: float = LINE_EVERY_S,
) -> Iterator[DoneT]:
    """Pass `reports` through; show on stderr how many of `total` there have been, and how many `violated` anything.

    `total` is the sum of their weights: what takes long should weigh much, or the time left is told wrong.
    """
    if quiet:
        yield from reports
    elif sys.stderr.isatty():
        yield from _with_bar(reports, total, noun, weight)
    else:
        yield from _with_lines(reports, total, noun, weight, violated, clock, every_s)


def _with_bar(reports: Iterator[DoneT], total: int, noun: str, weight: Callable[[DoneT], int]) -> Iterator[DoneT]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(noun, total=total, rate="")
        for report in reports:
            speed = bar.tasks[0].speed
            bar.update(task, advance=weight(report), rate=f"{speed:.1f} {noun}/s" if speed else "")
            yield report


def _with_lines(
    reports: Iterator[DoneT],
    total: int,
    noun: str,
    weight: Callable[[DoneT], int],
    violated: Callable[[DoneT], bool],
    clock: Callable[[], float],
    every_s: float,
) -> Iterator[DoneT]:
    begun = said_at = clock()
    number = bad_ones = 0
    for report in reports:
        number += weight(report)
        bad_ones += violated(report)
        now = clock()
        if now - said_at >= every_s and number < total:
            said_at = now
            rate = number / (now - begun)
            bad = f", {bad_ones} violated" if bad_ones else ""
            left = f"{(total - number) / rate:.0f} s left"
            print(f"{number} of {total} {noun}, {rate:.1f} {noun}/s, {left}{bad}", file=sys.stderr, flush=True)
        yield report
