"""What callers may ask about round-trip times, and the answers. Nothing is measured to answer (`nearness.py`)."""

from __future__ import annotations

from msgspec import Struct

from protocols.core import Command, NodeId, Outcome

PROBES = "probes"
"""This node's own probes of the member: the median of the last few."""
COORDINATES = "coordinates"
"""An estimate out of where both nodes take themselves to be."""


class EstimateRtt(Command, frozen=True, tag="estimate_rtt"):
    """How far are two members from each other? Names, ids, or beginnings of ids; `b` empty: from this node to `a`."""

    a: str
    b: str = ""


class RttView(Struct, frozen=True):
    """A round-trip time, in milliseconds. `source` is `probes` or `coordinates`."""

    ms: float
    error_ms: float
    """What it may well be off by: half of the probes' spread, or what the errors of both coordinates make of it."""
    source: str
    samples: int
    """Probes that it stands on; 0 for an estimate out of coordinates."""
    age_s: float
    """Since the last probe was answered; since the older of the coordinates was heard."""


class RttEstimate(Outcome, frozen=True, tag="rtt"):
    """The round-trip time between `a` and `b`, by name and id."""

    a: str
    a_id: NodeId
    b: str
    b_id: NodeId
    rtt: RttView


class RttSummary(Struct, frozen=True):
    """Round-trip times from this node to the members that it knows one of; at least one."""

    members: int
    nearest_ms: float
    median_ms: float
    farthest_ms: float
    coordinate_error: float
    """What part of the truth this node's estimates were off by of late: 1.5 at the start, settled below 0.2."""
