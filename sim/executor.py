"""One node's executor: bodies take virtual time and end as their payload says.

- `RunBody` ends after a duration drawn from the executor stream, with a result that depends only on the action: so the
  same task gives the same output wherever and however often it runs.
- A body that outlasts its timeout ends as `TIMED_OUT` at the timeout. `StopBody` ends the run as `CANCELLED` and is
  itself answered by `Stopped`. Every `Perform` ends in exactly one `Performed`.
- A crash of the node kills every body without a word.
- A handler may have a `Host` instead: code that runs in virtual time, whose end is not known when it starts (the
  handlers that a test of a user's own brings, `sim/testing/handlers.py`). The rules are the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Protocol, TypeAlias

import msgspec
from msgspec import Struct

from protocols.core import NANOS_PER_MS, Instant, Perform, PerformId, Result
from protocols.tasks.task import BodyEnded, BodyStatus, RunBody, StopBody, Stopped
from protocols.tools import ListLocalTools, LocalTools
from sim.kernel import Kernel

STOP_LATENCY = 2 * NANOS_PER_MS
LIST_TOOLS_LATENCY = 5 * NANOS_PER_MS

Body: TypeAlias = Callable[[RunBody, random.Random], tuple[Instant, BodyEnded]]
"""What a handler does, as a function: (action, the executor stream) → (virtual duration in ns, how it ends)."""


class BodyScript(Struct, frozen=True, omit_defaults=True):
    """The payload that `scripted_body` understands (JSON). `ms` is the mean duration."""

    n: int = 0
    ms: float = 50.0
    end: BodyStatus = BodyStatus.OK
    once: bool = False
    """Only the first attempt ends as `end` says; later ones succeed."""


_decode_script = msgspec.json.Decoder(BodyScript).decode


def scripted_body(action: RunBody, stream: random.Random) -> tuple[Instant, BodyEnded]:
    """The default body: lasts 50 to 150 % of `ms`, ends as scripted, and its output is a digest of the payload.

    Raises `msgspec.DecodeError` for a payload that is no script: the workload is wrong then.
    """
    script = _decode_script(action.payload)
    run_ms = script.ms * (0.5 + stream.random())
    ended = BodyStatus.OK if script.once and action.attempt > 1 else script.end
    duration = int(run_ms * NANOS_PER_MS)
    if ended is not BodyStatus.OK:
        return duration, BodyEnded(ended, "", f"scripted to end as {ended.name}", int(run_ms))
    digest = blake2b(f"{action.handler}/{action.payload}".encode(), digest_size=8).hexdigest()
    return duration, BodyEnded(BodyStatus.OK, f'"{digest}"', "", int(run_ms))


class ExecutorOwner(Protocol):
    """Whom an executor tells."""

    def performed(self, now: Instant, perform_id: PerformId, result: Result) -> None: ...
    def violated(self, now: Instant, property_name: str, text: str) -> None: ...


Kill: TypeAlias = Callable[[], None]
"""Ends a body as its process dies: nothing of it happens any more."""


class Host(Protocol):
    """Runs the bodies of one handler."""

    @property
    def concurrency(self) -> int:
        """How many of them a node may run at once."""
        ...

    def start(self, now: Instant, owner: ExecutorOwner, action: RunBody, end: Callable[[BodyEnded], None]) -> Kill:
        """Start a body at `owner`. `end` is called once, never from within this call, unless the body is killed."""
        ...


NO_HOSTS: Mapping[str, Host] = {}


class Run:
    """One body under way."""

    __slots__ = ("action", "kill", "perform_id")

    def __init__(self, perform_id: PerformId, action: RunBody) -> None:
        self.perform_id = perform_id
        self.action = action
        self.kill: Kill | None = None


class Executor:
    """Runs the bodies of one node. `runs` are those under way; `killed` counts those that died with it."""

    __slots__ = (
        "_hosts",
        "_kernel",
        "_on_body_ended",
        "_on_cut_short",
        "_on_ended",
        "_owner",
        "_random",
        "body",
        "killed",
        "on_start",
        "runs",
    )

    def __init__(self, kernel: Kernel, owner: ExecutorOwner, body: Body, hosts: Mapping[str, Host] = NO_HOSTS) -> None:
        self._kernel = kernel
        self._owner = owner
        self._random = kernel.random("executor")
        self._hosts = hosts
        self._on_body_ended = self._body_ended
        self._on_cut_short = self._cut_short
        self._on_ended = self._ended
        self.body = body
        self.runs: dict[PerformId, Run] = {}
        self.on_start: Callable[[Instant, RunBody], None] = _nothing
        self.killed = 0

    def perform(self, now: Instant, perform: Perform) -> None:
        """Start `perform.action`. An id that is still in use is a violation: its `Performed` would be ambiguous."""
        perform_id = perform.id
        action = perform.action
        push = self._kernel.push
        if perform_id in self.runs:
            self._owner.violated(now, "one_performed", f"perform id {perform_id} is used again while it is under way")
        elif type(action) is RunBody:
            run = Run(perform_id, action)
            if self._hosts and action.handler in self._hosts:
                self._start_hosted(now, run, self._hosts[action.handler])
                return
            duration, ended = self.body(action, self._random)
            timeout = action.timeout_ms * NANOS_PER_MS
            if duration > timeout:
                duration = timeout
                ended = timed_out(action)
            self.runs[perform_id] = run
            self.on_start(now, action)
            push(now + duration, self._on_body_ended, run, ended)
        elif type(action) is StopBody:
            run_to_stop = self.runs.get(action.run)
            if run_to_stop is not None:
                cancelled = BodyEnded(BodyStatus.CANCELLED, "", "stopped by its node")
                push(now + STOP_LATENCY, self._on_cut_short, run_to_stop, cancelled)
            push(now + STOP_LATENCY, self._on_ended, self.runs, (perform_id, Stopped()))
        elif type(action) is ListLocalTools:
            push(now + LIST_TOOLS_LATENCY, self._on_ended, self.runs, (perform_id, LocalTools((), 0)))
        else:
            self._owner.violated(now, "one_performed", f"no executor for the action {type(action).__name__}")

    def crash(self) -> None:
        """Kill every body and forget every other action under way."""
        self.killed += len(self.runs)
        for run in self.runs.values():
            if run.kill is not None:
                run.kill()
        self.runs = {}

    def _start_hosted(self, now: Instant, run: Run, host: Host) -> None:
        action = run.action
        self.runs[run.perform_id] = run
        self.on_start(now, action)
        run.kill = host.start(now, self._owner, action, lambda ended: self._body_ended(self._kernel.now, run, ended))
        self._kernel.push(now + action.timeout_ms * NANOS_PER_MS, self._on_cut_short, run, timed_out(action))

    def _cut_short(self, now: Instant, run: Run, ended: BodyEnded) -> None:
        if run.kill is not None and self.runs.get(run.perform_id) is run:
            run.kill()
        self._body_ended(now, run, ended)

    def _body_ended(self, now: Instant, run: Run, ended: BodyEnded) -> None:
        # A run ends once: by itself, or by being stopped; the other event then finds it gone.
        if self.runs.get(run.perform_id) is not run:
            return
        del self.runs[run.perform_id]
        self._owner.performed(now, run.perform_id, ended)

    def _ended(self, now: Instant, life: dict[PerformId, Run], what: tuple[PerformId, Result]) -> None:
        # `runs` is a new dict after a crash, which makes it the token of one life of the node.
        if life is self.runs:
            self._owner.performed(now, *what)


def timed_out(action: RunBody) -> BodyEnded:
    """How a body ends that outlasts its timeout."""
    return BodyEnded(BodyStatus.TIMED_OUT, "", f"no end within {action.timeout_ms} ms", action.timeout_ms)


def _nothing(now: Instant, action: RunBody) -> None:
    return None
