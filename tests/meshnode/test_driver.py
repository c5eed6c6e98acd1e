"""The driver keeps the rules of protocols/core.py in real time: order of saves, what may be said when, one outcome."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from meshnode.driver import Driver
from meshnode.storage import StorageError
from protocols.core import (
    Action,
    Command,
    Effect,
    Endpoint,
    Event,
    Fact,
    Instant,
    Message,
    Notify,
    Outcome,
    Perform,
    Performed,
    Pledge,
    Put,
    Received,
    Record,
    Reply,
    Request,
    Result,
    Save,
    Saved,
    SaveFailed,
    Send,
    Step,
    Woke,
)
from protocols.membership.messages import Ping
from protocols.membership.records import Generation
from protocols.membership.views import GetStatus, Left
from protocols.tasks.messages import Concluded
from protocols.tasks.task import BodyEnded, BodyStatus, RunBody, StopBody

ME = Endpoint("me", "127.0.0.1:1")
PEER = Endpoint("peer", "127.0.0.1:2")
RUN = RunBody("t", 1, "h", "null", 1000)
Answer = Callable[[Event], list[Effect]]


class Scripted:
    """A core that notes every event and answers as the test says."""

    def __init__(self, answer: Answer) -> None:
        self.events: list[Event] = []
        self.answer = answer
        self.wake_at: Instant | None = None
        self.inside = False

    def step(self, now: Instant, event: Event) -> Step:
        assert not self.inside, "a step began inside another"
        self.inside = True
        self.events.append(event)
        effects = self.answer(event)
        self.inside = False
        return effects, self.wake_at

    def check(self) -> None: ...


class GatedDisk:
    """Commits wait for the gate and fail while `why` is set."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.why = ""
        self.commits: list[list[str]] = []

    def commit(self, records: Sequence[Record]) -> None:
        assert self.gate.wait(10)
        if self.why:
            raise StorageError(self.why)
        self.commits.append([record.key for record in records])


class Rig:
    """A driver with its surroundings: what was sent, what was noted, what runs."""

    def __init__(self, answer: Answer) -> None:
        self.core = Scripted(answer)
        self.disk = GatedDisk()
        self.sent: list[Message] = []
        self.facts: list[Fact] = []
        self.running: list[Action] = []
        self.finish = trio.Event()
        self.driver = Driver(
            ME.node_id,
            ME.address,
            self.core,
            disk=self.disk,
            send=lambda to, message: self.sent.append(message),
            perform=self.perform,
            on_fact=self.facts.append,
        )

    async def perform(self, action: Action) -> Result:
        self.running.append(action)
        try:
            await self.finish.wait()
        finally:
            self.running.remove(action)
        return BodyEnded(BodyStatus.OK, "1")

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.core.events if isinstance(event, kind)]


@asynccontextmanager
async def driven(answer: Answer) -> AsyncIterator[Rig]:
    rig = Rig(answer)
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.driver.run)
        yield rig
        rig.disk.gate.set()
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(60):
        while not condition():  # noqa: ASYNC110  # things of another thread, and of the driver's own tasks
            await trio.sleep(0.002)


def put(key: str) -> Put:
    return Put(key, Generation(1))


def request(number: int) -> Received:
    """An event by which a test tells its core to do the `number`-th thing."""
    return Received(PEER, Ping(number))


def on_ping(effects: dict[int, list[Effect]]) -> Answer:
    def answer(event: Event) -> list[Effect]:
        if isinstance(event, Received) and isinstance(event.message, Ping):
            return effects.get(event.message.probe, [])
        return []

    return answer


async def test_the_first_event_is_a_wake_up() -> None:
    async with driven(lambda event: []) as rig:
        assert rig.core.events == [Woke()]


async def test_nothing_that_waits_for_a_save_is_said_before_it_is_durable() -> None:
    save = Save(1, (put("a"),), (Pledge(PEER, Concluded("t")), Notify(Fact())))
    async with driven(on_ping({1: [save]})) as rig:
        rig.disk.gate.clear()
        rig.driver.feed(request(1))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert rig.sent == []
        assert rig.facts == []
        assert rig.of(Saved) == []
        rig.disk.gate.set()
        await until(lambda: rig.of(Saved) == [Saved(1)])
        assert rig.disk.commits == [["a"]]
        assert rig.sent == [Concluded("t")]
        assert len(rig.facts) == 1


