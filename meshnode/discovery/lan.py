"""Announces this node on the LAN by zeroconf (RFC 6762, 6763), and looks for others of its mesh.

The zeroconf library has threads of its own; what is asked of it here blocks and runs in worker threads. Off unless it
is asked for: a daemon that does not announce itself never imports this.
- A node that listens at one address speaks on that interface alone: on loopback where it listens there (as it does by
  default). One that listens everywhere speaks on every interface but loopback.
- It multicasts by IPv4; the addresses that are announced may be of either version.
- When the machine's addresses change (another network, a cable), or none is there yet, it begins anew with what it has.
- Services are kept up to SERVICES_MAX, a new one in the place of a random one; a look at them asks the network about
  ASKED_MAX at most. The library keeps 10,000 records at most. So a flood costs bounded memory and traffic.
- What was found is suggested to the node core again at every look: it forgets what did not help (`hints.py`).
"""

from __future__ import annotations

import ipaddress
import logging
import random
import secrets
import socket
import threading
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import psutil
import trio
import zeroconf

from meshnode.discovery.announcement import SERVICE, Found, describe, hints_in, mesh_digest
from meshnode.logs import Log
from meshnode.transport.addresses import split_address
from protocols.core import NodeId
from protocols.membership.hints import HINTS_AT_ONCE_MAX, Hint

SERVICES_MAX = 256
SERVICE_CHARS_MAX = 256
ASKED_MAX = 4
ASK_MS = 500
LOOK_S = 10.0
"""Between two looks; the first ones, while a mesh forms, are closer together."""
FIRST_LOOK_S = 0.5
RETRY_S = 5.0
"""Between two tries to open the multicast sockets."""
CLOSE_S = 2.0
TOLD_MAX = 256

log = Log("meshnode.zeroconf")


@dataclass(frozen=True)
class Announced:
    """What this node is on the LAN: it listens at `listen_host`, and tells its peers `address_host` and `port`."""

    digest: str
    node_id: NodeId
    listen_host: str
    address_host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether it can be reached on this machine only."""
        return _is_loopback(self.listen_host)


def announced_as(node_id: NodeId, mesh: str, ca_fingerprint: bytes, *, bound: str, address: str) -> Announced:
    """A node of `mesh` that listens at `bound` and tells its peers `address` (both `host:port`)."""
    listen_host, _ = split_address(bound)
    address_host, port = split_address(address)
    return Announced(mesh_digest(mesh, ca_fingerprint), node_id, listen_host, address_host, port)


def multicast_interfaces(listen_host: str, present: Sequence[str]) -> list[str]:
    """The IPv4 addresses, among those `present` on this machine, of the interfaces to speak on."""
    if listen_host in present:
        return [listen_host]
    loopback = _is_loopback(listen_host)
    return [address for address in present if _is_loopback(address) == loopback]


def announced_addresses(announced: Announced, interfaces: Sequence[str]) -> list[str]:
    """The IP addresses at which other machines may try this node."""
    try:
        ipaddress.ip_address(announced.address_host)
    except ValueError:
        return list(interfaces)  # a name: who does not know it from a token finds the node where it speaks
    if announced.listen_host in ("0.0.0.0", "::"):
        return list(dict.fromkeys((announced.address_host, *interfaces)))
    return [announced.address_host]


def present_addresses() -> list[str]:
    """The IPv4 addresses of the interfaces that are up, sorted."""
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    every = [each for name, addresses in psutil.net_if_addrs().items() if name in up for each in addresses]
    return sorted({each.address for each in every if each.family == socket.AF_INET})


class Lan:
    """Multicast sockets on some interfaces. All methods block, and may be called from any thread.

    Opening raises OSError or zeroconf.Error where the sockets cannot be had.
    """

    def __init__(self, interfaces: Sequence[str]) -> None:
        self.interfaces = list(interfaces)
        self._lock = threading.Lock()
        self._names: dict[str, None] = {}
        self._zeroconf = zeroconf.Zeroconf(interfaces=self.interfaces, use_asyncio=False)
        try:
            self._browser = zeroconf.ServiceBrowser(self._zeroconf, SERVICE, handlers=[self._changed])
        except BaseException:
            self._zeroconf.close()  # or its thread and sockets would stay, and those of the next try beside them
            raise

    def __len__(self) -> int:
        """Services that are known."""
        return len(self._names)

    def announce(self, announced: Announced) -> None:
        """Register this node's service; takes a second or two. Raises zeroconf.Error, OSError."""
        addresses = announced_addresses(announced, self.interfaces)
        info = zeroconf.ServiceInfo(
            SERVICE,
            f"{announced.node_id}.{SERVICE}",
            port=announced.port,
            parsed_addresses=addresses,
            properties=describe(announced.digest, announced.node_id),
            # A host name of its own for every process: that of an earlier life may still be known with old addresses.
            server=f"{announced.node_id}-{secrets.token_hex(4)}.local.",
        )
        self._zeroconf.register_service(info, allow_name_change=True)

    def look(self) -> list[Found]:
        """What is there now, in random order; HINTS_AT_ONCE_MAX services at most."""
        with self._lock:
            names = list(self._names)
        random.shuffle(names)
        found: list[Found] = []
        to_ask = ASKED_MAX
        for name in names[:HINTS_AT_ONCE_MAX]:
            with suppress(zeroconf.Error, ValueError, IndexError):  # a name that is none, a record that is garbage
                info = zeroconf.ServiceInfo(SERVICE, name)
                complete = info.load_from_cache(self._zeroconf)
                if not complete and to_ask:
                    to_ask -= 1
                    complete = info.request(self._zeroconf, ASK_MS)
                if complete:
                    found.append(Found(info.properties, info.parsed_addresses(), info.port or 0))
        return found

    def close(self) -> None:
        """Say goodbye to the LAN and give the sockets back."""
        self._zeroconf.close()

    def _changed(
        self,
        zeroconf: zeroconf.Zeroconf,
        service_type: str,
        name: str,
        state_change: zeroconf.ServiceStateChange,
    ) -> None:
        """Called in the library's thread."""
        with self._lock:
            if state_change.name == "Removed":
                self._names.pop(name, None)
            elif len(name) <= SERVICE_CHARS_MAX:
                if name not in self._names and len(self._names) >= SERVICES_MAX:
                    del self._names[random.choice(list(self._names))]
                self._names[name] = None


