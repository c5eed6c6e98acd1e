"""Drives a protocol core in real time: feeds it events, carries out its effects (DESIGN 3).

One trio task tree: a saver, a waker, and one task for every action under way. `feed` is synchronous and never blocks;
whatever takes time comes back as an event. Rules kept here and nowhere else:
- saves are committed first-in first-out, as many together as have queued up while the disk was busy (group commit);
- `then` is carried out only after the commit that it waits for; a failed commit fails every save behind it as well;
- what the core says to its own node comes back without a network;
- every request gets its one outcome; a caller that went away is simply not told.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol, assert_never

import trio

from meshnode.clock import now_ns
from meshnode.storage import StorageError
from protocols.core import (
    NANOS_PER_S,
    Action,
    Command,
    Core,
    Effect,
    Endpoint,
    Event,
    Fact,
    Instant,
    Message,
    NodeId,
    Notify,
    Outcome,
    Perform,
    Performed,
    PerformId,
    Pledge,
    Received,
    Record,
    Refused,
    Reply,
    Request,
    RequestId,
    Result,
    Save,
    Saved,
    SaveFailed,
    Send,
    Then,
    Woke,
)
from protocols.tasks.task import BodyEnded, BodyStatus, StopBody, Stopped

REQUESTS_MAX = 20_000
"""Requests of callers that wait for an outcome; past it a caller is refused as `busy`."""
BATCH_RECORDS_MAX = 4096
"""Records in one commit: bounds how long one transaction takes."""


class Disk(Protocol):
    """Where records become durable. `commit` blocks and runs beside the event loop; it raises `StorageError`."""

    def commit(self, records: list[Record]) -> None: ...


class Pending:
    """A request that waits for its outcome."""

    __slots__ = ("done", "outcome")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.outcome: Outcome | None = None


class Driver:
    """One core in one trio nursery.

    `send` hands a message to the transport; `perform` does an action and returns its result; `on_fact` hears every
    fact. `saves` and `commits` count, for the ratio of the group commit.
    """

    def __init__(
        self,
        node_id: NodeId,
        address: str,
        core: Core,
        *,
        disk: Disk,
        send: Callable[[Endpoint, Message], None],
        perform: Callable[[Action], Awaitable[Result]],
        on_fact: Callable[[Fact], None],
    ) -> None:
        self._me = Endpoint(node_id, address)
        self._core = core
        self._disk = disk
        self._send = send
        self._perform = perform
        self._on_fact = on_fact
        self._events: deque[Event] = deque()
        self._stepping = False
        self._saves: deque[Save] = deque()
        self._committing = False
        self._save_wanted = trio.Event()
        self._wake_at: Instant | None = None
        self._wake_scope = trio.CancelScope()
        self._pending: dict[RequestId, Pending] = {}
        self._next_request_id: RequestId = 1
        self._actions: dict[PerformId, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self._stopping = False
        self._commit_began: Instant | None = None
        self.saves = 0
        self.commits = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start the core and drive it until cancelled. Actions under way are cancelled with it."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._save_loop)
            nursery.start_soon(self._wake_loop)
            self.feed(Woke())
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._stopping = True

    # Callers.

    async def request(self, command: Command) -> Outcome:
        """The one outcome of `command`. Cancelling gives up the wait, not the command."""
        if len(self._pending) >= REQUESTS_MAX:
            return Refused("busy", "Too many requests wait for an answer on this node.", "Try again in a second.", 1.0)
        request_id = self._next_request_id
        self._next_request_id += 1
        pending = self._pending[request_id] = Pending()
        try:
            self.feed(Request(request_id, command))
            await pending.done.wait()
        finally:
            self._pending.pop(request_id, None)
        assert pending.outcome is not None
        return pending.outcome

    def tell(self, command: Command) -> None:
        """Hand over a command whose outcome nobody waits for."""
        self._next_request_id += 1
        self.feed(Request(self._next_request_id - 1, command))

    # Events.

    def feed(self, event: Event) -> None:
        """Give the core an event and carry out what it wants. What comes of that is handled before this returns."""
        self._events.append(event)
        self._drain()

    def _drain(self) -> None:
        if self._stepping:
            return
        self._stepping = True
        wake_at = self._wake_at
        try:
            while self._events:
                effects, wake_at = self._core.step(now_ns(), self._events.popleft())
                for effect in effects:
                    self._carry_out(effect)
        finally:
            self._stepping = False
        if wake_at != self._wake_at:
            self._wake_at = wake_at
            self._wake_scope.deadline = self._deadline()

    def _carry_out(self, effect: Effect | Then) -> None:
        match effect:
            case Send() | Pledge():
                if effect.to.node_id == self._me.node_id:
                    self._events.append(Received(self._me, effect.message))
                else:
                    self._send(effect.to, effect.message)
            case Save():
                self._save(effect)
            case Reply():
                pending = self._pending.get(effect.request_id)
                if pending is not None:
                    assert pending.outcome is None, f"request {effect.request_id} was answered twice"
                    pending.outcome = effect.outcome
                    pending.done.set()
            case Perform():
                self._start(effect)
            case Notify():
                self._on_fact(effect.fact)
            case _:
                assert_never(effect)

    # Time.

    def _deadline(self) -> float:
        if self._wake_at is None:
            return float("inf")
        return trio.current_time() + (self._wake_at - now_ns()) / NANOS_PER_S

    async def _wake_loop(self) -> None:
        while True:
            with trio.CancelScope(deadline=self._deadline()) as self._wake_scope:
                await trio.sleep_forever()
            self.feed(Woke())

    # Storage.

    def _save(self, save: Save) -> None:
        self.saves += 1
        if not save.records and not self._saves and not self._committing:
            # A barrier with nothing in front of it: all that was said to be durable is.
            self._durable(save)
            return
        self._saves.append(save)
        self._save_wanted.set()

    def _durable(self, save: Save) -> None:
        for effect in save.then:
            self._carry_out(effect)
        self._events.append(Saved(save.seq))

    async def _save_loop(self) -> None:
        while True:
            await self._save_wanted.wait()
            self._save_wanted = trio.Event()
            while self._saves:
                await self._commit_some()

    async def _commit_some(self) -> None:
        batch: list[Save] = []
        records: list[Record] = []
        while self._saves and len(records) < BATCH_RECORDS_MAX:
            save = self._saves.popleft()
            batch.append(save)
            records += save.records
        self._committing = True
        try:
            if records:
                self.commits += 1
                self._commit_began = time.monotonic_ns()
                await trio.to_thread.run_sync(self._disk.commit, records)
            for save in batch:  # still committing: a barrier that is asked for meanwhile comes behind the whole batch
                self._durable(save)
                self._drain()
        except StorageError as error:
            self._fail([*batch, *self._saves], error.why)
        finally:
            self._committing = False
            self._commit_began = None

    @property
    def commit_s(self) -> float:
        """For how long the commit under way has been waiting for the disk; 0 where there is none."""
        return 0.0 if self._commit_began is None else (time.monotonic_ns() - self._commit_began) / NANOS_PER_S

    def _fail(self, saves: list[Save], why: str) -> None:
        self._saves.clear()
        for save in saves:
            self.feed(SaveFailed(save.seq, why))

    # Actions.

    def _start(self, perform: Perform) -> None:
        if isinstance(perform.action, StopBody):
            scope = self._actions.get(perform.action.run)
            if scope is not None:
                scope.cancel()
            self._events.append(Performed(perform.id, Stopped()))
            return
        if self._stopping:
            return  # as if killed just before: callers and peers are heard for a moment longer than actions are begun
        assert self._nursery is not None, "the driver is not running"
        scope = self._actions[perform.id] = trio.CancelScope()
        self._nursery.start_soon(self._act, perform, scope)

    async def _act(self, perform: Perform, scope: trio.CancelScope) -> None:
        result: Result = BodyEnded(BodyStatus.CANCELLED, detail="stopped")
        with scope:
            result = await self._perform(perform.action)
        del self._actions[perform.id]
        self.feed(Performed(perform.id, result))
