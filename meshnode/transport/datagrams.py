"""The UDP socket: takes what has come in batches, sends without ever waiting. What packets mean is not its business.

A packet that the socket's buffer has no room for is dropped and counted: UDP promises nothing, the protocols send
again.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import trio

from meshnode.transport.addresses import SocketAddress
from protocols.limits import PACKET_BYTES_MAX

PACKETS_PER_WAKEUP = 64
"""Packets handled before other tasks get their turn."""
BUFFER_BYTES = 1 << 20


class DatagramPort:
    """Owns a bound, non-blocking UDP socket. `on_packet(packet, host, port)`; a too long packet comes cut by the system
    to one byte over the limit, for the receiver to refuse. `on_drop(reason)` counts."""

    def __init__(
        self, sock: socket.socket, on_packet: Callable[[bytes, str, int], None], on_drop: Callable[[str], None]
    ) -> None:
        self._socket = sock
        self._on_packet = on_packet
        self._drop = on_drop
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)

    def send(self, packet: bytes, where: SocketAddress) -> bool:
        """Hand `packet` to the system; False, and counted, where it is not taken: `send_would_block`, `send_failed`."""
        try:
            self._socket.sendto(packet, where)
            return True
        except BlockingIOError:
            self._drop("send_would_block")
        except OSError:
            # Network unreachable, no permission, socket closed under shutdown: the packet is lost like any other.
            self._drop("send_failed")
        return False

    async def run(self) -> None:
        """Receive until cancelled. An exception of `on_packet` comes out of here."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            for _ in range(PACKETS_PER_WAKEUP):
                try:
                    packet, source = self._socket.recvfrom(PACKET_BYTES_MAX + 1)
                except BlockingIOError:
                    break
                except OSError:
                    self._drop("receive_failed")  # an ICMP error of an earlier send, on systems that report those
                    break
                self._on_packet(packet, source[0], source[1])
