"""The settling phase: what is asked of whom, how often, and until when."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from protocols.core import NANOS_PER_S, Instant
from sim.checkers import Agreement, Checker, RingOwners
from sim.faults import Crash
from sim.network import LinkProfile
from sim.scenario import Liveness, Run, Scenario

FIVE = Scenario(nodes=5, seconds=10)


def waiting(name: str, lacks: Callable[[float], bool], until_s: float) -> type[Checker]:
    """A checker that waits while `lacks` is true of the seconds since the faults were over."""

    class Waits(Checker):
        def waits_for(self, now: Instant) -> str:
            return "it" if lacks(now / NANOS_PER_S - FIVE.seconds) else ""

        def deadline(self) -> Instant:
            return round((FIVE.seconds + until_s) * NANOS_PER_S)

    Waits.name = name
    return Waits


def settled(scenario: Scenario, *checkers: type[Checker]) -> Run:
    one = Run(scenario, checkers)
    one.start()
    one.faults_phase()
    one.heal()
    one.settle()
    one.finish()
    return one


def fallen(one: Run) -> list[str]:
    return [f"{each.property} at {each.time_s - FIVE.seconds:.0f} s" for each in one.world.watch.violations]


def test_who_was_content_first_must_still_be_when_the_last_one_is() -> None:
    slow = waiting("slow", lambda at_s: at_s < 5, 8)
    assert fallen(settled(FIVE, waiting("brief", lambda at_s: at_s > 1, 4), slow)) == ["brief at 5 s"]
    assert fallen(settled(FIVE, waiting("brief", lambda at_s: at_s > 1, 9), slow)) == ["brief at 9 s"]


def test_a_lapse_that_is_over_in_time_is_none() -> None:
    one = settled(
        FIVE, waiting("lapse", lambda at_s: 1 < at_s < 7, 8), waiting("slow", lambda at_s: at_s < 5, 8), Agreement
    )
    assert fallen(one) == []
    assert one.world.kernel.now == 17 * NANOS_PER_S


@pytest.mark.parametrize(("link", "waits"), [(LinkProfile(), True), (LinkProfile(latency_ms_max=300.0), False)])
def test_tables_that_agreed_must_go_on_agreeing_where_probes_cannot_fail(link: LinkProfile, waits: bool) -> None:
    one = settled(replace(FIVE, link=link), Agreement)
    agreement = one.world.watch.checkers[0]
    assert agreement.waits_for(one.world.kernel.now) == ""
    process = one.world.processes[4]
    process.crash(one.world.kernel.now)  # behind the back of the world, which takes nothing for disturbed
    assert bool(agreement.waits_for(one.world.kernel.now)) is waits


def test_owners_are_judged_by_themselves_and_a_run_without_anything_to_judge_does_not_pass() -> None:
    lost = replace(FIVE, faults=(Crash(9, None, 1),))
    alone = settled(lost, RingOwners)
    owners = alone.world.watch.checkers[0]
    assert isinstance(owners, RingOwners)
    assert owners.judged
    assert alone.world.kernel.now > 14 * NANOS_PER_S
    assert fallen(alone) == []

    hasty = replace(lost, liveness=Liveness(bound_s=1.0))
    assert fallen(settled(hasty, RingOwners)) == ["ring_owners at 1 s"]


def test_where_agreement_speaks_of_tables_that_differ_nobody_else_does() -> None:
    lost = replace(FIVE, faults=(Crash(9, None, 1),))
    one = Run(lost, (Agreement, RingOwners))
    one.start()
    one.faults_phase()
    owners = one.world.watch.checkers[1]
    assert owners.waits_for(owners.deadline() - 1)
    assert not owners.waits_for(owners.deadline())
