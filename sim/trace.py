"""The trace of a run, folded into one hash as it goes: equal hashes mean equal runs.

What goes in is integers (times, node numbers, tags of types) and, where content matters and is rare, encoded values.
Integers are gathered in an array and hashed a few thousand at a time. A type's tag is a hash of its qualified name: no
`id()`, no `hash()` of a string, nothing that PYTHONHASHSEED or the order of imports could reach. The trace keeps
nothing of what went through it, so its memory does not grow with virtual time.
"""

from __future__ import annotations

import sys
from array import array
from hashlib import blake2b

import msgspec


class TypeTags(dict[type, int]):
    """Type → 31-bit tag of its name. A plain dict lookup once a type has been seen."""

    def __missing__(self, cls: type) -> int:
        name = f"{cls.__module__}.{cls.__qualname__}"
        tag = self[cls] = int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), "little") >> 1
        return tag


class Trace:
    """The hash of a run. Hot paths append to `words` themselves (each in −2⁶³ … 2⁶³−1); call `flush` now and then."""

    __slots__ = ("_encode", "_hash", "tags", "words")

    def __init__(self) -> None:
        self.words = array("q")
        self.tags = TypeTags()
        self._hash = blake2b(digest_size=16)
        self._encode = msgspec.msgpack.Encoder(order="deterministic").encode

    def flush(self) -> None:
        """Fold the gathered words into the hash."""
        words = self.words
        if sys.byteorder == "big":
            words.byteswap()
        self._hash.update(words)
        del words[:]

    def value(self, value: object) -> None:
        """Fold in the whole content of `value`, a struct or plain data."""
        data = self._encode(value)
        self.words.append(len(data))
        self.flush()
        self._hash.update(data)

    def hexdigest(self) -> str:
        """The hash of all that has gone in, as 32 hexadecimal characters."""
        self.flush()
        return self._hash.hexdigest()
