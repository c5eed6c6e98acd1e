"""The worker: runs bodies for coordinators, within each handler's concurrency, and keeps each result until it is
recorded.

It keeps nothing on disk: a crash loses its runs, its new generation says so, and coordinators start them again. For one
task it holds one run, and tells its end again at a slow pace until it hears that it is recorded. A newer attempt of a
task that it already has takes over that run instead of starting the body a second time; an older attempt than one it
has seen is stale and changes nothing.

A coordinator asks after the runs that it wants. One that was taken back while this worker could not be reached is
asked after no more, and is dropped when its turn comes: a worker that was cut off for long would else be busy for as
long again with what others have done meanwhile. What a coordinator wants that is down itself is done all the same.

Handlers may change while it works. Of one that is taken away the bodies that run go on to their end, and what waits is
refused, so that coordinators place it elsewhere. Less concurrency stops no body: it holds once enough have ended.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from protocols.config import HandlerSpec
from protocols.core import NANOS_PER_S, Endpoint, Instant, NodeId, Perform, PerformId
from protocols.limits import QUEUED_RUNS_MAX
from protocols.outbox import NEVER, Outbox
from protocols.tasks.messages import (
    Assign,
    CheckRuns,
    Concluded,
    RefusalCode,
    RunEnded,
    RunRefused,
    RunState,
    RunStates,
    Standing,
)
from protocols.tasks.task import BodyEnded, BodyStatus, RunBody, RunStarted, StopBody

SEEN_MAX = 10_000
"""Concluded tasks whose last attempt is remembered, so that a late duplicate does not start the body again."""
ENDED_OVERHEAD_BYTES = 1024
"""What a kept result is counted for beyond its texts: its payload is dropped, its bookkeeping stays."""
ENDED_BYTES_MAX = 16 * 1024 * 1024
"""Results kept for coordinators that have not recorded them; past it the oldest is dropped and will run again."""

WANTED_FOR = 10 * NANOS_PER_S
"""A run that waits is wanted for so long after its coordinator has spoken of it: as long as a lease, after which the
coordinator takes the run back in any case."""
TELL_AGAIN_AFTER = 10 * NANOS_PER_S
TOLD_AGAIN_MAX = 64
"""Ends told again at one time; the oldest first, so that none is left out for ever."""


class Run(Struct):
    """One run of a task's body at this worker."""

    assign: Assign
    coordinator: Endpoint
    wanted_at: Instant
    """When the coordinator last spoke of this run."""
    perform_id: PerformId = 0
    """0 while it waits for its turn."""
    ended: RunEnded | None = None


