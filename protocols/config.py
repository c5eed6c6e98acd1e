"""What a node core is told before its first event. Times are nanoseconds; defaults are the LAN profile (DESIGN 4)."""

from __future__ import annotations

from msgspec import Struct

from protocols.core import NANOS_PER_MS, NANOS_PER_S, NodeId
from protocols.keyring.ring import NO_KEYRING, Keyring
from protocols.membership.tags import Tags
from protocols.signing import KEYLESS, Signer


class SwimConfig(Struct, frozen=True):
    """Membership and failure detection (SWIM section 4, Lifeguard section IV)."""

    probe_interval: int = 1 * NANOS_PER_S
    probe_timeout: int = 500 * NANOS_PER_MS
    indirect_probes: int = 3
    stream_probe: bool = True
    """Whether a member that does not ack in time is probed over a stream too."""
    health_max: int = 8
    """How far local health may fall; interval and timeout of probes grow with it, up to (1 + this) times."""
    suspicion_mult: int = 4
    suspicion_max_factor: int = 6
    gossip_interval: int = 200 * NANOS_PER_MS
    gossip_fanout: int = 3
    retransmit_mult: int = 4
    gossip_rounds_min: int = 5
    """Rounds of gossip in which news is passed on, at least: in a mesh of fewer than a thousand the logarithm of SWIM
    section 4.1 alone lets it miss one member in a thousand where three packets in ten are lost (`gossip.py`)."""
    gossip_to_the_dead: int = 30 * NANOS_PER_S
    push_pull_interval: int = 30 * NANOS_PER_S
    join_retry_interval: int = 1 * NANOS_PER_S
    heal_interval: int = 10 * NANOS_PER_S
    """How often one remembered dead member, or one seed, is tried."""
    remember_dead: int = 24 * 3600 * NANOS_PER_S
    leave_linger: int = 2 * NANOS_PER_S
    """How long a leaving node keeps spreading the word before it may stop."""
    view_quiet: int = 200 * NANOS_PER_MS
    """A view is published once nothing more has changed for so long (`membership/steady.py`)."""
    view_wait_max: int = 1 * NANOS_PER_S
    """No change waits longer than that for others to be published with it."""
    views_per_minute: int = 20
    """Views published in any minute, at most."""
    flap_cost: int = 60 * NANOS_PER_S
    """What going costs a member, in time: who owes more than twice that is held back."""
    flap_hold_max: int = 120 * NANOS_PER_S
    """How long a member that came and went too often is held back after it last went, at most."""


class TaskConfig(Struct, frozen=True):
    """Task coordination, first form."""

    check_interval: int = 1 * NANOS_PER_S
    """How often a coordinator asks each worker about the runs it holds."""
    lease: int = 10 * NANOS_PER_S
    """A run whose worker has not vouched for it for so long is started again elsewhere."""
    retry_base: int = 100 * NANOS_PER_MS
    retry_max: int = 5 * NANOS_PER_S
    worker_deaths_max: int = 3
    ask_timeout: int = 3 * NANOS_PER_S
    """How long another node may take to answer a forwarded command, beyond the command's own wait."""


class HandlerSpec(Struct, frozen=True):
    """A capability of this node: task handler `name`, at most `concurrency` bodies at once."""

    name: str
    concurrency: int = 1


class NodeConfig(Struct, frozen=True):
    """One node. `address` is where peers reach it; `seeds` are addresses whose ids need not be known."""

    node_id: NodeId
    name: str
    mesh: str
    address: str
    seeds: tuple[str, ...] = ()
    handlers: tuple[HandlerSpec, ...] = ()
    zone: str = ""
    weight: int = 1
    tags: Tags = ()
    """As they travel (`protocols/membership/tags.py`); what was set at run time wins over them."""
    swim: SwimConfig = SwimConfig()
    tasks: TaskConfig = TaskConfig()
    keyring: Keyring = NO_KEYRING
    """With what the node was let in; a saved one, which has seen the changes since, counts instead."""
    signer: Signer = KEYLESS
    """The node's key, in the hands of its driver: what it signs, others can show to others."""
    probe_payloads: bool = True
    """Whether its pings and acks say how busy the node is and where it takes itself to be, and what those of others say
    is kept. Nothing depends on it but what people and placement are told."""
