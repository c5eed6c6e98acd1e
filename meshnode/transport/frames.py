"""Framing on a stream: a length (4 bytes, big-endian), then so many bytes. Pure; the length is checked before the body
is waited for, so that a peer can never make this node hold more than one frame and what came with it."""

from __future__ import annotations

from collections.abc import Iterator

LENGTH_BYTES = 4


class BadFrame(Exception):
    """A peer announced a frame over the limit: nothing that follows can be trusted."""


def pack_frame(body: bytes) -> bytes:
    """One frame. The caller has bounded `body`."""
    return len(body).to_bytes(LENGTH_BYTES) + body


class FrameBuffer:
    """Cuts received bytes into frames of at most `frame_bytes_max`."""

    __slots__ = ("_at", "_buffer", "_frame_bytes_max")

    def __init__(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()
        self._at = 0

    @property
    def partial(self) -> bool:
        """Whether a frame has begun that has not ended."""
        return self._at < len(self._buffer)

    def feed(self, data: bytes | bytearray) -> None:
        """Add what was received. Every frame that is complete must be taken before the next call."""
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """The next complete frame, None where more bytes are needed. Raises BadFrame."""
        begin = self._at + LENGTH_BYTES
        if begin > len(self._buffer):
            return None
        length = int.from_bytes(self._buffer[self._at : begin])
        if length > self._frame_bytes_max:
            raise BadFrame(f"{length} bytes announced, {self._frame_bytes_max} allowed")
        end = begin + length
        if end > len(self._buffer):
            return None
        self._at = end
        return bytes(self._buffer[begin:end])

    def frames(self) -> Iterator[bytes]:
        """Every complete frame. Raises BadFrame."""
        while (frame := self.next_frame()) is not None:
            yield frame

    def rest(self) -> bytes:
        """What has been received and not been taken, taken now: to go on with under another limit."""
        rest = bytes(self._buffer[self._at :])
        self._buffer.clear()
        self._at = 0
        return rest
