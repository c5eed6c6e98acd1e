"""Counts and rates as a person would write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sim.scenario import Scenario

SEEDS_LISTED = 20


def headline(scenario: Scenario) -> str:
    """What is run, in one line."""
    parts = [plural(scenario.nodes, "node"), f"{scenario.seconds:g} virtual seconds", f"start {scenario.start}"]
    parts += [fault.describe() for fault in scenario.faults[:6]]
    if len(scenario.faults) > 6:
        parts.append(f"{len(scenario.faults) - 6} more faults")
    for name in ("loss", "duplicate", "reorder"):
        if getattr(scenario.link, name):
            parts.append(f"{name} {getattr(scenario.link, name):g}")
    if scenario.tasks_per_s:
        parts.append(f"{scenario.tasks_per_s:g} tasks/s")
    if scenario.events_per_s:
        parts.append(f"{scenario.events_per_s:g} events/s")
    if scenario.inquiries_per_s:
        parts.append(f"{scenario.inquiries_per_s:g} inquiries/s")
    line = ", ".join(parts)
    return f"{scenario.name}: {line}" if scenario.name else line


def plural(count: int, noun: str) -> str:
    """`1 seed`, `1,000 seeds`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(seeds: Sequence[int], total: int) -> str:
    """The first seeds of a list of `total`."""
    words = ", ".join(map(str, seeds[:SEEDS_LISTED]))
    return words if total <= min(len(seeds), SEEDS_LISTED) else f"{words}, … ({total:,} in all)"


def counted(counts: Iterable[tuple[str, int]]) -> str:
    """`halves 3, loss 1,204`."""
    return ", ".join(f"{name} {count:,}" for name, count in counts)
