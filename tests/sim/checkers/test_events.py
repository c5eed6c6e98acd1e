"""What `events_once` holds, whom it excuses, and until when it waits."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from protocols.core import NANOS_PER_S
from protocols.membership.event_views import AskQuery, SendEvent
from protocols.membership.events import GIVE_UP_AFTER
from protocols.membership.facts import EventDelivered
from sim.checkers import EventsOnce
from sim.checkers.agreement import agreement_bound
from sim.checkers.events_once import OWED_MAX
from sim.checkers.one_reply import patience
from sim.faults import Halves
from sim.network import LinkProfile
from sim.scenario import Liveness, Run, Scenario, run

QUIET = Scenario(nodes=4, seconds=20)
LOSSY = LinkProfile(loss=0.2)


class Bench:
    """A mesh in which nobody says anything, and what its nodes are made to say to the checker."""

    def __init__(self, scenario: Scenario = QUIET) -> None:
        self.run = Run(scenario, (EventsOnce,))
        self.run.start()
        self.world = self.run.world
        checker = self.world.watch.checkers[0]
        assert isinstance(checker, EventsOnce)
        self.checker = checker

    @property
    def now(self) -> int:
        return self.world.kernel.now

    def given(self, at: int, origin: int, number: int, *, ltime: int = 0, generation: int = 1) -> None:
        """Users of node `at` are given an event of node `origin`."""
        node_id = self.world.processes[origin].config.node_id
        fact = EventDelivered(node_id, generation, number, ltime or number)
        self.checker.on_fact(self.now, self.world.processes[at], fact)

    @property
    def told(self) -> list[str]:
        return [violation.text for violation in self.world.watch.violations]


def test_an_event_is_given_once_and_after_the_ones_before_it() -> None:
    bench = Bench()
    for number in (1, 2):
        bench.given(0, 0, number)
        bench.given(1, 0, number)
    assert bench.told == []
    bench.given(1, 0, 2)
    assert bench.told[-1] == "gives its users event 2 of life 1 of n0 after event 2 of life 1"
    bench.given(1, 0, 1)
    assert "event 1 of life 1 of n0 after event 2" in bench.told[-1]


def test_lives_of_the_receiver_do_not_begin_anew_unless_its_disk_is_lost() -> None:
    bench = Bench()
    bench.given(1, 0, 1)
    process = bench.world.processes[1]
    bench.world.crash(process)
    bench.world.boot(process)
    bench.given(1, 0, 1)
    assert len(bench.told) == 1
    bench.world.crash(process)
    bench.world.wipe(process)
    bench.world.boot(process)
    bench.given(1, 0, 1)
    assert len(bench.told) == 1


def test_lamport_times_grow_from_life_to_life_unless_the_disk_of_the_origin_is_lost() -> None:
    bench = Bench()
    bench.given(1, 0, 1, ltime=7)
    bench.given(1, 0, 2, ltime=7)
    assert "Lamport time 7 of n0 comes after 7" in bench.told[-1]
    bench.given(1, 0, 1, ltime=6, generation=2)
    assert "Lamport time 6 of n0 comes after 7" in bench.told[-1]
    bench.world.processes[0].lost_data = True
    bench.given(1, 0, 1, ltime=3, generation=3)
    assert len(bench.told) == 2
    bench.given(2, 0, 1, ltime=4, generation=3)
    assert "has Lamport time 4, elsewhere 3" in bench.told[-1]


@pytest.mark.parametrize("disturbed", [False, True])
def test_what_is_passed_over_is_missed_only_where_nothing_was_in_its_way(disturbed: bool) -> None:
    bench = Bench()
    bench.given(0, 0, 1)
    bench.given(0, 0, 2)
    if disturbed:
        bench.world.run(bench.now + NANOS_PER_S)
        bench.world.disturb()
    bench.given(1, 0, 2)
    assert bench.told == ([] if disturbed else ["passes over event 1 of n0, which never went away"])


def test_what_is_owed_is_waited_for_until_the_bound_but_not_from_who_was_away() -> None:
    bench = Bench()
    bench.world.crash(bench.world.processes[3])
    bench.given(0, 0, 1)
    bench.given(1, 0, 1)
    assert "event 1 of n0" in bench.checker.waits_for(bench.now)
    assert bench.checker.waits_for(bench.now).endswith("has not come to n2")
    config = bench.world.processes[0].config.swim
    bound = agreement_bound(config, 4) + 4 * config.push_pull_interval + GIVE_UP_AFTER
    assert 0 <= bench.checker.deadline() - bench.world.disturbed_at - bound < NANOS_PER_S
    bench.given(2, 0, 1)
    assert bench.checker.waits_for(bench.now) == ""


@pytest.mark.parametrize("gone", [0, 1])
def test_nothing_is_owed_once_the_origin_or_the_receiver_has_gone(gone: int) -> None:
    bench = Bench(replace(QUIET, nodes=2))
    bench.given(0, 0, 1)
    assert bench.checker.waits_for(bench.now)
    process = bench.world.processes[gone]
    bench.world.crash(process)
    bench.world.boot(process)
    assert bench.checker.waits_for(bench.now) == ""


def test_memory_does_not_grow_with_the_run() -> None:
    bench = Bench()
    for number in range(1, 3 * OWED_MAX):
        bench.given(0, 0, number)
    assert len(bench.checker._owed) == len(bench.checker._times) == OWED_MAX


@pytest.mark.parametrize(
    "scenario",
    [
        # Fell once: an origin said what there is to a node whose disk was full.
        Scenario(nodes=5, seconds=60, seed=27, events_per_s=3, tasks_per_s=1, mix="swarm"),
        # Fell once: of what was held back behind a gap that was given up, the last came twice.
        Scenario(nodes=5, seconds=40, seed=28, events_per_s=3, mix="full", liveness=Liveness("broken")),
        Scenario(
            nodes=6, seconds=60, events_per_s=4, start="join", link=LinkProfile(loss=0.2), faults=(Halves(9, 50),)
        ),
    ],
)
def test_a_mesh_in_trouble_keeps_the_promise(scenario: Scenario) -> None:
    report = run(scenario)
    assert report.violations == ()
    assert report.facts["EventDelivered"] > 100


def test_users_tell_and_ask_at_their_rate_and_no_task_hangs_on_it() -> None:
    scenario = Scenario(nodes=4, seconds=20, tasks_per_s=3, faults=(Halves(4, 9),))
    without = run(scenario).tasks
    report = run(replace(scenario, events_per_s=5))
    assert [report.tasks[name] for name in ("submitted", "accepted")] == [without["submitted"], without["accepted"]]
    assert 50 < report.tasks["said: EventSent"] < 150
    assert report.tasks["said: answers"] > 0


def test_a_query_may_stay_open_as_long_as_it_says() -> None:
    assert patience(AskQuery("x", timeout_ms=40_000)) - patience(SendEvent("x")) == 40 * NANOS_PER_S
