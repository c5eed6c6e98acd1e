"""The closed forms against naive oracles: draws, and the curve that they invert."""

from __future__ import annotations

from random import Random

import pytest

from protocols.config import SwimConfig
from protocols.membership.settings import WAN
from sim.study.closed_forms import (
    INFORMED,
    first_to_know_s,
    gossip_reaches,
    informed_share,
    merge_bound_s,
    spread_s,
    suspicion_s,
)
from sim.study.numbers import quantile


@pytest.mark.parametrize("config", [SwimConfig(), WAN])
@pytest.mark.parametrize("members", [3, 5, 1000])
def test_the_first_to_know_is_predicted_as_draws_have_it(config: SwimConfig, members: int) -> None:
    draw = Random("oracle")
    interval = config.probe_interval / 1e9
    shortest, _, wanted = suspicion_s(config, members)
    drawn = []
    for _ in range(20_000):
        first = draw.expovariate(1 / interval)
        others = sum(draw.expovariate(1 / interval) for _ in range(wanted))
        drawn.append(interval + first + max(shortest, others))
    for share in (0.1, 0.5, 0.99):
        assert first_to_know_s(config, members, share) == pytest.approx(quantile(drawn, share), rel=0.04)


def test_the_suspicion_timeout_is_lifeguards() -> None:
    assert suspicion_s(SwimConfig(), 5) == (4.0, 24.0, 2)
    assert suspicion_s(SwimConfig(), 1000) == (12.0, 72.0, 2)
    assert suspicion_s(SwimConfig(), 3) == (4.0, 4.0, 0), "nobody is there to confirm"


@pytest.mark.parametrize("loss", [0.0, 0.3])
@pytest.mark.parametrize("members", [5, 1000])
def test_the_spread_is_where_serfs_curve_has_informed_all(members: int, loss: float) -> None:
    config = SwimConfig()
    at_s = spread_s(config, members, loss)
    assert informed_share(config, members, loss, at_s) == pytest.approx(INFORMED)
    assert informed_share(config, members, loss, 0.0) < 1 / members


def test_serfs_curve_at_its_own_defaults() -> None:
    # serf.io, docs/internals/simulator: 30 nodes, fan-out 3, 0.2 s, no loss; 1 / (1 + 31·e^(−1.5·5)) after a second.
    assert informed_share(SwimConfig(), 30, 0.0, 1.0) == pytest.approx(0.98311, abs=1e-4)


@pytest.mark.parametrize(("members", "loss"), [(20, 0.6), (20, 0.7), (100, 0.7)])
def test_the_reach_of_gossip_is_that_of_packets_to_drawn_peers(members: int, loss: float) -> None:
    draw = Random("oracle")
    config = SwimConfig()
    rounds = 5  # more than 4·2 and 4·3 times, to three at a time
    missed = asked = 0
    while asked < 100_000:
        heard = [False] * members
        for sender in range(members):
            peers = [peer for peer in range(members) if peer != sender]
            for _ in range(rounds):
                for peer in draw.sample(peers, 3):
                    heard[peer] |= draw.random() >= loss
        missed += heard.count(False)
        asked += members
    assert 1 - gossip_reaches(config, members, loss) == pytest.approx(missed / asked, rel=0.2)


def test_gossip_reaches_all_of_two_and_nobody_where_all_is_lost() -> None:
    assert gossip_reaches(SwimConfig(), 2, 0.0) == 1
    assert gossip_reaches(SwimConfig(), 20, 1.0) == 0


def test_the_bound_of_a_re_merge_adds_up() -> None:
    config = SwimConfig()
    assert merge_bound_s(config, 5) == pytest.approx(30 + 2 * 24 + spread_s(config, 5))
    assert merge_bound_s(config, 1000) == pytest.approx(6 * 30 + 2 * 72 + spread_s(config, 1000))
