"""A simulated node keeps the rules of a driver (protocols/core.py), and sees when a core breaks its own."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from protocols.core import Unknown
from protocols.tasks.task import BodyEnded, RunBody
from sim.disk import DiskProfile
from sim.executor import BodyScript
from tests.sim.pingpong import Do, Misbehave, Number, Say, Write
from tests.sim.simkit import MS, S, Small

SLOW_DISK = DiskProfile(commit_ms_min=100.0, commit_ms_max=100.0)


def violated(small: Small) -> list[str]:
    return [violation.property for violation in small.world.watch.violations]


def test_what_waits_for_a_save_is_said_once_it_is_durable_and_not_before() -> None:
    small = Small(disk=SLOW_DISK)
    small.ask(0, Write(5, small.endpoint(1)))
    small.run(0.099)
    assert small.outcomes.all == []
    assert small.ears.numbers(1, "Kept") == []
    small.run(0.1)
    assert small.outcomes.done == 1
    assert small.ears.numbers(1, "Kept") == [5]
    assert violated(small) == []


def test_a_crash_before_the_commit_loses_the_promise_and_answers_the_caller_with_unknown() -> None:
    small = Small(disk=SLOW_DISK)
    small.ask(0, Write(5, small.endpoint(1)))
    small.run(0.05)
    small.world.crash(small.world.processes[0])
    small.run(1)
    assert [type(outcome) for _, outcome in small.outcomes.all] == [Unknown]
    assert small.ears.numbers(1, "Kept") == []


def test_a_restart_gets_what_was_durable_a_new_stream_of_chance_and_a_first_wake() -> None:
    small = Small()
    small.ask(0, Write(5))
    small.run(1)
    first_draw = small.core(0).rng.random()
    process = small.world.processes[0]
    small.world.crash(process)
    assert not process.up
    small.world.boot(process)
    core = small.core(0)
    assert core.saved == {"number": Number(5)}
    assert len(core.woke_at) == 1
    assert core.rng.random() != first_draw
    assert process.boots == 2


def test_clocks_of_two_nodes_and_of_two_lives_do_not_compare() -> None:
    small = Small(2)
    small.run(10)
    small.world.crash(small.world.processes[0])
    before = small.world.processes[0].clock(small.now)
    small.world.boot(small.world.processes[0])
    clocks = [before, *(process.clock(small.now) for process in small.world.processes)]
    assert len({clock // S for clock in clocks}) == 3
    assert small.core(0).woke_at[0] == clocks[1]


def test_a_core_is_woken_when_it_asked_to_be_and_hardly_ever_in_between() -> None:
    small = Small(1)
    small.run(10.5)
    process = small.world.processes[0]
    wakes = small.core(0).woke_at[1:]
    gaps = {later - earlier for earlier, later in pairwise(wakes)}
    assert gaps == {1 * S}
    assert len(wakes) in (10, 11)
    assert process.clock(small.now) - wakes[-1] < 1 * S


def test_an_action_ends_in_one_performed_and_a_crash_kills_it() -> None:
    small = Small(1)
    payload = msgspec.json.encode(BodyScript(1, 100.0)).decode()
    small.ask(0, Do(RunBody("t", 1, "h", payload, 1000)))
    small.run(1)
    [performed] = small.core(0).performed
    assert performed.id == 1
    assert isinstance(performed.result, BodyEnded)
    small.ask(0, Do(RunBody("t", 2, "h", payload, 1000)))
    small.world.crash(small.world.processes[0])
    small.world.boot(small.world.processes[0])
    small.run(1)
    assert small.core(0).performed == []


def test_a_full_disk_is_told_to_the_core() -> None:
    small = Small(1)
    small.world.processes[0].disk.fail("no space")
    small.ask(0, Write(1))
    small.run(1)
    assert small.core(0).failures == ["no space"]
    assert small.outcomes.all == []


@pytest.mark.parametrize(
    ("how", "property_name"),
    [
        ("bare promise", "promises_wait_for_the_disk"),
        ("two replies", "one_reply"),
        ("seq again", "saves_are_numbered"),
        ("raise", "no_exception"),
    ],
)
def test_a_core_that_breaks_the_contract_is_caught(how: str, property_name: str) -> None:
    small = Small()
    small.ask(0, Misbehave(how, small.endpoint(1)))
    small.run(1)
    assert violated(small) == [property_name]


def test_an_exception_stops_the_run_and_names_the_place() -> None:
    small = Small()
    small.ask(0, Misbehave("raise", small.endpoint(1)))
    small.run(5)
    [violation] = small.world.watch.violations
    assert "KeyError at pingpong.py:" in violation.text
    assert "while handling Request" in violation.text
    assert small.world.stopped
    assert small.now < 1 * MS


def test_a_broken_invariant_is_found_by_the_sampled_checks() -> None:
    small = Small(2, pinging=True)
    small.core(1).broken = True
    small.ask(0, Say(small.endpoint(1), 3000, stream=False))
    small.run(5)
    [violation] = small.world.watch.violations
    assert (violation.property, violation.node) == ("invariant", "n1")


def test_a_node_cannot_be_booted_twice_nor_crashed_twice() -> None:
    small = Small(1)
    process = small.world.processes[0]
    with pytest.raises(ValueError, match="is running"):
        small.world.boot(process)
    small.world.crash(process)
    with pytest.raises(ValueError, match="is down"):
        small.world.crash(process)
