"""Addresses: `host:port` texts, what they mean to a socket, and names looked up beside the traffic.

A datagram never waits for a name server. Literal addresses are parsed once and remembered; a name is looked up in a
worker thread while the packets for it are dropped (the protocols send again), and an answer that has grown old goes on
serving until a newer one is there.
"""

from __future__ import annotations

import ipaddress
import math
import socket
from collections import OrderedDict
from typing import TypeAlias

import trio

from protocols.limits import ADDRESS_CHARS_MAX

SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]

V4_IN_V6 = "::ffff:"
"""An IPv4 host as a dual-stack IPv6 socket names it (RFC 4291, section 2.5.5.2)."""
CACHE_MAX = 4096
LOOKUPS_MAX = 16
"""Names looked up at one time; packets for further ones are dropped until then."""
FRESH_S = 60.0
RETRY_S = 5.0
"""How long a name that was not found is not asked for again."""


class BadAddress(ValueError):
    """A text that is no `host:port`. The text says why, for people."""


def split_address(address: str) -> tuple[str, int]:
    """Host (without brackets) and port of `host:port`, `[v6]:port`. Raises BadAddress."""
    if len(address) > ADDRESS_CHARS_MAX:
        raise BadAddress(f"an address has at most {ADDRESS_CHARS_MAX} characters")
    host, colon, port_text = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise BadAddress("an IPv6 host stands in brackets: [::1]:7000")
    if not colon or not host:
        raise BadAddress("an address reads host:port")
    if not port_text.isascii() or not port_text.isdigit() or int(port_text) > 65535:
        raise BadAddress("a port is a number from 0 to 65535")
    if not host.isascii() or any(c.isspace() or not c.isprintable() for c in host):
        raise BadAddress("a host has plain characters only")
    return host, int(port_text)


def join_address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 host."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def source_address(host: str, port: int) -> str:
    """The address of whoever a packet came from, in the form in which that node itself would name it."""
    return join_address(host.removeprefix(V4_IN_V6), port)


def literal(host: str, port: int, family: socket.AddressFamily) -> SocketAddress | None:
    """What a literal IP is to a socket of `family`; None where it is nothing. Raises ValueError for a name."""
    ip = ipaddress.ip_address(host)
    if family == socket.AF_INET6:
        return (host if ip.version == 6 else V4_IN_V6 + host, port, 0, 0)
    return (host, port) if ip.version == 4 else None


class Resolver:
    """Turns addresses into socket addresses of one family, without ever blocking. `run` does the looking up."""

    def __init__(self, family: socket.AddressFamily) -> None:
        self._family = family
        self._known: OrderedDict[str, tuple[SocketAddress | None, float]] = OrderedDict()
        self._asked: set[str] = set()
        self._wanted_send, self._wanted = trio.open_memory_channel[str](LOOKUPS_MAX)

    def lookup(self, address: str, now_s: float) -> SocketAddress | None:
        """Where to send, or None while (or because) that is not known. `now_s`: trio.current_time()."""
        entry = self._known.get(address)
        if entry is not None and now_s < entry[1]:
            return entry[0]
        if entry is None:
            try:
                host, port = split_address(address)
            except BadAddress:
                self._learn(address, None, math.inf)
                return None
            try:
                where = literal(host, port, self._family)
            except ValueError:
                pass  # a name
            else:
                self._learn(address, where, math.inf)
                return where
        if address not in self._asked:
            try:
                self._wanted_send.send_nowait(address)
                self._asked.add(address)
            except trio.WouldBlock:
                pass
        return entry[0] if entry is not None else None

    def _learn(self, address: str, where: SocketAddress | None, until_s: float) -> None:
        self._known[address] = (where, until_s)
        self._known.move_to_end(address)
        if len(self._known) > CACHE_MAX:
            self._known.popitem(last=False)

    async def run(self) -> None:
        """Look up names for ever, several at a time."""
        async with trio.open_nursery() as nursery:
            for _ in range(LOOKUPS_MAX // 4):
                nursery.start_soon(self._work)

    async def _work(self) -> None:
        async for address in self._wanted:
            host, port = split_address(address)
            mapped = socket.AI_V4MAPPED if self._family == socket.AF_INET6 else 0
            try:
                found = await trio.socket.getaddrinfo(host, port, self._family, socket.SOCK_DGRAM, flags=mapped)
                where = literal(str(found[0][4][0]), port, self._family)
            except (OSError, ValueError):
                stale = self._known.get(address)
                self._learn(address, stale[0] if stale else None, trio.current_time() + RETRY_S)
            else:
                self._learn(address, where, trio.current_time() + FRESH_S)
            finally:
                self._asked.discard(address)
