"""How well this node itself is doing, as far as it can tell (Lifeguard section IV-A, local health aware probe).

A node that is cut off, starved or frozen takes everybody else for dead. The signs of that are its own: probes that fail
without even a nack from those who were asked to help, and doubts of what it is now that it has to refute. Each raises a
score, every probe that is answered lowers it, and the probe interval and timeout grow with it: whoever has reason to
doubt himself accuses slowly. The score is 0 for a node in good health and at most `health_max`.
"""

from __future__ import annotations

from protocols.config import SwimConfig


class LocalHealth:
    """The score of one node."""

    __slots__ = ("_max", "score")

    def __init__(self, config: SwimConfig) -> None:
        self._max = config.health_max
        self.score = 0

    def worse(self, by: int = 1) -> None:
        """Something went wrong that may well be this node's own fault."""
        self.score = min(self._max, self.score + by)

    def better(self) -> None:
        """A probe was answered in time."""
        if self.score:
            self.score -= 1

    @property
    def stretch(self) -> int:
        """By how much a node of this health takes longer for everything."""
        return 1 + self.score
