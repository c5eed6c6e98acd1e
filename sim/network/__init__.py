"""The network of a run: links, cuts, clogs, datagrams and streams."""

from __future__ import annotations

from sim.network.links import Link, LinkProfile, Topology
from sim.network.network import CLOGGED_DATAGRAMS_MAX, Change, MessageObserver, Network
from sim.network.pairs import Cut, Pairs
from sim.network.station import Station
from sim.network.streams import STREAM_UNSENT_MAX

__all__ = [
    "CLOGGED_DATAGRAMS_MAX",
    "STREAM_UNSENT_MAX",
    "Change",
    "Cut",
    "Link",
    "LinkProfile",
    "MessageObserver",
    "Network",
    "Pairs",
    "Station",
    "Topology",
]
