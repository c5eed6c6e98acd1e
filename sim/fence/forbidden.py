"""What a run may not touch, and what to do instead. Data only; `guards.py` puts it into force.

Functions are named by the module that a reader knows them from. A name may be held by several modules (`os.urandom` is
`random._urandom` too); every one of them is listed, because modules of the standard library are not searched.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

CLOCK = (
    "A run has no clock but virtual time: use `now`, which a core is handed at every step and a scenario finds at "
    "`sim.now`."
)
SLEEP = (
    "Virtual time does not pass while a thread sleeps: a core returns the time at which it wants to be woken, a "
    "scenario awaits `sim.sleep(seconds)`."
)
CHANCE = (
    "It draws from outside of the seed: draw from the `random.Random` that is handed in (a core's `rng`, a scenario's "
    "`sim.random`)."
)
NETWORK = "A run has no network but the simulated one: a core returns `Send`."
THREAD = "A run is one thread: a core returns `Perform` for what takes time, a scenario starts tasks of its own."
PROCESS = "A run is one process: a core returns `Perform` for what is done outside of it."
IDENTITY = (
    "It is an address, another one in every process: order and tell apart by a name or number that the object carries."
)
HASH = (
    "The hash of text and bytes differs with PYTHONHASHSEED, that of an object by identity in every process: use "
    "hashlib where a number must come of content."
)


class Forbidden(NamedTuple):
    """One function: where it is found, and when it is refused (None: always)."""

    module: str
    name: str
    instead: str
    refused: Callable[[tuple[Any, ...], dict[str, Any]], bool] | None = None
    known_as: str = ""

    @property
    def touched(self) -> str:
        """What an error calls it."""
        return self.known_as or f"{self.module}.{self.name}()"


def _without_time(position: int) -> Callable[[tuple[Any, ...], dict[str, Any]], bool]:
    """Refused where the argument that says which time is meant is missing, so that it is the present."""

    def refused(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        return len(args) <= position or args[position] is None

    return refused


_CLOCKS = ("time", "monotonic", "perf_counter", "process_time", "thread_time")
_CHANCE_OF_RANDOM = sorted(
    name for name, value in vars(random).items() if getattr(value, "__self__", None) is random._inst
)

FUNCTIONS: tuple[Forbidden, ...] = (
    *(Forbidden("time", name + unit, CLOCK) for name in _CLOCKS for unit in ("", "_ns")),
    Forbidden("time", "clock_gettime", CLOCK),
    Forbidden("time", "clock_gettime_ns", CLOCK),
    *(Forbidden("time", name, CLOCK, _without_time(0)) for name in ("localtime", "gmtime", "ctime", "asctime")),
    Forbidden("time", "strftime", CLOCK, _without_time(1)),
    Forbidden("time", "sleep", SLEEP),
    Forbidden("os", "times", CLOCK),
    *(Forbidden("random", name, CHANCE) for name in _CHANCE_OF_RANDOM),
    Forbidden("os", "urandom", CHANCE),
    Forbidden("random", "_urandom", CHANCE, known_as="os.urandom()"),
    Forbidden("os", "getrandom", CHANCE),
    Forbidden("uuid", "uuid1", CHANCE),
    Forbidden("uuid", "_generate_time_safe", CHANCE, known_as="uuid.uuid1()"),
    Forbidden("uuid", "uuid4", CHANCE),
    *(Forbidden("secrets", name, CHANCE) for name in ("token_bytes", "token_hex", "token_urlsafe", "randbelow")),
    Forbidden("socket", "socketpair", NETWORK),
    Forbidden("_socket", "socketpair", NETWORK, known_as="socket.socketpair()"),
    *(
        Forbidden(module, name, THREAD, known_as="_thread.start_new_thread()")
        for module, name in (
            ("_thread", "start_new_thread"),
            ("_thread", "start_new"),
            ("_thread", "start_joinable_thread"),
            ("threading", "_start_new_thread"),
            ("threading", "_start_joinable_thread"),
        )
    ),
    Forbidden("_posixsubprocess", "fork_exec", PROCESS, known_as="starting a process"),
)
"""Guarded wherever they are held. A name that this Python does not have is passed over."""

AUDITED: dict[str, tuple[str, str]] = {
    "os.exec": ("os.exec*()", PROCESS),
    "os.fork": ("os.fork()", PROCESS),
    "os.forkpty": ("os.forkpty()", PROCESS),
    "os.posix_spawn": ("os.posix_spawn()", PROCESS),
    "os.spawn": ("os.spawn*()", PROCESS),
    "os.system": ("os.system()", PROCESS),
    "subprocess.Popen": ("subprocess.Popen", PROCESS),
    "_thread.start_new_thread": ("_thread.start_new_thread()", THREAD),
    "_thread.start_joinable_thread": ("_thread.start_new_thread()", THREAD),
    "time.sleep": ("time.sleep()", SLEEP),
    "socket.__new__": ("socket.socket", NETWORK),
    **{
        f"socket.{name}": (f"socket.{name}()", NETWORK)
        for name in (
            "bind",
            "connect",
            "getaddrinfo",
            "gethostbyaddr",
            "gethostbyname",
            "gethostname",
            "getnameinfo",
            "getservbyname",
            "getservbyport",
            "sendmsg",
            "sendto",
            "sethostname",
        )
    },
}
"""Audit event → (what was touched, what to do instead). These are seen whoever holds the function, and from C."""
