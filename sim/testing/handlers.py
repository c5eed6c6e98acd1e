"""A user's own task handlers, run by the simulated executors in virtual time, with the trouble that they must survive.

A body is an `async def fn(job)`, or a plain function of the decoded payload, as the daemon runs it: `fn(payload)` or
`fn(payload, ctx)`. What it returns must be JSON; what it raises fails the task. A body ends as its process does: where
its node crashes, where it is stopped or times out, nothing of it runs any more, no `finally` either.

Trouble, drawn from the seed (stream `handlers/{name}`):
- `crashes`: the probability that the process of a body dies under it, at a random moment: before its first line, at one
  of its awaits, or when it is done and has not told yet. The mesh records that task as failed.
- `duplicate_starts`: the probability that the mesh takes a body for lost and starts the task again, with the next
  attempt, at another node, while the first goes on to its end and nobody records its outcome. So it happens in a cut.
  At most `DUPLICATES_MAX` times for one task, so that every task ends.
"""

from __future__ import annotations

import inspect
import json
import random
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec import Struct

from protocols.core import NANOS_PER_MS, NANOS_PER_S, Instant
from protocols.limits import DETAIL_CHARS_MAX, HANDLER_CHARS_MAX, OUTPUT_BYTES_MAX
from protocols.tasks.task import BodyEnded, BodyStatus, RunBody
from sim.errors import ScenarioError
from sim.executor import ExecutorOwner, Kill
from sim.process import Process
from sim.testing.calls import Ledger, awaited
from sim.testing.errors import AwaitError
from sim.testing.frames import name_of, place_of
from sim.testing.tasks import ProcessDied, Task

if TYPE_CHECKING:
    from sim.testing.nodes import SimNode
    from sim.testing.sim import Sim

DUPLICATES_MAX = 2
LOST_AFTER_S = 2.0
"""A body that is to be taken for lost is so within this time, or when it ends, if that is sooner."""
DEATHS = 4
"""A body that is to die does so at one of its first so many steps, or at its end, if that comes before."""
PLAIN_S = 0.02
"""A plain function takes no virtual time; its process takes up to this long before, and after."""
CONCURRENCY_MAX = 1000

End = Callable[[BodyEnded], None]


class Handler(Struct, frozen=True):
    """A handler that every node of the test offers, `concurrency` bodies at once on each."""

    function: Callable[..., Any]
    concurrency: int = 1
    crashes: float = 0.0
    duplicate_starts: float = 0.0

    def check(self, name: str) -> None:
        """Raise `ScenarioError` for the first thing that is wrong."""
        if not name or len(name) > HANDLER_CHARS_MAX:
            raise ScenarioError(f"The handler name {name!r} must have 1 to {HANDLER_CHARS_MAX} characters.")
        if not callable(self.function):
            raise ScenarioError(f"Handler {name!r}: {self.function!r} is no function. Give `async def fn(job)`.")
        if not 1 <= self.concurrency <= CONCURRENCY_MAX:
            raise ScenarioError(f"Handler {name!r}: concurrency {self.concurrency}, must be 1 to {CONCURRENCY_MAX}.")
        for option in ("crashes", "duplicate_starts"):
            value = getattr(self, option)
            if not 0 <= value <= 1:
                raise ScenarioError(f"Handler {name!r}: {option} {value:g} is a probability, 0 to 1.")
        if not inspect.iscoroutinefunction(self.function) and _required(self.function) > 2:
            raise ScenarioError(
                f"Handler {name!r}: {name_of(self.function)} wants more than (payload, ctx). "
                "Write `async def fn(job)` or `def fn(payload)`."
            )


def as_handler(name: str, given: Handler | Callable[..., Any]) -> Handler:
    """What a user gave under `name`, checked."""
    handler = given if isinstance(given, Handler) else Handler(given)
    handler.check(name)
    return handler


class Job:
    """One body, seen from inside: `payload` (decoded), `task_id`, `attempt` (it only grows: hand it to outside stores
    as a fencing token), `node`, and `random`, a stream of its own."""

    label: ClassVar[str] = "job"

    def __init__(self, sim: Sim, node: SimNode, action: RunBody, payload: Any) -> None:
        self.task_id = action.task_id
        self.attempt = action.attempt
        self.handler = action.handler
        self.payload = payload
        self.node = node
        self._sim = sim

    @property
    def ledger(self) -> Ledger:
        return self._sim.ledger

    @property
    def now(self) -> float:
        """Virtual seconds since the start of the run."""
        return self._sim.now

    @property
    def random(self) -> random.Random:
        """The same draws for the same task and attempt."""
        return self._sim.world.kernel.random(f"jobs/{self.task_id}/{self.attempt}")

    @awaited
    async def sleep(self, seconds: float) -> None:
        """Work for so many virtual seconds."""
        __tracebackhide__ = True
        await self._sim.loop.sleep(seconds)


class Body:
    """One body under way. `end` tells the executor; it is None once the executor has been told, or does not care."""

    __slots__ = ("action", "dies", "end", "owner", "since", "task")

    def __init__(self, owner: ExecutorOwner, action: RunBody, since: Instant, end: End) -> None:
        self.owner = owner
        self.action = action
        self.since = since
        self.end: End | None = end
        self.dies = False
        self.task: Task | None = None


