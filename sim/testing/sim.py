"""`Sim`: what a test of a user's own is given. Everything in it is virtual: nodes, network, disks, time."""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from protocols.core import NANOS_PER_S
from sim.checkers.checker import Checker, Violation
from sim.errors import ScenarioError, nearest
from sim.faults.fault import Fault
from sim.marks import MARKS, Mark
from sim.process import Process
from sim.scenario import Run
from sim.testing.calls import Ledger, awaited
from sim.testing.conditions import Conditions, Predicate, wrong
from sim.testing.errors import NotReached, PropertyViolated, StartAgain
from sim.testing.frames import name_of
from sim.testing.handlers import Handler, HandlerHost, as_handler
from sim.testing.inforce import SALT_FIRST, InForce, fault_in_force
from sim.testing.net import Net
from sim.testing.nodes import SimNode
from sim.testing.scopes import CancelScope, Nursery
from sim.testing.tasks import Event, Loop, Task

if TYPE_CHECKING:
    from sim.world import World

LOOK_EVERY = NANOS_PER_S // 10
"""How often `eventually` looks, in nanoseconds."""


class Sim:
    """One run of one seed. Times are virtual seconds since its start; `world` is the object model below it."""

    label: ClassVar[str] = "sim"

    def __init__(self, run: Run, limit_s: float, hosts: dict[str, HandlerHost]) -> None:
        self.world: World = run.world
        self.seed = run.scenario.seed
        self.limit_s = limit_s
        self.loop = Loop(run.world.kernel)
        self.nodes: tuple[SimNode, ...] = tuple(SimNode(self, process) for process in run.world.processes)
        """All nodes, by number."""
        self.net = Net(self)
        self.in_force: dict[InForce, None] = {}
        self.fired: dict[str, int] = {}
        """By kind of fault that the test has asked for: how often it struck."""
        self.conditions = Conditions(self)
        self.background: Nursery | None = None
        self.draws: list[str] = []
        """What `some` has drawn, in words."""
        self.late: BaseException | None = None
        """What failed when the test's own function was over: a handler that is written wrongly."""
        self._by_name = {node.name: node for node in self.nodes}
        self._hosts = hosts
        self._salt = SALT_FIRST
        self._main: Task | None = None

    def __repr__(self) -> str:
        return f"<sim of {len(self.nodes)} nodes, seed {self.seed}, at {self.now:.3f} s>"

    @property
    def ledger(self) -> Ledger:
        return self.loop.ledger

    # Time and chance.

    @property
    def now(self) -> float:
        """Virtual seconds since the start of the run. A converged mesh is ready some 0.03 s after it."""
        return self.world.kernel.now / NANOS_PER_S

    @property
    def random(self) -> random.Random:
        """A stream of the test's own, drawn from the seed."""
        return self.world.kernel.random("test")

    @awaited
    async def sleep(self, seconds: float) -> None:
        """Let virtual time pass. 0 lets others run; infinity waits to be cancelled."""
        __tracebackhide__ = True
        await self.loop.sleep(seconds)

    # Nodes.

    def node(self, which: SimNode | str | int) -> SimNode:
        """A node by its name (`"n0"`) or number. Raises `ScenarioError` where there is none."""
        if isinstance(which, SimNode):
            return which
        if isinstance(which, int):
            if 0 <= which < len(self.nodes):
                return self.nodes[which]
            raise ScenarioError(f"There is no node {which}: they are numbered 0 to {len(self.nodes) - 1}.")
        node = self._by_name.get(which)
        if node is None:
            raise ScenarioError(f"There is no node {which!r}. {nearest(which, self._by_name)}")
        return node

    def node_of(self, owner: object) -> SimNode:
        """The node whose process is `owner`."""
        assert isinstance(owner, Process)
        return self.nodes[owner.index]

    @property
    def up(self) -> tuple[SimNode, ...]:
        """The nodes that run now."""
        return tuple(node for node in self.nodes if node.up)

    def some(self, count: int, among: Iterable[SimNode] | None = None) -> tuple[SimNode, ...]:
        """`count` different nodes, drawn from the seed; of `among`, or of all. `rest` is everybody else."""
        choices = list(self.nodes if among is None else among)
        if not 1 <= count <= len(choices):
            raise ScenarioError(f"sim.some({count}): there are {len(choices)} nodes to draw from; draw 1 to as many.")
        chosen = sorted(self.world.kernel.random("test/some").sample(choices, count), key=lambda node: node.index)
        self.loop.running().drawn = tuple(chosen)
        self.draws.append(f"{' '.join(node.name for node in chosen)} (at {self.now:.3f} s)")
        return tuple(chosen)

    @property
    def rest(self) -> tuple[SimNode, ...]:
        """All nodes but those that `some` drew last in this task. Raises `ScenarioError` where it has drawn none."""
        drawn = self.loop.running().drawn
        if drawn is None:
            raise ScenarioError("sim.rest is everybody but those that sim.some(k) drew last: draw some first.")
        return tuple(node for node in self.nodes if node not in drawn)

    # Trouble.

    def fault(self, fault: Fault | type[Fault] | str, **options: Any) -> InForce:
        """Any fault of `sim.faults` for the time of a block: `async with sim.fault(Pause, count=2):`, or `"pause"`.

        It begins with the block and ends with it. A fault that shares its time out (turns, a rolling restart) has as
        long as its own times say, `sim.fault(RollingRestart(0, 30))`. Raises `ScenarioError` where it cannot be.
        """
        return fault_in_force(self, fault, options)

    def next_salt(self) -> int:
        """The number of a random stream that no other fault of this run draws from."""
        self._salt += 1
        return self._salt

    # What must hold, what should come.

    def always(self, name: str, what: Predicate | type[Checker]) -> None:
        """From now on, after every step of every node, `what` must hold: a predicate, or a `Checker`, which sees the
        run from its first event. The test is told at its present `await` where it does not (`PropertyViolated`)."""
        if isinstance(what, type) and issubclass(what, Checker):
            self._watch_with(what)
        elif callable(what) and not isinstance(what, type):
            self.conditions.always(name, what)
        else:
            raise ScenarioError(f"sim.always({name!r}, …) takes a function of `sim`, or a Checker class; not {what!r}.")

    def _watch_with(self, checker: type[Checker]) -> None:
        if not any(type(each) is checker for each in self.world.watch.checkers):
            raise StartAgain(checker=checker)

    def sometimes(self, name: str, predicate: Predicate | None = None) -> None:
        """`predicate` should hold after some step from now on; without one, `name` is one of `sim.marks.MARKS`. The
        test fails when that came in none of its seeds."""
        if predicate is not None:
            self.conditions.sometimes(name, predicate)
        elif name not in MARKS:
            raise ScenarioError(
                f"sim.sometimes({name!r}) needs a predicate, or the name of a mark. {nearest(name, MARKS)}"
            )
        else:
            self._watch_with(MARKS[name])

    @property
    def reached(self) -> dict[str, bool]:
        """By name of everything that `sometimes` was asked of: whether it has come in this run."""
        marks = {mark.name: mark.reached for mark in self.world.watch.checkers if isinstance(mark, Mark)}
        return {**self.conditions.reached, **marks}

    @awaited
    async def until(self, predicate: Predicate, *, within: float = math.inf) -> None:
        """Go on as soon as `predicate` holds: looked at after every step of every node, and ten times a second.

        Raises `NotReached` when it has not after `within` seconds.
        """
        __tracebackhide__ = True
        if await self._reached(predicate, within, every_step=True):
            return
        raise NotReached(self._not_within(predicate, within))

    @awaited
    async def eventually(self, predicate: Predicate, *, within: float) -> None:
        """`predicate` must hold at some time in the next `within` seconds: looked at ten times a second.

        Raises `NotReached` when it has not.
        """
        __tracebackhide__ = True
        if await self._reached(predicate, within, every_step=False):
            return
        raise NotReached(self._not_within(predicate, within))

    def _not_within(self, predicate: Predicate, within: float) -> str:
        return (
            f"{name_of(predicate)} did not hold within {within:g} s (it is {self.now:.3f} s): {wrong(self, predicate)}"
        )

    async def _reached(self, predicate: Predicate, within: float, *, every_step: bool) -> bool:
        __tracebackhide__ = True
        loop, kernel = self.loop, self.world.kernel
        if not within >= 0:
            raise ScenarioError(f"within={within!r}: the seconds must be 0 or more.")
        if not wrong(self, predicate):
            await loop.sleep(0)
            return True
        task = loop.running()
        found: list[bool] = []

        def look() -> None:
            if not found and not wrong(self, predicate):
                found.append(True)
                if task.parked:
                    loop.wake(task)

        stop = self.conditions.wait(look) if every_step else _nothing
        # In whole nanoseconds, as the clock: a rest that rounds to nothing would be waited for without end.
        until = None if math.isinf(within) else kernel.now + round(within * NANOS_PER_S)
        try:
            while not found and (until is None or kernel.now < until):
                waiting = [task]
                at = kernel.now + LOOK_EVERY
                kernel.push(at if until is None else min(at, until), _wake, waiting, loop)
                await loop.park(waiting.clear)
                waiting.clear()
                if not found:
                    look()
        finally:
            stop()
        return bool(found)

    # Tasks.

    def start_soon(self, function: Callable[..., Awaitable[Any]], *arguments: object, name: str = "") -> None:
        """Run `await function(*arguments)` beside the test. An error in it fails the test; what still runs when the
        test's own function returns is cancelled. To wait for tasks, start them in a nursery."""
        assert self.background is not None
        self.background.start_soon(function, *arguments, name=name)

    def open_nursery(self) -> Nursery:
        """`async with sim.open_nursery() as nursery:` owns tasks, as trio's: its block ends when they all have."""
        return Nursery(self.loop)

    def cancel_scope(self, *, shield: bool = False) -> CancelScope:
        """`with sim.cancel_scope() as scope:` can be cancelled as a whole by `scope.cancel()`."""
        return CancelScope(self.loop, shield=shield)

    def move_on_after(self, seconds: float) -> CancelScope:
        """`with sim.move_on_after(5):` cancels its block after so long; `cancelled_caught` tells."""
        return CancelScope(self.loop, seconds)

    def fail_after(self, seconds: float) -> CancelScope:
        """`with sim.fail_after(5):` cancels its block after so long, and raises `TimeoutError` then."""
        return CancelScope(self.loop, seconds, fails=True)

    def event(self) -> Event:
        """A flag to wait for: `set()`, `is_set()`, `await wait()`."""
        return Event(self.loop)

    # Handlers.

    def handler(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        concurrency: int = 1,
        crashes: float = 0.0,
        duplicate_starts: float = 0.0,
    ) -> None:
        """Let every node run tasks of `name` by `function`: `async def fn(job)`, or a plain `def fn(payload)`.

        `crashes` and `duplicate_starts` are probabilities of trouble per start (`sim/testing/handlers.py`).
        """
        handler = as_handler(name, Handler(function, concurrency, crashes, duplicate_starts))
        host = self._hosts.get(name)
        if host is None:
            raise StartAgain(host=(name, concurrency))
        if host.concurrency != concurrency:
            raise ScenarioError(f"Handler {name!r} has concurrency {host.concurrency} and {concurrency} in one test.")
        host.bind(self, handler)

    @property
    def has_handlers(self) -> bool:
        """Whether bodies of the test's own may run, and wake its tasks."""
        return bool(self._hosts)

    # For the driver.

    def begins(self, main: Task) -> None:
        """`main` runs the test's own function; it is told of violations."""
        self._main = main
        self.world.watch.on_violation.append(self._violated)

    def ended(self) -> None:
        """The test's own function is over: nobody is told any more, and what it left in force ends."""
        self._main = None
        for trouble in list(self.in_force):
            trouble.end()

    def fail(self, error: BaseException) -> None:
        """Raise `error` in the test, at its present `await`."""
        main, self._main = self._main, None
        if main is not None:
            self.loop.throw(main, error)
        elif self.late is None and not isinstance(error, PropertyViolated):
            self.late = error

    def _violated(self, violation: Violation) -> None:
        self.fail(PropertyViolated(violation))


def _wake(now: int, waiting: list[Task], loop: Loop) -> None:
    if waiting and waiting[0].parked and waiting[0] in loop.tasks:
        loop.wake(waiting[0])


def _nothing() -> None:
    return None
