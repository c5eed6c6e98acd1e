"""Three nodes, and everything that can go wrong in any order: what must hold at every step, and in the end (DESIGN 6).

At every step (here and in the harness): no bare promise, no request answered twice, invariants of the core, attempts
that grow on disk and are handed out only when they are durable, a recorded outcome that never changes.
Whatever a user is told of an event comes once, and in order, in all lives of a node.
In the end, with all nodes up and everything well: every request of a caller that is still there has its answer, every
accepted task has exactly one recorded outcome, all members agree, and no worker has anything left to run.
"""

from __future__ import annotations

from itertools import pairwise

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from protocols.config import HandlerSpec, SwimConfig, TaskConfig
from protocols.core import NANOS_PER_MS, NANOS_PER_S, Command, Delete, Message, Record
from protocols.membership.event_views import AskQuery, ReadEvents, SendEvent
from protocols.membership.facts import EventDelivered
from protocols.membership.member import State
from protocols.membership.views import GetStatus, Leave, ListMembers
from protocols.node import Phase
from protocols.tasks.messages import Assign
from protocols.tasks.task import (
    Accepted,
    BodyEnded,
    BodyStatus,
    CancelTask,
    GetTask,
    ListTasks,
    RunBody,
    Submit,
    TaskFinished,
    TaskProgress,
    TaskView,
)
from protocols.tools import FindTools
from tests.protocols.harness import Host, World, config_of, id_of

NAMES = ("a", "b", "c")
SWIM = SwimConfig(suspicion_mult=2, heal_interval=3 * NANOS_PER_S, push_pull_interval=10 * NANOS_PER_S)
TASKS = TaskConfig(lease=5 * NANOS_PER_S, worker_deaths_max=4)
HANDLERS = (HandlerSpec("work", 2), HandlerSpec("rare", 1), HandlerSpec("mcp:files", 1))
nodes = st.sampled_from(NAMES)


def body(action: RunBody) -> BodyEnded:
    """Ends as the payload says, the same however often it runs."""
    if action.payload == '"fails"':
        return BodyEnded(BodyStatus.ERROR, "", "as it was told to", 1)
    if action.payload == '"stops"' and action.attempt < 3:
        return BodyEnded(BodyStatus.CANCELLED, "", "stopped", 1)
    return BodyEnded(BodyStatus.OK, f'"{action.task_id}"', "", 1)


