"""Frames, hellos and addresses: the pure parts that read foreign bytes."""

from __future__ import annotations

import contextlib

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types and there is no stub package
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.transport.addresses import BadAddress, join_address, split_address
from meshnode.transport.frames import BadFrame, FrameBuffer, pack_frame
from meshnode.transport.hello import HELLO_BYTES_MAX, BadHello, decode_hello, encode_hello
from protocols.wire import VERSION

GOOD = {"v": [1, VERSION], "mesh": "m", "address": "127.0.0.1:7000", "name": "n"}


@settings(deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=10), st.data())
def test_frames_come_out_as_they_went_in_however_they_are_cut(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(pack_frame(body) for body in bodies)
    buffer, came, at = FrameBuffer(50), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream) - at))
        buffer.feed(stream[at : at + size])
        came += list(buffer.frames())
        at += size
    assert came == bodies
    assert not buffer.partial


def test_a_length_is_refused_before_the_body_has_come() -> None:
    buffer = FrameBuffer(10)
    buffer.feed(pack_frame(b"0123456789") + (11).to_bytes(4))
    assert buffer.next_frame() == b"0123456789"
    with pytest.raises(BadFrame):
        buffer.next_frame()


def test_a_half_frame_is_waited_for() -> None:
    buffer = FrameBuffer(10)
    for byte in pack_frame(b"abc")[:-1]:
        buffer.feed(bytes([byte]))
        assert buffer.next_frame() is None
        assert buffer.partial
    buffer.feed(b"c" + b"rest")
    assert buffer.next_frame() == b"abc"
    assert buffer.rest() == b"rest"
    assert not buffer.partial


def test_hello_round_trip() -> None:
    hello = decode_hello(encode_hello("m", "[::1]:7000", "n"))
    assert (hello.mesh, hello.address, hello.name, hello.understandable) == ("m", "[::1]:7000", "n", True)


def test_a_hello_of_another_version() -> None:
    later = decode_hello(msgpack.packb(GOOD | {"v": [1, 99], "something": {"new": [1]}}))
    assert later.understandable
    assert not decode_hello(msgpack.packb(GOOD | {"v": [VERSION + 1, 99]})).understandable
    assert not decode_hello(msgpack.packb(GOOD | {"v": [0, 0]})).understandable


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        GOOD | {"v": [1]},
        GOOD | {"v": ["1", "1"]},
        GOOD | {"mesh": 5},
        GOOD | {"mesh": "m" * 65},
        GOOD | {"name": "n" * 65},
        GOOD | {"address": "nowhere"},
        GOOD | {"address": "h:70000"},
        GOOD | {"address": "h" * 200 + ":1"},
        GOOD | {"extra": "x" * 600},
        GOOD | {"extra": b"x"},
        GOOD | {"extra": list(range(17))},
        GOOD | {f"k{n}": n for n in range(17)},
        GOOD | {1: 2},
    ],
)
def test_no_hello(document: object) -> None:
    with pytest.raises(BadHello):
        decode_hello(msgpack.packb(document))


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 60), st.booleans())
def test_any_bytes_raise_bad_hello_alone(data: bytes, at: int, mutate: bool) -> None:
    if mutate:
        good = msgpack.packb(GOOD)
        data = good[:at] + data[:3] + good[at + len(data[:3]) :]
    with contextlib.suppress(BadHello):
        decode_hello(data)


def test_deep_and_long_hellos_are_bounded() -> None:
    for data in (
        b"\x91" * HELLO_BYTES_MAX,
        b"\x81\xa1a" * 600,
        b"\xdf\xff\xff\xff\xff",
        b"\xc0" * (HELLO_BYTES_MAX + 1),
    ):
        with pytest.raises(BadHello):
            decode_hello(data)


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [("127.0.0.1:7000", "127.0.0.1", 7000), ("[::1]:0", "::1", 0), ("node.example:65535", "node.example", 65535)],
)
def test_addresses(address: str, host: str, port: int) -> None:
    assert split_address(address) == (host, port)
    assert join_address(host, port) == address


@pytest.mark.parametrize(
    "address", ["", ":", "host", "host:", ":1", "::1:1", "host:-1", "host:65536", "host:1e3", "a b:1", "é:1", "h:٣"]
)
def test_no_address(address: str) -> None:
    with pytest.raises(BadAddress):
        split_address(address)


@settings(deadline=None)
@given(st.text(max_size=150))
def test_any_text_raises_bad_address_alone(text: str) -> None:
    try:
        host, port = split_address(text)
    except BadAddress:
        return
    assert host
    assert 0 <= port <= 65535
