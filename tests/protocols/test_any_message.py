"""Whatever a member says: a node takes it in, keeps its invariants, says nothing that fits no packet, and goes on.

The messages are drawn from their types, every field anywhere within its bounds, and speak of members that there are.
Others are damaged on their way. The harness checks the node after every step, and every message that it says.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TypeVar

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocols.core import Endpoint, Message
from protocols.membership.member import State
from protocols.membership.messages import Ack, Ping
from protocols.wire import BadMessage, decode_message, encode_message
from tests.protocols.harness import Host, World, address_of, alive, endpoint_of, id_of
from tests.protocols.strategies import MESSAGE_TYPES, values_of

KNOWN = ("b", "c", "d")
PLACES = tuple(id_of(name) for name in ("a", *KNOWN, "stranger"))
NAMING = ("node_id", "by", "origin", "about", "target", "worker", "coordinator")
"""Fields that name members."""
SENDERS = (endpoint_of("b"), endpoint_of("c"), endpoint_of("stranger"), Endpoint(id_of("a"), address_of("elsewhere")))
ABSURD = (
    b"\xcf" + b"\xff" * 8,  # the largest number
    b"\xd3\x80" + bytes(7),  # the smallest
    b"\xcb\x7f\xf8" + bytes(6),  # none at all
    b"\xcb\xff\xf0" + bytes(6),  # one without an end
    b"\xdb\xff\xff\xff\xff",  # texts, lists and maps of four billion
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\x91" * 600,  # a list in a list in a list
    b"\xc0",
)
T = TypeVar("T")


def node() -> Host:
    """A node with three members that answer nothing."""
    host = World().add("a").start()
    host.world.run(0.01)
    for name in KNOWN:
        host.hears(endpoint_of(name), Ping(1, (alive(name),)))
    return host


def about_members(value: T, draw: st.DrawFn) -> T:
    """The same, but where it names a member it is mostly one that there is."""
    if isinstance(value, tuple):
        return tuple(about_members(each, draw) for each in value)  # type: ignore[return-value]  # of the same kind
    if not isinstance(value, msgspec.Struct):
        return value
    changed: dict[str, object] = {}
    for name in value.__struct_fields__:
        field = getattr(value, name)
        if name in NAMING and isinstance(field, str):
            changed[name] = draw(st.sampled_from((*PLACES, field)))
        elif isinstance(field, tuple | msgspec.Struct):
            changed[name] = about_members(field, draw)
    return msgspec.structs.replace(value, **changed)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    kind = draw(st.sampled_from(MESSAGE_TYPES))
    message = draw(values_of(kind))
    assert isinstance(message, Message)
    return about_members(message, draw)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The bytes of a message with something flipped, cut off, put in or hung on."""
    data = bytearray(encode_message(draw(messages())))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(("flip", "cut", "insert", "replace", "extend"))):
            case "flip" if data:
                data[place] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[place:]
            case "insert":
                data[place:place] = draw(st.binary(max_size=9))
            case "replace":
                data[place : place + 1] = draw(st.sampled_from(ABSURD))
            case _:
                data += draw(st.binary(max_size=64))
    return bytes(data)


def still_answers(host: Host) -> None:
    """The node serves, believes itself alive, and acks a ping."""
    host.hush()
    host.hears(endpoint_of("c"), Ping(77))
    assert [ack.probe for ack in host.said_of(Ack)] == [77]
    me = host.node.swim.me
    assert me is not None
    assert me.state is State.ALIVE
    host.world.run(3)


@given(st.lists(st.tuples(st.sampled_from(SENDERS), messages()), min_size=1, max_size=12), st.floats(0, 3))
@settings(max_examples=60, deadline=None)
def test_any_messages_leave_a_node_whole(said: list[tuple[Endpoint, Message]], pause_s: float) -> None:
    host = node()
    for sender, message in said:
        host.hears(sender, message)
        host.world.run(pause_s)
    still_answers(host)


@given(st.lists(st.tuples(st.sampled_from(SENDERS), damaged()), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_damaged_messages_are_refused_or_leave_a_node_whole(said: list[tuple[Endpoint, bytes]]) -> None:
    host = node()
    for sender, data in said:
        with suppress(BadMessage):
            host.hears(sender, decode_message(data))
    still_answers(host)


@pytest.mark.parametrize("kind", MESSAGE_TYPES, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=4, deadline=None)
def test_every_kind_of_message_comes_to_its_turn(kind: type[Message], data: st.DataObject) -> None:
    host = node()
    message = data.draw(values_of(kind))
    assert isinstance(message, Message)
    host.hears(data.draw(st.sampled_from(SENDERS)), message)
    still_answers(host)


@given(st.binary(max_size=1500))
@example(b"")
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_no_message_or_leave_a_node_whole(data: bytes) -> None:
    try:
        message = decode_message(data)
    except BadMessage:
        return
    host = node()
    host.hears(endpoint_of("b"), message)
    still_answers(host)
