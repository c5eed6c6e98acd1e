"""The nodes of a test: what can be done to one, asked of one, and seen of one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec import Struct

from protocols.core import NANOS_PER_S, Command, Outcome, Refused
from protocols.membership.member import State
from protocols.tasks.task import Accepted, CancelTask, GetTask, Submit, TaskView
from sim.errors import ScenarioError
from sim.inspect import own_row, rows_of
from sim.process import Process
from sim.testing.calls import Ledger, awaited
from sim.testing.inforce import InForce
from sim.testing.tasks import Task

if TYPE_CHECKING:
    from sim.testing.sim import Sim

ASK_AGAIN_S = 0.5
WAIT_MS_MAX = 60_000
"""The longest that one `GetTask` may wait."""


class MemberSeen(Struct, frozen=True):
    """One row of a node's member table."""

    name: str
    state: State
    generation: int
    """Grows with every life of the member."""
    incarnation: int
    """Grows, within one life, with every accusation that the member refutes."""

    @property
    def alive(self) -> bool:
        return self.state is State.ALIVE


class SimNode:
    """One node of a simulated mesh."""

    label: ClassVar[str] = "node"

    def __init__(self, sim: Sim, process: Process) -> None:
        self.process = process
        self.name = process.name
        self.index = process.index
        self.id = process.config.node_id
        self._sim = sim

    def __repr__(self) -> str:
        return f"<node {self.name}, {'up' if self.up else 'down'}>"

    @property
    def ledger(self) -> Ledger:
        return self._sim.ledger

    # What is done to it. Each takes effect at once.

    @property
    def up(self) -> bool:
        """Whether it runs."""
        return self.process.up

    def crash(self) -> None:
        """Kill it: memory and what was not saved are gone, the disk stays. Raises `ScenarioError` when it is down."""
        if not self.up:
            raise ScenarioError(f"{self.name} is down already. Ask `node.up` first, or choose one of `sim.up`.")
        self._sim.world.crash(self.process)

    def restart(self) -> None:
        """Start it from its disk; one that runs crashes first."""
        if self._sim.world.held[self.index]:
            raise ScenarioError(f"{self.name} is kept down by a fault; it comes back when that is over.")
        if self.up:
            self.crash()
        if not self._sim.world.boot(self.process):
            raise ScenarioError(f"{self.name} refuses to start: its disk is damaged.")

    def fail_disk(self, why: str = "no space left on device") -> InForce:
        """Let every write fail for the time of a block: `async with node.fail_disk():`."""

        def begin() -> Any:
            self.process.disk.fail(why)
            return lambda now: self.process.disk.mend()

        return InForce(
            self._sim, f"node.fail_disk({why!r})", f"the disk of {self.name} fails: {why}", begin, misleads=False
        )

    # What is seen of it, from outside: nothing is asked, no time passes.

    def members(self) -> dict[str, MemberSeen]:
        """Its member table by name, itself included; empty while it is down or has not begun its life."""
        by_id = self._sim.world.by_id
        seen: dict[str, MemberSeen] = {}
        for node_id, row in rows_of(self.process.core).items():
            process = by_id.get(node_id)
            name = node_id if process is None else process.name
            seen[name] = MemberSeen(name, row.state, row.generation, row.incarnation)
        return dict(sorted(seen.items(), key=_by_number))

    def sees(self, other: SimNode | str) -> State | None:
        """What it believes of another node; None where it does not know it, or is down itself."""
        row = rows_of(self.process.core).get(self._sim.node(other).id)
        return None if row is None else row.state

    def reaches(self, other: SimNode | str) -> bool:
        """Whether a packet from it could get to another node now: no cut lies between, loss aside."""
        return self._sim.world.network.reachable(self.index, self._sim.node(other).index)

    @property
    def isolated(self) -> bool:
        """Whether it reaches no other node now, because of cuts."""
        return not any(self.reaches(node) for node in self._sim.nodes if node is not self)

    @property
    def in_minority(self) -> bool:
        """Whether cuts leave it on a side with no more than half of all nodes, itself included, to talk with."""
        side = [node for node in self._sim.nodes if node is self or (self.reaches(node) and node.reaches(self))]
        return 2 * len(side) <= len(self._sim.nodes)

    @property
    def incarnation(self) -> int:
        """Its own incarnation; 0 while it is down or has not begun its life."""
        row = own_row(self.process.core)
        return 0 if row is None else row.incarnation

    # What is asked of it, as callers at that machine would.

    @awaited
    async def submit(
        self,
        handler: str,
        payload: Any = None,
        *,
        key: str = "",
        idempotency_key: str = "",
        timeout: float = 600.0,
        wait: float = 0.0,
    ) -> Outcome:
        """Hand in a task; `payload` is anything that JSON can hold, `timeout` bounds each run of the body.

        The outcome: `Accepted`, once it is durable; `Refused`, with a reason; or `Unknown`, where the node went down
        before it answered. With `wait`, an accepted task is followed for so many virtual seconds: then the outcome is
        the task as it stands (`TaskView`; `state` says how it ended, `output` is JSON).
        """
        __tracebackhide__ = True
        command = Submit(
            handler=handler,
            payload=json.dumps(payload),
            key=key,
            idempotency_key=idempotency_key,
            timeout_ms=max(1, round(timeout * 1000)),
        )
        outcome = await self._ask(command)
        if wait and isinstance(outcome, Accepted):
            return await self._follow(outcome.task_id, wait)
        return outcome

    @awaited
    async def task(self, task_id: str, *, wait: float = 0.0) -> Outcome:
        """The task as it stands (`TaskView`), or, with `wait`, as soon as it has ended; or `Refused`, or `Unknown`."""
        __tracebackhide__ = True
        if wait:
            return await self._follow(task_id, wait)
        return await self._ask(GetTask(task_id))

    @awaited
    async def cancel(self, task_id: str) -> Outcome:
        """Cancel a task: `TaskView`, `Refused` (such as `already_final`) or `Unknown`."""
        __tracebackhide__ = True
        return await self._ask(CancelTask(task_id))

    @awaited
    async def ask(self, command: Command) -> Outcome:
        """Any command of the protocols, and its one outcome."""
        __tracebackhide__ = True
        return await self._ask(command)

    async def _ask(self, command: Command) -> Outcome:
        __tracebackhide__ = True
        if not self.up:
            return Refused("node_down", f"{self.name} is down: nobody took the request.", "Ask one of `sim.up`.")
        loop = self._sim.loop
        waiting: list[Task] = []
        answers: list[Outcome] = []

        def on_outcome(now: int, outcome: Outcome) -> None:
            answers.append(outcome)
            if waiting:
                loop.wake(waiting.pop(), outcome)

        self.process.request(self._sim.world.kernel.now, command, on_outcome)
        if answers:
            await loop.sleep(0)
            return answers[0]
        waiting.append(loop.running())
        outcome = await loop.park(waiting.clear)
        assert isinstance(outcome, Outcome)
        return outcome

    async def _follow(self, task_id: str, wait: float) -> Outcome:
        """Ask again and again until the task has ended, or for `wait` seconds. A node that is down is waited for."""
        __tracebackhide__ = True
        loop = self._sim.loop
        until = self._sim.world.kernel.now + round(wait * NANOS_PER_S)
        while True:
            left_ms = (until - self._sim.world.kernel.now) // 1_000_000
            outcome = await self._ask(GetTask(task_id, min(max(left_ms, 0), WAIT_MS_MAX)))
            if isinstance(outcome, TaskView) and outcome.state.final:
                return outcome
            if left_ms <= 0:
                return outcome
            if isinstance(outcome, Refused) and not (outcome.retry_after_s or outcome.code in PASSING):
                return outcome
            if not isinstance(outcome, TaskView):
                await loop.sleep(min(ASK_AGAIN_S, left_ms / 1000))


PASSING = ("node_down", "starting", "storage_failed")
"""Refusals that say: not now."""


def _by_number(item: tuple[str, MemberSeen]) -> tuple[int, str]:
    name = item[0]
    return (int(name[1:]), name) if name[1:].isdigit() else (1 << 30, name)
