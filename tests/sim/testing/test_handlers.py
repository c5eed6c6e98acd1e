"""Users' own task handlers: what they may be, how they end, and the trouble that is injected."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from examples import noop
from protocols.core import Outcome
from protocols.limits import OUTPUT_BYTES_MAX
from protocols.tasks.task import Accepted, TaskState, TaskView
from sim import AwaitError, Handler, Job, PropertyViolated, Sim
from sim.errors import ScenarioError
from sim.fence import FenceError
from tests.sim.testing.kit import fails, passes, play


def ended(outcome: Outcome) -> TaskView:
    assert isinstance(outcome, TaskView), outcome
    assert outcome.state.final, outcome
    return outcome


async def word_count(job: Job) -> dict[str, object]:
    await job.sleep(0.5)
    return {"words": len(job.payload["text"].split()), "attempt": job.attempt, "node": job.node.name}


def plain(payload: dict[str, int]) -> dict[str, int]:
    return {"double": 2 * payload["n"]}


def with_context(payload: int, ctx: Job) -> list[object]:
    return [payload, ctx.task_id, ctx.attempt]


# What a handler may be.


def test_an_async_handler_runs_over_virtual_time() -> None:
    async def body(sim: Sim) -> None:
        sim.handler("wordcount", word_count)
        start = sim.now
        view = ended(await sim.nodes[0].submit("wordcount", {"text": "a b c"}, wait=20))
        assert view.state is TaskState.SUCCEEDED
        assert 0.5 < sim.now - start < 0.6
        assert 500 <= view.run_ms <= 510
        assert json.loads(view.output) == {"words": 3, "attempt": 1, "node": view.worker_name}

    passes(body)


def test_plain_functions_run_as_the_daemon_runs_them() -> None:
    async def body(sim: Sim) -> None:
        sim.handler("plain", plain)
        sim.handler("with context", with_context)
        sim.handler("noop", noop.run)
        assert ended(await sim.nodes[0].submit("plain", {"n": 4}, wait=20)).output == '{"double":8}'
        view = ended(await sim.nodes[1].submit("with context", 7, wait=20))
        assert json.loads(view.output) == [7, view.task_id, 1]
        assert ended(await sim.nodes[2].submit("noop", [1, "ä"], wait=20)).output == '[1,"ä"]'

    passes(body)


def test_handlers_may_be_named_by_the_test_or_in_its_body_and_the_runs_are_the_same() -> None:
    async def body(sim: Sim) -> None:
        ended(await sim.nodes[0].submit("plain", {"n": 4}, wait=20))

    async def named(sim: Sim) -> None:
        sim.handler("plain", plain, concurrency=2)
        await body(sim)

    one = passes(body, 5, nodes=3, handlers={"plain": Handler(plain, concurrency=2)})
    assert one.report.trace_hash == passes(named, 5).report.trace_hash


def test_a_handler_takes_the_place_of_a_scripted_one_and_is_left_out_of_the_workload() -> None:
    async def body(sim: Sim) -> None:
        assert ended(await sim.nodes[0].submit("count", {"n": 4}, wait=20)).output == '{"double":8}'
        await sim.sleep(10)

    report = passes(body, nodes=3, handlers={"count": plain}, tasks_per_s=2).report
    assert report.tasks["accepted"] > 10


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (Handler(plain, concurrency=0), "must be 1 to"),
        (Handler(plain, crashes=2), "a probability"),
        (Handler(plain, duplicate_starts=-0.1), "a probability"),
        (lambda a, b, c: 1, "more than (payload, ctx)"),
        (7, "is no function"),
    ],
)
def test_a_handler_that_cannot_be_is_refused(handler: Any, words: str) -> None:
    async def body(sim: Sim) -> None:
        await sim.sleep(0)

    with pytest.raises(ScenarioError) as caught:
        play(body, nodes=3, handlers={"x": handler})
    assert words in str(caught.value)


def test_two_handlers_of_one_name_are_refused() -> None:
    async def body(sim: Sim) -> None:
        sim.handler("x", plain)
        sim.handler("x", word_count)

    assert "two handlers 'x'" in fails(body, ScenarioError)


# How bodies end.


def outcome_of(function: Callable[..., Any], seconds: float = 30, **options: Any) -> TaskView:
    """How a task of `function` ends."""
    views: list[TaskView] = []

    async def body(sim: Sim) -> None:
        sim.handler("x", function)
        views.append(ended(await sim.nodes[0].submit("x", 1, wait=seconds, **options)))

    passes(body)
    return views[0]


async def never(job: Job) -> None:
    await job.sleep(float("inf"))


def test_what_a_handler_raises_fails_the_task_and_says_where() -> None:
    def fail(payload: int) -> None:
        raise ValueError("no good")

    view = outcome_of(fail)
    assert view.state is TaskState.FAILED
    assert view.detail.startswith("error: ValueError: no good at test_handlers.py:")
    assert "/" not in view.detail


def test_a_handler_that_outlasts_its_timeout_is_ended() -> None:
    view = outcome_of(never, timeout=2)
    assert view.state is TaskState.FAILED
    assert view.detail == "timed_out: no end within 2000 ms"


def test_results_must_be_json_and_within_bounds() -> None:
    assert "cannot be written as JSON" in outcome_of(lambda payload: {1, 2}).detail
    assert "cannot be written as JSON" in outcome_of(lambda payload: float("nan")).detail
    assert "are allowed" in outcome_of(lambda payload: "x" * OUTPUT_BYTES_MAX).detail


def test_a_cancelled_task_stops_its_body_for_good() -> None:
    log: list[str] = []

    async def slow(job: Job) -> None:
        try:
            for _ in range(20):
                await job.sleep(1)
                log.append("still")
        finally:
            log.append("cleaned up")

    async def body(sim: Sim) -> None:
        sim.handler("slow", slow)
        accepted = await sim.nodes[0].submit("slow")
        assert isinstance(accepted, Accepted)
        await sim.sleep(2.5)
        await sim.nodes[0].cancel(accepted.task_id)
        await sim.sleep(30)
        assert log == ["still", "still"]  # its process was killed: no `finally`

    passes(body)


def test_a_crash_of_the_node_ends_its_bodies_and_the_task_runs_elsewhere() -> None:
    nodes: list[str] = []

    async def slow(job: Job) -> str:
        nodes.append(job.node.name)
        await job.sleep(5)
        nodes.append(f"{job.node.name} done")
        return job.node.name

    async def body(sim: Sim) -> None:
        sim.handler("slow", slow)

        async def trouble() -> None:
            await sim.until(lambda s: bool(nodes))
            await sim.sleep(1)
            sim.node(nodes[0]).crash()

        sim.start_soon(trouble)
        view = ended(await sim.some(1)[0].submit("slow", wait=100))
        assert view.state is TaskState.SUCCEEDED
        assert view.attempt == 2
        assert [nodes[1], f"{nodes[1]} done"] == nodes[1:]

    for seed in range(20):
        nodes.clear()
        result = play(body, seed)
        if result.error is None and len(nodes) == 3 and nodes[0] != nodes[1]:
            return
    pytest.fail("in no seed another node than the caller's ran the task first")


def test_bodies_run_on_while_the_mesh_settles() -> None:
    done: list[float] = []

    async def slow(job: Job) -> None:
        await job.sleep(20)
        done.append(job.now)

    async def body(sim: Sim) -> None:
        sim.handler("slow", slow)
        await sim.nodes[0].submit("slow")

    result = passes(body)
    assert done
    assert done[0] > result.ended_s + 15


def test_what_is_wrong_with_the_handler_as_a_test_fails_the_test() -> None:
    async def forgets(job: Job) -> None:
        job.sleep(1)

    def draws(payload: int) -> float:
        import random

        return random.random()

    class Foreign:
        def __await__(self) -> Any:
            yield None

    async def foreign(job: Job) -> None:
        await Foreign()

    def test_of(handler: Callable[..., Any]) -> Callable[[Sim], Any]:
        async def body(sim: Sim) -> None:
            sim.handler("x", handler)
            await sim.nodes[0].submit("x", 1, wait=10)

        return body

    assert "job.sleep(…) at test_handlers.py" in fails(test_of(forgets), AwaitError)
    assert "random.random()" in fails(test_of(draws), FenceError)
    assert "foreign" in fails(test_of(foreign), AwaitError)


# Trouble.


class Store:
    """A store outside of the mesh, as a database is."""

    def __init__(self) -> None:
        self.balance: dict[str, int] = {}
        self.applied: dict[str, int] = {}

    def add(self, account: str, amount: int) -> None:
        self.balance[account] = self.balance.get(account, 0) + amount

    def add_once(self, account: str, amount: int, by: str) -> None:
        if by not in self.applied:
            self.applied[by] = amount
            self.add(account, amount)


def bank(deposit: Callable[[Store, Job], None], **trouble: float) -> Callable[[Sim], Any]:
    """Ten deposits of 1, each accepted task by task; afterwards the account must hold what was deposited."""

    async def body(sim: Sim) -> None:
        store = Store()

        async def handler(job: Job) -> int:
            await job.sleep(0.2)
            deposit(store, job)
            await job.sleep(0.2)
            return store.balance["alice"]

        sim.handler("deposit", handler, concurrency=4, **trouble)
        succeeded = 0
        for number in range(10):
            view = ended(await sim.some(1)[0].submit("deposit", {"number": number}, wait=100))
            succeeded += view.state is TaskState.SUCCEEDED
        await sim.sleep(10)
        assert succeeded == 10
        assert store.balance == {"alice": 10}

    return body


def again_and_again(store: Store, job: Job) -> None:
    store.add("alice", 1)


def once(store: Store, job: Job) -> None:
    store.add_once("alice", 1, by=job.task_id)


def test_a_handler_that_is_not_idempotent_is_caught_by_duplicate_starts() -> None:
    careless, careful = bank(again_and_again, duplicate_starts=0.3), bank(once, duplicate_starts=0.3)
    for seed in range(10):
        passes(careful, seed)
    errors = [play(careless, seed).error for seed in range(10)]
    caught = [error for error in errors if isinstance(error, AssertionError)]
    assert len(caught) == len([error for error in errors if error is not None]) >= 5
    passes(bank(again_and_again))  # without trouble nobody would notice


def test_a_duplicate_start_is_a_later_attempt_elsewhere_whose_outcome_alone_counts() -> None:
    log: list[tuple[int, str, str]] = []

    async def handler(job: Job) -> int:
        log.append((job.attempt, job.node.name, "starts"))
        await job.sleep(3)
        log.append((job.attempt, job.node.name, "ends"))
        return job.attempt

    async def body(sim: Sim) -> None:
        sim.handler("x", handler, duplicate_starts=1)
        view = ended(await sim.nodes[0].submit("x", wait=100))
        assert view.state is TaskState.SUCCEEDED
        assert json.loads(view.output) == 3  # two starts for each of which another follows, and one that counts
        await sim.sleep(10)
        assert [attempt for attempt, _, what in log if what == "starts"] == [1, 2, 3]
        assert sorted(attempt for attempt, _, what in log if what == "ends") == [1, 2, 3]
        assert log[0][1] != log[1][1]

    passes(body)


@pytest.mark.parametrize("crash", [True, False])
def test_a_body_that_was_taken_for_lost_ends_with_its_node_and_at_its_timeout(crash: bool) -> None:
    log: list[tuple[int, float]] = []

    async def handler(job: Job) -> None:
        while True:
            await job.sleep(1)
            log.append((job.attempt, job.now))

    async def body(sim: Sim) -> None:
        sim.handler("x", handler, duplicate_starts=1)
        accepted = await sim.nodes[0].submit("x", timeout=30)
        assert isinstance(accepted, Accepted)
        await sim.sleep(10)
        start = sim.now
        if crash:
            for node in sim.nodes:
                node.crash()
            await sim.sleep(15)
            assert not [when for _, when in log if when > start]
            return
        await sim.sleep(40)
        assert max(when for attempt, when in log if attempt == 1) == pytest.approx(30, abs=1.5)

    passes(body, settle=False)


def test_an_injected_crash_ends_a_body_at_any_of_its_steps() -> None:
    steps: list[int] = []

    async def handler(job: Job) -> None:
        for number in range(6):
            steps[-1] = number + 1
            await job.sleep(1)

    async def body(sim: Sim) -> None:
        sim.handler("x", handler, crashes=1)
        view = ended(await sim.nodes[0].submit("x", wait=100))
        assert view.state is TaskState.FAILED
        assert view.detail == "crashed: the process of the body died (injected)"

    for seed in range(30):
        steps.append(0)
        passes(body, seed)
    assert set(steps) == {0, 1, 2, 3}


def test_a_short_body_that_is_to_crash_does_so_when_it_is_done() -> None:
    done: list[int] = []

    async def handler(job: Job) -> None:
        done.append(job.attempt)

    async def body(sim: Sim) -> None:
        sim.handler("x", handler, crashes=1)
        assert ended(await sim.nodes[0].submit("x", wait=100)).detail.startswith("crashed")

    for seed in range(10):
        passes(body, seed)
    assert 0 < len(done) < 10  # before its first line, or with all it did done


def test_a_cut_starts_a_task_twice_by_itself_and_the_usual_checkers_agree() -> None:
    attempts: dict[str, list[int]] = {}

    async def handler(job: Job) -> int:
        attempts.setdefault(job.task_id, []).append(job.attempt)
        await job.sleep(20)
        return job.attempt

    async def body(sim: Sim) -> None:
        sim.handler("x", handler, concurrency=10)
        for number in range(6):
            await sim.nodes[0].submit("x", number)
        await sim.sleep(1)
        async with sim.net.isolate("n0"):
            await sim.sleep(60)

    result = passes(body, nodes=3)
    assert not isinstance(result.error, PropertyViolated)
    assert any(len(each) > 1 for each in attempts.values())
    assert all(each == sorted(set(each)) for each in attempts.values())