async def test_saves_that_queue_up_behind_a_slow_disk_are_committed_together_and_in_order() -> None:
    saves: dict[int, list[Effect]] = {n: [Save(n, (put(str(n)),), (Send(PEER, Ping(100 + n)),))] for n in range(1, 6)}
    async with driven(on_ping(saves)) as rig:
        rig.disk.gate.clear()
        rig.driver.feed(request(1))
        await trio.testing.wait_all_tasks_blocked(0.01)
        for number in range(2, 6):
            rig.driver.feed(request(number))
        rig.disk.gate.set()
        await until(lambda: len(rig.of(Saved)) == 5)
        assert rig.disk.commits == [["1"], ["2", "3", "4", "5"]]
        assert rig.of(Saved) == [Saved(number) for number in range(1, 6)]
        assert rig.sent == [Ping(100 + number) for number in range(1, 6)]
        assert (rig.driver.saves, rig.driver.commits) == (5, 2)


async def test_how_long_a_commit_has_been_waiting_for_the_disk_is_told() -> None:
    async with driven(on_ping({1: [Save(1, (put("a"),))]})) as rig:
        assert rig.driver.commit_s == 0
        rig.disk.gate.clear()
        rig.driver.feed(request(1))
        await until(lambda: rig.driver.commit_s > 0.02)
        rig.disk.gate.set()
        await until(lambda: rig.of(Saved) == [Saved(1)])
        assert rig.driver.commit_s == 0


async def test_a_failed_commit_fails_every_save_behind_it_and_says_nothing() -> None:
    saves: dict[int, list[Effect]] = {n: [Save(n, (put(str(n)),), (Send(PEER, Ping(9)),))] for n in (1, 2, 3)}
    async with driven(on_ping(saves)) as rig:
        rig.disk.gate.clear()
        rig.disk.why = "the disk is full"
        rig.driver.feed(request(1))
        await trio.testing.wait_all_tasks_blocked(0.01)
        rig.driver.feed(request(2))
        rig.disk.gate.set()
        await until(lambda: len(rig.of(SaveFailed)) == 2)
        assert rig.of(SaveFailed) == [SaveFailed(1, "the disk is full"), SaveFailed(2, "the disk is full")]
        assert rig.sent == []
        rig.disk.why = ""
        rig.driver.feed(request(3))
        await until(lambda: rig.of(Saved) == [Saved(3)])
        assert rig.disk.commits == [["3"]]


async def test_a_barrier_waits_for_what_is_in_front_of_it_and_for_nothing_else() -> None:
    steps: dict[int, list[Effect]] = {
        1: [Save(1, (), (Send(PEER, Ping(11)),))],
        2: [Save(2, (put("a"),)), Save(3, (), (Send(PEER, Ping(12)),))],
    }
    async with driven(on_ping(steps)) as rig:
        rig.driver.feed(request(1))
        assert rig.sent == [Ping(11)], "at once: nothing is being saved"
        assert rig.of(Saved) == [Saved(1)]
        rig.disk.gate.clear()
        rig.driver.feed(request(2))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert rig.sent == [Ping(11)]
        rig.disk.gate.set()
        await until(lambda: rig.sent == [Ping(11), Ping(12)])
        assert rig.driver.commits == 1


@pytest.mark.parametrize("why", ["", "the disk is full"])
async def test_a_barrier_does_not_overtake_saves_of_one_commit_that_are_still_to_be_told(why: str) -> None:
    saves: dict[int, list[Effect]] = {n: [Save(n, (put(str(n)),), (Send(PEER, Ping(100 + n)),))] for n in (1, 2, 3)}

    def answer(event: Event) -> list[Effect]:
        if event in (Saved(2), SaveFailed(2, why)):
            return [Save(4, (), (Send(PEER, Ping(104)),))]
        return on_ping(saves)(event)

    async with driven(answer) as rig:
        rig.disk.gate.clear()
        rig.driver.feed(request(1))
        await until(lambda: rig.driver.commits == 1)
        rig.driver.feed(request(2))
        rig.driver.feed(request(3))
        rig.disk.why = why
        rig.disk.gate.set()
        await until(lambda: Saved(4) in rig.core.events)
        told = [event for event in rig.core.events if isinstance(event, Saved | SaveFailed)]
        assert [event.seq for event in told] == [1, 2, 3, 4]
        assert rig.sent[-1] == Ping(104)


