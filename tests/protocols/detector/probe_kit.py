"""What the tests of probing share: a node among members that do not exist, and its next probe."""

from __future__ import annotations

from protocols.core import Endpoint
from protocols.membership.messages import Gossip, Ping
from tests.protocols.harness import Host, World, alive, endpoint_of


def host_among(*names: str) -> Host:
    """A node that has heard of `names`; none of them exists."""
    host = World().add("a").start()
    host.world.run(0.001)
    host.hears(endpoint_of("z"), Gossip(tuple(alive(name) for name in names)))
    host.hush()
    return host


def pinged(host: Host) -> list[str]:
    return [to.node_id for to, message in host.said if isinstance(message, Ping)]


def next_ping(host: Host) -> tuple[Endpoint, Ping]:
    """Let time pass until the node probes somebody."""
    host.hush()
    host.world.run_until(lambda: bool(pinged(host)), 3)
    to, message = next((to, message) for to, message in host.said if isinstance(message, Ping))
    assert isinstance(message, Ping)
    return to, message
