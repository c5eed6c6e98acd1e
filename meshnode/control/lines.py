"""Newline-ended lines off a byte stream, each bounded before anything looks into it."""

from __future__ import annotations

import trio

CHUNK_BYTES = 64 * 1024


class LineTooLong(Exception):
    """A line passed the limit. What follows on the stream cannot be told apart any more: close it."""


class LineReader:
    """Reads lines of at most `line_bytes_max` bytes, the newline included. For one task at a time."""

    def __init__(self, stream: trio.abc.ReceiveStream, line_bytes_max: int) -> None:
        self._stream = stream
        self._line_bytes_max = line_bytes_max
        self._buffer = bytearray()
        self._start = 0
        """Where the next line begins in the buffer."""
        self._scanned = 0
        """Up to where the buffer is known to hold no newline of the next line, so that no byte is scanned twice."""

    async def read_line(self) -> bytes | None:
        """The next line without its newline, or None at the end of the stream; an unended last line is dropped.

        Raises `LineTooLong`, and what the stream's `receive_some` raises. When cancelled, nothing is lost.
        """
        while True:
            end = self._buffer.find(b"\n", self._scanned)
            if end >= 0:
                if end + 1 - self._start > self._line_bytes_max:
                    raise LineTooLong
                line = bytes(memoryview(self._buffer)[self._start : end])
                self._start = self._scanned = end + 1
                return line
            self._forget_what_was_read()
            if len(self._buffer) >= self._line_bytes_max:
                raise LineTooLong
            chunk = await self._stream.receive_some(CHUNK_BYTES)
            if not chunk:
                return None
            self._buffer += chunk

    def _forget_what_was_read(self) -> None:
        del self._buffer[: self._start]
        self._start = 0
        self._scanned = len(self._buffer)
