"""Interesting states that a scenario may ask for by name: `sometimes = ["task_retried", …]`.

A sweep that never got into the state that it was written for proves nothing. A mark notes that a run got there; a sweep
in which a mark that was asked for never held fails. Each is a watcher like a checker, but it judges nothing; only
those that a scenario names are installed, and each costs what its hooks cost.

The first line of a mark's docstring says in one sentence what it means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.core import Command, Fact, Instant, NodeId, Outcome, Record, Save, Unknown
from protocols.membership.facts import MemberChanged, NodeStarted, Refuted
from protocols.membership.member import State
from protocols.tasks.task import (
    Accepted,
    RunBody,
    Submit,
    TaskFinished,
    TaskProgress,
    TaskReassigned,
    TaskState,
)
from sim.checkers.checker import Checker
from sim.inspect import view_of
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World


class Mark(Checker):
    """Base of all marks. `reached` is whether the run has been there."""

    reached = False


# Membership.


class SuspicionRefuted(Mark):
    """A node was accused and has raised its incarnation."""

    name = "suspicion_refuted"
    facts = (Refuted,)

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        self.reached = True


class FalseSuspicion(Mark):
    """A node that runs was suspected."""

    name = "false_suspicion"
    facts = (MemberChanged,)
    state = State.SUSPECT

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        if type(fact) is MemberChanged and fact.state is self.state:
            subject = self.world.by_id.get(fact.node_id)
            self.reached |= subject is not None and subject.up


class FalseDeath(FalseSuspicion):
    """A node that runs was declared dead."""

    name = "false_death"
    state = State.DEAD


class DeadCameBack(Mark):
    """A node that another one had taken for dead was alive to it again."""

    name = "dead_came_back"
    facts = (MemberChanged,)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._dead: list[dict[NodeId, None]] = [{} for _ in world.processes]

    def on_boot(self, now: Instant, process: Process) -> None:
        self._dead[process.index] = {}

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        if type(fact) is not MemberChanged:
            return
        dead = self._dead[process.index]
        if fact.state is State.DEAD:
            dead[fact.node_id] = None
        elif fact.state is State.ALIVE and fact.node_id in dead:
            self.reached = True


class MemberHeldBack(Mark):
    """A member came and went so often that a node's view left it as it was for a while."""

    name = "member_held_back"
    facts = (MemberChanged,)

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        view = view_of(process.core)
        self.reached |= view is not None and view.held(process.clock(now)) > 0


class GenerationOutgrown(Mark):
    """A node met traces of a later life of its own and had to begin another one while it ran."""

    name = "generation_outgrown"
    facts = (NodeStarted,)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._started_in = [0] * len(world.processes)

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        self.reached |= self._started_in[process.index] == process.boots
        self._started_in[process.index] = process.boots


# The network.


class MinorityWasAlone(Mark):
    """Some nodes, fewer than half, were cut off from all others, in both directions."""

    name = "minority_was_alone"

    def on_trouble(self, now: Instant, what: str, begins: bool) -> None:
        # Looks at N² pairs at most, once a fault, and no more once it was reached.
        if not begins or self.reached or self.world.network.whole:
            return
        count = len(self.world.processes)
        reachable = self.world.network.reachable
        left = list(range(count))
        while left and not self.reached:
            island = [left.pop()]
            for one in island:
                near = [other for other in left if reachable(one, other) or reachable(other, one)]
                island += near
                left = [other for other in left if other not in near] if near else left
            self.reached = 2 * len(island) < count


class SeedWasIsolated(Mark):
    """A node that others name as their seed was cut off from everybody, in both directions."""

    name = "seed_was_isolated"

    def on_trouble(self, now: Instant, what: str, begins: bool) -> None:
        network = self.world.network
        if not begins or self.reached or network.whole:
            return
        processes = self.world.processes
        seeds = {address for process in processes for address in process.config.seeds}
        for seed in processes:
            if seed.config.address in seeds and len(processes) > 1:
                self.reached |= not any(
                    network.reachable(seed.index, other.index) or network.reachable(other.index, seed.index)
                    for other in processes
                    if other is not seed
                )


class StreamReset(Mark):
    """A stream between two nodes was reset, and what was under way on it was lost."""

    name = "stream_reset"

    def finish(self, now: Instant) -> None:
        self.reached = self.world.network.resets > 0


# Disks.


class SaveHasFailed(Mark):
    """A disk refused a save."""

    name = "save_failed"

    def on_saved(self, now: Instant, process: Process, save: Save, why: str) -> None:
        self.reached |= bool(why)


