"""JSON in and out of the MCP face, and lines off a stream: bounded, and never changed on the way."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.mcp import stdio
from meshnode.mcp.bounds import JSON_DEPTH_MAX, UnfitJson, decode_json, depth_exceeds, encode_json
from meshnode.mcp.stdio import BoundedLines

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def depth_of(value: object) -> int:
    """The naive oracle."""
    if isinstance(value, dict):
        return 1 + max((depth_of(child) for child in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((depth_of(child) for child in value), default=0)
    return 0


@given(JSON_VALUES)
def test_what_fits_survives_the_way_out_and_back(value: object) -> None:
    assert decode_json(encode_json(value, what="payload")) == value


@given(JSON_VALUES, st.integers(0, 6))
def test_depth_is_what_recursion_would_count(value: object, limit: int) -> None:
    assert depth_exceeds(value, limit) is (depth_of(value) > limit)


@given(st.text())
def test_any_text_decodes_to_something_that_can_be_encoded(text: str) -> None:
    json.dumps(decode_json(text), ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize("value", ["\ud800", {"a\ud800": 1}, float("nan"), [float("inf")], {1, 2}, b"bytes"])
def test_what_is_no_json_is_refused_by_name(value: object) -> None:
    with pytest.raises(UnfitJson, match="payload"):
        encode_json(value, what="payload")


def test_a_value_as_deep_as_a_stack_is_refused_without_recursion() -> None:
    value: object = 1
    for _ in range(100_000):
        value = [value]
    with pytest.raises(UnfitJson, match=f"{JSON_DEPTH_MAX} levels"):
        encode_json(value, what="payload")


LIMIT = 8


class Chunks(trio.abc.ReceiveStream):
    """A stream that gives out the chunks it was made of."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = [chunk for chunk in chunks if chunk]

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._chunks.pop(0) if self._chunks else b""

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@settings(max_examples=300)
@given(st.lists(st.lists(st.sampled_from([b"a", b"bb", b"\n", b"cccccc"]), max_size=12).map(b"".join), max_size=8))
def test_lines_are_those_of_the_bytes_however_these_arrive(chunks: list[bytes]) -> None:
    seen: list[bytes] = []

    async def read() -> None:
        lines = BoundedLines(Chunks(chunks))
        while (line := await lines.next()) is not None:
            seen.append(line)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stdio, "REQUEST_BYTES_MAX", LIMIT)
        trio.run(read)
    expected = b"".join(chunks).split(b"\n")
    unended = expected.pop()
    if len(seen) > len(expected):  # told that it is too long before its end was seen
        assert len(unended) > LIMIT
        expected.append(unended)
    assert len(seen) == len(expected)
    for line, whole in zip(seen, expected, strict=True):
        assert line == whole if len(whole) <= LIMIT else (len(line) > LIMIT and whole.startswith(line))
