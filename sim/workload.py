"""Callers: they hand in tasks at a rate, ask after some, cancel a few, and repeat what was not answered.

Every caller talks to one node, as a person at that machine would. A submission that is answered by `Unknown`, or
refused for now, or not answered because the node went down, is repeated at the same node with the same idempotency key,
a bounded number of times. What bodies do is scripted in the payload (`sim/executor.py`), mostly success.

What is asked for, and when, is drawn from a stream of its own, which no answer and nobody's death moves: a fault more
or less changes who is there to be asked, and no task.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from protocols.core import NANOS_PER_S, Instant, Outcome, Refused, Unknown
from protocols.tasks.task import Accepted, BodyStatus, CancelTask, GetTask, Submit
from sim.counter import Counter
from sim.executor import BodyScript
from sim.process import Process
from sim.world import World

RETRIES_MAX = 20
RETRY_AFTER = 2 * NANOS_PER_S
WATCH_WAIT_MS = 20_000
KEYS = 32
"""Placement keys in use; a task either names one of them or none."""


class Submission(Struct):
    """One task on its way in: where, what, and how often it was tried."""

    process: Process
    command: Submit
    tries: int = 0


class Workload:
    """`rate` tasks per virtual second, Poisson, until `until`. `counts` says what became of the submissions."""

    def __init__(self, world: World, rate: float, handlers: Sequence[str], until: Instant) -> None:
        self._world = world
        self._kernel = world.kernel
        self._random = world.kernel.random("workload")
        self._afterwards = world.kernel.random("workload afterwards")
        """For what comes of answers, which come in another order when something else goes wrong."""
        self._rate = rate
        self._handlers = tuple(handlers)
        self.until = until
        """No task comes at or after this; it may be moved while the workload runs."""
        self._made = 0
        self.counts = Counter()

    def start(self, at: Instant) -> None:
        """Let the first task come some time after `at`."""
        self._schedule(at)

    def _schedule(self, now: Instant) -> None:
        at = now + int(self._random.expovariate(self._rate) * NANOS_PER_S)
        if at < self.until:
            self._kernel.push(at, self._arrive)

    def _arrive(self, now: Instant, _a: None, _b: None) -> None:
        if now >= self.until:
            return
        self._schedule(now)
        running = self._world.running()
        draw = self._random
        payload = self._payload()
        command = Submit(
            handler=draw.choice(self._handlers),
            payload=payload,
            key=f"key-{draw.randrange(KEYS)}" if draw.random() < 0.3 else "",
            idempotency_key=f"job-{self._made}",
            timeout_ms=30_000,
        )
        whom = draw.random()
        twice = draw.random() < 0.05
        if not running:
            self.counts["nobody_up"] += 1
            return
        submission = Submission(running[int(whom * len(running))], command)
        self._submit(now, submission, None)
        if twice and submission.process.up:
            self._submit(now, submission, None)

    def _payload(self) -> str:
        draw = self._random
        self._made += 1
        fate = draw.random()
        mean_ms = draw.choice((5.0, 50.0, 500.0, 4000.0))
        if fate < 0.03:
            script = BodyScript(self._made, mean_ms, BodyStatus.ERROR)
        elif fate < 0.06:
            script = BodyScript(self._made, mean_ms, BodyStatus.CRASHED, once=True)
        elif fate < 0.07:
            script = BodyScript(self._made, 60_000.0)
        else:
            script = BodyScript(self._made, mean_ms)
        return msgspec.json.encode(script).decode()

    def _submit(self, now: Instant, submission: Submission, _: None) -> None:
        process = submission.process
        submission.tries += 1
        if not process.up:
            self._retry(now, submission)
            return
        self.counts["submitted"] += 1
        process.request(now, submission.command, _Answer(self, submission))

    def answered(self, now: Instant, submission: Submission, outcome: Outcome) -> None:
        """A submission has its outcome."""
        if isinstance(outcome, Accepted):
            self.counts["accepted_again" if outcome.existing else "accepted"] += 1
            self._follow(now, outcome)
        elif isinstance(outcome, Unknown):
            self.counts["unknown"] += 1
            self._retry(now, submission)
        elif isinstance(outcome, Refused):
            self.counts[f"refused: {outcome.code}"] += 1
            if outcome.retry_after_s or outcome.code == "storage_failed":
                self._retry(now, submission)

    def _retry(self, now: Instant, submission: Submission) -> None:
        if submission.tries < RETRIES_MAX:
            self._kernel.push(now + RETRY_AFTER, self._submit, submission)
        else:
            self.counts["given_up"] += 1

    def _follow(self, now: Instant, accepted: Accepted) -> None:
        draw = self._afterwards
        fate = draw.random()
        at = now + int(draw.random() * 3 * NANOS_PER_S)
        if fate < 0.25:
            self._kernel.push(at, self._ask, GetTask(accepted.task_id, WATCH_WAIT_MS))
        elif fate < 0.30:
            self._kernel.push(at, self._ask, CancelTask(accepted.task_id))

    def _ask(self, now: Instant, command: GetTask | CancelTask, _: None) -> None:
        running = self._world.running()
        if running:
            self._afterwards.choice(running).request(now, command, self._asked)

    def _asked(self, now: Instant, outcome: Outcome) -> None:
        kind = outcome.code if isinstance(outcome, Refused) else type(outcome).__name__
        self.counts[f"asked: {kind}"] += 1


class _Answer:
    """Carries the outcome of one submission back to the workload."""

    __slots__ = ("_submission", "_workload")

    def __init__(self, workload: Workload, submission: Submission) -> None:
        self._workload = workload
        self._submission = submission

    def __call__(self, now: Instant, outcome: Outcome) -> None:
        self._workload.answered(now, self._submission, outcome)
