"""Sealed packets: AES-256-GCM under the mesh's keyring, with a replay window for every sender (DESIGN 8). No I/O.

    packet = magic 1 | key id 4 | sender id 16 | generation 4 | salt 8 | counter 8 | ciphertext | tag 16
    subkey = HKDF-SHA256(key of the keyring, salt = salt | sender id | generation)     nonce = 0000 | counter
    authenticated with it: the header, the receiver's id, the mesh's label

- A (subkey, nonce) pair is used once: the salt is drawn anew for every process and key, the counter only grows.
- A packet opens only for the receiver and the mesh it was sealed for, and only once. The window is that of RFC 4303
  (section 3.4.3), 1024 wide: what is older than the window counts as replayed.
- A sender's generation grows when its process starts. Once a newer one was seen, packets of an older are refused.
- A receiver that has just started knows no window yet: a packet sent to it before, and held back by somebody on the
  path, opens once. What packets say must bear that (SWIM's does: its states are ordered by generation and incarnation).
- The key proves membership, not the sender: a member could pose as another in a packet. What must not be forged goes by
  stream.
- Foreign bytes raise `BadPacket` and nothing else; they cost one key derivation at most, and no memory before the tag
  was found good.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from meshnode.certificates import NODE_ID_BYTES, node_id_from_raw, node_id_to_raw
from protocols.core import NodeId
from protocols.keyring.ring import KEY_BYTES, KEY_ID_BYTES, KEYS_MAX, key_id
from protocols.limits import PACKET_BYTES_MAX

MAGIC = 0xA1
"""First byte of a packet: this format, version 1."""
SALT_BYTES = 8
TAG_BYTES = 16
GENERATION_MAX = (1 << 32) - 1
WINDOW_PACKETS = 1024
SENDERS_MAX = 4096
"""Senders that a receiver keeps windows for; the one heard least recently is forgotten first."""
SALTS_MAX = KEYS_MAX
"""Windows kept for one sender. A correct one has a salt for every key that it has sealed with in this generation."""

_HEADER = struct.Struct(f"!B{KEY_ID_BYTES}s{NODE_ID_BYTES}sI{SALT_BYTES}sQ")
SEAL_OVERHEAD_BYTES = _HEADER.size + TAG_BYTES
"""What sealing adds to a message."""
MESSAGE_BYTES_MAX = PACKET_BYTES_MAX - SEAL_OVERHEAD_BYTES
"""The longest message that fits one packet."""

_WINDOW_MASK = (1 << WINDOW_PACKETS) - 1
_INFO = b"meshnode packet v1"


class BadPacket(Exception):
    """Foreign bytes that are no packet for this node. `reason` is one word, fit for a counter:
    short, oversized, version, unknown_key, tampered, replayed, own_packet."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Opened(NamedTuple):
    """A packet whose seal was good."""

    sender: NodeId
    generation: int
    message: bytes


def key_named_in(packet: bytes) -> bytes:
    """The id of the key that a packet (no shorter than SEAL_OVERHEAD_BYTES) says it is sealed with."""
    return packet[1 : 1 + KEY_ID_BYTES]


def sender_named_in(packet: bytes) -> NodeId:
    """Whom a packet (no shorter than SEAL_OVERHEAD_BYTES) names as its sender, which nothing has proven."""
    begin = 1 + KEY_ID_BYTES
    return node_id_from_raw(packet[begin : begin + NODE_ID_BYTES])


def _cipher(key: bytes, sender: bytes, generation: int, salt: bytes) -> AESGCM:
    derivation = HKDF(hashes.SHA256(), length=KEY_BYTES, salt=salt + sender + generation.to_bytes(4), info=_INFO)
    return AESGCM(derivation.derive(key))


class Sealer:
    """Seals what one process of one node says with one key. `salt` must be drawn at random for each."""

    __slots__ = ("_cipher", "_counter", "_generation", "_key_id", "_label", "_salt", "_sender")

    def __init__(self, key: bytes, sender: NodeId, mesh: str, *, generation: int, salt: bytes) -> None:
        if not 0 <= generation <= GENERATION_MAX or len(salt) != SALT_BYTES or len(key) != KEY_BYTES:
            raise ValueError("generation, salt or key out of range")
        self._sender = node_id_to_raw(sender)
        self._label = mesh.encode()
        self._generation = generation
        self._salt = salt
        self._counter = 0
        self._key_id = key_id(key)
        self._cipher = _cipher(key, self._sender, generation, salt)

    def seal(self, receiver: bytes, message: bytes) -> bytes:
        """A packet for the node whose raw id (16 bytes) is `receiver`. ValueError where it would not fit."""
        if len(message) > MESSAGE_BYTES_MAX:
            raise ValueError(f"{len(message)} bytes do not fit a packet ({MESSAGE_BYTES_MAX} do)")
        counter = self._counter
        self._counter = counter + 1
        header = _HEADER.pack(MAGIC, self._key_id, self._sender, self._generation, self._salt, counter)
        nonce = counter.to_bytes(12)
        return header + self._cipher.encrypt(nonce, message, header + receiver + self._label)


