"""What a commit that a crash interrupts leaves on a disk, down to bytes, and what recovery makes of it.

The daemon keeps its records in SQLite with a write-ahead log (`meshnode/storage.py`): one transaction is written to
the log as frames, synced, and only then acknowledged; one transaction at a time is under way. The same here:

- A commit is one entry for each of its records: a header (length, commit number, whether it is the commit's last), the
  record, and a checksum that covers the entries before it as well, as the frames of SQLite's log do. Every entry
  begins on a sector of its own, as every such frame holds a page; so a torn write cannot harm what is durable.
- The log is written over and over. Where a commit is about to be written there stands an older one, intact to the
  last byte; its number tells it apart.
- Until the sync is through, a disk may have taken any of the sectors, in any order, and of one of them only a part:
  `Leftover` says which. What it has not taken still holds what stood there before.
- Recovery reads entries from the start and believes them as long as number, length and checksum fit; it keeps what it
  has read up to the last entry that ends a commit. So a commit is there whole or not at all.

Pure functions on bytes; `sim/disk.py` calls them, at crashes only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Annotated, TypeAlias
from zlib import crc32

import msgspec
from msgspec import Meta, Struct

from protocols.core import Delete, Put, Record, Stored

SECTOR_BYTES = 512
HEADER_BYTES = 13
CHECKSUM_BYTES = 4
DECODING_ERRORS = (msgspec.DecodeError, UnicodeDecodeError)
"""What bytes raise that are no record."""

Records: TypeAlias = tuple[Record, ...]


class Damage(StrEnum):
    """What a crash did to a commit that was under way."""

    NOTHING_WRITTEN = "nothing_written"
    ALL_WRITTEN = "all_written"
    TORN = "torn"
    """The first sectors were written and a part of the next."""
    REORDERED = "reordered"
    """Some sector was written and one before it was not."""


class Leftover(Struct, frozen=True):
    """What the disk has taken of a commit: by sector, how many of its bytes."""

    taken: tuple[int, ...]

    @property
    def damage(self) -> Damage:
        """What to call it."""
        if all(taken == SECTOR_BYTES for taken in self.taken):
            return Damage.ALL_WRITTEN
        if not any(self.taken):
            return Damage.NOTHING_WRITTEN
        whole = 0
        while self.taken[whole] == SECTOR_BYTES:
            whole += 1
        return Damage.REORDERED if any(self.taken[whole + 1 :]) else Damage.TORN


def draw_leftover(stream: random.Random, sectors: int) -> Leftover:
    """What a crash leaves of `sectors` sectors. Every outcome can come; the interesting ones come often."""
    fate = stream.random()
    if fate < 0.25:
        return Leftover((0,) * sectors)
    if fate < 0.5:
        return Leftover((SECTOR_BYTES,) * sectors)
    if fate < 0.75 or sectors == 1:
        whole = stream.randrange(sectors)
        return Leftover((*(SECTOR_BYTES,) * whole, stream.randrange(1, SECTOR_BYTES), *(0,) * (sectors - whole - 1)))
    taken = [stream.choice((0, SECTOR_BYTES)) for _ in range(sectors)]
    hole = stream.randrange(sectors - 1)
    taken[hole] = stream.choice((0, stream.randrange(1, SECTOR_BYTES)))
    taken[stream.randrange(hole + 1, sectors)] = SECTOR_BYTES
    return Leftover(tuple(taken))


# Writing.


def types_in(saves: Iterable[Records]) -> tuple[type[Stored], ...]:
    """The types of the values in `saves`, which their bytes refer to by number."""
    return tuple(dict.fromkeys(type(r.value) for records in saves for r in records if isinstance(r, Put)))


def encode_commit(number: int, saves: Sequence[Records], types: Sequence[type[Stored]]) -> bytes:
    """The log's bytes for one commit of `saves`, none of them empty, padded to whole sectors."""
    payloads = [
        _encode([position, r.key, *((types.index(type(r.value)), r.value) if isinstance(r, Put) else ())])
        for position, records in enumerate(saves)
        for r in records
    ]
    log = bytearray()
    chain = 0
    for position, payload in enumerate(payloads):
        last = position == len(payloads) - 1
        header = len(payload).to_bytes(4) + number.to_bytes(8) + bytes([last])
        chain = checksum(chain, header + payload)
        log += header + payload + chain.to_bytes(CHECKSUM_BYTES)
        log += bytes(-len(log) % SECTOR_BYTES)
    return bytes(log)


def sectors_of(log: bytes) -> int:
    """How many sectors `log`, which is padded, takes."""
    return len(log) // SECTOR_BYTES


def crashed(log: bytes, before: bytes, leftover: Leftover) -> bytes:
    """What stands where `log` was being written over `before` (zeros behind its end) when the machine went down."""
    stood = before[: len(log)].ljust(len(log), b"\0")
    parts: list[bytes] = []
    for position, taken in enumerate(leftover.taken):
        start = position * SECTOR_BYTES
        parts.append(log[start : start + taken])
        parts.append(stood[start + taken : start + SECTOR_BYTES])
    return b"".join(parts)


# Recovery.


def recover(log: bytes, number: int, types: Sequence[type[Stored]]) -> list[Records]:
    """The saves of commit `number` that a correct recovery finds in `log`: all of them, or none.

    `types` are those of the values that it may meet. Raises `DECODING_ERRORS` for an entry that passes the checks
    and cannot be read, which no crash can bring about.
    """
    found: list[tuple[int, Record]] = []
    chain = 0
    at = 0
    while at + HEADER_BYTES + CHECKSUM_BYTES <= len(log):
        header = log[at : at + HEADER_BYTES]
        end = at + HEADER_BYTES + int.from_bytes(header[:4])
        entry = log[at:end]
        chain = checksum(chain, entry)
        written = log[end : end + CHECKSUM_BYTES]
        if int.from_bytes(header[4:12]) != number or not intact(written, chain):
            return []
        found.append(_decoded(entry[HEADER_BYTES:], types))
        if header[12]:
            return [tuple(record for _, record in of_one) for _, of_one in groupby(found, itemgetter(0))]
        at = -(-(end + CHECKSUM_BYTES) // SECTOR_BYTES) * SECTOR_BYTES
    return []


def checksum(chain: int, data: bytes) -> int:
    """CRC-32 of `data`, going on from the checksum of what comes before it."""
    return crc32(data, chain)


def intact(written: bytes, computed: int) -> bool:
    """Whether the checksum that stands behind an entry is the one that it has."""
    return written == computed.to_bytes(CHECKSUM_BYTES)


def _decoded(payload: bytes, types: Sequence[type[Stored]]) -> tuple[int, Record]:
    """Which save of its commit a record belongs to, and the record."""
    row = _decode_row(payload)
    save = _decode_number(row[0])
    key = _decode_key(row[1])
    if len(row) == 2:
        return save, Delete(key)
    number = _decode_number(row[2])
    if number >= len(types):
        raise msgspec.DecodeError(f"there is no type {number}")
    return save, Put(key, _decoder_of(types[number])(row[3]))


@lru_cache(maxsize=256)
def _decoder_of(stored: type[Stored]) -> Callable[[msgspec.Raw], Stored]:
    return msgspec.msgpack.Decoder(stored).decode


_encode = msgspec.msgpack.Encoder().encode
_decode_row = msgspec.msgpack.Decoder(Annotated[list[msgspec.Raw], Meta(min_length=2, max_length=4)]).decode
_decode_key = msgspec.msgpack.Decoder(str).decode
_decode_number = msgspec.msgpack.Decoder(Annotated[int, Meta(ge=0)]).decode
