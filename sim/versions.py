"""Two versions of the program in one mesh, as in a rolling upgrade: they understand each other through bytes only.

`protocols/wire.py` promises: a newer writer may only append fields, which an older reader skips, and add new tags,
which an older reader counts and drops. There is one version today. So that the promise is tested before it is needed,
there is a synthetic next one here, `Next`: to every struct that it writes, nested ones included, it appends fields, and
now and then it says something that the present version has never heard of. What its nodes do is what today's do.

- Between nodes of one version messages travel by reference, as ever. While versions differ, what crosses from one to
  the other is encoded by the speaker's codec and decoded by the listener's; bytes that cannot be read are counted as
  `bad_message` and dropped, as the daemon does.
- Records keep the version that wrote them. A node that starts under another one reads them through bytes as well: the
  upgraded reads old records, the one that is rolled back reads new ones.
- Property `versions_coexist`: whatever both versions know comes through unchanged, whatever the older one does not know
  is refused with `BadMessage`, and nothing else ever comes out.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec
from msgspec import Struct

from protocols.core import Endpoint, Instant, Message, Put, Stored
from protocols.wire import VERSION, BadMessage, decode_message, decode_stored, encode_message, encode_stored
from sim.disk import Damaged
from sim.network import Station

if TYPE_CHECKING:
    from sim.process import Process
    from sim.world import World

PRESENT = VERSION
NEXT = VERSION + 1
STRANGE = 1 / 16
"""Of the messages that a newer node says to an older one, how many are accompanied by one of a kind unknown to it."""
APPENDED: tuple[tuple[object, ...], ...] = (
    (),
    (0,),
    ("later", -7),
    ({"nested": [1, None, True]},),
    (None, b"\0\xff", 1.5, [[], {}]),
)
"""What a later version may come to write behind the fields that are known today."""

T = TypeVar("T", Message, Stored)


class Codec(Protocol):
    """How one version writes and reads. Readers raise `BadMessage` and nothing else, whatever the bytes."""

    def encode_message(self, message: Message, kind: int) -> bytes:
        """`kind` (0 or more) chooses what is appended, where there is a choice."""
        ...

    def decode_message(self, data: bytes) -> Message: ...
    def encode_stored(self, value: Stored, kind: int) -> bytes: ...
    def decode_stored(self, data: bytes) -> Stored: ...

    def known(self, message: Message) -> Message:
        """What this version can say of `message`, and read of it: an older one leaves out fields that came later."""
        ...

    def has(self, message: Message) -> bool:
        """Whether this version has messages of that kind: it says none of the others, and refuses them."""
        ...

    def strange(self, kind: int) -> bytes | None:
        """A message that older versions do not know; None where there is none."""
        ...


class Present:
    """The version of `protocols/wire.py`."""

    def encode_message(self, message: Message, kind: int) -> bytes:
        return encode_message(message)

    def decode_message(self, data: bytes) -> Message:
        return decode_message(data)

    def encode_stored(self, value: Stored, kind: int) -> bytes:
        return encode_stored(value)

    def decode_stored(self, data: bytes) -> Stored:
        return decode_stored(data)

    def known(self, message: Message) -> Message:
        return message

    def has(self, message: Message) -> bool:
        return True

    def strange(self, kind: int) -> bytes | None:
        return None


class Next(Present):
    """A version to come. It reads what the present one reads: its own fields have defaults."""

    def encode_message(self, message: Message, kind: int) -> bytes:
        return msgspec.msgpack.encode([NEXT, grown(message, APPENDED[kind % len(APPENDED)])])

    def encode_stored(self, value: Stored, kind: int) -> bytes:
        return msgspec.msgpack.encode(grown(value, APPENDED[kind % len(APPENDED)]))

    def strange(self, kind: int) -> bytes | None:
        return msgspec.msgpack.encode([NEXT, ["not_known_yet", kind, *APPENDED[kind % len(APPENDED)]]])


def grown(value: object, appended: tuple[object, ...]) -> object:
    """`value` as plain data, with `appended` behind the fields of every struct in it."""
    if isinstance(value, Struct):
        config = value.__struct_config__
        fields = [grown(getattr(value, name), appended) for name in value.__struct_fields__]
        tag = [] if config.tag is None else [config.tag]
        if config.array_like:
            return [*tag, *fields, *appended]
        named = dict(zip(value.__struct_encode_fields__, fields, strict=True))
        later = {f"later_{number}": each for number, each in enumerate(appended)}
        return dict.fromkeys([config.tag_field] if tag else [], config.tag) | named | later
    if isinstance(value, list | tuple):
        return [grown(each, appended) for each in value]
    return value.value if isinstance(value, Enum) else value


class Versions:
    """Which version each node of one world runs. `codecs` may be exchanged before the run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.kernel.random("versions")
        self._mixed = False
        self.codecs: dict[int, Codec] = {PRESENT: Present(), NEXT: Next()}
        self.crossed = 0
        """Messages that went from one version to another."""
        self.records_crossed = 0
        self.refused = 0
        """Messages that the listener could not read, and dropped."""

    def load(self, now: Instant, process: Process) -> list[Put]:
        """What `process` is given by its disk as it starts under the version that is installed. Raises `Damaged`."""
        disk = process.disk
        saved = disk.load()
        reader = process.installed
        if disk.writers is not None or reader != PRESENT:
            writers = disk.writers = disk.writers or {}
            saved = [self._reread(now, process, put, writers.get(put.key, PRESENT), reader) for put in saved]
            disk.writer = reader
        if reader != process.version:
            process.version = reader
            self._mix()
        return saved

    def _reread(self, now: Instant, process: Process, put: Put, writer: int, reader: int) -> Put:
        if writer == reader:
            return put
        self.records_crossed += 1
        what = f"version {reader} cannot read the record {put.key} of version {writer}"
        data = self.codecs[writer].encode_stored(put.value, self._kind())
        value = self._read(now, process, self.codecs[reader].decode_stored, data, what)
        if value is None:
            raise Damaged(f"{what[0].upper()}{what[1:]}.")
        self._compare(now, process, put.value, value)
        return Put(put.key, value)

    def _mix(self) -> None:
        """Let messages take the way through bytes while there is more than one version, and only then."""
        processes = self._world.processes
        mixed = any(process.version != processes[0].version for process in processes)
        if mixed == self._mixed:
            return
        self._mixed = mixed
        for process in processes:
            process.speak_through(self.send if mixed else self._world.network.send)

    def send(self, now: Instant, sender: Station, to: Endpoint, message: Message) -> None:
        """`Network.send` for a mesh of several versions."""
        speaker = self._world.processes[sender.index]
        there = self._world.network.station_at(to.address)
        listener = speaker if there is None else self._world.processes[there.index]
        if listener.version == speaker.version:
            self._world.network.send(now, sender, to, message)
            return
        heard = self._across(now, speaker, listener, message)
        if heard is not None:
            self._world.network.send(now, sender, to, heard)

    def _across(self, now: Instant, speaker: Process, listener: Process, message: Message) -> Message | None:
        """What `listener` makes of `message`; None where it drops it."""
        kind = self._kind()
        codec = self.codecs[speaker.version]
        reader = self.codecs[listener.version]
        decode = reader.decode_message
        if not codec.has(message):
            return None
        self.crossed += 1
        if not reader.has(message):
            self._say_something_strange(now, listener, codec.encode_message(message, kind), decode)
            return None
        if speaker.version > listener.version and self._random.random() < STRANGE:
            self._say_something_strange(now, listener, codec.strange(kind), decode)
        what = f"version {listener.version} cannot read a {type(message).__name__} of version {speaker.version}"
        heard = self._read(now, listener, decode, codec.encode_message(message, kind), what)
        if heard is None:
            self._drop()
        else:
            self._compare(now, listener, reader.known(codec.known(message)), heard)
        return heard

    def _say_something_strange(
        self, now: Instant, listener: Process, data: bytes | None, decode: Callable[[bytes], Message]
    ) -> None:
        if data is None:
            return
        try:
            message = decode(data)
        except BadMessage:
            self._drop()
        except Exception as error:
            self._raised(now, listener, f"a message of an unknown kind raised {type(error).__name__}: {error}")
        else:
            self._raised(now, listener, f"a message of an unknown kind was taken for {message!r}")

    def _drop(self) -> None:
        self.refused += 1
        self._world.network.drops["bad_message"] += 1

    def _read(
        self, now: Instant, process: Process, decode: Callable[[bytes], T], data: bytes, otherwise: str
    ) -> T | None:
        try:
            return decode(data)
        except BadMessage as error:
            self._raised(now, process, f"{otherwise}: {error}")
        except Exception as error:
            self._raised(now, process, f"{otherwise}: it raises {type(error).__name__}, not BadMessage: {error}")
        return None

    def _compare(self, now: Instant, process: Process, said: Message | Stored, heard: Message | Stored) -> None:
        if heard != said:
            self._raised(now, process, f"{said!r} is understood as {heard!r} by version {process.installed}")

    def _raised(self, now: Instant, process: Process, text: str) -> None:
        self._world.watch.violated("versions_coexist", now, process.name, text)

    def _kind(self) -> int:
        return self._random.randrange(len(APPENDED))
