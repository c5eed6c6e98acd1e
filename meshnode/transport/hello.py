"""The hello: the first frame of a mesh stream, each way. A plain MessagePack map that every version can read.

    {"v": [lowest, highest wire version], "mesh": label, "address": where its sender listens, "name": its name,
     "life": drawn by this process, "up_ms": for how long it has been up}

The last two are for telling this process from another one that has the same identity (twins.py).
It says nothing that decides who the sender is: that follows from its certificate. Unknown keys are skipped. Bytes,
depth, list and text lengths are bounded before and while it is read; whatever is wrong with it, `BadHello` comes out.
"""

from __future__ import annotations

from typing import Annotated

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types and there is no stub package
import msgspec
from msgspec import Meta, Struct

from meshnode.transport.addresses import BadAddress, split_address
from protocols.limits import ADDRESS_CHARS_MAX, MESH_LABEL_CHARS_MAX, NAME_CHARS_MAX
from protocols.wire import VERSION, VERSION_MIN

HELLO_BYTES_MAX = 2048
_TEXT_BYTES_MAX = 4 * max(ADDRESS_CHARS_MAX, MESH_LABEL_CHARS_MAX, NAME_CHARS_MAX)
_KEYS_MAX = 16

LIFE_CHARS_MAX = 32

WireVersion = Annotated[int, Meta(ge=0, le=1 << 31)]


class BadHello(Exception):
    """Foreign bytes that are no hello."""


class Hello(Struct, frozen=True):
    """What a node says first on a stream."""

    v: tuple[WireVersion, WireVersion]
    mesh: Annotated[str, Meta(max_length=MESH_LABEL_CHARS_MAX)]
    address: Annotated[str, Meta(max_length=ADDRESS_CHARS_MAX)]
    name: Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
    life: Annotated[str, Meta(max_length=LIFE_CHARS_MAX)] = ""
    up_ms: Annotated[int, Meta(ge=0, lt=1 << 62)] = 0

    @property
    def understandable(self) -> bool:
        """Whether the sender and this node have a wire version in common."""
        lowest, highest = self.v
        return lowest <= VERSION and highest >= VERSION_MIN


def encode_hello(mesh: str, address: str, name: str, life: str = "", up_ms: int = 0) -> bytes:
    """This node's hello."""
    document = {"v": [VERSION_MIN, VERSION], "mesh": mesh, "address": address, "name": name}
    packed = msgpack.packb({**document, "life": life, "up_ms": up_ms})
    assert packed is not None  # only an autoreset packer returns None
    return bytes(packed)


def decode_hello(data: bytes) -> Hello:
    """A peer's hello. Raises `BadHello` and nothing else."""
    if len(data) > HELLO_BYTES_MAX:
        raise BadHello("too long")
    try:
        document = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_str_len=_TEXT_BYTES_MAX,
            max_bin_len=0,
            max_array_len=_KEYS_MAX,
            max_map_len=_KEYS_MAX,
            max_ext_len=0,
        )
        hello = msgspec.convert(document, Hello)
        split_address(hello.address)
    except (BadAddress, msgspec.ValidationError) as error:
        raise BadHello(str(error)) from None
    except (ValueError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise BadHello(f"not MessagePack: {error}") from None
    return hello
