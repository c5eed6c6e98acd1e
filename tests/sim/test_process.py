"""A simulated node keeps the rules of a driver (protocols/core.py), and sees when a core breaks its own."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from protocols.core import Instant, Outcome, Unknown
from protocols.tasks.task import BodyEnded, ListTasks, RunBody, Submit, TaskList
from sim.backlog import DATAGRAMS_MAX
from sim.clock import EPOCH_UNIX_MS, ClockProfile
from sim.disk import DiskProfile
from sim.executor import BodyScript
from sim.network import STREAM_UNSENT_MAX, LinkProfile
from sim.process import Process
from sim.scenario import Run, Scenario
from tests.sim.pingpong import Barrier, Do, Done, Misbehave, Number, Say, Write
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


def test_a_barrier_waits_for_what_is_in_front_of_it_and_for_nothing_else() -> None:
    small = Small(disk=SLOW_DISK)
    small.world.processes[0].disk.fail("no space")
    small.ask(0, Barrier())
    assert small.outcomes.done == 1, "at once: nothing is being saved"
    small.world.processes[0].disk.mend()
    small.ask(0, Write(5))
    small.ask(0, Barrier())
    small.run(0.05)
    assert small.outcomes.done == 1
    small.run(1)
    assert small.outcomes.done == 3
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


# What it says to itself, and what it hears late.


def test_what_a_core_says_to_itself_comes_back_at_once_and_without_a_network() -> None:
    small = Small(2, link=LinkProfile(loss=1.0))
    small.say(0, 0, 3)
    small.ask(0, Write(5, small.endpoint(0)))
    small.run(0.0)
    assert small.ears.numbers(0) == [0, 1, 2]
    small.run(1)
    assert small.ears.numbers(0, "Kept") == [5]
    assert sum(small.world.network.sent.values()) == 0
    assert [at for at, *_ in small.ears.heard[:3]] == [0, 0, 0]


def test_what_a_core_said_to_itself_is_lost_with_its_life() -> None:
    small = Small(1)
    small.say(0, 0, 1)
    process = small.world.processes[0]
    small.world.crash(process)
    small.world.boot(process)
    small.run(1)
    assert small.ears.numbers(0) == []


def test_a_stopped_node_handles_nothing_and_then_everything_in_order() -> None:
    small = Small(3)
    process = small.world.processes[0]
    go_on = small.world.pause(process)
    small.say(1, 0, 5)
    small.say(2, 0, 5, stream=False, first=100)
    small.run(10)
    assert small.ears.heard == []
    assert process.up
    go_on()
    small.run(0.0)
    assert small.ears.numbers(0) == [0, 1, 2, 3, 4]
    assert sorted(small.ears.numbers(0, "Pong")) == [100, 101, 102, 103, 104]
    assert {at for at, *_ in small.ears.heard} == {10 * S}


def test_what_comes_in_the_very_instant_in_which_a_node_goes_on_is_behind_what_waited() -> None:
    small = Small(2, link=LinkProfile(latency_ms_min=1.0, latency_ms_max=1.0))
    small.run(1)
    world = small.world
    go_on = world.pause(world.processes[1])
    world.kernel.push(small.now + 10 * MS, lambda now, a, b: go_on())
    small.ask(0, Say(small.endpoint(1), 1, first=1))
    small.run(0.009)
    small.ask(0, Say(small.endpoint(1), 1, first=2))
    small.run(0.1)
    assert small.ears.numbers(1, "Line") == [1, 2]


def test_a_stopped_nodes_socket_buffer_drops_the_newest_when_it_is_full() -> None:
    small = Small(2)
    go_on = small.world.pause(small.world.processes[0])
    for first in range(DATAGRAMS_MAX + 50):
        small.say(1, 0, 1, stream=False, first=first)
        small.run(0.01)
    go_on()
    small.run(0.0)
    assert small.ears.numbers(0, "Pong") == list(range(DATAGRAMS_MAX))
    assert small.world.network.drops["socket_full"] == 50


def test_a_stream_to_a_stopped_node_is_given_up_when_no_window_is_left_and_loses_all_that_waits() -> None:
    small = Small(3)
    go_on = small.world.pause(small.world.processes[0])
    small.say(2, 0, 3, first=1000)
    small.say(1, 0, STREAM_UNSENT_MAX + 1)
    small.run(1)
    small.say(1, 0, 2, first=5000)
    small.run(1)
    go_on()
    small.run(0.0)
    assert sorted(small.ears.numbers(0)) == [1000, 1001, 1002, 5000, 5001]
    assert small.world.network.drops["reset"] == STREAM_UNSENT_MAX + 1
    assert small.world.network.resets == 1


def test_a_timer_that_comes_due_while_a_node_is_stopped_is_late_and_fires_once() -> None:
    small = Small(1)
    small.run(0.5)
    woken = len(small.core(0).woke_at)
    process = small.world.processes[0]
    go_on = small.world.pause(process)
    small.run(30)
    assert len(small.core(0).woke_at) == woken
    go_on()
    small.run(0.0)
    assert small.core(0).woke_at[woken:] == [process.clock(small.now)]
    small.run(5)
    assert len(small.core(0).woke_at) in (woken + 5, woken + 6)


def test_bodies_and_callers_of_a_stopped_node_wait_for_it() -> None:
    small = Small(1)
    payload = msgspec.json.encode(BodyScript(1, 100.0)).decode()
    small.ask(0, Do(RunBody("t", 1, "h", payload, 1000)))
    small.run(0.01)
    go_on = small.world.pause(small.world.processes[0])
    small.ask(0, Write(1))
    small.run(5)
    assert small.core(0).performed == []
    assert small.outcomes.done == 1
    go_on()
    small.run(1)
    assert len(small.core(0).performed) == 1
    assert small.outcomes.done == 2


def test_a_crash_of_a_stopped_node_loses_what_waited_and_its_next_life_runs() -> None:
    small = Small(2)
    process = small.world.processes[0]
    go_on = small.world.pause(process)
    small.say(1, 0, 2, stream=False)
    small.ask(0, Write(1))
    small.run(1)
    small.world.crash(process)
    small.world.boot(process)
    assert not process.stopped
    go_on()
    small.say(1, 0, 1, stream=False, first=9)
    small.run(1)
    assert small.ears.numbers(0, "Pong") == [9]
    assert small.world.network.drops["down"] == 2
    assert [type(outcome) for _, outcome in small.outcomes.all if not isinstance(outcome, Done)] == [Unknown]


def test_a_node_that_two_stop_goes_on_when_both_have_let_it() -> None:
    small = Small(1)
    process = small.world.processes[0]
    one, other = small.world.pause(process), small.world.pause(process)
    stopped: list[bool] = []
    for end in (one, other):
        end()
        stopped.append(process.stopped)
    assert stopped == [True, False]
    with pytest.raises(ValueError, match="is not stopped"):
        process.go_on(small.now)


def test_a_node_that_two_keep_down_comes_up_when_both_have_let_it() -> None:
    small = Small(1)
    process = small.world.processes[0]
    small.world.hold_down(process)
    small.world.hold_down(process)
    small.world.let_up(process)
    small.world.bring_back(process)
    assert process.boots == 1
    small.world.let_up(process)
    assert process.boots == 2


# Clocks.


def test_clocks_drift_by_what_was_drawn_for_the_node_in_every_life() -> None:
    small = Small(8)
    gained = [process.clock(small.now + 1000 * S) - process.clock(small.now) - 1000 * S for process in processes(small)]
    assert len(set(gained)) > 4
    assert all(abs(each) <= 200_000_000 for each in gained)
    small.world.crash(small.world.processes[0])
    small.world.boot(small.world.processes[0])
    process = small.world.processes[0]
    assert process.clock(small.now + 1000 * S) - process.clock(small.now) - 1000 * S == gained[0]


@pytest.mark.parametrize("ppm", [-150_000, -3, 7, 150_000])
def test_a_fast_clock_wakes_its_core_sooner_and_never_too_soon(ppm: int) -> None:
    small = Small(1, clock=ClockProfile(drift_ppm=0))
    process = small.world.processes[0]
    process.drift(small.now, ppm)
    small.run(100.5)
    wakes = small.core(0).woke_at[1:]
    assert {later - earlier for earlier, later in pairwise(wakes)} <= {1 * S, 1 * S + 1}
    assert abs(len(wakes) - 100 * (1_000_000 + ppm) / 1_000_000) <= 2
    assert small.world.kernel.events < 300


def test_a_clock_that_speeds_up_moves_the_wake_up_that_is_pending() -> None:
    small = Small(1, clock=ClockProfile(drift_ppm=0))
    process = small.world.processes[0]
    small.run(3.0)
    before = len(small.core(0).woke_at)
    process.drift(small.now, 1_000_000)
    small.run(0.5)
    assert len(small.core(0).woke_at) == before + 1


def test_however_many_slow_it_down_a_clock_runs() -> None:
    small = Small(1, clock=ClockProfile(drift_ppm=0))
    process = small.world.processes[0]
    for _ in range(20):
        process.drift(small.now, -200_000)
    assert process.clock(small.now + S) - process.clock(small.now) == S // 10
    for _ in range(20):
        process.drift(small.now, 200_000)
    assert process.clock(small.now + S) - process.clock(small.now) == S


def test_a_submission_is_stamped_by_the_wall_clock_of_its_node() -> None:
    one = Run(Scenario(nodes=2, seconds=5, clock=ClockProfile(skew_ms=0)))
    one.start()
    process = one.world.processes[0]
    process.wall.jump(-86_400_000)
    stamped: list[int] = []

    def answered(now: Instant, outcome: Outcome) -> None:
        assert isinstance(outcome, TaskList)
        stamped.extend(view.submitted_unix_ms for view in outcome.tasks)

    now = one.world.kernel.now
    process.request(now, Submit("count", "{}"), lambda now, outcome: None)
    one.world.run(now + S)
    process.request(one.world.kernel.now, ListTasks(), answered)
    one.world.run(one.world.kernel.now + S)
    assert stamped == [EPOCH_UNIX_MS + now // MS - 86_400_000]


def processes(small: Small) -> list[Process]:
    return small.world.processes


# Starting from a damaged disk.


def test_a_node_whose_record_is_rotten_refuses_to_start_until_it_is_restored() -> None:
    small = Small(1)
    small.ask(0, Write(5))
    small.run(1)
    process = small.world.processes[0]
    small.world.crash(process)
    process.disk.rot("number", 3)
    assert not small.world.boot(process)
    assert not process.up
    assert process.boots == 1
    assert small.world.mishaps["refused_start"] == 1
    process.disk.restore()
    assert small.world.boot(process)
    assert small.core(0).saved == {"number": Number(5)}
    assert not process.lost_data
