"""Stands in for what a run may not touch: refuses in the threads that are fenced, calls the original in all others.

Host threads (a test runner's, a cluster worker's) go on as if nothing were. What is in force is one look-up in
`fenced`: a guard that were left behind would do nothing.
"""

from __future__ import annotations

import datetime
import enum
import random
import sys
import threading
from collections.abc import Callable, Iterable
from threading import get_ident
from types import FrameType
from typing import Any

from sim.fence.culprit import FenceError, accuse, is_library, is_own
from sim.fence.forbidden import AUDITED, CHANCE, HASH, IDENTITY, THREAD, Forbidden


class Fenced:
    """What is known of a thread that is fenced. `first` is the first error: it counts even where it was swallowed."""

    __slots__ = ("depth", "first")

    def __init__(self) -> None:
        self.depth = 1
        self.first: FenceError | None = None


fenced: dict[int, Fenced] = {}
"""Thread → its fence. Read by every guard; written by `fence.py` alone."""


def refuse(touched: str, instead: str, frame: FrameType) -> None:
    """Raise `FenceError` for what `frame` is about to do, unless it is not the run's doing."""
    here = fenced.get(get_ident())
    error = None if here is None else accuse(touched, instead, frame)
    if here is None or error is None:
        return
    if here.first is None:
        here.first = error
    raise error


class Guard:
    """In place of a function. An object, not a function: held by a class it must not turn into a method."""

    __slots__ = ("__name__", "instead", "original", "refused", "touched")

    def __init__(self, original: Callable[..., Any], forbidden: Forbidden) -> None:
        self.original = original
        self.touched = forbidden.touched
        self.instead = forbidden.instead
        self.refused = forbidden.refused
        self.__name__ = forbidden.name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if get_ident() in fenced and (self.refused is None or self.refused(args, kwargs)):
            refuse(self.touched, self.instead, sys._getframe(1))
        return self.original(*args, **kwargs)


class MethodGuard:
    """In place of a class method of a C type, in the dict of that type."""

    __slots__ = ("_forbidden", "original")

    def __init__(self, original: Any, forbidden: Forbidden) -> None:
        self.original = original
        self._forbidden = forbidden

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        bound = self.original.__get__(instance, owner)
        return Guard(bound, self._forbidden) if get_ident() in fenced else bound


class HouseGuard(Guard):
    """In place of `id` and `hash`, which libraries may use as they like. `__hash__` may, too: it is not an order."""

    __slots__ = ("_matters",)

    def __init__(self, original: Callable[..., Any], forbidden: Forbidden, matters: Callable[[object], bool]) -> None:
        super().__init__(original, forbidden)
        self._matters = matters

    def __call__(self, value: object, /) -> Any:
        if get_ident() in fenced:
            frame = sys._getframe(1)
            code = frame.f_code
            innocent = is_library(code.co_filename) or code.co_name == "__hash__" or is_own(frame)
            if not innocent and self._matters(value):
                refuse(self.touched, self.instead, frame)
        return self.original(value)


def hash_varies(value: object) -> bool:
    """Whether the hash of `value` is another one in another process."""
    if isinstance(value, str | bytes | memoryview | datetime.date | datetime.time):
        return True
    if isinstance(value, tuple | frozenset):
        return any(hash_varies(item) for item in value)
    fields: Iterable[str] = getattr(type(value), "__struct_fields__", ())
    fields = fields or getattr(type(value), "__dataclass_fields__", ())
    kind = type(value).__hash__
    return kind is object.__hash__ or kind is enum.Enum.__hash__ or any(hash_varies(getattr(value, f)) for f in fields)


ID = HouseGuard(id, Forbidden("builtins", "id", IDENTITY, known_as="id()"), lambda value: True)
HASH_OF = HouseGuard(hash, Forbidden("builtins", "hash", HASH, known_as="hash()"), hash_varies)

_seed = random.Random.seed
_start = threading.Thread.start


def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
    """In place of `random.Random.seed`: what is not given a seed takes one from the system."""
    if a is None and get_ident() in fenced:
        refuse("random.Random() without a seed", CHANCE, sys._getframe(1))
    _seed(self, a, version)


def start(self: threading.Thread) -> None:
    """In place of `threading.Thread.start`."""
    if get_ident() in fenced:
        refuse("threading.Thread.start()", THREAD, sys._getframe(1))
    _start(self)


def audit(event: str, args: tuple[object, ...]) -> None:
    """The audit hook. It stays for ever, because none can be removed; without a fence it does nothing."""
    if fenced and event in AUDITED and get_ident() in fenced:
        refuse(*AUDITED[event], sys._getframe(1))
