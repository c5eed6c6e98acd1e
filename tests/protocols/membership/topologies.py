"""Meshes whose round-trip times are known: what estimates are held against. Microseconds, by pairs of node numbers."""

from __future__ import annotations

from collections.abc import Callable
from math import acos, cos, dist, pi, sin, sqrt
from random import Random
from typing import TypeAlias

Rtts: TypeAlias = list[list[float]]


def _rtts(count: int, between: Callable[[int, int], float]) -> Rtts:
    return [[0.0 if a == b else between(a, b) for b in range(count)] for a in range(count)]


def plane(random: Random, count: int) -> Rtts:
    """A country of 40 ms across, every node behind an access of its own: just what Vivaldi's space is made for."""
    places = [(random.uniform(0, 40_000), random.uniform(0, 40_000)) for _ in range(count)]
    access = [random.uniform(200, 5_000) for _ in range(count)]
    return _rtts(count, lambda a, b: dist(places[a], places[b]) + access[a] + access[b])


def sites(random: Random, count: int) -> Rtts:
    """Five data centres up to 120 ms apart; within each, half a millisecond."""
    places = [(random.uniform(0, 100_000), random.uniform(0, 60_000)) for _ in range(5)]
    access = [random.uniform(100, 400) for _ in range(count)]
    return _rtts(count, lambda a, b: dist(places[a % 5], places[b % 5]) + access[a] + access[b])


def one_switch(random: Random, count: int) -> Rtts:
    """One room: no two nodes are nearer to each other than others, they only answer more or less quickly."""
    access = [random.uniform(100, 300) for _ in range(count)]
    return _rtts(count, lambda a, b: access[a] + access[b])


def globe(random: Random, count: int) -> Rtts:
    """Great circles around a planet, 190 ms to the other end: no flat space fits."""
    places = []
    for _ in range(count):
        z, turn = random.uniform(-1, 1), random.uniform(0, 2 * pi)
        places.append((sqrt(1 - z * z) * cos(turn), sqrt(1 - z * z) * sin(turn), z))
    access = [random.uniform(500, 8_000) for _ in range(count)]

    def between(a: int, b: int) -> float:
        dot = sum(x * y for x, y in zip(places[a], places[b], strict=True))
        return 60_000 * acos(max(-1.0, min(1.0, dot))) + access[a] + access[b]

    return _rtts(count, between)
