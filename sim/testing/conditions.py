"""Predicates over a run: what they may return, and the watching of them after every step of every node.

A predicate is called with the `Sim` and holds when it returns True or an empty string. False, or a string that says
what is wrong, means that it does not; so does an `assert` in it that fails. For `always` None is "nothing is wrong",
so that a predicate may consist of asserts alone; where something is waited for, None is a forgotten `return`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from protocols.core import Event, Instant
from sim.errors import ScenarioError
from sim.process import Process
from sim.testing.frames import name_of

if TYPE_CHECKING:
    from sim.testing.sim import Sim

Predicate: TypeAlias = "Callable[[Sim], bool | str | None]"


def wrong(sim: Sim, predicate: Predicate, none_holds: bool = False) -> str:
    """What `predicate` finds wrong now; empty when it holds. Raises `ScenarioError` where it returns anything else."""
    try:
        found = predicate(sim)
    except AssertionError as error:
        return str(error) or f"an assert of {name_of(predicate)} failed"
    if found is True or (found is None and none_holds):
        return ""
    if found is False:
        return f"{name_of(predicate)} is false"
    if isinstance(found, str):
        return found
    raise ScenarioError(
        f"{name_of(predicate)} returned {found!r}: a predicate returns True, or False, or a text that says what is "
        f"wrong.{' Was a `return` forgotten?' if found is None else ' Compare, or wrap it in bool(…).'}"
    )


class Always:
    """A property of the test's own."""

    __slots__ = ("broken", "name", "predicate")

    def __init__(self, name: str, predicate: Predicate) -> None:
        self.name = name
        self.predicate = predicate
        self.broken = False

    def look(self, sim: Sim, node: str) -> None:
        if not self.broken:
            text = wrong(sim, self.predicate, none_holds=True)
            if text:
                self.broken = True
                sim.world.watch.violated(self.name, sim.world.kernel.now, node, text)


class Conditions:
    """Everything that one run looks at after a step: what must hold, what should come, what somebody waits for."""

    def __init__(self, sim: Sim) -> None:
        self._sim = sim
        self._always: list[Always] = []
        self._marks: dict[str, Predicate] = {}
        self._awaited: dict[Callable[[], None], None] = {}
        self._installed = False
        self.reached: dict[str, bool] = {}
        """By `sometimes`: whether it has held in this run."""

    def always(self, name: str, predicate: Predicate) -> None:
        """From now on `predicate` must hold."""
        one = Always(name, predicate)
        self._always.append(one)
        self._install()
        one.look(self._sim, "")

    def sometimes(self, name: str, predicate: Predicate) -> None:
        """Note whether `predicate` ever holds, from now on."""
        self.reached.setdefault(name, False)
        if not self._look_for(name, predicate):
            self._marks[name] = predicate
            self._install()

    def wait(self, look: Callable[[], None]) -> Callable[[], None]:
        """Call `look` after every step until what this returns is called."""
        self._awaited[look] = None
        self._install()

        def stop() -> None:
            self._awaited.pop(look, None)

        return stop

    def look(self, node: str) -> None:
        """Look at everything now; `node` is where something has just happened."""
        for one in self._always:
            one.look(self._sim, node)
        if self._marks:
            for name, predicate in list(self._marks.items()):
                if self._look_for(name, predicate):
                    del self._marks[name]
        if self._awaited:
            for look in list(self._awaited):
                look()

    def _look_for(self, name: str, predicate: Predicate) -> bool:
        held = not wrong(self._sim, predicate)
        self.reached[name] |= held
        return held

    def _install(self) -> None:
        if not self._installed:
            self._installed = True
            self._sim.world.watch.on_step.append(self._after_step)

    def _after_step(self, now: Instant, process: Process, event: Event) -> None:
        self._look_at(process)

    def _look_at(self, process: Process) -> None:
        __tracebackhide__ = True
        self.look(process.name)