class Worker:
    """All runs of one node. `active` bodies run, `waiting` ones queue."""

    def __init__(
        self,
        handlers: tuple[HandlerSpec, ...],
        outbox: Outbox,
        next_perform_id: Callable[[], int],
        is_alive: Callable[[NodeId], bool],
    ) -> None:
        self._outbox = outbox
        self._is_alive = is_alive
        self._next_perform_id = next_perform_id
        self._limits = {handler.name: handler.concurrency for handler in handlers}
        self._above: dict[str, int] = {}
        """Bodies of handlers of which more run than may be started, or which are gone: as many as then, at most."""
        self._running = {handler.name: 0 for handler in handlers}
        self._queues: dict[str, deque[str]] = {handler.name: deque() for handler in handlers}
        self._runs: dict[str, Run] = {}
        self._by_perform: dict[PerformId, str] = {}
        self._stopping: dict[PerformId, str] = {}
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._ended: OrderedDict[str, int] = OrderedDict()
        self._ended_bytes = 0
        self.waiting = 0
        self.leaving = False
        self.deadline: Instant = NEVER

    def fire(self, now: Instant) -> None:
        """Tell again what nobody has said to be recorded: the word that it is may have been lost with a stream."""
        told = 0
        for task_id in list(self._ended):
            run = self._runs[task_id]
            if run.ended is not None and self._is_alive(run.coordinator.node_id):
                self._outbox.send(run.coordinator, run.ended)
                self._ended.move_to_end(task_id)
                told += 1
                if told == TOLD_AGAIN_MAX:
                    break
        self.deadline = now + TELL_AGAIN_AFTER if self._ended else NEVER

    @property
    def handlers(self) -> tuple[str, ...]:
        """What it offers at present."""
        return tuple(self._limits)

    @property
    def active(self) -> int:
        return len(self._by_perform)

    # From this node's operator.

    def reconfigure(self, now: Instant, handlers: tuple[HandlerSpec, ...]) -> None:
        """Offer `handlers` from now on, and no others."""
        self._limits = {handler.name: handler.concurrency for handler in handlers}
        for name in self._limits:
            self._running.setdefault(name, 0)
            self._queues.setdefault(name, deque())
        for name in list(self._running):
            if name in self._limits:
                self._start_waiting(now, name)
            else:
                self._refuse_waiting(name)
            self._above[name] = self._running[name]
            self._settle(name)

    def _refuse_waiting(self, handler: str) -> None:
        """Hand back every run of a handler that this node has no more, as if it were assigned only now."""
        queue = self._queues[handler]
        self.waiting -= len(queue)
        while queue:
            run = self._runs.pop(queue.popleft())
            self._remember(run)
            assign = run.assign
            self._outbox.send(run.coordinator, RunRefused(assign.task_id, assign.attempt, RefusalCode.NO_HANDLER))

    def _settle(self, handler: str) -> None:
        """Forget what only counts while bodies of an earlier configuration run."""
        running = self._running[handler]
        if handler in self._above:
            self._above[handler] = running
            if running <= self._limits.get(handler, 0):
                del self._above[handler]
        if not running and handler not in self._limits:
            del self._running[handler]
            del self._queues[handler]

    # From coordinators.

    def on_assign(self, now: Instant, sender: Endpoint, message: Assign) -> None:
        task_id = message.task_id
        run = self._runs.get(task_id)
        if run is not None:
            self._reassigned(now, run, sender, message)
            return
        if self._seen.get(task_id, 0) >= message.attempt:
            return
        refusal = self._refusal(message.handler)
        if refusal is not None:
            self._outbox.send(sender, RunRefused(task_id, message.attempt, refusal))
            return
        run = Run(message, sender, now)
        self._runs[task_id] = run
        if self._running[message.handler] < self._limits[message.handler]:
            self._start(run)
        else:
            self._queues[message.handler].append(task_id)
            self.waiting += 1

    def _refusal(self, handler: str) -> RefusalCode | None:
        if self.leaving:
            return RefusalCode.LEAVING
        if handler not in self._limits:
            return RefusalCode.NO_HANDLER
        if self.waiting >= QUEUED_RUNS_MAX and self._running[handler] >= self._limits[handler]:
            return RefusalCode.BUSY
        return None

    def _reassigned(self, now: Instant, run: Run, sender: Endpoint, message: Assign) -> None:
        if message.attempt <= run.assign.attempt or message.handler != run.assign.handler:
            return  # stale, or not the same task
        run.assign = message
        run.coordinator = sender
        run.wanted_at = now
        if run.ended is not None:
            run.assign = replace(message, payload="")
            ended = run.ended
            run.ended = RunEnded(ended.task_id, message.attempt, ended.status, ended.output, ended.detail, ended.run_ms)
            self._outbox.send(sender, run.ended)

    def on_check(self, now: Instant, sender: Endpoint, message: CheckRuns) -> None:
        states: list[RunState] = []
        for ref in message.runs:
            run = self._runs.get(ref.task_id)
            if run is None or run.assign.attempt != ref.attempt:
                states.append(RunState(ref.task_id, ref.attempt, Standing.UNKNOWN))
            elif run.ended is not None:
                self._outbox.send(sender, run.ended)
            else:
                run.wanted_at = now
                standing = Standing.RUNNING if run.perform_id else Standing.WAITING
                states.append(RunState(ref.task_id, ref.attempt, standing))
        if states:
            self._outbox.send(sender, RunStates(tuple(states)))

    def on_concluded(self, sender: Endpoint, message: Concluded) -> None:
        run = self._runs.get(message.task_id)
        if run is None or run.coordinator.node_id != sender.node_id:
            return
        self._remember(run)
        del self._runs[message.task_id]
        if run.ended is not None:
            self._drop_ended(message.task_id)
        elif run.perform_id:
            # The body still holds its place until it has really stopped.
            self._by_perform.pop(run.perform_id)
            self._stopping[run.perform_id] = run.assign.handler
            self._outbox.perform(Perform(self._next_perform_id(), StopBody(run.perform_id)))
        else:
            self._queues[run.assign.handler].remove(message.task_id)
            self.waiting -= 1

    # Bodies.

    def _start(self, run: Run) -> None:
        assign = run.assign
        self._running[assign.handler] += 1
        run.perform_id = self._next_perform_id()
        self._by_perform[run.perform_id] = assign.task_id
        self._outbox.notify(RunStarted(assign.task_id, assign.attempt, assign.handler))
        body = RunBody(assign.task_id, assign.attempt, assign.handler, assign.payload, assign.timeout_ms)
        self._outbox.perform(Perform(run.perform_id, body))

    def on_body_ended(self, now: Instant, perform_id: PerformId, result: BodyEnded) -> None:
        """A body has ended: report it and give its place to the next."""
        handler = self._stopping.pop(perform_id, None)
        if handler is None:
            task_id = self._by_perform.pop(perform_id, None)
            if task_id is None:
                return
            run = self._runs[task_id]
            handler = run.assign.handler
            run.perform_id = 0
            run.ended = RunEnded(
                task_id, run.assign.attempt, result.status, result.output, result.detail, result.run_ms
            )
            self._outbox.send(run.coordinator, run.ended)
            if result.status is BodyStatus.CANCELLED:
                # Stopped for a reason of this node's own: no outcome, so a newer attempt may start it afresh.
                self._remember(run)
                del self._runs[task_id]
            else:
                run.assign = replace(run.assign, payload="")
                self._keep_ended(task_id, len(result.output) + len(result.detail) + ENDED_OVERHEAD_BYTES)
                self.deadline = min(self.deadline, now + TELL_AGAIN_AFTER)
        self._running[handler] -= 1
        self._start_waiting(now, handler)
        self._settle(handler)

    def _start_waiting(self, now: Instant, handler: str) -> None:
        """Start the first runs that wait and are still wanted, as many as may; drop those in front of them."""
        queue = self._queues[handler]
        limit = self._limits.get(handler, 0)
        while queue and self._running[handler] < limit:
            self.waiting -= 1
            run = self._runs[queue.popleft()]
            if now <= run.wanted_at + WANTED_FOR or not self._is_alive(run.coordinator.node_id):
                self._start(run)
            else:
                del self._runs[run.assign.task_id]

    # Bounded memory.

    def _remember(self, run: Run) -> None:
        self._seen[run.assign.task_id] = run.assign.attempt
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)

    def _keep_ended(self, task_id: str, size: int) -> None:
        self._ended[task_id] = size
        self._ended_bytes += size
        while self._ended_bytes > ENDED_BYTES_MAX and len(self._ended) > 1:
            oldest = next(iter(self._ended))
            self._drop_ended(oldest)
            del self._runs[oldest]

    def _drop_ended(self, task_id: str) -> None:
        self._ended_bytes -= self._ended.pop(task_id)
        if not self._ended:
            self.deadline = NEVER

    def held_for(self, coordinator: NodeId) -> int:
        """Runs that this worker holds for a coordinator (for status and checks)."""
        return sum(1 for run in self._runs.values() if run.coordinator.node_id == coordinator)

    def check(self) -> bool:
        """Whether the counts fit the runs."""
        waiting = sum(len(queue) for queue in self._queues.values())
        running = sum(self._running.values())
        within = all(
            count <= max(self._limits.get(name, 0), self._above.get(name, 0)) for name, count in self._running.items()
        )
        return waiting == self.waiting and running == len(self._by_perform) + len(self._stopping) and within
