"""The coordinator: takes tasks in, and drives each to one recorded outcome (DESIGN 6, first form).

Rules:
- A task is acknowledged once it is durable. From then on it is driven until an outcome is recorded, through restarts.
- Every start carries a fresh attempt, durable before it is handed out, so attempts grow strictly.
- The first outcome to arrive, of whichever attempt, is recorded and final; what comes later is told `Concluded`.
- A run is given up when its worker died, left or restarted, refused it, does not know it, or has not vouched for it for
  a lease. False alarms cost a second start, never a second outcome.
- Whatever a caller is told of a task goes out behind the save that makes it true.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from protocols.config import NodeConfig
from protocols.core import (
    NANOS_PER_MS,
    Endpoint,
    Instant,
    NodeId,
    Notify,
    Outcome,
    Pledge,
    Put,
    Record,
    Refused,
    Then,
)
from protocols.limits import DETAIL_CHARS_MAX, OPEN_TASKS_MAX, PAYLOAD_BYTES_MAX, TASKS_PER_FRAME_MAX
from protocols.membership.member import State
from protocols.membership.swim import Swim
from protocols.outbox import NEVER, Journal, Outbox
from protocols.tasks.asker import Asker, respond
from protocols.tasks.book import TASK_PREFIX, Book, Task, new_task_id
from protocols.tasks.messages import (
    Assign,
    CheckRuns,
    Concluded,
    RefusalCode,
    RunEnded,
    RunRef,
    RunRefused,
    RunStates,
    Standing,
)
from protocols.tasks.refusals import payload_too_large, storage_refusal, too_many_open, unknown_handler, unknown_task
from protocols.tasks.routing import Routing
from protocols.tasks.task import (
    Accepted,
    BodyStatus,
    CancelTask,
    GetTask,
    ListTasks,
    Submit,
    TaskAccepted,
    TaskFinished,
    TaskList,
    TaskProgress,
    TaskReassigned,
    TaskSpec,
    TaskState,
    TaskView,
)

SUBMIT_TAG = "submit"
TASK_TAG = "task"
ANSWER_TAG = "answer"
BUSY_FOR = 250 * NANOS_PER_MS
"""How long a worker that refused as busy is given nothing new."""
RETRY_GRID = 50 * NANOS_PER_MS
"""Waiting tasks are tried again at multiples of this: ten thousand of them cost twenty looks a second."""
RETRIES_MAX = 128
"""Waiting tasks that are given out in one look: where the workers are full after all, no more than these come back."""
_json = msgspec.json.Decoder(msgspec.Raw)


class Waiter(Struct, frozen=True):
    """A caller that waits for a task to become final."""

    asker: Asker
    deadline: Instant


class Coordinator:
    """The tasks that one node has taken in. `deadline` is when `fire` wants to be called."""

    def __init__(
        self, config: NodeConfig, swim: Swim, outbox: Outbox, journal: Journal, rng: Random, saved: Iterable[Put]
    ) -> None:
        self.book = Book()
        self.book.load(saved)
        self.routing = Routing(swim)
        self._id = config.node_id
        self._config = config.tasks
        self._swim = swim
        self._outbox = outbox
        self._journal = journal
        self._rng = rng
        self._waiters: dict[str, list[Waiter]] = {}
        self._busy_until: dict[NodeId, Instant] = {}
        self.view_seen = -1
        """The view (`Swim.view`) that the coordinator has acted upon."""
        self._next_check: Instant = NEVER
        self._next_retry: Instant = NEVER
        self._next_wait: Instant = NEVER
        self._serving = False
        self.deadline: Instant = NEVER

    # Life.

    def start(self, now: Instant) -> None:
        """Go on with what an earlier life left open. What ran on this node itself was lost with that life."""
        self._serving = True
        for task in list(self.book.open.values()):
            task.vouched_at = now
            if task.progress.state is TaskState.QUEUED:
                self._place(now, task)
            elif task.progress.worker == self._id:
                self._take_back(now, task, "coordinator_restarted", died=False)
        self.rearm(now)

    def rearm(self, now: Instant) -> None:
        """Work out the next deadline; called at the end of every step that touched this component."""
        if not self.book.by_worker:
            self._next_check = NEVER
        elif self._next_check == NEVER:
            self._next_check = now + self._config.check_interval
        self.deadline = min(self._next_check, self._next_retry, self._next_wait)

    def fire(self, now: Instant) -> None:
        if now >= self._next_wait:
            self._end_waits(now)
        if now >= self._next_check:
            self._check_runs(now)
            self._next_check = now + self._config.check_interval
        if now >= self._next_retry:
            self._retry(now)

    # Callers.

    def submit(self, now: Instant, asker: Asker, command: Submit) -> None:
        """Take a task in. Exactly one answer: `Accepted` once durable, or `Refused`."""
        if command.idempotency_key:
            existing = self.book.by_idempotency_key(command.idempotency_key)
            if existing is not None:
                self._answer(asker, Accepted(existing.id, self._id, existing=True), existing)
                return
        refusal = self._refusal(command)
        if refusal is not None:
            self._answer(asker, refusal)
            return
        spec = TaskSpec(
            task_id=new_task_id(self._rng, self._id),
            handler=command.handler,
            payload=command.payload,
            key=command.key,
            idempotency_key=command.idempotency_key,
            timeout_ms=command.timeout_ms,
            submitted_unix_ms=command.submitted_unix_ms,
        )
        task = Task(spec, TaskProgress(spec.task_id, TaskState.QUEUED, 0, "", 0, 0), taken_in=False)
        self.book.add(task)
        then: list[Then] = [
            respond(asker, Accepted(spec.task_id, self._id)),
            Notify(TaskAccepted(spec.task_id, spec.handler)),
        ]
        progress, assign = self._assign(now, task)
        records: list[Record] = [Put(TASK_PREFIX + spec.task_id, spec), self.book.update(task, progress)]
        task.unsaved += 1
        self._journal.save(records, then + assign, tag=f"{SUBMIT_TAG} {spec.task_id} {asker.token}", refusable=True)

    def _refusal(self, command: Submit) -> Refused | None:
        try:
            if len(command.payload.encode()) > PAYLOAD_BYTES_MAX:
                return payload_too_large()
            _json.decode(command.payload)
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
            return Refused("bad_payload", f"The payload is not JSON: {error}.", "Send JSON text, for example null.")
        known = self.routing.handlers_known()
        if command.handler not in known:
            return unknown_handler(command.handler, known)
        if len(self.book.open) >= OPEN_TASKS_MAX:
            return too_many_open()
        return storage_refusal(self._journal.error) if self._journal.failing else None

    def saved(self, now: Instant, task_id: str) -> None:
        """A save about the task is durable."""
        task = self.book.get(task_id)
        if task is None:
            return
        task.taken_in = True
        task.unsaved -= 1
        task.vouched_at = now  # its run was handed out only now
        if task.unsaved:
            return
        if task.final:
            for waiter in self._waiters.pop(task_id, ()):
                self._answer(waiter.asker, self.view(task))
        elif task.look_again:
            task.look_again = False
            if task.retry_at <= now:
                self._place_waiting(now, task)
            else:
                self._look_at_run(now, task)

    def give_up(self, task_id: str) -> None:
        """The save of a new task failed: it was never taken in."""
        self.book.give_up(task_id)

    def get(self, now: Instant, asker: Asker, command: GetTask) -> None:
        """Answer with the task, now or when it is final or the wait is over."""
        task = self.book.get(command.task_id)
        if task is None:
            self._answer(asker, unknown_task(command.task_id))
        elif task.final or not command.wait_ms:
            self._answer(asker, self.view(task), task)
        else:
            deadline = now + command.wait_ms * NANOS_PER_MS
            self._waiters.setdefault(task.id, []).append(Waiter(asker, deadline))
            self._next_wait = min(self._next_wait, deadline)

    def cancel(self, now: Instant, asker: Asker, command: CancelTask) -> None:
        """Record the task as cancelled, if it is not final yet."""
        task = self.book.get(command.task_id)
        if task is None:
            self._answer(asker, unknown_task(command.task_id))
        elif task.final:
            state = task.progress.state.name.lower()
            refused = Refused("already_final", f"The task has already ended: {state}.", "Read its outcome instead.")
            self._answer(asker, refused, task)
        elif self._journal.failing:
            self._answer(asker, storage_refusal(self._journal.error))
        else:
            progress = replace(task.progress, state=TaskState.CANCELLED, detail="cancelled by a caller")
            self._conclude(task, progress, asker)

    def list_tasks(self, asker: Asker, command: ListTasks) -> None:
        """Answer with the newest tasks first."""
        tasks = [*self.book.open.values(), *reversed(self.book.finished.values())]
        wanted = command.states or tuple(TaskState)
        tasks = [task for task in tasks if task.taken_in and task.progress.state in wanted]
        tasks.sort(key=lambda task: task.spec.submitted_unix_ms, reverse=True)
        listed = tasks[: command.limit]
        views = tuple(replace(self.view(task), output="") for task in listed)
        unsaved = next((task for task in listed if task.unsaved), None)
        self._answer(asker, TaskList(views, len(tasks)), unsaved)

    def view(self, task: Task) -> TaskView:
        progress = task.progress
        return TaskView(
            task_id=task.id,
            handler=task.spec.handler,
            key=task.spec.key,
            state=progress.state,
            attempt=progress.attempt,
            coordinator=self._id,
            worker=progress.worker,
            worker_name=self.routing.name_of(progress.worker),
            output=progress.output,
            detail=progress.detail or ("" if task.final else task.waits_for),
            run_ms=progress.run_ms,
            submitted_unix_ms=task.spec.submitted_unix_ms,
        )

    def _answer(self, asker: Asker, outcome: Outcome, about: Task | None = None) -> None:
        """Answer at once where all that is known `about` the task is durable, else as soon as it is."""
        here = asker.endpoint is None
        if here and (about is None or not about.unsaved):
            self._outbox.reply(asker.request_id, outcome)
            return
        taken = self._journal.save((), (respond(asker, outcome),), tag=f"{ANSWER_TAG} {asker.token}", refusable=True)
        if here and not taken:
            self._outbox.reply(asker.request_id, storage_refusal(self._journal.error))

    def _end_waits(self, now: Instant) -> None:
        self._next_wait = NEVER
        for task_id, waiters in list(self._waiters.items()):
            # Final ones are here too while the disk does not take their outcome: no wait is longer than was asked for.
            task = self.book.get(task_id)
            staying = [waiter for waiter in waiters if waiter.deadline > now]
            for waiter in waiters:
                if waiter.deadline <= now:
                    self._answer(waiter.asker, self.view(task) if task else unknown_task(task_id), task)
                else:
                    self._next_wait = min(self._next_wait, waiter.deadline)
            if staying:
                self._waiters[task_id] = staying
            else:
                del self._waiters[task_id]

    # Placing.

    def _assign(self, now: Instant, task: Task) -> tuple[TaskProgress, list[Then]]:
        """The progress of a queued task after one try to place it, and what may be said once that is durable."""
        progress = task.progress
        avoid = task.avoid | self._busy(now) if self._busy_until else task.avoid
        worker = self.routing.owner(task.spec.handler, task.spec.key or task.id, avoid)
        if worker is None:
            self._wait_for_worker(now, task)
            return replace(progress, state=TaskState.QUEUED, worker="", worker_generation=0), []
        task.retry_at = NEVER
        task.waits_for = ""
        task.started = False
        task.vouched_at = now
        attempt = progress.attempt + 1
        spec = task.spec
        assign = Assign(spec.task_id, attempt, spec.handler, spec.payload, spec.timeout_ms)
        progress = replace(
            progress,
            state=TaskState.RUNNING,
            attempt=attempt,
            worker=worker.alive.node_id,
            worker_generation=worker.generation,
        )
        return progress, [Pledge(worker.endpoint, assign)]

    def _busy(self, now: Instant) -> dict[NodeId, None]:
        """Workers that refused as busy a moment ago."""
        for worker in [worker for worker, until in self._busy_until.items() if until <= now]:
            del self._busy_until[worker]
        return dict.fromkeys(self._busy_until)

    def _wait_for_worker(self, now: Instant, task: Task) -> None:
        """Nobody can take the task at the moment: try again later, or when the view changes."""
        handler = task.spec.handler
        if self.routing.capable(handler):
            task.waits_for = f"every live node that offers {handler} is busy or refused it for now"
        else:
            task.waits_for = f"no live node offers {handler} at the moment"
        task.avoid = {}
        task.refusals += 1
        ceiling = min(self._config.retry_max, self._config.retry_base << min(task.refusals, 16))
        retry_at = now + self._config.retry_base + int(self._rng.random() * ceiling)
        task.retry_at = retry_at + RETRY_GRID - retry_at % RETRY_GRID
        self._next_retry = min(self._next_retry, task.retry_at)

    def _place(self, now: Instant, task: Task) -> None:
        before = task.progress
        progress, then = self._assign(now, task)
        if then or progress != before:
            task.unsaved += 1
            self._journal.save((self.book.update(task, progress),), then, tag=f"{TASK_TAG} {task.id}")

    def _retry(self, now: Instant) -> None:
        """Try the waiting tasks that are due, oldest first, until so many have been given out."""
        self._next_retry = NEVER
        given_out = 0
        for task in list(self.book.open.values()):
            if task.retry_at <= now and given_out < RETRIES_MAX:
                self._place_waiting(now, task)
                given_out += task.progress.state is TaskState.RUNNING
            elif task.retry_at < self._next_retry:
                self._next_retry = max(task.retry_at, now + RETRY_GRID)

    def _place_waiting(self, now: Instant, task: Task) -> None:
        """Try a task that waits for a worker, or, where it is being saved, as soon as that is done."""
        if task.unsaved:
            task.look_again = True
            return
        task.retry_at = NEVER
        self._place(now, task)

    def _take_back(self, now: Instant, task: Task, why: str, *, died: bool) -> None:
        """Give up the present run of a task and place it anew."""
        progress = task.progress
        self._outbox.notify(TaskReassigned(task.id, progress.attempt, progress.worker, why))
        deaths = progress.worker_deaths + (1 if died and task.started else 0)
        if deaths >= self._config.worker_deaths_max:
            detail = f"{deaths} nodes died while they ran it; it is not started again"
            self._conclude(task, replace(progress, state=TaskState.DEAD, worker_deaths=deaths, detail=detail))
            return
        task.progress = replace(progress, worker_deaths=deaths)
        self._place(now, task)

    # Workers.

    def on_view(self, now: Instant) -> None:
        """The view of the mesh has changed: look at the workers, and place what waits for one."""
        self.view_seen = self._swim.view
        if not self._serving:
            return
        for runs in list(self.book.by_worker.values()):
            for task_id in list(runs):
                self._look_at_run(now, self.book.open[task_id])
        for task in self.book.open.values():
            if task.retry_at != NEVER:
                task.retry_at = now
        self._retry(now)

    def _look_at_run(self, now: Instant, task: Task) -> None:
        """Take the task back if its worker is not any more what it was when the task was given to it."""
        worker = task.progress.worker
        row = self._swim.table.get(worker)
        if row is None:
            return
        if task.unsaved:
            # The run is not handed out yet; and what is taken back now would outlive a submission that fails.
            task.look_again = True
        elif row.generation > task.progress.worker_generation:
            self._take_back(now, task, "worker_restarted", died=worker != self._id)
        elif row.state is State.DEAD:
            self._take_back(now, task, "worker_dead", died=True)
        elif row.state is State.LEFT:
            self._take_back(now, task, "worker_left", died=False)

    def _check_runs(self, now: Instant) -> None:
        for worker, runs in list(self.book.by_worker.items()):
            row = self._swim.table.get(worker)
            self._expire_leases(now, worker)
            if row is None:
                continue
            tasks = [self.book.open[task_id] for task_id in runs]
            refs = [RunRef(task.id, task.progress.attempt) for task in tasks if not task.unsaved]
            for start in range(0, len(refs), TASKS_PER_FRAME_MAX):
                self._outbox.send(row.endpoint, CheckRuns(tuple(refs[start : start + TASKS_PER_FRAME_MAX])))

    def _expire_leases(self, now: Instant, worker: NodeId) -> None:
        horizon = now - self._config.lease
        for task_id in list(self.book.by_worker.get(worker, ())):
            task = self.book.open[task_id]
            if task.vouched_at < horizon and not task.unsaved:
                task.avoid[worker] = None
                self._take_back(now, task, "lease_expired", died=False)

    def on_run_states(self, now: Instant, sender: Endpoint, message: RunStates) -> None:
        for state in message.runs:
            task = self._run_of(state.task_id, state.attempt, sender)
            if task is None:
                continue
            if state.standing is Standing.UNKNOWN:
                self._take_back(now, task, "worker_lost_it", died=False)
            else:
                task.vouched_at = now
                task.started = task.started or state.standing is Standing.RUNNING

    def on_run_refused(self, now: Instant, sender: Endpoint, message: RunRefused) -> None:
        task = self._run_of(message.task_id, message.attempt, sender)
        if message.code is RefusalCode.BUSY:
            self._busy_until[sender.node_id] = now + BUSY_FOR
        if task is not None:
            task.avoid[sender.node_id] = None
            self._take_back(now, task, "refused", died=False)

    def _run_of(self, task_id: str, attempt: int, sender: Endpoint) -> Task | None:
        """The open task whose present run is that attempt at that worker."""
        task = self.book.open.get(task_id)
        if task is None or task.progress.state is not TaskState.RUNNING:
            return None
        fits = task.progress.attempt == attempt and task.progress.worker == sender.node_id
        return task if fits else None

    def on_run_ended(self, now: Instant, sender: Endpoint, message: RunEnded) -> None:
        task = self.book.open.get(message.task_id)
        if task is None:
            # Final, or forgotten long ago: either way the worker may forget it too, once that is durable.
            self._journal.save((), (Pledge(sender, Concluded(message.task_id)),))
            return
        if message.attempt > task.progress.attempt:
            return  # an attempt that was never given out
        if message.status is BodyStatus.CANCELLED:
            if self._run_of(message.task_id, message.attempt, sender) is not None:
                task.avoid[sender.node_id] = None
                self._take_back(now, task, "worker_stopped_it", died=False)
            return
        succeeded = message.status is BodyStatus.OK
        progress = replace(
            task.progress,
            state=TaskState.SUCCEEDED if succeeded else TaskState.FAILED,
            worker=sender.node_id,
            output=message.output if succeeded else "",
            detail="" if succeeded else f"{message.status.name.lower()}: {message.detail}"[:DETAIL_CHARS_MAX],
            run_ms=message.run_ms,
        )
        self._conclude(task, progress, also_tell=sender)

    def _conclude(
        self, task: Task, progress: TaskProgress, asker: Asker | None = None, also_tell: Endpoint | None = None
    ) -> None:
        """Record the one outcome; tell the workers and everybody who waits once it is durable."""
        tell: dict[NodeId, Endpoint] = {}
        if task.progress.state is TaskState.RUNNING:
            row = self._swim.table.get(task.progress.worker)
            if row is not None:
                tell[task.progress.worker] = row.endpoint
        if also_tell is not None:
            tell[also_tell.node_id] = also_tell
        records = self.book.finish(task, progress)
        then: list[Then] = [respond(asker, self.view(task))] if asker is not None else []
        then += [Pledge(endpoint, Concluded(task.id)) for endpoint in tell.values()]
        then.append(Notify(TaskFinished(task.id, progress.state, progress.attempt, progress.worker)))
        task.unsaved += 1
        self._journal.save(records, then, tag=f"{TASK_TAG} {task.id}")