class Walk(RuleBasedStateMachine):
    """One walk through a mesh of three."""

    @initialize(seed=st.integers(0, 1 << 32))
    def begin(self, seed: int) -> None:
        self.world = World(seed)
        self.accepted: dict[str, Host] = {}
        self.keys: dict[tuple[str, str], str] = {}
        self.submissions: list[tuple[Host, int, int]] = []
        self.durable: dict[str, TaskProgress] = {}
        self.handed_out: dict[str, dict[int, str]] = {}
        self.world.on_durable = self.note_record
        self.world.on_said = self.note_message
        for name in NAMES:
            # Only one node offers `rare`, and it is no seed: whoever wants it has to find it, and to do without it.
            handlers = HANDLERS if name == "c" else HANDLERS[:1]
            host = self.world.add(name, config_of(name, seeds=("a", "b"), handlers=handlers, swim=SWIM, tasks=TASKS))
            host.body = body
            host.start()
        self.world.run(3)

    # What must hold at every step.

    def note_record(self, host: Host, record: Record) -> None:
        if isinstance(record, Delete):
            return
        progress = record.value
        if not isinstance(progress, TaskProgress):
            return
        before = self.durable.get(progress.task_id)
        if before is not None:
            assert not before.state.final, f"the outcome of {progress.task_id} was recorded again"
            assert progress.attempt >= before.attempt
            assert progress.worker_deaths >= before.worker_deaths
        self.durable[progress.task_id] = progress

    def note_message(self, host: Host, message: Message) -> None:
        if not isinstance(message, Assign):
            return
        durable = self.durable[message.task_id]
        assert message.attempt <= durable.attempt, "an attempt was handed out before it was durable"
        given = self.handed_out.setdefault(message.task_id, {})
        assert all(attempt < message.attempt for attempt in given), "an attempt was handed out twice, or out of order"
        given[message.attempt] = host.name

    # What callers do.

    def host(self, name: str) -> Host:
        return self.world.hosts[name]

    def up(self, name: str) -> bool:
        return self.host(name).core is not None

    def ask(self, name: str, command: Command) -> None:
        host = self.host(name)
        if host.core is not None:
            host.request(command)

    @rule(
        name=nodes,
        handler=st.sampled_from(["work", "work", "rare", "nowhere"]),
        payload=st.sampled_from(["1", '"fails"', '"stops"', "{"]),
        key=st.sampled_from(["", "k"]),
        once=st.sampled_from(["", "", "i", "j"]),
        copies=st.integers(1, 5),
    )
    def submit(self, name: str, handler: str, payload: str, key: str, once: str, copies: int) -> None:
        host = self.host(name)
        for _ in range(copies if host.core is not None else 0):
            request = host.request(Submit(handler, payload, key, once, 5000))
            self.submissions.append((host, host.lives, request))

    @rule(name=nodes, index=st.integers(0, 1000), wait_ms=st.sampled_from([0, 100, 5000]))
    def get(self, name: str, index: int, wait_ms: int) -> None:
        self.collect()
        if self.accepted:
            self.ask(name, GetTask(list(self.accepted)[index % len(self.accepted)], wait_ms))

    @rule(name=nodes, index=st.integers(0, 1000))
    def cancel(self, name: str, index: int) -> None:
        self.collect()
        if self.accepted:
            self.ask(name, CancelTask(list(self.accepted)[index % len(self.accepted)]))

    @rule(name=nodes, copies=st.integers(1, 4))
    def tell(self, name: str, copies: int) -> None:
        for _ in range(copies):
            self.ask(name, SendEvent("told", name))

    @rule(name=nodes, about=st.sampled_from(["ping", "lunch?"]))
    def ask_everybody(self, name: str, about: str) -> None:
        self.ask(name, AskQuery(about, timeout_ms=3000))
        self.ask(name, ReadEvents(wait_ms=1000))

    @rule(name=nodes)
    def look_around(self, name: str) -> None:
        for command in (ListTasks(), FindTools()):
            self.ask(name, command)
        if self.up(name):
            for plain in (GetStatus(), ListMembers()):
                request = self.host(name).request(plain)
                assert request in self.host(name).outcomes

    # What goes on, and goes wrong.

    @rule(ms=st.sampled_from([0, 1, 2, 10, 100, 700, 2000]))
    def time_passes(self, ms: int) -> None:
        self.world.run(ms / 1000)

    @rule(seconds=st.sampled_from([5, 15, 40]))
    def much_time_passes(self, seconds: int) -> None:
        self.world.run(seconds)

    @rule(name=nodes, takes_ms=st.sampled_from([5, 300, 8000]))
    def bodies_take_longer(self, name: str, takes_ms: int) -> None:
        self.host(name).body_takes = takes_ms * NANOS_PER_MS

    @rule(name=nodes, unsaved_survives=st.booleans())
    def crash(self, name: str, unsaved_survives: bool) -> None:
        if self.up(name):
            self.host(name).crash(unsaved_survives=unsaved_survives)

    @rule(name=nodes)
    def start(self, name: str) -> None:
        if not self.up(name):
            self.host(name).start()

    @rule(name=nodes)
    def leave(self, name: str) -> None:
        if self.up(name):
            self.host(name).request(Leave())

    @rule(name=nodes, how=st.sampled_from(["fails", "works", "holds", "slow"]))
    def disk(self, name: str, how: str) -> None:
        host = self.host(name)
        host.disk_error = "no space left" if how == "fails" else ""
        host.save_takes = (2000 if how == "slow" else 1) * NANOS_PER_MS
        if how == "holds":
            host.hold_saves = True
        elif host.core is not None:
            host.release_saves()
        else:
            host.hold_saves = False

    @rule(loss=st.sampled_from([0.0, 0.1, 0.5]), copies=st.sampled_from([0.0, 0.3]), jitter_ms=st.sampled_from([0, 80]))
    def network(self, loss: float, copies: float, jitter_ms: int) -> None:
        self.world.loss, self.world.copies, self.world.jitter = loss, copies, jitter_ms * NANOS_PER_MS

    @rule(alone=nodes)
    def cut(self, alone: str) -> None:
        self.world.split((alone,), tuple(name for name in NAMES if name != alone))

    @rule()
    def mend(self) -> None:
        self.world.heal()

    @precondition(lambda self: self.submissions)
    @rule()
    def collect(self) -> None:
        """Note what has been accepted so far."""
        waiting: list[tuple[Host, int, int]] = []
        for host, life, request in self.submissions:
            outcome = host.outcomes.get(request)
            if isinstance(outcome, Accepted):
                assert outcome.task_id in self.durable, "a task was accepted before it was durable"
                self.accepted[outcome.task_id] = host
                command = host.commands[request]
                assert isinstance(command, Submit)
                if command.idempotency_key:
                    known = self.keys.setdefault((host.name, command.idempotency_key), outcome.task_id)
                    assert known == outcome.task_id, "one idempotency key made two tasks"
            elif outcome is None and host.core is not None and host.lives == life:
                waiting.append((host, life, request))
        self.submissions = waiting

    # What must hold in the end.

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.heal()
        world.loss = world.copies = 0.0
        for host in world.hosts.values():
            host.disk_error = ""
            host.save_takes = 1 * NANOS_PER_MS
            host.body_takes = 5 * NANOS_PER_MS
            if host.core is None or host.node.phase is Phase.LEAVING:
                host.hold_saves = False
                host.restart()
            else:
                host.release_saves()
        world.run(120)
        self.collect()
        for host in world.hosts.values():
            assert host.node.phase is Phase.SERVING
            assert host.commands.keys() == host.outcomes.keys() & host.commands.keys(), "a request has no answer"
            assert [host.sees(name) for name in NAMES] == [State.ALIVE] * 3
            assert host.running == {}
            assert host.node.tasks.book.open == {}
            assert (host.node.worker.active, host.node.worker.waiting) == (0, 0)
            for name in NAMES:
                told = [fact for fact in host.facts_of(EventDelivered) if fact.origin == id_of(name)]
                for before, after in pairwise(told):
                    assert (before.generation, before.number) < (after.generation, after.number)
                    assert before.ltime < after.ltime
        for task_id, host in self.accepted.items():
            assert self.durable[task_id].state.final
            done = host.ask(GetTask(task_id))
            assert isinstance(done, TaskView)
            assert done.state is self.durable[task_id].state
            facts = [fact for fact in host.facts_of(TaskFinished) if fact.task_id == task_id]
            assert len(facts) <= 1, "a task finished twice"


Walk.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestWalk = Walk.TestCase