class CommitInterrupted(Mark):
    """A node went down while its disk was at work on a save."""

    name = "commit_interrupted"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._open = [0] * len(world.processes)

    def on_save(self, now: Instant, process: Process, save: Save) -> None:
        self._open[process.index] += 1

    def on_saved(self, now: Instant, process: Process, save: Save, why: str) -> None:
        self._open[process.index] -= 1

    def on_crash(self, now: Instant, process: Process) -> None:
        self.reached |= self._open[process.index] > 0
        self._open[process.index] = 0


class CommitOutlivedItsNode(Mark):
    """A save became durable, and its node went down before it could hear of it."""

    name = "commit_outlived_its_node"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._unheard = [0] * len(world.processes)

    def on_durable(self, now: Instant, process: Process, records: tuple[Record, ...]) -> None:
        self._unheard[process.index] += 1

    def on_saved(self, now: Instant, process: Process, save: Save, why: str) -> None:
        if save.records and not why:
            self._unheard[process.index] -= 1

    def on_crash(self, now: Instant, process: Process) -> None:
        self.reached |= self._unheard[process.index] > 0
        self._unheard[process.index] = 0


class EverybodyWasDown(Mark):
    """No node was running."""

    name = "everybody_was_down"

    def on_crash(self, now: Instant, process: Process) -> None:
        self.reached |= not self.world.running()


# Tasks.


class BodyLostWithItsNode(Mark):
    """A node went down while it ran the body of a task."""

    name = "body_lost_with_its_node"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._killed = [0] * len(world.processes)

    def on_crash(self, now: Instant, process: Process) -> None:
        self.reached |= process.executor.killed > self._killed[process.index]
        self._killed[process.index] = process.executor.killed


class TaskRetried(Mark):
    """The body of a task was started a second time."""

    name = "task_retried"

    def on_start(self, now: Instant, process: Process, action: RunBody) -> None:
        self.reached |= action.attempt > 1


class CoordinatorCrashedWithOpenTasks(Mark):
    """A node went down that had taken tasks in and owed their results."""

    name = "coordinator_crashed_with_open_tasks"

    def on_crash(self, now: Instant, process: Process) -> None:
        if not self.reached:
            self.reached = any(
                type(value) is TaskProgress and value.state < TaskState.SUCCEEDED
                for value in process.disk.records.values()
            )


class SubmissionUnknown(Mark):
    """A caller that handed in a task was not told whether it was taken in."""

    name = "submission_unknown"

    def on_reply(self, now: Instant, process: Process, command: Command, outcome: Outcome) -> None:
        self.reached |= type(command) is Submit and type(outcome) is Unknown


class SubmissionRepeated(Mark):
    """A caller handed in a task again, and was told that it had been taken in already."""

    name = "submission_repeated"

    def on_reply(self, now: Instant, process: Process, command: Command, outcome: Outcome) -> None:
        self.reached |= type(outcome) is Accepted and outcome.existing


class LeaseExpired(Mark):
    """A coordinator gave up on a run because nobody had vouched for it for too long."""

    name = "lease_expired"
    facts = (TaskReassigned,)
    why = "lease_expired"

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        self.reached |= type(fact) is TaskReassigned and fact.why == self.why


class WorkerDiedWithRun(LeaseExpired):
    """A coordinator gave up on a run because its worker was declared dead."""

    name = "worker_died_with_run"
    why = "worker_dead"


class TaskCancelled(Mark):
    """A task was cancelled before it had another outcome."""

    name = "task_cancelled"
    facts = (TaskFinished,)
    state = TaskState.CANCELLED

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        self.reached |= type(fact) is TaskFinished and fact.state is self.state


class TaskBuried(TaskCancelled):
    """A task was given up for good because too many nodes had died while they ran it."""

    name = "task_buried"
    state = TaskState.DEAD


MARKS: dict[str, type[Mark]] = {
    mark.name: mark
    for mark in (
        SuspicionRefuted,
        FalseSuspicion,
        FalseDeath,
        DeadCameBack,
        MemberHeldBack,
        GenerationOutgrown,
        MinorityWasAlone,
        SeedWasIsolated,
        StreamReset,
        SaveHasFailed,
        CommitInterrupted,
        CommitOutlivedItsNode,
        EverybodyWasDown,
        BodyLostWithItsNode,
        TaskRetried,
        CoordinatorCrashedWithOpenTasks,
        SubmissionUnknown,
        SubmissionRepeated,
        LeaseExpired,
        WorkerDiedWithRun,
        TaskCancelled,
        TaskBuried,
    )
}
"""Every mark by its name."""


def meaning(watcher: type[Checker]) -> str:
    """What a mark, or a checker, is about, in one sentence."""
    return (watcher.__doc__ or "").partition("\n")[0]
