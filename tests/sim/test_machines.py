"""Simulated machines: what their nodes are told of them, and that it stays a matter between nodes."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from protocols.core import Outcome
from protocols.membership.rtt import EstimateRtt, RttEstimate
from protocols.membership.views import ListMembers, MemberList, MemberView
from sim.network import LinkProfile
from sim.process import Process
from sim.scenario import Run, Scenario
from sim.scenario.mesh import PAYLOADS_NODES_MAX


def ran(nodes: int, seconds: float, *, probe_payloads: bool | None = None, seed: int = 1) -> Run:
    run = Run(Scenario(nodes=nodes, seconds=seconds, seed=seed, probe_payloads=probe_payloads))
    run.start()
    run.faults_phase()
    assert run.world.watch.violations == []
    return run


def listed(process: Process) -> tuple[MemberView, ...]:
    outcomes: list[Outcome] = []
    process.request(process.world.kernel.now, ListMembers(), lambda now, outcome: outcomes.append(outcome))
    (members,) = outcomes
    assert isinstance(members, MemberList)
    return members.members


def estimates(run: Run, *pairs: tuple[str, str]) -> list[RttEstimate]:
    """What the first node says."""
    outcomes: list[Outcome] = []
    for pair in pairs:
        now = run.world.kernel.now
        run.world.processes[0].request(now, EstimateRtt(*pair), lambda now, outcome: outcomes.append(outcome))
    told = [outcome for outcome in outcomes if isinstance(outcome, RttEstimate)]
    assert len(told) == len(pairs)
    return told


def test_every_node_learns_of_every_machine_and_how_far_away_it_is() -> None:
    run = ran(5, 40)
    seen = [
        {row.name: (row.vitals.cpu, row.vitals.memory) for row in listed(process) if row.vitals is not None}
        for process in run.world.processes
    ]
    assert all(each == seen[0] for each in seen)
    assert len(set(seen[0].values())) == 5
    assert all(row.rtt is not None or row.is_self for row in listed(run.world.processes[0]))


def test_a_machine_is_another_one_after_a_restart() -> None:
    run = ran(3, 10)
    process = run.world.processes[1]
    before = [row.vitals for row in listed(process) if row.is_self]
    run.world.crash(process)
    run.world.boot(process)
    run.world.run(run.world.kernel.now + 10**10)
    after = [row.vitals for row in listed(process) if row.is_self]
    assert before != after
    assert after[0] is not None
    assert after[0].cpu is not None


@pytest.mark.parametrize(
    ("nodes", "asked", "told"),
    [(3, None, True), (3, False, False), (PAYLOADS_NODES_MAX + 1, None, False), (PAYLOADS_NODES_MAX + 1, True, True)],
)
def test_large_meshes_tell_nothing_unless_they_are_asked_to(nodes: int, asked: bool | None, told: bool) -> None:
    run = ran(nodes, 15, probe_payloads=asked)
    rows = [row for row in listed(run.world.processes[0]) if not row.is_self]
    assert any(row.vitals is not None for row in rows) is told
    assert any(row.rtt is not None for row in rows) is told


def test_estimates_tell_zones_apart_on_links_that_lose_copy_and_reorder() -> None:
    near = LinkProfile(latency_ms_min=0.2, latency_ms_max=2.0, loss=0.1, duplicate=0.1, reorder=0.1)
    run = Run(
        Scenario(
            nodes=6,
            seconds=400,
            seed=2,
            link=near,
            zones={"eu": ("n0", "n1", "n2"), "us": ("n3", "n4", "n5")},
            between_zones=replace(near, latency_ms_min=39.0, latency_ms_max=41.0),
        )
    )
    run.start()
    run.faults_phase()
    near_one, *far_ones = estimates(run, ("n1", "n2"), ("n1", "n3"), ("n1", "n5"))
    assert 0.4 < near_one.rtt.ms < 12
    assert all(70 < far.rtt.ms < 95 for far in far_ones)


def test_estimates_are_the_same_in_every_run_of_a_seed() -> None:
    pairs = (("n1", "n2"), ("n3", ""), ("n4", "n0"))
    assert estimates(ran(5, 60, seed=3), *pairs) == estimates(ran(5, 60, seed=3), *pairs)
