"""The codec: what goes in comes out, and what other versions say is understood or refused (`protocols/wire.py`)."""

from __future__ import annotations

from typing import cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.core import Carrier, Message, Promise, Statement, Stored
from protocols.limits import PACKET_BYTES_MAX, UPDATES_BYTES_MAX, UPDATES_PER_PACKET_MAX
from protocols.membership.coordinates import SPAN_US, Coordinate
from protocols.membership.member import (
    GENERATION_MAX,
    INCARNATION_MAX,
    Accusation,
    Alive,
    Believed,
    Profile,
    Refutation,
    State,
    Update,
    precedence_of,
    size_bound,
)
from protocols.membership.messages import Ack, Gossip, Nack, Ping, PingReq, PushPull
from protocols.membership.records import Generation
from protocols.membership.rumours import QueryAnswer, QueryAsk, UserEvent
from protocols.membership.vitals import Vitals
from protocols.tasks.messages import Ask, Concluded
from protocols.tasks.task import CancelTask, GetTask
from protocols.tools import FindTools, LocalToolsFor
from protocols.wire import BadMessage, decode_message, decode_stored, encode_message, encode_stored
from tests.protocols.strategies import MESSAGE_TYPES, STORED_TYPES, fields_of, past_bounds, values_of

MESSAGES = st.one_of([values_of(kind) for kind in MESSAGE_TYPES])


