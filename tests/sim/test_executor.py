"""Virtual bodies: they last, end as scripted, time out, stop, and die with their node."""

from __future__ import annotations

import random

import msgspec
import pytest

from protocols.core import Action, Instant, Perform, PerformId, Result
from protocols.tasks.task import BodyEnded, BodyStatus, RunBody, StopBody, Stopped
from protocols.tools import FindTools, ListLocalTools, LocalTools
from sim.executor import BodyScript, Executor, scripted_body
from sim.kernel import Kernel

MS = 1_000_000


class Owner:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.ended: list[tuple[Instant, PerformId, Result]] = []
        self.violations: list[str] = []

    def performed(self, now: Instant, perform_id: PerformId, result: Result) -> None:
        self.ended.append((now, perform_id, result))

    def violated(self, now: Instant, property_name: str, text: str) -> None:
        self.violations.append(f"{property_name}: {text}")


def make(seed: int = 0) -> tuple[Kernel, Owner, Executor]:
    kernel = Kernel(seed)
    owner = Owner(kernel)
    return kernel, owner, Executor(kernel, owner, scripted_body)


def body(attempt: int = 1, timeout_ms: int = 10_000, **script: object) -> RunBody:
    payload = msgspec.json.encode(msgspec.convert(script, BodyScript)).decode()
    return RunBody("task", attempt, "count", payload, timeout_ms)


def test_a_body_lasts_about_as_long_as_its_script_says_and_succeeds() -> None:
    kernel, owner, executor = make()
    executor.perform(0, Perform(7, body(ms=100.0)))
    assert list(executor.runs) == [7]
    kernel.run(1000 * MS)
    [(at, perform_id, result)] = owner.ended
    assert perform_id == 7
    assert 50 * MS <= at <= 150 * MS
    assert isinstance(result, BodyEnded)
    assert result.status is BodyStatus.OK
    assert isinstance(msgspec.json.decode(result.output), str)
    assert executor.runs == {}


def test_the_output_depends_on_the_payload_and_not_on_chance() -> None:
    one, two = random.Random(1), random.Random(2)
    assert scripted_body(body(n=1), one)[1].output == scripted_body(body(n=1, attempt=2), two)[1].output
    assert scripted_body(body(n=1), one)[1].output != scripted_body(body(n=2), one)[1].output


def test_a_scripted_end_happens_each_time_or_once() -> None:
    stream = random.Random(0)
    assert scripted_body(body(end=BodyStatus.ERROR, attempt=3), stream)[1].status is BodyStatus.ERROR
    assert scripted_body(body(end=BodyStatus.CRASHED, once=True), stream)[1].status is BodyStatus.CRASHED
    assert scripted_body(body(end=BodyStatus.CRASHED, once=True, attempt=2), stream)[1].status is BodyStatus.OK


def test_a_body_that_outlasts_its_timeout_is_ended_at_it() -> None:
    kernel, owner, executor = make()
    executor.perform(0, Perform(1, body(ms=60_000.0, timeout_ms=500)))
    kernel.run(100_000 * MS)
    [(at, _, result)] = owner.ended
    assert at == 500 * MS
    assert isinstance(result, BodyEnded)
    assert result.status is BodyStatus.TIMED_OUT


def test_stop_ends_the_run_as_cancelled_and_is_answered_itself() -> None:
    kernel, owner, executor = make()
    executor.perform(0, Perform(1, body(ms=60_000.0)))
    kernel.run(10 * MS)
    executor.perform(10 * MS, Perform(2, StopBody(1)))
    executor.perform(10 * MS, Perform(3, StopBody(99)))  # a run that is over already
    kernel.run(200_000 * MS)
    ends = [(perform_id, result) for _, perform_id, result in owner.ended]
    assert [perform_id for perform_id, _ in ends] == [1, 2, 3]
    assert isinstance(ends[0][1], BodyEnded)
    assert ends[0][1].status is BodyStatus.CANCELLED
    assert ends[1][1] == ends[2][1] == Stopped()


def test_a_search_for_tools_finds_none() -> None:
    kernel, owner, executor = make()
    executor.perform(0, Perform(1, ListLocalTools(FindTools())))
    kernel.run(100 * MS)
    assert [result for *_, result in owner.ended] == [LocalTools((), 0)]


def test_a_crash_kills_without_a_word_and_ids_may_be_used_again() -> None:
    kernel, owner, executor = make()
    for perform_id, action in enumerate((body(ms=100.0), StopBody(0), ListLocalTools(FindTools()))):
        executor.perform(0, Perform(perform_id, action))
    executor.crash()
    assert executor.killed == 1
    executor.perform(0, Perform(0, body(ms=300.0)))
    kernel.run(1000 * MS)
    assert [perform_id for _, perform_id, _ in owner.ended] == [0]
    assert owner.ended[0][0] >= 150 * MS


class Dance(Action, frozen=True):
    """An action that no executor knows."""


@pytest.mark.parametrize("action", [body(ms=50.0), Dance()])
def test_what_makes_the_end_of_an_action_ambiguous_is_a_violation(action: Action) -> None:
    _, owner, executor = make()
    executor.perform(0, Perform(1, body(ms=100.0)))
    executor.perform(0, Perform(1 if isinstance(action, RunBody) else 2, action))
    assert len(owner.violations) == 1
    assert owner.violations[0].startswith("one_performed")