async def test_what_a_node_says_to_itself_comes_back_without_the_network() -> None:
    async with driven(on_ping({1: [Send(ME, Ping(2))], 2: [Send(PEER, Ping(3))]})) as rig:
        rig.driver.feed(request(1))
        assert rig.core.events[-1] == Received(ME, Ping(2))
        assert rig.sent == [Ping(3)]


async def test_every_request_gets_its_own_outcome() -> None:
    def answer(event: Event) -> list[Effect]:
        return [Reply(event.id, Left(event.id))] if isinstance(event, Request) else []

    async with driven(answer) as rig:
        outcomes: list[Outcome] = []

        async def ask(command: Command) -> None:
            outcomes.append(await rig.driver.request(command))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask, GetStatus())
        asked = [event.id for event in rig.core.events if isinstance(event, Request)]
        assert sorted(outcome.open_tasks for outcome in outcomes if isinstance(outcome, Left)) == sorted(asked)
        assert len(set(asked)) == 20


async def test_a_caller_that_gives_up_does_not_take_its_request_back_and_a_late_outcome_is_dropped() -> None:
    async with driven(on_ping({7: [Reply(1, Left(0))]})) as rig:
        with trio.move_on_after(0.01):
            await rig.driver.request(GetStatus())
        assert [event.id for event in rig.core.events if isinstance(event, Request)] == [1]
        rig.driver.feed(request(7))


async def test_a_command_that_is_told_is_handed_over_and_its_outcome_is_nobodys() -> None:
    async with driven(lambda event: [Reply(event.id, Left(0))] if isinstance(event, Request) else []) as rig:
        rig.driver.tell(GetStatus())
        rig.driver.tell(GetStatus())
        assert isinstance(await rig.driver.request(GetStatus()), Left)
        assert [event.id for event in rig.core.events if isinstance(event, Request)] == [1, 2, 3]


async def test_a_second_outcome_for_one_request_is_a_broken_core() -> None:
    async with driven(
        lambda event: [Reply(1, Left(0)), Reply(1, Left(1))] if isinstance(event, Request) else []
    ) as rig:
        with pytest.raises(AssertionError, match="answered twice"):
            await rig.driver.request(GetStatus())


async def test_an_action_ends_in_one_performed() -> None:
    async with driven(on_ping({1: [Perform(5, RUN)]})) as rig:
        rig.driver.feed(request(1))
        await until(lambda: rig.running == [RUN])
        rig.finish.set()
        await until(lambda: bool(rig.of(Performed)))
        assert rig.of(Performed) == [Performed(5, BodyEnded(BodyStatus.OK, "1"))]


async def test_a_body_that_is_stopped_is_gone_and_says_so_and_so_does_the_order_to_stop_it() -> None:
    async with driven(
        on_ping({1: [Perform(5, RUN)], 2: [Perform(6, StopBody(5))], 3: [Perform(7, StopBody(5))]})
    ) as rig:
        rig.driver.feed(request(1))
        await until(lambda: rig.running == [RUN])
        rig.driver.feed(request(2))
        await until(lambda: len(rig.of(Performed)) == 2)
        ended = {event.id: event.result for event in rig.core.events if isinstance(event, Performed)}
        stopped = ended[5]
        assert isinstance(stopped, BodyEnded)
        assert stopped.status is BodyStatus.CANCELLED
        assert rig.running == []
        rig.driver.feed(request(3))
        await until(lambda: len(rig.of(Performed)) == 3)


async def test_what_is_heard_while_it_stops_begins_no_action() -> None:
    async with driven(on_ping({1: [Perform(5, RUN)]})) as rig:
        pass
    rig.driver.feed(request(1))
    assert rig.core.events[-1] == request(1)
    assert rig.running == []


async def test_the_core_is_woken_when_it_asked_for_it_and_an_earlier_wish_replaces_a_later_one() -> None:
    async with driven(lambda event: []) as rig:
        clock = rig.core
        clock.wake_at = 1 << 62
        rig.driver.feed(request(1))
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(rig.of(Woke)) == 1, "the first one only"
        clock.wake_at = 1
        rig.driver.feed(request(2))
        clock.wake_at = None
        await until(lambda: len(rig.of(Woke)) == 2)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(rig.of(Woke)) == 2
