"""Packets under a keyring that changes: which key seals, what opens, what waits for its key. No I/O.

A packet and the news of the key that seals it take different ways: one may overtake the other. So a packet under an
unknown key is not lost at once: it waits for PARK_S, as QUIC lets packets wait whose keys are not there yet (RFC 9001,
section 5.7). Strangers can fill the places too, so they are few; when all are taken, the oldest goes.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from meshnode.transport.seal import GENERATION_MAX, SALT_BYTES, Opened, Opener, Sealer, key_named_in
from protocols.core import NodeId
from protocols.keyring.ring import key_id

PARK_S = 3.0
PARKED_MAX = 64


class Packets:
    """Seals what one node says, and opens what is said to it. `keyring`: the first key seals, all open."""

    def __init__(self, keyring: Sequence[bytes], me: NodeId, mesh: str, *, generation: int) -> None:
        self._keyring = tuple(keyring)
        self._me = me
        self._mesh = mesh
        self._generation = generation
        self._opener = Opener(keyring, me, mesh)
        self._sealers: dict[bytes, Sealer] = {}
        """One for every key that has been the primary and is still held: it goes on counting if that comes again."""
        self._sealer = self._sealer_of(self._keyring[0])

    def renew(self, generation: int) -> None:
        """Seal as of `generation` from now on: peers that saw a newer one refuse older packets (seal.py)."""
        self._generation = generation
        self._sealers.clear()
        self._sealer = self._sealer_of(self._keyring[0])

    def rekey(self, keyring: Sequence[bytes], retiring: Sequence[bytes]) -> None:
        """Seal with the first of `keyring` from now on, and open what any of it, or of `retiring`, has sealed."""
        self._keyring = tuple(keyring)
        self._opener.rekey((*keyring, *retiring))
        self._sealers = {key: sealer for key, sealer in self._sealers.items() if key in self._keyring}
        self._sealer = self._sealer_of(self._keyring[0])

    def seal(self, receiver: bytes, message: bytes) -> bytes:
        """A packet for the node whose raw id is `receiver`. ValueError where it would not fit."""
        return self._sealer.seal(receiver, message)

    def open(self, packet: bytes) -> Opened:
        """The message in `packet` and who sealed it. Raises `BadPacket` and nothing else."""
        return self._opener.open(packet)

    def _sealer_of(self, key: bytes) -> Sealer:
        if key not in self._sealers:
            salt = os.urandom(SALT_BYTES)
            generation = min(self._generation, GENERATION_MAX)
            self._sealers[key] = Sealer(key, self._me, self._mesh, generation=generation, salt=salt)
        return self._sealers[key]


class Waiting(NamedTuple):
    """A packet that waits for its key, and where it came from."""

    packet: bytes
    host: str
    port: int
    until_s: float


class Parked:
    """The packets that wait for a key, oldest first. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[int, Waiting] = OrderedDict()
        self._number = 0

    @property
    def deadline_s(self) -> float | None:
        """When the oldest has waited for long enough; None while none waits."""
        return next((each.until_s for each in self._waiting.values()), None)

    def put(self, packet: bytes, host: str, port: int, now_s: float) -> int:
        """Let `packet` wait. How many had to go for it."""
        self._number += 1
        self._waiting[self._number] = Waiting(packet, host, port, now_s + PARK_S)
        if len(self._waiting) <= PARKED_MAX:
            return 0
        self._waiting.popitem(last=False)
        return 1

    def take(self, keys: Sequence[bytes]) -> list[Waiting]:
        """Those that `keys` open, in the order of their coming."""
        names = [key_id(key) for key in keys]
        ready = [number for number, each in self._waiting.items() if key_named_in(each.packet) in names]
        return [self._waiting.pop(number) for number in ready]

    def expire(self, now_s: float) -> int:
        """Let those go that have waited for long enough. How many that were."""
        late = [number for number, each in self._waiting.items() if each.until_s <= now_s]
        for number in late:
            del self._waiting[number]
        return len(late)
