"""What is wrong with a scenario, in words that a person can act on."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ScenarioError(Exception):
    """A scenario or option that cannot be used; nothing was run. The text names the nearest valid choice if any."""


def nearest(word: str, valid: Iterable[str]) -> str:
    """A sentence that points from `word` to what may have been meant."""
    choices = list(valid)
    close = get_close_matches(word, choices, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Valid: {', '.join(choices)}."