class HandlerHost:
    """Runs the bodies of one handler on all nodes of one run."""

    def __init__(self, name: str, concurrency: int) -> None:
        self.name = name
        self.concurrency = concurrency
        self.handler: Handler | None = None
        """What the test brought; None until it has, in the present run."""
        self.lost: list[Body] = []
        """Bodies that the mesh gives up, and that go on all the same."""
        self._duplicates: dict[str, int] = {}

    def bind(self, sim: Sim, handler: Handler) -> None:
        """Run `handler` from now on. Raises `ScenarioError` where one is bound already."""
        if self.handler is not None:
            raise ScenarioError(f"There are two handlers {self.name!r} in one run. Give one of them another name.")
        self.handler = handler
        self._sim = sim
        self._random = sim.world.kernel.random(f"handlers/{self.name}")
        self._is_async = inspect.iscoroutinefunction(handler.function)
        self._wants_context = not self._is_async and _wants_context(handler.function)
        sim.world.watch.on_crash.append(self._on_crash)

    def start(self, now: Instant, owner: ExecutorOwner, action: RunBody, end: End) -> Kill:
        """See `sim.executor.Host`."""
        handler = self.handler
        if handler is None:
            raise ScenarioError(
                f"A task of {self.name!r} was started before sim.handler({self.name!r}, …) was called. Call it first."
            )
        kernel = self._sim.world.kernel
        body = Body(owner, action, now, end)
        name = f"{action.handler} of task {action.task_id}"
        body.task = self._sim.loop.spawn(
            self._run(body, handler), name, None, lambda _, value, error: self._over(body, value, error)
        )
        draw = self._random
        # As many draws whatever they decide: one probability changed moves no other draw.
        dies, moment, doubled, after = draw.random(), draw.randrange(DEATHS), draw.random(), draw.random()
        if dies < handler.crashes:
            body.dies = True
            body.task.lives = moment
        elif doubled < handler.duplicate_starts and self._duplicates.get(action.task_id, 0) < DUPLICATES_MAX:
            self._duplicates[action.task_id] = self._duplicates.get(action.task_id, 0) + 1
            self.lost.append(body)
            kernel.push(now + int(after * LOST_AFTER_S * NANOS_PER_S), self._lose, body)
            kernel.push(now + action.timeout_ms * NANOS_PER_MS, self._bury, body)
        return lambda: self._kill(body)

    async def _run(self, body: Body, handler: Handler) -> Any:
        __tracebackhide__ = True
        payload = json.loads(body.action.payload)
        job = Job(self._sim, self._sim.node_of(body.owner), body.action, payload)
        function = handler.function
        if self._is_async:
            return await function(job)
        loop = self._sim.loop
        await loop.sleep(self._random.random() * PLAIN_S)
        result = function(payload, job) if self._wants_context else function(payload)
        await loop.sleep(self._random.random() * PLAIN_S)
        return result

    def _over(self, body: Body, value: Any, error: BaseException | None) -> None:
        """A body has ended by itself, or its process has died."""
        if isinstance(error, AwaitError | ScenarioError):
            self._sim.fail(error)  # the test is written wrongly: that is no outcome of a task
        run_ms = (self._sim.world.kernel.now - body.since) // NANOS_PER_MS
        if body.dies or isinstance(error, ProcessDied):
            self._tell(body, BodyEnded(BodyStatus.CRASHED, "", "the process of the body died (injected)", run_ms))
        elif body in self.lost:
            self.lost.remove(body)
            self._tell(body, _taken_for_lost(run_ms))
        elif error is not None:
            self._tell(body, BodyEnded(BodyStatus.ERROR, "", describe(error), run_ms))
        else:
            self._tell(body, _ended(value, run_ms))

    def _tell(self, body: Body, ended: BodyEnded) -> None:
        end, body.end = body.end, None
        if end is not None:
            end(ended)

    def _lose(self, now: Instant, body: Body, _: None) -> None:
        if body in self.lost:
            self._tell(body, _taken_for_lost((now - body.since) // NANOS_PER_MS))

    def _kill(self, body: Body) -> None:
        """The executor ends a body: stopped, out of time, or its node has crashed."""
        if body in self.lost:
            self.lost.remove(body)
        assert body.task is not None
        self._sim.loop.kill(body.task)

    def _bury(self, now: Instant, body: Body, _: None) -> None:
        if body in self.lost:
            self._kill(body)

    def _on_crash(self, now: Instant, process: Process) -> None:
        for body in [body for body in self.lost if body.owner is process]:
            self._kill(body)


def _taken_for_lost(run_ms: int) -> BodyEnded:
    return BodyEnded(BodyStatus.CANCELLED, "", "taken for lost; it goes on unseen (injected)", run_ms)


def _ended(value: Any, run_ms: int) -> BodyEnded:
    try:
        output = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(output.encode())
    except (TypeError, ValueError, RecursionError) as error:
        return BodyEnded(BodyStatus.ERROR, "", f"The result cannot be written as JSON. {describe(error)}", run_ms)
    if size > OUTPUT_BYTES_MAX:
        detail = f"The result is {size} bytes of JSON; {OUTPUT_BYTES_MAX} are allowed."
        return BodyEnded(BodyStatus.OUTPUT_LIMIT, "", detail, run_ms)
    return BodyEnded(BodyStatus.OK, output, "", run_ms)


def describe(error: BaseException) -> str:
    """Type, message and place. No path of this machine is in it: it becomes part of the run."""
    text = "".join(traceback.format_exception_only(error)).strip()
    return (text + place_of(error))[:DETAIL_CHARS_MAX]


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [each for each in inspect.signature(function).parameters.values() if each.kind in kinds]


def _required(function: Callable[..., Any]) -> int:
    return sum(each.default is inspect.Parameter.empty for each in _parameters(function))


def _wants_context(function: Callable[..., Any]) -> bool:
    """As the daemon's worker decides it: a second argument that is required, or called `ctx`."""
    names = [each.name for each in _parameters(function)]
    return _required(function) == 2 or names[1:2] == ["ctx"]
