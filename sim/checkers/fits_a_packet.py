"""A datagram fits one packet: 1,400 bytes, seal included (DESIGN 4).

A larger one would be cut in pieces by the network, and the loss of any piece would lose it all; many paths drop pieces
altogether. Judged on a real encoding of the first message of every type and of one in a few hundred after that.
"""

from __future__ import annotations

from protocols.core import Carrier, Instant, Message
from protocols.limits import PACKET_BYTES_MAX
from protocols.wire import encode_message
from sim.checkers.checker import Checker

SEAL_BYTES_MAX = 64
"""Room that a sealed packet needs besides the message (header, authentication tag)."""


class FitsAPacket(Checker):
    """No datagram is larger than one packet."""

    name = "fits_a_packet"

    def on_sample(self, now: Instant, message: Message) -> None:
        if message.carrier is not Carrier.DATAGRAM:
            return
        size = len(encode_message(message)) + SEAL_BYTES_MAX
        if size > PACKET_BYTES_MAX:
            text = f"a {type(message).__name__} takes {size} bytes with its seal; a packet holds {PACKET_BYTES_MAX}"
            self.violated(now, None, text)
