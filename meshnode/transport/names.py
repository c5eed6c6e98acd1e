"""Names of hosts, looked up for ever: beside the event loop, within bounds, and with every address that a name has.

- An answer serves for FRESH_S, and goes on serving while a newer one is fetched, or where none is to be had. A lookup
  that failed, or whose addresses turned out to be useless, is repeated after RETRY_S at the earliest.
- A name is looked up once at a time, LOOKUPS_MAX names at once, each for LOOKUP_S. What the system's resolver is still
  busy with then is abandoned; its thread is one of LOOKUPS_MAX that are kept for this, so that a name server that hangs
  never takes a thread from the disk.
- All A and AAAA records are kept, up to ADDRESSES_MAX. The one at which the right peer was greeted comes first; until
  one has been, they take turns, for packets give no hint which of them is good.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Callable

import trio

LOOKUPS_MAX = 4
WAITING_MAX = 16
"""Names that are looked up or wait for it; further ones are not known for now."""
NAMES_MAX = 4096
ADDRESSES_MAX = 8
LOOKUP_S = 3.0
FRESH_S = 60.0
RETRY_S = 5.0


def ask_the_system(host: str) -> list[str]:
    """The IP addresses of `host`, in the system's order of preference. Blocking. Raises OSError, UnicodeError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class _Answer:
    """What is known of one name."""

    __slots__ = ("addresses", "asked_s", "good", "until_s")

    def __init__(self) -> None:
        self.addresses: tuple[str, ...] = ()
        self.good = ""
        self.asked_s = 0.0
        self.until_s = 0.0


class Names:
    """Looks up names while `run` runs. `ask(name)` runs in a thread and may block; it raises OSError where it fails."""

    def __init__(
        self,
        ask: Callable[[str], list[str]] = ask_the_system,
        *,
        fresh_s: float = FRESH_S,
        retry_s: float = RETRY_S,
        lookup_s: float = LOOKUP_S,
    ) -> None:
        self._ask = ask
        self._fresh_s = fresh_s
        self._retry_s = retry_s
        self._lookup_s = lookup_s
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._under_way: dict[str, trio.Event] = {}
        self._threads = trio.CapacityLimiter(LOOKUPS_MAX)
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None  # what is asked for the last time, while the node stops, begins no lookup

    def known(self, host: str) -> tuple[str, ...]:
        """The addresses of `host` as far as they are known, best first; a newer answer is fetched if it is time."""
        answer = self._answers.get(host)
        if answer is None or trio.current_time() >= answer.until_s:
            self._look_up_soon(host)
            answer = self._answers.get(host)
        return answer.addresses if answer is not None else ()

    async def addresses(self, host: str) -> tuple[str, ...]:
        """The addresses of `host`, best first, after waiting for a newer answer if it is time for one."""
        known = self.known(host)
        under_way = self._under_way.get(host)
        if under_way is None:
            return known
        await under_way.wait()
        return self.known(host)

    def greeted(self, host: str, address: str) -> None:
        """The right peer was met at `address` of `host`."""
        answer = self._answers.get(host)
        if answer is not None and address in answer.addresses:
            answer.good = address
            answer.addresses = _with_first(answer.addresses, answer.addresses.index(address))

    def useless(self, host: str) -> None:
        """Nobody that was wanted was met at any address of `host`: perhaps it has others by now."""
        answer = self._answers.get(host)
        if answer is not None:
            answer.good = ""
            answer.until_s = min(answer.until_s, answer.asked_s + self._retry_s)

    def _look_up_soon(self, host: str) -> None:
        if host not in self._under_way and len(self._under_way) < WAITING_MAX and self._nursery is not None:
            self._under_way[host] = trio.Event()
            self._nursery.start_soon(self._look_up, host)

    async def _look_up(self, host: str) -> None:
        found: list[str] = []
        asked_s = trio.current_time()
        try:
            with trio.move_on_after(self._lookup_s):
                found = await trio.to_thread.run_sync(self._ask, host, limiter=self._threads, abandon_on_cancel=True)
        except (OSError, ValueError):  # UnicodeError is one: a label that is empty, or too long
            pass  # not found, now or ever: what was known goes on serving
        finally:
            self._learn(host, found, asked_s)
            self._under_way.pop(host).set()

    def _learn(self, host: str, found: list[str], asked_s: float) -> None:
        answer = self._answers.setdefault(host, _Answer())
        self._answers.move_to_end(host)
        if len(self._answers) > NAMES_MAX:
            self._answers.popitem(last=False)
        answer.asked_s = asked_s
        answer.until_s = trio.current_time() + (self._fresh_s if found else self._retry_s)
        if not found:
            return
        addresses = tuple(dict.fromkeys(found))[:ADDRESSES_MAX]
        if answer.good in addresses:
            addresses = _with_first(addresses, addresses.index(answer.good))
        elif answer.addresses and answer.addresses[0] in addresses:
            addresses = _with_first(addresses, (addresses.index(answer.addresses[0]) + 1) % len(addresses))
        answer.addresses = addresses


def _with_first(addresses: tuple[str, ...], first: int) -> tuple[str, ...]:
    return addresses[first:] + addresses[:first]
