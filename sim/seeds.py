"""Ranges of seeds as a person writes them, for the command and for pytest. Imports nothing that runs anything."""

from __future__ import annotations

from sim.errors import ScenarioError

SEEDS_MAX = 10_000_000
"""Of one sweep, or one test."""
SEED_MAX = 2**63 - 1
"""The largest whole number that a scenario file can hold; the least is as far below 0."""
JOBS_MAX = 1024
DIGITS_MAX = len(str(SEED_MAX))


def parse_seeds(option: str, text: str, least: int = -SEED_MAX) -> range:
    """Read `A..B`: A, A+1, … B−1. `option` is what stands before it, up to the space or `=`. Raises `ScenarioError`."""
    first, dots, last = text.partition("..")
    if not dots or not _is_seed(first, least) or not _is_seed(last, least):
        raise ScenarioError(f"{option}{text[:80]}: seeds are written A..B, as in {option}0..500.")
    count = int(last) - int(first)
    if count <= 0:
        turned = f"{last}..{first}" if count else f"{first}..{int(first) + 1}"
        raise ScenarioError(f"{option}{text}: there are no seeds, for B is not included. Did you mean {turned}?")
    if count > SEEDS_MAX:
        raise ScenarioError(f"{option}{text}: these are {count} seeds; at most {SEEDS_MAX} go into one sweep.")
    return range(int(first), int(last))


def _is_seed(text: str, least: int) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= DIGITS_MAX and least <= int(text) <= SEED_MAX
