"""A LAN of one's own: network namespaces on one bridge, where anything may be multicast; and what this machine can do.

Nothing of it reaches the network of the machine: each namespace has its loopback and one link to the bridge. Without
root it takes user namespaces. Where neither is allowed, `why_no_lan` says so, and tests that need one are skipped.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

MDNS = ("224.0.0.251", 5353)
AS_ROOT = () if os.geteuid() == 0 else ("--map-root-user",)


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
    for program in ("unshare", "nsenter", "ip"):
        if shutil.which(program) is None:
            return f"there is no program {program}"
    script = "ip link add br0 type bridge && ip link add v0 type veth peer name v1"
    done = subprocess.run(["unshare", *AS_ROOT, "--net", "sh", "-c", script], capture_output=True, check=False)
    return f"network namespaces are not allowed: {done.stderr.decode().strip()}" if done.returncode else ""


class Machine:
    """A network namespace with one address on the LAN. `prefix` runs a command in it."""

    def __init__(self, lan: Lan, number: int) -> None:
        self._lan = lan
        self.link = f"m{number}"
        self.holder = lan.hold()
        lan.inside(f"ip link add {self.link} type veth peer name lan0 netns {self.holder.pid}")
        lan.inside(f"ip link set {self.link} master br0 up")
        self.run("ip link set lo up && ip link set lan0 up")

    @property
    def prefix(self) -> tuple[str, ...]:
        return self._lan.enter(self.holder.pid)

    def run(self, script: str) -> None:
        subprocess.run([*self.prefix, "sh", "-ec", script], check=True, capture_output=True)

    def move_to(self, address: str) -> None:
        """Give the machine another address, and no other."""
        self.run(f"ip addr flush dev lan0 && ip addr add {address}/24 dev lan0 && ip route replace default dev lan0")


class Lan:
    """A bridge in a namespace of its own."""

    def __init__(self) -> None:
        self._holders: list[subprocess.Popen[bytes]] = []
        self._switch = self._start("unshare", *AS_ROOT, "--net", "cat")
        self.inside("ip link add br0 type bridge mcast_snooping 0 && ip link set br0 up")

    def _start(self, *argv: str) -> subprocess.Popen[bytes]:
        """A process that holds a namespace until its stdin is closed; it has it when this returns."""
        holder = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._holders.append(holder)
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(b"there\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == b"there\n"
        return holder

    def hold(self) -> subprocess.Popen[bytes]:
        """A process in one more namespace."""
        return self._start(*self.enter(self._switch.pid), "unshare", "--net", "cat")

    def enter(self, pid: int) -> tuple[str, ...]:
        user = ("--user", "--preserve-credentials") if AS_ROOT else ()
        return ("nsenter", "--target", str(pid), *user, "--net")

    def inside(self, script: str) -> None:
        subprocess.run([*self.enter(self._switch.pid), "sh", "-ec", script], check=True, capture_output=True)

    def close(self) -> None:
        for holder in reversed(self._holders):
            with suppress(OSError):
                holder.kill()
            holder.communicate()


@contextmanager
def lan_of(count: int) -> Iterator[list[Machine]]:
    """Machines at 10.77.0.1 and up, that reach each other and nothing else."""
    lan = Lan()
    try:
        machines = [Machine(lan, number) for number in range(count)]
        for number, machine in enumerate(machines, 1):
            machine.move_to(f"10.77.0.{number}")
        yield machines
    finally:
        lan.close()
