"""Who the nodes of a scenario are: names, ids, addresses, seeds."""

from __future__ import annotations

from base64 import b32encode
from hashlib import blake2b

from protocols.config import NodeConfig
from sim.scenario.model import Scenario
from sim.signing import Keys, SeededSigner

MESH = "sim"
SEEDS = 3
PAYLOADS_NODES_MAX = 20
"""In a larger mesh probes carry no vitals and coordinates, unless the scenario asks for them: they decide nothing, and
to work them out takes a third as long as all else that a quiet node does."""


def node_id_for(index: int) -> str:
    """The id of simulated node `index`: it looks like a fingerprint, and is the same in every run."""
    return b32encode(blake2b(f"node-{index}".encode(), digest_size=16).digest()).decode().rstrip("=").lower()


def address_for(index: int) -> str:
    """The address of simulated node `index`."""
    return f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}:7400"


def configs_for(scenario: Scenario) -> list[NodeConfig]:
    """What the nodes of a scenario are told; all name the first few as seeds."""
    zone = {name: place for place, members in scenario.zone_nodes.items() for name in members}
    swim = scenario.membership.swim()
    payloads = scenario.nodes <= PAYLOADS_NODES_MAX if scenario.probe_payloads is None else scenario.probe_payloads
    keys = Keys(scenario.seed, MESH)
    seeds = tuple(address_for(index) for index in range(min(SEEDS, scenario.nodes)))
    return [
        NodeConfig(
            node_id=node_id_for(index),
            name=name,
            mesh=MESH,
            address=address_for(index),
            seeds=seeds,
            handlers=scenario.handlers,
            zone=zone.get(name, ""),
            swim=swim,
            signer=SeededSigner(keys, node_id_for(index)),
            probe_payloads=payloads,
        )
        for index, name in enumerate(scenario.names)
    ]
