"""What one link is like: how long a message takes, and what befalls it on the way.

`LinkProfile` is data, as a scenario writes it; `Link` is the same, ready to draw from. Every delay takes one draw,
whatever its distribution, so that changing the distribution moves no other draw of the network.

Distributions, all within the two bounds: uniform; exponential (a queue now and then); lognormal (a long way over many
hops: a few are very late); normal (jitter around one latency). The bounds cut a distribution off: no draw is moved onto
a bound.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, isfinite, log, log1p
from statistics import NormalDist
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from protocols.core import NANOS_PER_MS, NANOS_PER_S, Instant
from sim.errors import ScenarioError, nearest

Delay = Literal["uniform", "exponential", "lognormal", "normal"]
DELAYS = ("uniform", "exponential", "lognormal", "normal")
TYPICAL_SHARE = 0.125
"""Where the typical delay of a skewed distribution lies between its bounds, unless the profile says."""
TAIL_SIGMAS = 3.0
"""The nearer bound (the upper one, of the logarithm, for lognormal) lies this many standard deviations away."""
LATENCY_MS_MAX = 3_600_000.0
PROBABILITIES = ("loss", "duplicate", "reorder", "reset")

Quantile: TypeAlias = Callable[[float], Instant]
"""A draw from [0, 1) → a delay in nanoseconds."""

_NORMAL = NormalDist()
_LEAST = 2.0**-53


class LinkProfile(Struct, frozen=True, forbid_unknown_fields=True):
    """How a link behaves, one way: by default a quiet LAN that loses nothing."""

    latency_ms_min: float = 0.2
    latency_ms_max: float = 2.0
    delay: Delay = "uniform"
    """How latencies are spread between the two bounds."""
    typical_ms: float = 0.0
    """The mean (exponential, normal) or the median (lognormal); 0: an eighth of the way up, or halfway for normal."""
    loss: float = 0.0
    """Probability that a datagram is lost; a stream message is sent again after 200 ms, 400 ms, … instead."""
    duplicate: float = 0.0
    """Probability that a datagram arrives a second time."""
    reorder: float = 0.0
    """Probability that a datagram is held up by up to `reorder_ms` more, letting later ones overtake it."""
    reorder_ms: float = 50.0
    reset: float = 0.0
    """Probability that a stream breaks while a message of it is under way: it and all behind it are lost."""
    stream_stall_s: float = 15.0
    """How long a stream may stall before it resets."""

    def check(self) -> None:
        """Raise `ScenarioError` for the first thing that is wrong."""
        for name in PROBABILITIES:
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ScenarioError(f"{name} {value:g}: it is a probability, 0 to 1. For 5 % write 0.05.")
        if not 0 <= self.latency_ms_min <= self.latency_ms_max <= LATENCY_MS_MAX:
            raise ScenarioError(
                f"A latency of {self.latency_ms_min:g} to {self.latency_ms_max:g} ms: it must be at least 0, at most "
                f"{LATENCY_MS_MAX:g} ms, and its minimum no more than its maximum."
            )
        if self.delay not in DELAYS:
            raise ScenarioError(f"There is no delay {self.delay!r}. {nearest(self.delay, DELAYS)}")
        if self.typical_ms and not self.latency_ms_min < self.typical_ms < self.latency_ms_max:
            raise ScenarioError(
                f"typical_ms {self.typical_ms:g}: it must lie between the bounds of the latency, "
                f"{self.latency_ms_min:g} and {self.latency_ms_max:g} ms."
            )
        for name in ("reorder_ms", "stream_stall_s"):
            value = getattr(self, name)
            if not (isfinite(value) and value >= 0):
                raise ScenarioError(f"{name} {value:g}: it must be at least 0, and finite.")

    def worse(
        self,
        *,
        loss: float = 0.0,
        duplicate: float = 0.0,
        reorder: float = 0.0,
        reorder_ms: float = 0.0,
        reset: float = 0.0,
        delay_ms_min: float = 0.0,
        delay_ms_max: float = 0.0,
    ) -> LinkProfile:
        """This link with more going wrong on it: chances add up as of independent causes, delays as they are."""
        typical_ms = self.typical_ms + (delay_ms_min + delay_ms_max) / 2 if self.typical_ms else 0.0
        return replace(
            self,
            loss=_either(self.loss, loss),
            duplicate=_either(self.duplicate, duplicate),
            reorder=_either(self.reorder, reorder),
            reorder_ms=max(self.reorder_ms, reorder_ms),
            reset=_either(self.reset, reset),
            latency_ms_min=self.latency_ms_min + delay_ms_min,
            latency_ms_max=self.latency_ms_max + delay_ms_max,
            typical_ms=typical_ms,
        )


class Topology(Struct, frozen=True):
    """Links that are not all alike: `groups[i]` is the group of node i, `profiles[g][h]` links from group g to h."""

    groups: tuple[int, ...]
    profiles: tuple[tuple[LinkProfile, ...], ...]


class Link:
    """A profile, ready to draw from. `plain`: a uniform delay and nothing else."""

    __slots__ = (
        "delay",
        "duplicate",
        "latency_min",
        "latency_span",
        "latest",
        "loss",
        "mishaps",
        "plain",
        "reorder",
        "reorder_span",
        "reset",
        "stall_max",
    )

    def __init__(self, profile: LinkProfile) -> None:
        self.latency_min = int(profile.latency_ms_min * NANOS_PER_MS)
        self.latency_span = int((profile.latency_ms_max - profile.latency_ms_min) * NANOS_PER_MS)
        self.delay = quantile_of(profile)
        self.loss = profile.loss
        self.duplicate = profile.duplicate
        self.reorder = profile.reorder
        self.reset = profile.reset
        self.reorder_span = int(profile.reorder_ms * NANOS_PER_MS)
        self.latest = self.latency_min + self.latency_span + (self.reorder_span if profile.reorder else 0)
        self.stall_max = int(profile.stream_stall_s * NANOS_PER_S)
        self.mishaps = tuple(name for name in PROBABILITIES if getattr(profile, name))
        """What may befall a message here."""
        self.plain = profile.delay == "uniform" and not self.mishaps


def quantile_of(profile: LinkProfile) -> Quantile:
    """How the delays of a link are drawn: the inverse of their distribution function."""
    least = int(profile.latency_ms_min * NANOS_PER_MS)
    span = int((profile.latency_ms_max - profile.latency_ms_min) * NANOS_PER_MS)
    if profile.delay == "uniform" or not span:
        return lambda u: least + int(u * span)
    share = 0.5 if profile.delay == "normal" else TYPICAL_SHARE
    typical = (profile.typical_ms - profile.latency_ms_min) * NANOS_PER_MS if profile.typical_ms else share * span
    if profile.delay == "exponential":
        return _exponential(least, span, typical)
    if profile.delay == "lognormal":
        return _lognormal(least, span, typical)
    return _normal(least, span, typical)


def _exponential(least: Instant, span: Instant, mean: float) -> Quantile:
    within = 1 - exp(-span / mean)
    return lambda u: least + min(span, int(-mean * log1p(-u * within)))


def _lognormal(least: Instant, span: Instant, median: float) -> Quantile:
    sigma = log(span / median) / TAIL_SIGMAS
    within = _NORMAL.cdf(TAIL_SIGMAS)
    inverse = _NORMAL.inv_cdf
    return lambda u: least + min(span, int(median * exp(sigma * inverse(max(u * within, _LEAST)))))


def _normal(least: Instant, span: Instant, mean: float) -> Quantile:
    sigma = min(mean, span - mean) / TAIL_SIGMAS
    below = _NORMAL.cdf(-mean / sigma)
    within = _NORMAL.cdf((span - mean) / sigma) - below
    inverse = _NORMAL.inv_cdf
    return lambda u: least + min(span, max(0, int(mean + sigma * inverse(below + max(u, _LEAST) * within))))


def _either(one: float, other: float) -> float:
    """The probability that at least one of two independent things happens."""
    return one + other - one * other