class _Window:
    """What has been opened of one (sender, generation, salt): bit i stands for the counter `highest` - i."""

    __slots__ = ("cipher", "highest", "key_id", "seen")

    def __init__(self, cipher: AESGCM, key: bytes) -> None:
        self.cipher = cipher
        self.key_id = key
        self.highest = -1
        self.seen = 0

    def is_fresh(self, counter: int) -> bool:
        age = self.highest - counter
        return age < 0 or (age < WINDOW_PACKETS and not self.seen >> age & 1)

    def mark(self, counter: int) -> None:
        age = self.highest - counter
        if age >= 0:
            self.seen |= 1 << age
            return
        # A jump past the whole window must not shift by its length: the counter is the sender's to choose.
        self.seen = (self.seen << -age & _WINDOW_MASK | 1) if -age < WINDOW_PACKETS else 1
        self.highest = counter


class _Sender:
    """What is known of one sender: its newest generation, and the windows within it, last heard last."""

    __slots__ = ("generation", "name", "windows")

    def __init__(self, name: NodeId, generation: int) -> None:
        self.name = name
        self.generation = generation
        self.windows: OrderedDict[tuple[bytes, bytes], _Window] = OrderedDict()


class Opener:
    """Opens what other nodes sealed for this one, each packet once. `senders_max` bounds its memory."""

    __slots__ = ("_keys", "_label", "_me", "_senders", "_senders_max")

    def __init__(self, keyring: Sequence[bytes], me: NodeId, mesh: str, *, senders_max: int = SENDERS_MAX) -> None:
        self._keys = {key_id(key): key for key in keyring}
        self._me = node_id_to_raw(me)
        self._label = mesh.encode()
        self._senders: OrderedDict[bytes, _Sender] = OrderedDict()
        self._senders_max = senders_max

    def __len__(self) -> int:
        """Senders remembered."""
        return len(self._senders)

    def rekey(self, keyring: Sequence[bytes]) -> None:
        """Open what these keys have sealed, from now on. Windows stay: nothing opens twice, should a key come back."""
        self._keys = {key_id(key): key for key in keyring}

    def open(self, packet: bytes) -> Opened:
        """The message in `packet` and who sealed it. Raises `BadPacket` and nothing else."""
        size = len(packet)
        if size < SEAL_OVERHEAD_BYTES:
            raise BadPacket("short")
        if size > PACKET_BYTES_MAX:
            raise BadPacket("oversized")
        magic, key_name, sender, generation, salt, counter = _HEADER.unpack_from(packet)
        if magic != MAGIC:
            raise BadPacket("version")
        key = self._keys.get(key_name)
        if key is None:
            raise BadPacket("unknown_key")
        if sender == self._me:
            raise BadPacket("own_packet")
        known = self._senders.get(sender)
        window = None
        if known is not None:
            if generation < known.generation:
                raise BadPacket("replayed")
            if generation == known.generation:
                window = known.windows.get((key_name, salt))
        if window is None:
            window = _Window(_cipher(key, sender, generation, salt), key_name)
        elif not window.is_fresh(counter):
            raise BadPacket("replayed")
        header = packet[: _HEADER.size]
        try:
            message = window.cipher.decrypt(
                counter.to_bytes(12), packet[_HEADER.size :], header + self._me + self._label
            )
        except InvalidTag:
            raise BadPacket("tampered") from None
        window.mark(counter)
        known = self._remember(sender, generation, salt, window)
        return Opened(known.name, generation, message)

    def _remember(self, sender: bytes, generation: int, salt: bytes, window: _Window) -> _Sender:
        """Keep the window of a packet whose tag was good, and forget what has become too much."""
        known = self._senders.get(sender)
        if known is None:
            known = self._senders[sender] = _Sender(node_id_from_raw(sender), generation)
            if len(self._senders) > self._senders_max:
                self._senders.popitem(last=False)
        else:
            self._senders.move_to_end(sender)
        if generation > known.generation:
            known.generation = generation
            known.windows.clear()
        known.windows[window.key_id, salt] = window
        if len(known.windows) > 1:
            known.windows.move_to_end((window.key_id, salt))
            if len(known.windows) > SALTS_MAX:
                known.windows.popitem(last=False)
        return known
