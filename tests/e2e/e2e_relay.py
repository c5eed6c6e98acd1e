"""A relay in front of a real node: everything that others say to it, by TCP and by UDP, passes here and can be changed.

The node listens somewhere and advertises the relay's address (`--advertise`), so its peers know no other way to it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

import trio

PACKET_BYTES_MAX = 65_536
CHUNK_BYTES = 65_536
Change = Callable[[bytes], bytes | None]
"""What becomes of a packet, or of a chunk of a stream: itself, something else, or (None) nothing."""


def unchanged(data: bytes) -> bytes | None:
    return data


class Relay:
    """Forwards between whoever talks to `address` and the node that listens on port `target()` of this machine."""

    def __init__(self, target: Callable[[], int]) -> None:
        self._tcp, self._udp = _one_port_for_both()
        self._target = target
        self.port: int = self._tcp.getsockname()[1]
        self.packets: list[bytes] = []
        """Packets to the node, as they came."""
        self.replies: list[bytes] = []
        """Packets from the node."""
        self.change_packet: Change = unchanged
        self.change_stream: Change = unchanged
        """Applied to chunks on their way to the node."""
        self._ways: dict[tuple[str, int], trio.socket.SocketType] = {}
        self._nursery: trio.Nursery | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Relay until cancelled; closes its sockets."""
        tcp = trio.SocketListener(trio.socket.from_stdlib_socket(self._tcp))
        udp = trio.socket.from_stdlib_socket(self._udp)
        async with tcp, trio.open_nursery() as nursery:
            with udp:
                self._nursery = nursery
                nursery.start_soon(trio.serve_listeners, self._serve, [tcp])
                task_status.started()
                while True:
                    data, source = await udp.recvfrom(PACKET_BYTES_MAX)
                    self.packets.append(data)
                    changed = self.change_packet(data)
                    if changed is not None:
                        await self._forward(udp, changed, source)

    async def _forward(self, udp: trio.socket.SocketType, data: bytes, source: tuple[str, int]) -> None:
        way = self._ways.get(source)
        if way is None:
            assert self._nursery is not None
            way = self._ways[source] = trio.socket.socket(type=socket.SOCK_DGRAM)
            await way.connect(("127.0.0.1", self._target()))
            self._nursery.start_soon(self._bring_back, way, udp, source)
        with suppress(OSError):
            await way.send(data)

    async def _bring_back(
        self, way: trio.socket.SocketType, udp: trio.socket.SocketType, source: tuple[str, int]
    ) -> None:
        with way:
            while True:
                try:
                    data = await way.recv(PACKET_BYTES_MAX)
                except OSError:
                    continue  # the node is down at the moment
                self.replies.append(data)
                with suppress(OSError):
                    await udp.sendto(data, source)

    async def _serve(self, stream: trio.SocketStream) -> None:
        with suppress(OSError):
            async with await trio.open_tcp_stream("127.0.0.1", self._target()) as node, trio.open_nursery() as nursery:
                nursery.start_soon(self._pump, node, stream, unchanged, nursery.cancel_scope)
                await self._pump(stream, node, lambda data: self.change_stream(data), nursery.cancel_scope)

    async def _pump(
        self, source: trio.SocketStream, sink: trio.SocketStream, change: Change, both: trio.CancelScope
    ) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await source.receive_some(CHUNK_BYTES):
                changed = change(bytes(data))
                if changed is None:
                    break
                await sink.send_all(changed)
        both.cancel()


def flipped(data: bytes, at: int) -> bytes:
    """`data` with one bit of byte `at` turned over."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def _one_port_for_both() -> tuple[socket.socket, socket.socket]:
    while True:
        tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
        tcp.bind(("127.0.0.1", 0))
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
            continue
        tcp.listen()
        tcp.setblocking(False)
        udp.setblocking(False)
        return tcp, udp
