"""What a network knows of one node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from protocols.core import Endpoint
from sim.kernel import EventFunction
from sim.network.links import Link

CUT: Final = 1
CLOGGED: Final = 2


class Station:
    """Its address, who it is, where to hand what arrives, and what is wrong with its links now.

    Rows have one byte per receiver, by index; None stands for a row of nothing, so that a send in a network that is
    well looks at no row.
    """

    __slots__ = ("address", "barred", "blocked", "endpoint", "index", "links", "mesh", "node_id", "on_event", "up")

    def __init__(self, index: int, endpoint: Endpoint, on_event: EventFunction, mesh: str = "") -> None:
        self.index = index
        self.mesh = mesh
        self.endpoint = endpoint
        self.node_id = endpoint.node_id
        self.address = endpoint.address
        self.on_event = on_event
        self.up = False
        self.blocked: bytes | None = None
        """1 at the receivers that this node cannot reach: a cut lies between."""
        self.barred: bytes | None = None
        """The same with `CLOGGED` added where a link is clogged: wherever it is not 0, a packet cannot pass now."""
        self.links: Sequence[Link] | None = None
        """Its link to each receiver, where links are not all alike."""

    def is_clogged(self, receiver: Station) -> bool:
        """Whether what it sends to `receiver` now would wait in a clog (or be lost to a cut in front of it)."""
        return self.barred is not None and bool(self.barred[receiver.index] & CLOGGED)
