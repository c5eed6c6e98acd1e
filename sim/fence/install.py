"""Puts the guards where a run would look, and takes them away again.

Two nets, put up together:
- Audit events (sockets, processes): the interpreter tells, whoever calls.
- Guards in place of functions: in the modules that define them, in every module that has imported one by name, in
  `builtins` (`id`, `hash`), and in the types `datetime.date`, `datetime.datetime`, `random.Random` and
  `threading.Thread`, where subclasses and names imported long ago are caught as well.

What no module and no type holds (a default argument, an attribute of an object, a closure) is found by `strict.py`.

Modules of the standard library are guarded by name (`forbidden.py`). Modules of the house are searched each time, for
they may have changed; those of installed packages once, when they are first seen.
"""

from __future__ import annotations

import builtins
import ctypes
import datetime
import gc
import importlib
import random
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from sim.fence.culprit import is_library
from sim.fence.forbidden import CLOCK, FUNCTIONS, Forbidden
from sim.fence.guards import HASH_OF, ID, Guard, MethodGuard, audit, seed, start

_MISSING = object()
_STANDARD = tuple({sysconfig.get_path(name) + "/" for name in ("stdlib", "platstdlib")})
_address_of = id
Namespace = dict[str, Any]


class Guards:
    """All guards of this process. `put_up` and `take_down` alternate."""

    def __init__(self) -> None:
        self.held: dict[Callable[..., Any], Guard] = {}
        """Forbidden function → its guard."""
        self._kinds: set[type] = set()
        """Types of the forbidden functions: all of them can be hashed, which not everything in a module can."""
        self._places: list[tuple[Namespace, str, Guard]] = []
        """(namespace, name, guard), where it is known beforehand."""
        self._put: list[tuple[Namespace, str, Any, Guard]] = []
        """(namespace, name, what was there, what is there now)."""
        self._modules: list[ModuleType] = []
        self._house: list[Namespace] = []
        self._library: list[tuple[Namespace, str]] = []
        self._seen: dict[str, ModuleType] = {}
        for forbidden in FUNCTIONS:
            self._prepare(forbidden)
        for guard in (ID, HASH_OF):
            self._add(vars(builtins), guard.__name__, guard)
        hidden = vars(random._inst)  # all module-level functions end in one of its two sources
        self._places += [(hidden, name, self.held[getattr(random, name)]) for name in ("random", "getrandbits")]
        self._types = _guarded_types()
        sys.addaudithook(audit)

    def _prepare(self, forbidden: Forbidden) -> None:
        try:
            namespace = vars(importlib.import_module(forbidden.module))
        except ModuleNotFoundError:
            return
        original = namespace.get(forbidden.name)
        if original is not None:
            self._add(namespace, forbidden.name, self.held.get(original) or Guard(original, forbidden))

    def _add(self, namespace: Namespace, name: str, guard: Guard) -> None:
        self.held[guard.original] = guard
        self._kinds.add(type(guard.original))
        self._places.append((namespace, name, guard))

    def _guard_of(self, value: object) -> Guard | None:
        return self.held.get(value) if type(value) in self._kinds else None  # type: ignore[call-overload]  # a function

    def put_up(self) -> None:
        """Guard everything. What is there already when this raises is taken away by `take_down`."""
        for namespace, name, guard in self._places:
            self._replace(namespace, name, guard)
        for put, _ in self._types:
            put()
        self._search()

    def take_down(self) -> None:
        """Undo `put_up`, also one that did not get to its end. A name that has a new value since then keeps it."""
        for _, restore in self._types:
            restore()
        while self._put:
            namespace, name, before, guard = self._put[-1]
            if namespace.get(name) is guard:
                if before is _MISSING:
                    del namespace[name]
                else:
                    namespace[name] = before
            self._put.pop()
        self._clean_newcomers()

    def _replace(self, namespace: Namespace, name: str, guard: Guard) -> None:
        self._put.append((namespace, name, namespace.get(name, _MISSING), guard))
        namespace[name] = guard

    def _search(self) -> None:
        """Guard the names that modules have imported."""
        modules = list(sys.modules.values())
        if modules != self._modules:
            self._look_at(modules)
        held = self.held
        kinds = self._kinds
        for namespace in self._house:
            found = [value for value in list(namespace.values()) if type(value) in kinds and value in held]
            if found:
                for name, value in list(namespace.items()):
                    guard = self._guard_of(value)
                    if guard is not None:
                        self._replace(namespace, name, guard)
        for namespace, name in self._library:
            guard = self._guard_of(namespace.get(name))
            if guard is not None:
                self._replace(namespace, name, guard)

    def _look_at(self, modules: list[ModuleType]) -> None:
        """Sort the modules that are loaded now into those of the house, of packages, and of the standard library."""
        self._modules = modules
        self._house = []
        for name, module in list(sys.modules.items()):
            namespace = _namespace(module)
            if namespace is None or _is_standard(name, namespace) or name.startswith("sim.fence"):
                continue
            if not is_library(str(namespace.get("__file__"))):
                self._house.append(namespace)
            elif self._seen.get(name) is not module:
                self._seen[name] = module
                hits = [key for key, value in list(namespace.items()) if self._guard_of(value) is not None]
                self._library += [(namespace, key) for key in hits]

    def _clean_newcomers(self) -> None:
        """A module that was imported behind the fence may have taken guards along."""
        modules = list(sys.modules.values())
        if modules == self._modules:
            return
        known = set(map(_address_of, self._modules))
        for module in modules:
            namespace = _namespace(module) if _address_of(module) not in known else None
            for name, value in list((namespace or {}).items()):
                if namespace is not None and isinstance(value, Guard):
                    namespace[name] = value.original


def _namespace(module: object) -> Namespace | None:
    # Not by `vars`: a module that loads itself at first use would do so now. And some things only claim to be modules.
    return object.__getattribute__(module, "__dict__") if issubclass(type(module), ModuleType) else None


def _is_standard(name: str, namespace: Namespace) -> bool:
    file = namespace.get("__file__")
    if file is None:
        return name != "__main__" and name.partition(".")[0] in sys.stdlib_module_names
    return str(file).startswith(_STANDARD) and is_library(str(file)) and "-packages/" not in str(file)


def _guarded_types() -> list[tuple[Callable[[], None], Callable[[], None]]]:
    """How to guard each of the types that hold forbidden methods, and how to undo it."""
    both = [
        (_setter(random.Random, "seed", seed), _setter(random.Random, "seed", random.Random.seed)),
        (_setter(threading.Thread, "start", start), _setter(threading.Thread, "start", threading.Thread.start)),
    ]
    for cls, names in ((datetime.datetime, ("now", "utcnow")), (datetime.date, ("today",))):
        originals = {name: vars(cls)[name] for name in names}
        guards = {
            name: MethodGuard(original, Forbidden("datetime", f"{cls.__name__}.{name}", CLOCK))
            for name, original in originals.items()
        }
        both.append((_type_setter(cls, guards.items()), _type_setter(cls, originals.items())))
    return both


def _setter(cls: type, name: str, value: object) -> Callable[[], None]:
    return lambda: setattr(cls, name, value)


def _type_setter(cls: type, items: Iterable[tuple[str, object]]) -> Callable[[], None]:
    """Write into the dict of a C type, which `setattr` refuses to do.

    A subclass in its place would not do: names imported earlier and other subclasses would keep the real one, and
    whoever asks for the exact type (msgspec) would not know the false one.
    """
    (namespace,) = gc.get_referents(vars(cls))

    def put() -> None:
        namespace.update(items)
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))

    return put
