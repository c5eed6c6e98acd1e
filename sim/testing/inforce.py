"""Trouble for the time of a block, as a context manager: what has a beginning and an end, and every kind of fault.

`async with` and `with` do the same: what is in force begins and ends at once, and no time passes at either. Blocks may
be nested and may overlap; each ends what it began. What is still in force when the test is over ends then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec
from msgspec.structs import replace

from sim.errors import ScenarioError, nearest
from sim.faults import KINDS
from sim.faults.fault import Fault, Stage, Undo
from sim.faults.short import check_types
from sim.testing.calls import Forgettable

if TYPE_CHECKING:
    from sim.testing.sim import Sim

SALT_FIRST = 1_000_000
"""Salts of faults that a test puts in force, in that order; those of its scenario are far below."""


class InForce(Forgettable):
    """Something that goes wrong for the time of a block. `struck` says whether it did, or found nobody to strike."""

    __slots__ = ("_begin", "_misleads", "_sim", "_undo", "_used", "struck", "words")

    def __init__(
        self, sim: Sim, what: str, words: str, begin: Callable[[], Undo | None], *, misleads: bool = True
    ) -> None:
        super().__init__(sim.ledger, what)
        self.words = words
        self._misleads = misleads
        self.struck = False
        self._sim = sim
        self._begin = begin
        self._undo: Undo | None = None
        self._used = False

    def complaint(self) -> str:
        return f"{self.what} at {self.where} was never entered, so it did nothing. Write `async with {self.what}:`."

    def __enter__(self) -> Self:
        if self._used:
            raise ScenarioError(f"{self.what} was entered already. Make a new one for each block.")
        self._used = True
        self.ledger.used(self)
        self._undo = self._begin()
        if self._undo is not None:
            self.struck = True
            self._sim.world.trouble_begins(self.words, misleads=self._misleads)
            self._sim.in_force[self] = None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.end()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """End what was begun. More than once is no more than once."""
        undo, self._undo = self._undo, None
        if undo is not None:
            del self._sim.in_force[self]
            undo(self._sim.world.kernel.now)
            self._sim.world.trouble_ends(self.words, misleads=self._misleads)


def fault_in_force(sim: Sim, fault: Fault | type[Fault] | str, options: Mapping[str, Any]) -> InForce:
    """What `Sim.fault` hands out."""
    one = _fault_of(fault, options)
    check_types(one)
    salt = one.salt or sim.next_salt()
    # In a block a fault begins with the block and ends with it, but kinds that share out their time ask how long it is.
    lasts_s = sim.limit_s if one.end_s is None else max(0.0, one.end_s - one.start_s)

    def placed() -> Fault:
        return replace(one, salt=salt, start_s=sim.now, end_s=sim.now + lasts_s)

    placed().check(tuple(node.name for node in sim.nodes), sim.now + lasts_s)
    kind = one.kind()
    fired = sim.fired
    fired.setdefault(kind, 0)

    def begin() -> Undo | None:
        now = sim.world.kernel.now
        stage = Stage(sim.world, salt)
        undo = placed().begin(now, stage)
        if undo is None:
            return None
        fired[kind] += 1

        def end(now: int) -> None:
            stage.over = True
            undo(now)

        return end

    what = f"sim.fault({type(one).__name__}…)"
    return InForce(sim, what, _words(one), begin, misleads=one.misleads)


def _fault_of(fault: Fault | type[Fault] | str, options: Mapping[str, Any]) -> Fault:
    if isinstance(fault, Fault):
        return replace(fault, **options) if options else fault
    if isinstance(fault, str):
        if fault not in KINDS:
            raise ScenarioError(f"There is no kind of fault {fault!r}. {nearest(fault, KINDS)}")
        fault = KINDS[fault]
    if not (isinstance(fault, type) and issubclass(fault, Fault)):
        raise ScenarioError(f"{fault!r} is no fault. Write sim.fault(Isolate, count=2), with a kind of sim.faults.")
    known = [name for name in fault.__struct_fields__ if name not in ("start_s", "end_s", "salt")]
    for name in options:
        if name not in known:
            raise ScenarioError(f"{fault.kind()} has no option {name!r}. {nearest(name, known)}")
    return fault(start_s=0.0, **options)


def _words(fault: Fault) -> str:
    """The fault by its options: its own words would tell an end that it does not have."""
    options: dict[str, Any] = msgspec.to_builtins(fault)
    defaults = dict(zip(fault.__struct_fields__[::-1], fault.__struct_defaults__[::-1], strict=False))
    told = [
        f"{name} {value if not isinstance(value, list) else ' '.join(map(str, value))}"
        for name, value in options.items()
        if name not in ("kind", "start_s", "end_s", "salt") and getattr(fault, name) != defaults.get(name)
    ]
    return ", ".join([f"{fault.kind()}, by the test", *told])
