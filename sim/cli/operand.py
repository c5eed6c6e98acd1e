"""What a command takes for one run: `FILE.toml`, or `FILE.toml@SEED` for another seed than the file's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.scenario import Scenario


def split_operand(text: str) -> tuple[str, int | None]:
    """The path and the seed, if one is named. An `@` that no number follows belongs to the path."""
    path, at, seed = text.rpartition("@")
    digits = seed.removeprefix("-")
    if at and path and digits.isascii() and digits.isdigit():
        return path, int(seed)
    return text, None


def load_operand(text: str, seed: int | None = None) -> Scenario:
    """The scenario of a file, with the seed that is named there, or else `seed`, or else its own.

    Raises `ScenarioError`.
    """
    from msgspec.structs import replace

    from sim.files import load

    path, named = split_operand(text)
    scenario = load(path)
    wanted = seed if named is None else named
    return scenario if wanted is None else replace(scenario, seed=wanted)
