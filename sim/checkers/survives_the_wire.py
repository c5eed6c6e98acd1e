"""What travels by reference in here would travel as bytes out there.

In the simulator messages are shared, not encoded. The first of every type, and one in a few hundred after that, is
looked at as it is sent: it must encode, within a frame's bound (`fits_a_packet` judges datagrams), and decode to an
equal message. Of the records that become durable, the first of every type and those of one save in sixteen must come
back from their bytes the same. A length, a range or a type that the codec would refuse shows here before it does in a
mesh.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.core import Instant, Message, Put, Record, Stored
from protocols.limits import FRAME_BYTES_MAX
from protocols.wire import BadMessage, decode_message, decode_stored, encode_message, encode_stored
from sim.checkers.checker import Checker
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World

SAVES_BETWEEN_LOOKS = 16


class SurvivesTheWire(Checker):
    """Every message and every record survives being encoded and decoded."""

    name = "survives_the_wire"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._saves = 0
        self._seen: dict[type[Stored], None] = {}
        """Types of records of which one has been looked at."""

    def on_sample(self, now: Instant, message: Message) -> None:
        data = encode_message(message)
        if len(data) > FRAME_BYTES_MAX:
            self.violated(now, None, f"a {type(message).__name__} of {len(data)} bytes does not fit {FRAME_BYTES_MAX}")
        try:
            decoded = decode_message(data)
        except BadMessage as error:
            self.violated(now, None, f"a {type(message).__name__} cannot be decoded: {error}")
            return
        if decoded != message:
            self.violated(now, None, f"{message!r} decodes to {decoded!r}")

    def on_durable(self, now: Instant, process: Process, records: tuple[Record, ...]) -> None:
        self._saves += 1
        everything = self._saves % SAVES_BETWEEN_LOOKS == 0
        for record in records:
            if not isinstance(record, Put) or (type(record.value) in self._seen and not everything):
                continue
            self._seen[type(record.value)] = None
            try:
                decoded = decode_stored(encode_stored(record.value))
            except BadMessage as error:
                self.violated(now, process, f"the record {record.key} cannot be decoded: {error}")
                continue
            if decoded != record.value:
                self.violated(now, process, f"{record.value!r} decodes to {decoded!r}")
