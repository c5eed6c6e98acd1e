"""What the tests of probing share: a node among members that do not exist, and its next probe."""

from __future__ import annotations

from protocols.core import Endpoint
from protocols.membership.messages import NO_PROBE, Gossip, Ping
from tests.protocols.harness import Host, World, alive, endpoint_of


def host_among(*names: str) -> Host:
    """A node that has heard of `names`; none of them exists."""
    host = World().add("a").start()
    host.world.run(0.001)
    host.hears(endpoint_of("z"), Gossip(tuple(alive(name) for name in names)))
    host.hush()
    return host


def pinged(host: Host) -> list[str]:
    """Whom it has probed. Who is only asked what it is (`disputes.py`) is not."""
    return [to.node_id for to, message in host.said if isinstance(message, Ping) and message.probe != NO_PROBE]


def next_ping(host: Host) -> tuple[Endpoint, Ping]:
    """Let time pass until the node probes somebody."""
    host.hush()
    host.world.run_until(lambda: bool(pinged(host)), 3)
    to, message = next((to, each) for to, each in host.said if isinstance(each, Ping) and each.probe != NO_PROBE)
    assert isinstance(message, Ping)
    return to, message
