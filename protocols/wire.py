"""The bounded, versioned codec: the only decoder of foreign bytes (DESIGN 3, 8).

On the wire a message is plain MessagePack: `[version, [tag, field, …]]`. A reader takes every version from
`VERSION_MIN` up: a newer writer may only append fields, which an older reader skips, and new tags, which it counts and
drops. Bytes are bounded by the carrier before they get here; lengths of lists and strings are bounded by the types,
which the decoder checks against a list's announced length before it reads one element; depth by the types as well.
Whatever is wrong with the bytes, the one exception that comes out is `BadMessage`.
"""

from __future__ import annotations

from types import GenericAlias
from typing import Annotated

import msgspec
from msgspec import Meta

from protocols.core import Message, Stored
from protocols.detector.messages import DetectorMessage
from protocols.keyring.messages import KeyringMessage
from protocols.keyring.ring import Keyring
from protocols.membership.messages import MembershipMessage
from protocols.membership.records import ChangedTags, Generation, Heard, Peers
from protocols.tasks.messages import TaskMessage
from protocols.tasks.task import TaskProgress, TaskSpec

VERSION = 1
VERSION_MIN = 1
VERSION_MAX = 127

Version = Annotated[int, Meta(ge=VERSION_MIN, le=VERSION_MAX)]


class BadMessage(Exception):
    """Foreign bytes that are not a message. `reason` is one of a few words, fit for a counter."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


_encode = msgspec.msgpack.Encoder().encode
_decode_message = msgspec.msgpack.Decoder(
    GenericAlias(tuple, (Version, MembershipMessage | DetectorMessage | KeyringMessage | TaskMessage))
).decode
_decode_stored = msgspec.msgpack.Decoder(
    Generation | Peers | Heard | ChangedTags | Keyring | TaskSpec | TaskProgress
).decode


def encode_message(message: Message) -> bytes:
    return _encode((VERSION, message))


def decode_message(data: bytes | bytearray | memoryview) -> Message:
    """Raises `BadMessage` and nothing else, whatever `data` holds."""
    try:
        _, message = _decode_message(data)
    except msgspec.ValidationError as error:
        raise BadMessage("invalid", str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, OverflowError) as error:
        raise BadMessage("malformed", str(error)) from None
    assert isinstance(message, Message)
    return message


def encode_stored(value: Stored) -> bytes:
    return _encode(value)


def decode_stored(data: bytes) -> Stored:
    """Raises `BadMessage` where the bytes are not a record of this or an older version."""
    try:
        value = _decode_stored(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, OverflowError) as error:
        raise BadMessage("corrupt", str(error)) from None
    assert isinstance(value, Stored)
    return value
