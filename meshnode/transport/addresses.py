"""Addresses: `host:port` texts, and what they mean to a socket.

A datagram never waits for a name server. Literal addresses are parsed once and remembered; packets for a name that is
being looked up for the first time (names.py) are dropped, and the protocols send again.
"""

from __future__ import annotations

import ipaddress
import socket
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias, TypeVar

from protocols.limits import ADDRESS_CHARS_MAX

SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]

V4_IN_V6 = "::ffff:"
"""An IPv4 host as a dual-stack IPv6 socket names it (RFC 4291, section 2.5.5.2)."""
CACHE_MAX = 4096

T = TypeVar("T")


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


def is_literal(host: str) -> bool:
    """Whether `host` is an IP address, and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Resolver:
    """Turns addresses into socket addresses of one family, without ever blocking. `known` knows the names."""

    def __init__(self, family: socket.AddressFamily, known: Callable[[str], tuple[str, ...]]) -> None:
        self._family = family
        self._known = known
        self._literals: OrderedDict[str, SocketAddress | None] = OrderedDict()
        self._names: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def lookup(self, address: str) -> SocketAddress | None:
        """Where to send, or None while (or because) that is not known."""
        name = self._names.get(address)
        if name is not None:
            return self._lookup_name(*name)
        try:
            return self._literals[address]
        except KeyError:
            return self._meet(address)

    def _meet(self, address: str) -> SocketAddress | None:
        where = None
        try:
            host, port = split_address(address)
        except BadAddress:
            pass
        else:
            if not is_literal(host):
                _remember(self._names, address, (host, port))
                return self._lookup_name(host, port)
            where = literal(host, port, self._family)
        _remember(self._literals, address, where)
        return where

    def _lookup_name(self, host: str, port: int) -> SocketAddress | None:
        """The best address of the name that a socket of this family can send to."""
        for each in self._known(host):
            where = literal(each, port, self._family)
            if where is not None:
                return where
        return None


def _remember(cache: OrderedDict[str, T], address: str, what: T) -> None:
    cache[address] = what
    if len(cache) > CACHE_MAX:
        cache.popitem(last=False)
