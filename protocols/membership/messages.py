"""What nodes say to each other about membership. Probes and gossip fit a packet; whole tables travel on streams."""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeAlias

from msgspec import Meta

from protocols.core import Carrier, Statement
from protocols.limits import MEMBERS_PER_FRAME_MAX, UPDATES_PER_PACKET_MAX
from protocols.membership.coordinates import Coordinate
from protocols.membership.member import Accusation, Address, Alive, Believed, Id, Refutation
from protocols.membership.rumours import RumourMessage, Rumours
from protocols.membership.vitals import Vitals

Updates = Annotated[tuple[Alive | Accusation | Refutation, ...], Meta(max_length=UPDATES_PER_PACKET_MAX)]
Rows = Annotated[tuple[Alive | Believed, ...], Meta(max_length=MEMBERS_PER_FRAME_MAX)]
ProbeSeq = Annotated[int, Meta(ge=0, lt=1 << 62)]
NO_PROBE = 0
"""The number of a ping that is sent for what it says; probes count from 1."""


class Ping(Statement, frozen=True, array_like=True, tag="ping", gc=False):
    """Are you there? Answered by an `Ack` with the same number."""

    carrier: ClassVar[Carrier] = Carrier.DATAGRAM
    probe: ProbeSeq
    updates: Updates = ()
    vitals: Vitals | None = None
    """Of the sender."""


class PingReq(Statement, frozen=True, array_like=True, tag="pingreq", gc=False):
    """Probe `target` for me, and pass its ack on under my number (SWIM section 3.1)."""

    carrier: ClassVar[Carrier] = Carrier.DATAGRAM
    probe: ProbeSeq
    target: Id
    target_address: Address
    updates: Updates = ()


class Ack(Statement, frozen=True, array_like=True, tag="ack", gc=False):
    """Yes. One that a helper passes on says nothing of its sender."""

    carrier: ClassVar[Carrier] = Carrier.DATAGRAM
    probe: ProbeSeq
    updates: Updates = ()
    vitals: Vitals | None = None
    coordinate: Coordinate | None = None


class Nack(Statement, frozen=True, array_like=True, tag="nack", gc=False):
    """I am here and got your `PingReq`, but the target has not answered me so far (Lifeguard section IV-A)."""

    carrier: ClassVar[Carrier] = Carrier.DATAGRAM
    probe: ProbeSeq


class StreamPing(Statement, frozen=True, array_like=True, tag="sping", gc=False):
    """Are you there, though your acks do not reach me? Answered by a `StreamAck` with the same number (memberlist's
    fallback probe over TCP)."""

    carrier: ClassVar[Carrier] = Carrier.STREAM
    probe: ProbeSeq


class StreamAck(Statement, frozen=True, array_like=True, tag="sack", gc=False):
    """Yes, over a stream."""

    carrier: ClassVar[Carrier] = Carrier.STREAM
    probe: ProbeSeq


class Gossip(Statement, frozen=True, array_like=True, tag="gossip", gc=False):
    """Updates alone, between probes; behind them, where there is room, what users say (`rumours.py`)."""

    carrier: ClassVar[Carrier] = Carrier.DATAGRAM
    updates: Updates
    rumours: Rumours = ()


class PushPull(Statement, frozen=True, array_like=True, tag="pushpull", gc=False):
    """Rows of my table. A large table comes in several; the last one of a request asks for yours in return."""

    carrier: ClassVar[Carrier] = Carrier.STREAM
    rows: Rows
    answer: bool


MembershipMessage: TypeAlias = Ping | PingReq | Ack | Nack | StreamPing | StreamAck | Gossip | PushPull | RumourMessage
