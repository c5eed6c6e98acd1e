"""A LAN of one's own: network namespaces on one bridge, where anything may be multicast; and what this machine can do.

Each namespace has its loopback and one link to the bridge. Where none is allowed, `why_no_lan` says so, and tests that
need one are skipped.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

from scripts.namespaces import Namespace, NoNamespaces, namespace

MDNS = ("224.0.0.251", 5353)


@cache
def why_no_loopback_multicast() -> str:
    """Why no packet that is multicast on loopback comes back there; empty where one does."""
    with socket.socket(type=socket.SOCK_DGRAM) as receiving, socket.socket(type=socket.SOCK_DGRAM) as sending:
        try:
            membership = struct.pack("4s4s", socket.inet_aton(MDNS[0]), socket.inet_aton("127.0.0.1"))
            receiving.bind(("", 0))  # a port of our own: nobody else is disturbed
            receiving.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            receiving.settimeout(2)
            sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            sending.sendto(b"echo", (MDNS[0], receiving.getsockname()[1]))
            receiving.recv(16)
        except OSError as error:
            return f"this machine gives no multicast back on loopback: {error}"
    return ""


@cache
def why_no_lan() -> str:
    """Why no network namespaces can be made here; empty where they can."""
    try:
        with namespace() as here:
            here.run("ip link add br0 type bridge && ip link add v0 type veth peer name v1")
    except NoNamespaces as error:
        return f"network namespaces are not to be had: {error}"
    return ""


class Machine:
    """A network namespace with one link to the LAN. `prefix` runs a command in it."""

    def __init__(self, inside: Namespace) -> None:
        self.prefix = inside.prefix
        self.run = inside.run

    def move_to(self, address: str) -> None:
        """Give the machine another address, and no other."""
        self.run(f"ip addr flush dev lan0 && ip addr add {address}/24 dev lan0 && ip route replace default dev lan0")


@contextmanager
def lan_of(count: int) -> Iterator[list[Machine]]:
    """Machines at 10.77.0.1 and up, that reach each other and nothing else."""
    with ExitStack() as stack:
        switch = stack.enter_context(namespace())
        switch.run("ip link add br0 type bridge mcast_snooping 0 && ip link set br0 up")
        machines: list[Machine] = []
        for number in range(1, count + 1):
            inside = stack.enter_context(namespace(switch))
            switch.run(f"ip link add m{number} type veth peer name lan0 netns {inside.pid}")
            switch.run(f"ip link set m{number} master br0 up")
            inside.run("ip link set lo up && ip link set lan0 up")
            machines.append(Machine(inside))
            machines[-1].move_to(f"10.77.0.{number}")
        yield machines
