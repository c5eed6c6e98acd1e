"""Parts of task tests: a coordinator among workers that are played by the test, and a worker on its own."""

from __future__ import annotations

from protocols.config import HandlerSpec, SwimConfig, TaskConfig
from protocols.core import NANOS_PER_S, Command, Outcome
from protocols.membership.member import State
from protocols.membership.messages import Gossip
from protocols.tasks.messages import Assign, Concluded, RunEnded, RunState, RunStates, Standing
from protocols.tasks.task import (
    Accepted,
    BodyStatus,
    GetTask,
    Submit,
    TaskProgress,
    TaskReassigned,
    TaskState,
    TaskView,
)
from tests.protocols.harness import Host, World, accuse, alive, config_of, endpoint_of

QUIET = SwimConfig(probe_interval=10**6 * NANOS_PER_S)
"""Nobody is probed, so a member that a test plays stays alive without answering."""


def coordinator(*workers: str, tasks: TaskConfig | None = None, handlers: tuple[HandlerSpec, ...] = ()) -> Host:
    """A node, `a`, that runs nothing itself and knows `workers`, which offer `work` and are played by the test."""
    host = World().add("a", config_of("a", handlers=handlers, swim=QUIET, tasks=tasks)).start()
    host.world.run(0.01)
    meet(host, *workers)
    return host


def meet(host: Host, *workers: str, generation: int = 1) -> None:
    """Let `host` know `workers`, in their so many-th life; settles what follows from it."""
    settle(host)
    if workers:
        host.hears(endpoint_of("z"), Gossip(tuple(alive(name, generation) for name in workers)))
    settle(host)


def settle(host: Host) -> None:
    """Let saves become durable and what waited for them go out."""
    host.world.run(0.005)


def submitted(host: Host, command: Command | None = None) -> str:
    """The id of a task that was taken in."""
    outcome = host.ask(command or Submit("work", "1"))
    assert isinstance(outcome, Accepted), outcome
    settle(host)
    return outcome.task_id


def assigned(host: Host, task_id: str = "") -> list[tuple[str, int]]:
    """Who was told to run the task, or any task, with which attempt: in order."""
    return [
        (endpoint.address.partition(".")[0], message.attempt)
        for endpoint, message in host.said
        if isinstance(message, Assign) and task_id in ("", message.task_id)
    ]


def concluded(host: Host, worker: str) -> list[str]:
    """The tasks that `worker` was told are concluded."""
    return [message.task_id for message in host.said_of(Concluded, worker)]


def ends(host: Host, worker: str, task_id: str, attempt: int = 1, status: BodyStatus = BodyStatus.OK) -> None:
    """`worker` tells how its run ended."""
    output, detail = ('"done"', "") if status is BodyStatus.OK else ("", "it broke")
    host.hears(endpoint_of(worker), RunEnded(task_id, attempt, status, output, detail, 5))
    settle(host)


def stands(host: Host, worker: str, task_id: str, attempt: int, standing: Standing) -> None:
    """`worker` answers how its run stands."""
    host.hears(endpoint_of(worker), RunStates((RunState(task_id, attempt, standing),)))
    settle(host)


def loses(host: Host, name: str, state: State = State.DEAD, generation: int = 1) -> None:
    """`host` hears that `name` is dead, or has left."""
    said_by = name if state is State.LEFT else "z"
    host.hears(endpoint_of("z"), Gossip((accuse(name, state, generation, by=said_by),)))
    settle(host)


def reasons(host: Host) -> list[str]:
    """Why runs were given up, in order."""
    return [fact.why for fact in host.facts_of(TaskReassigned)]


def started_at(host: Host, task_id: str) -> str:
    """Let the worker that has the task say that the body runs; returns its name."""
    name = worker_of(host, task_id)
    stands(host, name, task_id, view(host, task_id).attempt, Standing.RUNNING)
    return name


def view(host: Host, task_id: str) -> TaskView:
    outcome: Outcome = host.ask(GetTask(task_id))
    assert isinstance(outcome, TaskView), outcome
    return outcome


def progress(host: Host, task_id: str) -> TaskProgress:
    """What is durable of the task's progress."""
    stored = host.stored(f"progress/{task_id}")
    assert isinstance(stored, TaskProgress)
    return stored


def worker_of(host: Host, task_id: str) -> str:
    """The name of the worker that has the task's present run."""
    view_now = view(host, task_id)
    assert view_now.state is TaskState.RUNNING
    return view_now.worker_name


def worker(concurrency: int = 1) -> Host:
    """A node, `w`, that offers `work` and whose bodies end when the test says so."""
    host = World().add("w", config_of("w", handlers=(HandlerSpec("work", concurrency),), swim=QUIET)).start()
    host.world.run(0.01)
    host.hold_bodies = True
    return host


def assign(task_id: str, attempt: int = 1, handler: str = "work", payload: str = "1") -> Assign:
    return Assign(task_id, attempt, handler, payload, 60_000)
