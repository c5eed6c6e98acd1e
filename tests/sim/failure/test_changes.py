"""Options in words: what is not usual of a scenario, and how two differ, as it is spelt in TOML."""

from __future__ import annotations

import tomllib

from sim.failure.changes import changes_between, unusual_options
from sim.network import LinkProfile
from sim.scenario import Scenario
from sim.scenario.zones import LinkBetween

FAR = LinkProfile(latency_ms_min=20, latency_ms_max=60, loss=0.02)
ZONES = Scenario(
    nodes=6,
    link=LinkProfile(duplicate=0.1),
    zones={"eu": ("n0", "n1", "n5"), "us": 1},
    between_zones=FAR,
    links=(LinkBetween(loss=0.1, between=("eu", "us")),),
)


def test_of_what_is_a_table_only_what_is_not_the_default_is_told() -> None:
    told = dict(unusual_options(ZONES))
    assert told == {
        "nodes": "6",
        "seconds": "60",
        "start": "converged",
        "link.duplicate": "0.1",
        "zones": '{ eu = ["n0", "n1", "n5"], us = 1 }',
        "between_zones.latency_ms": "[20, 60]",
        "between_zones.loss": "0.02",
        "links": '[{ loss = 0.1, between = ["eu", "us"] }]',
    }
    read = tomllib.loads("\n".join(f"{name} = {value}" for name, value in told.items() if name != "start"))
    assert read["between_zones"] == {"latency_ms": [20, 60], "loss": 0.02}


def test_a_table_of_defaults_is_told_where_there_need_be_none() -> None:
    assert dict(unusual_options(Scenario(between_zones=LinkProfile())))["between_zones"] == "{}"


def test_a_table_that_is_gone_is_told_as_it_is_written() -> None:
    after = Scenario(nodes=6, link=ZONES.link, zones=ZONES.zones, links=ZONES.links)
    assert changes_between(ZONES, after) == ("between_zones: { latency_ms = [20, 60], loss = 0.02 } → (none)",)
