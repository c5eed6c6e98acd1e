"""Values of any message or record type, drawn from the type itself: just the bounds that the codec checks are kept.

So a field that is added, or a bound that is changed, is tested without anybody thinking of it.
"""

from __future__ import annotations

from typing import get_args

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from protocols.core import Message, Stored
from protocols.detector.messages import DetectorMessage
from protocols.keyring.messages import KeyringMessage
from protocols.keyring.ring import Keyring
from protocols.limits import TAG_KEY_CHARS_MAX, TAG_VALUE_BYTES_MAX, TAGS_BYTES_MAX, TAGS_MAX
from protocols.membership.messages import MembershipMessage
from protocols.membership.records import ChangedTags, Generation, Heard, Peers
from protocols.membership.tags import tags_bytes
from protocols.tasks.messages import TaskMessage
from protocols.tasks.task import TaskProgress, TaskSpec

MESSAGE_TYPES: tuple[type[Message], ...] = (
    *get_args(MembershipMessage),
    *get_args(DetectorMessage),
    *get_args(KeyringMessage),
    *get_args(TaskMessage),
)
STORED_TYPES: tuple[type[Stored], ...] = (Generation, Peers, Heard, ChangedTags, Keyring, TaskSpec, TaskProgress)
TEXT_MAX = 40
ITEMS_MAX = 4


def values_of(kind: type) -> st.SearchStrategy[object]:
    """Instances of a struct type, within the bounds of its fields. Long texts and lists are drawn short."""
    return _drawn(inspect.type_info(kind))


def fields_of(kind: type) -> list[inspect.Type]:
    """The types of the fields of a struct, in their order on the wire."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return [field.type for field in info.fields]


def past_bounds(info: inspect.Type) -> st.SearchStrategy[object] | None:
    """Plain values just outside the bounds of a field; None where it has none."""
    beyond: list[st.SearchStrategy[object]] = []
    match info:
        case inspect.StrType():
            if info.max_length is not None:
                beyond.append(st.just("a" * (info.max_length + 1)))
            if info.min_length:
                beyond.append(st.just("a" * (info.min_length - 1)))
        case inspect.BytesType():
            if info.max_length is not None:
                beyond.append(st.just(bytes(info.max_length + 1)))
            if info.min_length:
                beyond.append(st.just(bytes(info.min_length - 1)))
        case inspect.IntType():
            if info.ge is not None:
                beyond.append(st.just(int(info.ge) - 1))
            if info.lt is not None:
                beyond.append(st.integers(int(info.lt), (1 << 64) - 1))
            if info.le is not None:
                beyond.append(st.integers(int(info.le) + 1, (1 << 64) - 1))
        case inspect.VarTupleType():
            if info.max_length is not None:
                count = info.max_length + 1
                beyond.append(_drawn(info.item_type).map(lambda item: [_plain(item)] * count))
        case inspect.EnumType():
            beyond.append(st.integers(1 + max(int(each.value) for each in info.cls), 1 << 32))
        case _:
            pass
    return st.one_of(beyond) if beyond else None


def _plain(value: object) -> object:
    decoded: object = msgspec.msgpack.decode(msgspec.msgpack.encode(value))
    return decoded


def _drawn(info: inspect.Type) -> st.SearchStrategy[object]:
    match info:
        case inspect.Metadata():
            return _drawn(info.type)
        case inspect.StructType():
            fields = {field.name: _drawn(field.type) for field in info.fields}
            return st.builds(info.cls, **fields)
        case inspect.NoneType():
            return st.none()
        case inspect.UnionType():
            return st.one_of([_drawn(each) for each in info.types])
        case inspect.VarTupleType(item_type=inspect.TupleType()):
            return tags_values()
        case inspect.VarTupleType():
            least = info.min_length or 0
            most = max(least, ITEMS_MAX if info.max_length is None else min(info.max_length, ITEMS_MAX))
            return st.lists(_drawn(info.item_type), min_size=least, max_size=most).map(tuple)
        case inspect.StrType():
            return _text(info)
        case inspect.BytesType():
            return st.binary(min_size=info.min_length or 0, max_size=info.max_length)
        case inspect.NoneType():
            return st.none()
        case inspect.IntType():
            return _whole_numbers(info)
        case inspect.FloatType():
            return st.floats(allow_nan=False)
        case inspect.BoolType():
            return st.booleans()
        case inspect.EnumType():
            return st.sampled_from(list(info.cls))
        case _:
            raise NotImplementedError(f"no strategy for {info}: add one, so that the new kind of field is tested")


def tags_values() -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    """Tags as a member may announce them: in order, each key once, within all bounds. Many short ones, or long ones."""
    keys = st.text("ab9._-", min_size=1, max_size=4) | st.just("k" * TAG_KEY_CHARS_MAX)
    values = st.text("a =,é漢🜁'\"", max_size=6) | st.just("v" * TAG_VALUE_BYTES_MAX)
    drawn = st.dictionaries(keys, values, max_size=TAGS_MAX).map(lambda tags: tuple(sorted(tags.items())))
    return drawn.filter(lambda tags: tags_bytes(tags) <= TAGS_BYTES_MAX)


def _text(info: inspect.StrType) -> st.SearchStrategy[object]:
    assert info.pattern is None
    least = info.min_length or 0
    most = TEXT_MAX if info.max_length is None else min(info.max_length, TEXT_MAX)
    drawn = st.text(min_size=least, max_size=most)
    if info.max_length is None or info.max_length > 4096:
        return drawn
    longest = st.sampled_from("a\x00é漢🜁").map(lambda char: char * (info.max_length or 0))
    return st.one_of(drawn, drawn, drawn, longest)


def _whole_numbers(info: inspect.IntType) -> st.SearchStrategy[object]:
    assert info.multiple_of is None
    least = -(1 << 63)
    most = (1 << 64) - 1
    if info.ge is not None:
        least = int(info.ge)
    if info.gt is not None:
        least = int(info.gt) + 1
    if info.le is not None:
        most = int(info.le)
    if info.lt is not None:
        most = int(info.lt) - 1
    return st.one_of(st.integers(least, most), st.sampled_from((least, most)))
