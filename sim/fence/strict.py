"""The slow net: sees every call of a C function, by whatever reference it was reached.

For what `install.py` cannot reach: a forbidden function kept in a default argument, a closure or an attribute, a bound
`datetime.now`, a socket that was open before the run. It makes a run several times slower, so it is for a sample of
seeds (`scripts/rerun`) and for whoever looks for a culprit. What a C function calls by itself (`map(held, …)`) is not
seen by it either.

Needs `sys.setprofile`; a profiler that is at work in this thread is set aside meanwhile.
"""

from __future__ import annotations

import _socket
import datetime
from collections.abc import Callable
from types import BuiltinFunctionType, FrameType
from typing import Any, Literal, TypeAlias

from sim.fence.culprit import is_library, is_own
from sim.fence.forbidden import CLOCK, NETWORK
from sim.fence.guards import ID, Guard, HouseGuard, refuse

Call: TypeAlias = Literal["call", "return", "c_call", "c_return", "c_exception"]
Profile: TypeAlias = Callable[[FrameType, Call, Any], object]
_CLOCKS_OF_DATES = ("now", "utcnow", "today")


def watch(held: dict[Callable[..., Any], Guard]) -> Profile:
    """A profile function that refuses what `held` guards, and what hangs on sockets and dates."""

    def profile(frame: FrameType, event: Call, arg: Any) -> None:
        if event != "c_call" or is_own(frame):
            return
        guard = held.get(arg)
        if guard is not None:
            if _refused_whatever_it_is_given(guard, frame):
                refuse(guard.touched, guard.instead, frame)
            return
        if type(arg) is not BuiltinFunctionType:
            return
        owner = arg.__self__
        if isinstance(owner, _socket.socket):
            if arg.__name__ not in ("close", "detach", "fileno"):
                refuse(f"socket.socket.{arg.__name__}()", NETWORK, frame)
        elif isinstance(owner, type) and issubclass(owner, datetime.date) and arg.__name__ in _CLOCKS_OF_DATES:
            refuse(f"{owner.__module__}.{owner.__qualname__}.{arg.__name__}()", CLOCK, frame)

    return profile


def _refused_whatever_it_is_given(guard: Guard, frame: FrameType) -> bool:
    """What a C function is given cannot be seen, so `hash` and `localtime` get the benefit of the doubt."""
    if isinstance(guard, HouseGuard):
        code = frame.f_code
        return guard is ID and code.co_name != "__hash__" and not is_library(code.co_filename)
    return guard.refused is None