@pytest.mark.parametrize("kind", MESSAGE_TYPES, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_every_message_comes_out_as_it_went_in(kind: type[Message], data: st.DataObject) -> None:
    message = cast(Message, data.draw(values_of(kind)))
    encoded = encode_message(message)
    for carried in (encoded, bytearray(encoded), memoryview(encoded)):
        decoded = decode_message(carried)
        assert type(decoded) is kind
        assert decoded == message
    assert encode_message(decoded) == encoded


@pytest.mark.parametrize("kind", STORED_TYPES, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_every_record_comes_out_as_it_went_in(kind: type[Stored], data: st.DataObject) -> None:
    value = cast(Stored, data.draw(values_of(kind)))
    decoded = decode_stored(encode_stored(value))
    assert type(decoded) is kind
    assert decoded == value


def test_tags_are_distinct_and_every_message_is_a_statement_or_a_promise() -> None:
    tags = [kind.__struct_config__.tag for kind in (*MESSAGE_TYPES, *STORED_TYPES)]
    assert len(set(tags)) == len(tags)
    for kind in MESSAGE_TYPES:
        assert issubclass(kind, Statement) != issubclass(kind, Promise)


def test_what_is_stored_is_not_a_message_and_the_other_way_round() -> None:
    stored = encode_stored(Generation(1))
    with pytest.raises(BadMessage):
        decode_message(b"\x92\x01" + stored)
    with pytest.raises(BadMessage):
        decode_stored(encode_message(Ping(1))[2:])


def test_the_bytes_are_those_of_the_first_release() -> None:
    """Plain MessagePack, spelt out: a change here can not be read by nodes that run today."""
    assert encode_message(Ping(7)) == b"\x92\x01\x94\xa4ping\x07\x90\xc0"
    assert encode_message(Ping(7, (), Vitals(300, 2, 4, 70))) == (
        b"\x92\x01\x94\xa4ping\x07\x90\x95\xcd\x01\x2c\x02\x04\x46\xc0"
    )
    told = b"\x91\x94\xa1x\xa1b\x06\xa1c"
    assert encode_message(Ack(1, (Accusation("b", 6, "c"),))) == b"\x92\x01\x95\xa3ack\x01" + told + b"\xc0\xc0"
    at = Coordinate((-1, 2, 3, 4, 5, 6, 7, 8), 10, -2, 1500)
    assert encode_message(Ack(1, (), None, at)) == (
        b"\x92\x01\x95\xa3ack\x01\x90\xc0\x94\x98\xff\x02\x03\x04\x05\x06\x07\x08\x0a\xfe\xcd\x05\xdc"
    )
    refutation = b"\xa6gossip\x91\x93\xa1r\xa1b\x04"
    assert encode_message(Gossip((Refutation("b", 4),))) == b"\x92\x01\x93" + refutation + b"\x90"
    assert decode_message(b"\x92\x01\x92" + refutation) == Gossip((Refutation("b", 4),))  # as it was before events
    event = UserEvent("b", 1, 2, 3, "n", "p")
    assert encode_message(Gossip((), (event,))) == b"\x92\x01\x93\xa6gossip\x90\x91\x97\xa1e\xa1b\x01\x02\x03\xa1n\xa1p"
    profile = b"\x97\xa1n\xa3a:1\x91\xa1h\xa1z\x02\xa1v\x91\x92\xa1k\xa1w"
    alive = Alive("b", 4, Profile("n", "a:1", ("h",), "z", 2, "v", (("k", "w"),)))
    assert encode_message(Gossip((alive,))) == b"\x92\x01\x93\xa6gossip\x91\x95\xa1a\xa1b\x04" + profile + b"\x00\x90"
    assert encode_message(PushPull((Believed(alive, 6, "c", 5),), answer=True)) == (
        b"\x92\x01\x93\xa8pushpull\x91\x95\xa1b\x95\xa1a\xa1b\x04" + profile + b"\x00\x06\xa1c\x05\xc3"
    )
    assert encode_message(Concluded("t.c")) == b"\x92\x01\x92\xa9concluded\xa3t.c"


# Other versions.


def opened(message: Message) -> tuple[int, list[object]]:
    version, fields = msgspec.msgpack.decode(encode_message(message))
    return version, fields


@pytest.mark.parametrize("kind", MESSAGE_TYPES, ids=lambda kind: kind.__name__)
@given(data=st.data(), version=st.integers(1, 127))
@settings(max_examples=15, deadline=None)
def test_fields_that_a_newer_peer_appends_are_skipped(kind: type[Message], version: int, data: st.DataObject) -> None:
    message = cast(Message, data.draw(values_of(kind)))
    _, fields = opened(message)
    newer = msgspec.msgpack.encode([version, [*fields, 1, "new", {"deep": [[[]]]}, None]])
    assert decode_message(newer) == message


def test_fields_appended_to_the_parts_of_a_message_are_skipped_too() -> None:
    profile = ["b", "b.test:1", ["h"], "z", 1, "v", [], "new"]
    decoded = decode_message(msgspec.msgpack.encode([2, ["ping", 7, [["a", "b", 4, profile, 0, {"new": 1}]]]]))
    assert decoded == Ping(7, (Alive("b", 4, Profile("b", "b.test:1", ("h",), "z", 1, "v")),))


@pytest.mark.parametrize("command", [GetTask("t.c", 5), CancelTask("t.c"), LocalToolsFor(FindTools("q"), "b")])
def test_fields_appended_to_a_command_that_is_passed_on_are_skipped(
    command: GetTask | CancelTask | LocalToolsFor,
) -> None:
    """A half upgraded mesh dropped every `Ask`: `tests/sim/faults/test_upgrade.py`, seed 9."""
    version, (tag, ask_id, fields) = msgspec.msgpack.decode(encode_message(Ask(3, command)))
    if "query" in fields:
        fields["query"]["added_later"] = True
    newer = msgspec.msgpack.encode([version + 1, [tag, ask_id, {**fields, "added_later": {"deep": [1]}}]])
    assert decode_message(newer) == Ask(3, command)


def test_fields_that_an_older_peer_leaves_out_take_their_defaults() -> None:
    assert decode_message(msgspec.msgpack.encode([1, ["ping", 7]])) == Ping(7, ())
    assert decode_message(msgspec.msgpack.encode([1, ["gossip", [["a", "b", 4, ["b", "b.test:1"]]]]])) == Gossip(
        (Alive("b", 4, Profile("b", "b.test:1")),)
    )


@pytest.mark.parametrize("version", [0, 128, 200, -1, 1 << 40, "1", None, 1.5, True])
def test_versions_that_this_node_can_not_read_are_refused(version: object) -> None:
    with pytest.raises(BadMessage) as caught:
        decode_message(msgspec.msgpack.encode([version, ["ping", 1]]))
    assert caught.value.reason == "invalid"


@pytest.mark.parametrize("tag", ["", "pong", "PING", 0, None, ["ping"], "task", "generation"])
def test_tags_that_this_node_does_not_know_are_refused(tag: object) -> None:
    with pytest.raises(BadMessage) as caught:
        decode_message(msgspec.msgpack.encode([1, [tag, 1, "x", "y"]]))
    assert caught.value.reason == "invalid"


def test_a_record_of_a_newer_release_with_more_fields_is_readable() -> None:
    assert decode_stored(msgspec.msgpack.encode(["generation", 5, "new"])) == Generation(5)


@pytest.mark.parametrize("kind", MESSAGE_TYPES, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_field_past_its_bound_is_refused(kind: type[Message], data: st.DataObject) -> None:
    bounded = [(position, field) for position, field in enumerate(fields_of(kind), 1) if past_bounds(field) is not None]
    if not bounded:
        return
    message = cast(Message, data.draw(values_of(kind)))
    position, field = data.draw(st.sampled_from(bounded))
    beyond = past_bounds(field)
    assert beyond is not None
    version, fields = opened(message)
    fields[position] = data.draw(beyond)
    with pytest.raises(BadMessage):
        decode_message(msgspec.msgpack.encode([version, fields]))


# Sizes.


UPDATES = st.one_of(values_of(Alive), values_of(Accusation), values_of(Refutation))


@given(UPDATES)
@settings(max_examples=300, deadline=None)
def test_the_size_bound_is_an_upper_bound(update: object) -> None:
    assert isinstance(update, Alive | Accusation | Refutation)
    assert len(msgspec.msgpack.encode(update)) <= size_bound(update)


@given(
    st.sampled_from((Ping, Ack)),
    st.lists(UPDATES, max_size=UPDATES_PER_PACKET_MAX),
    values_of(Vitals),
    values_of(Coordinate),
    st.sampled_from((0, 1 << 30, (1 << 62) - 1)),
)
@settings(max_examples=300, deadline=None)
def test_a_probe_full_of_news_fits_a_packet_whatever_it_says_of_its_sender(
    kind: type[Ping] | type[Ack], news: list[Update], vitals: Vitals, coordinate: Coordinate, probe: int
) -> None:
    """With as many updates as a packet may carry, and as long as they may be; the seal takes 80 bytes more."""
    longest = Accusation("a" * 26, precedence_of(GENERATION_MAX, INCARNATION_MAX, State.LEFT), "b" * 26)
    updates: list[Update] = []
    room = UPDATES_BYTES_MAX
    queued: list[Update] = [*news, *[longest] * UPDATES_PER_PACKET_MAX]
    for update in queued:
        if size_bound(update) <= room and len(updates) < UPDATES_PER_PACKET_MAX:
            updates.append(update)
            room -= size_bound(update)
    assert room < size_bound(longest) or len(updates) == UPDATES_PER_PACKET_MAX
    worst = Coordinate((-SPAN_US,) * 8, SPAN_US, -SPAN_US, 1500)
    for load, place in ((vitals, coordinate), (Vitals(65535, 65535, 65535, 1000, 1000), worst)):
        taken = tuple(updates)
        message = Ping(probe, taken, load) if kind is Ping else Ack(probe, taken, load, place)
        assert len(encode_message(message)) <= PACKET_BYTES_MAX - 80


@given(MESSAGES)
@settings(max_examples=100, deadline=None)
def test_the_carrier_is_a_property_of_the_type(message: object) -> None:
    assert isinstance(message, Message)
    datagram = isinstance(message, Ping | PingReq | Ack | Nack | Gossip | QueryAsk | QueryAnswer)
    assert message.carrier is (Carrier.DATAGRAM if datagram else Carrier.STREAM)