class Discovery:
    """Runs a `Lan` for as long as the daemon runs. `suggest` takes what it finds, and says how much of it was new."""

    def __init__(
        self,
        announced: Announced,
        suggest: Callable[[tuple[Hint, ...]], Awaitable[int]],
        *,
        announce: bool = True,
        open_lan: Callable[[Sequence[str]], Lan] = Lan,
        retry_s: float = RETRY_S,
    ) -> None:
        """Without `announce` it only looks, as a node does that is not of the mesh yet."""
        self._announced = announced
        self._open_lan = open_lan
        self._retry_s = retry_s
        self._announces = announce
        self._suggest = suggest
        self._threads = trio.CapacityLimiter(4)
        self._told: dict[str, None] = {}
        self._seen: Counter[str] = Counter()
        """What the last look saw: services by what was made of them."""

    async def run(self) -> None:
        """Announce and look until cancelled. Trouble with the network is logged, and tried again for ever; so is
        whatever else goes wrong, for a node lives without this, and strangers have a say in what the library reads."""
        # They warn, with tracebacks, of what strangers send, and of an announcement that is cut short by the end.
        for noisy in ("zeroconf", "asyncio"):
            logging.getLogger(noisy).setLevel(logging.CRITICAL)
        if self._announced.loopback:
            log.warning("this node listens on loopback: zeroconf reaches nodes on this machine only")
        complained = ""
        while True:
            try:
                await self._open_and_use()
                complained = ""
                continue
            except (OSError, zeroconf.Error) as error:
                complaint = str(error)
            except Exception as error:
                complaint = "".join(traceback.format_exception(error))
            if complained != complaint:
                complained = complaint
                log.warning("zeroconf does not work now; it is tried again", error=complained)
            await trio.sleep(self._retry_s)

    async def _open_and_use(self) -> None:
        interfaces = multicast_interfaces(self._announced.listen_host, present_addresses())
        if not interfaces:
            raise OSError("no interface with an IPv4 address is up")
        lan = await trio.to_thread.run_sync(self._open_lan, interfaces, limiter=self._threads)
        try:
            await self._use(lan)
        finally:
            with trio.move_on_after(CLOSE_S, shield=True):
                await trio.to_thread.run_sync(lan.close, limiter=self._threads, abandon_on_cancel=True)

    async def _use(self, lan: Lan) -> None:
        """Until the machine's addresses change."""
        async with trio.open_nursery() as nursery:
            if self._announces:
                nursery.start_soon(self._announce, lan)
            pause_s = FIRST_LOOK_S
            while multicast_interfaces(self._announced.listen_host, present_addresses()) == lan.interfaces:
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, LOOK_S)
                await self._look(lan)
            log.info("the addresses of this machine have changed", were=",".join(lan.interfaces))
            nursery.cancel_scope.cancel()

    async def _announce(self, lan: Lan) -> None:
        announce = partial(lan.announce, self._announced)
        complained = False
        while True:
            try:
                await trio.to_thread.run_sync(announce, limiter=self._threads, abandon_on_cancel=True)
            except (OSError, zeroconf.Error) as error:
                if not complained:
                    complained = True
                    log.warning("this node is not announced on the LAN yet; it is tried again", error=repr(error))
                await trio.sleep(self._retry_s)
            else:
                log.info("announced on the LAN", interfaces=",".join(lan.interfaces))
                return

    async def _look(self, lan: Lan) -> None:
        services = await trio.to_thread.run_sync(lan.look, limiter=self._threads, abandon_on_cancel=True)
        seen: Counter[str] = Counter()
        hints: list[Hint] = []
        announced = self._announced
        for found in services:
            said = hints_in(found, announced.digest, announced.node_id, loopback=announced.loopback)
            seen[said if isinstance(said, str) else "same_mesh"] += 1
            hints += said if isinstance(said, tuple) else ()
        if seen != self._seen:
            self._seen = seen
            log.info("nodes on the LAN", **seen)
        if hints and await self._suggest(tuple(hints)):
            self._tell(hints)

    def _tell(self, hints: list[Hint]) -> None:
        for hint in hints:
            if hint.address not in self._told:
                log.info("zeroconf suggests", address=hint.address, id=hint.node_id[:8])
                self._told[hint.address] = None
                if len(self._told) > TOLD_MAX:
                    del self._told[next(iter(self._told))]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
