"""A counter that costs one dict look-up per count."""

from __future__ import annotations


class Counter(dict[object, int]):
    """Counts by key, from 0. Iterates in the order of first counting, which is the same in every run of a seed."""

    def __missing__(self, key: object) -> int:
        return 0
