"""What theory says before anything is run: when a crash is known, how news spreads, when a mesh is whole again. Pure.

**Detection.** Each of N−1 members pings a given one once in N−1 intervals, independently: after a crash, failing pings
come as a Poisson process of one an interval (SWIM, section 3.1). A probe is judged when its interval is over; a
suspicion then lasts T(n) of Lifeguard (section IV-B), which is T_min once k further members accuse. So the first to
know does so an interval and `X + max(T_min, Y)` after the crash, with X exponential (the first ping) and Y the k
further ones.

**Dissemination.** The curve of serf's convergence simulator (serf.io, docs/internals/simulator), a logistic epidemic
as in SWIM, section 4.1: after r rounds of gossip the share 1 / (1 + (N+1)·e^(−β·r)) of members is informed, where
β = fanout · (1 − loss) / 2.

News is passed on a bounded number of times, so that a share of (1 − fanout·(1 − loss)/(N−1))^((N−1)·rounds) never hears
it by gossip (`gossip_reaches`).

**Re-merge.** The issue's bound: `push_pull + 2·T_max + spread`. Each side tries the other at least every push-pull
interval, what is still being judged when the cut ends may take T_max, what a table accuses another T_max, and the
refutations spread.
"""

from __future__ import annotations

import math
from functools import cache

from protocols.config import SwimConfig
from protocols.core import NANOS_PER_S
from protocols.detector.suspicion import suspicion_bounds
from protocols.membership.gossip import gossip_rounds
from protocols.membership.healing import push_pull_scale

INFORMED = 0.9999
"""The share of members that counts as all."""
SLACK = 1.5
"""How many times the closed form news may take."""


def suspicion_s(config: SwimConfig, members: int) -> tuple[float, float, int]:
    """(T_min, T_max) in seconds, and k."""
    shortest, longest, wanted = suspicion_bounds(config, members)
    return shortest / NANOS_PER_S, longest / NANOS_PER_S, wanted


@cache
def first_to_know_s(config: SwimConfig, members: int, share: float) -> float:
    """The time from a crash to the first verdict that is not exceeded in `share` of all crashes."""
    interval = config.probe_interval / NANOS_PER_S
    shortest, longest, wanted = suspicion_s(config, members)
    low, high = 0.0, shortest + longest + 50 * interval
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if _known_by(middle / interval, shortest / interval, wanted) < share else (low, middle)
        )
    return interval + high


def _known_by(x: float, shortest: float, wanted: int) -> float:
    """P(X + max(T, Y) ≤ x), all in intervals: X exponential, Y the sum of `wanted` more of its like."""
    if x <= shortest:
        return 0.0
    # X + max(T, Y) ≤ x: the first ping comes by x − T, and all 1 + k of them by x.
    steps = 400
    span = x - shortest
    total = 0.0
    for step in range(steps):
        first = (step + 0.5) * span / steps
        total += math.exp(-first) * _poisson_at_least(wanted, x - first)
    return total * span / steps


def _poisson_at_least(count: int, expected: float) -> float:
    return 1.0 - math.fsum(math.exp(-expected) * expected**n / math.factorial(n) for n in range(count))


def informed_share(config: SwimConfig, members: int, loss: float, seconds: float) -> float:
    """The share of members that serf's curve has informed after so long."""
    rounds = seconds * NANOS_PER_S / config.gossip_interval
    return 1 / (1 + (members + 1) * math.exp(-_contacts(config, loss) * rounds))


def spread_s(config: SwimConfig, members: int, loss: float = 0.0, share: float = INFORMED) -> float:
    """Seconds until that curve has informed `share` of all members."""
    rounds = math.log((members + 1) * share / (1 - share)) / _contacts(config, loss)
    return rounds * config.gossip_interval / NANOS_PER_S


def gossip_reaches(config: SwimConfig, members: int, loss: float) -> float:
    """The share of members that hear a piece of news by gossip at all, for it is passed on so often and no more.

    Each of the others sends it to `fanout` of its N−1 peers in ⌈retransmits / fanout⌉ rounds; whom none of these
    packets reaches has to wait for an exchange of tables.
    """
    others = members - 1
    fanout = min(config.gossip_fanout, others)
    missed: float = (1 - (1 - loss) * fanout / others) ** (others * gossip_rounds(config, members))
    return 1 - missed


def _contacts(config: SwimConfig, loss: float) -> float:
    return config.gossip_fanout * (1 - loss) / 2


def merge_bound_s(config: SwimConfig, members: int) -> float:
    """Seconds from the end of a cut until all members agree again, at most."""
    _, longest, _ = suspicion_s(config, members)
    push_pull = push_pull_scale(members) * config.push_pull_interval / NANOS_PER_S
    return push_pull + 2 * longest + spread_s(config, members)
