"""What the tests of healing share: whether a mesh is whole, and one that does not remember for long."""

from __future__ import annotations

from protocols.config import SwimConfig
from protocols.core import NANOS_PER_S
from protocols.membership.member import State
from tests.protocols.harness import Host

FORGETFUL = SwimConfig(remember_dead=600 * NANOS_PER_S)


def all_agree(hosts: list[Host]) -> bool:
    up = [host for host in hosts if host.core is not None]
    return all(host.sees(other.name) is State.ALIVE for host in up for other in up)
