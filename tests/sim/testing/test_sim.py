"""What a test is given: nodes, draws, partitions, links, and faults of every kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocols.core import Refused, Unknown
from protocols.membership.member import State
from protocols.tasks.task import Accepted, TaskState, TaskView
from sim import Sim
from sim.errors import ScenarioError
from sim.faults import KINDS, Crash, Groups, Isolate
from sim.network import LinkProfile
from tests.sim.testing.kit import fails, passes

# Nodes.


def test_nodes_are_found_by_name_and_number_and_a_wrong_one_names_the_nearest() -> None:
    async def body(sim: Sim) -> None:
        assert sim.node("n1") is sim.node(1) is sim.nodes[1] is sim.node(sim.nodes[1])
        assert [node.name for node in sim.nodes] == ["n0", "n1", "n2"]
        with pytest.raises(ScenarioError, match="Did you mean 'n1'"):
            sim.node("m1")
        with pytest.raises(ScenarioError, match="0 to 2"):
            sim.node(3)

    passes(body)


def test_a_crashed_node_is_down_until_it_is_restarted_and_comes_back_as_a_new_life() -> None:
    async def body(sim: Sim) -> None:
        node, other = sim.nodes[0], sim.nodes[1]
        assert other.members()["n0"].generation == 1
        node.crash()
        assert not node.up
        assert sim.up == sim.nodes[1:]
        assert node.members() == {}
        with pytest.raises(ScenarioError, match="is down already"):
            node.crash()
        await sim.until(lambda s: other.sees(node) is State.DEAD, within=60)
        node.restart()
        await sim.until(lambda s: other.sees("n0") is State.ALIVE, within=60)
        assert other.members()["n0"].generation == 2
        node.restart()  # of one that runs: a crash first
        assert node.process.boots == 3

    passes(body)


def test_submit_waits_for_the_one_outcome() -> None:
    async def body(sim: Sim) -> None:
        node = sim.nodes[0]
        accepted = await node.submit("count", {"n": 1, "ms": 100})
        assert isinstance(accepted, Accepted)
        early = await node.task(accepted.task_id)
        assert isinstance(early, TaskView)
        assert early.state in (TaskState.QUEUED, TaskState.RUNNING)
        done = await sim.nodes[2].task(accepted.task_id, wait=10)
        assert isinstance(done, TaskView)
        assert done.state is TaskState.SUCCEEDED
        again = await node.cancel(accepted.task_id)
        assert isinstance(again, Refused)
        assert again.code == "already_final"
        whole = await node.submit("digest", {"n": 2, "ms": 2000}, wait=0.5)
        assert isinstance(whole, TaskView)
        assert not whole.state.final
        cancelled = await node.cancel(whole.task_id)
        assert isinstance(cancelled, TaskView)
        assert cancelled.state is TaskState.CANCELLED

    passes(body)


def test_a_caller_of_a_node_that_is_down_or_goes_down_is_told_so() -> None:
    async def body(sim: Sim) -> None:
        node = sim.nodes[0]
        refused = await node.submit("nonsense", None)
        assert isinstance(refused, Refused)
        assert refused.code == "unknown_handler"

        async def crash() -> None:
            node.crash()

        sim.start_soon(crash)
        assert isinstance(await node.submit("count", {"n": 1}), Unknown)
        down = await node.submit("count", {"n": 1})
        assert isinstance(down, Refused)
        assert down.code == "node_down"

    passes(body)


def test_a_task_is_followed_through_a_restart_of_the_node_that_is_asked() -> None:
    async def body(sim: Sim) -> None:
        async def trouble() -> None:
            await sim.sleep(1)
            sim.nodes[0].crash()
            await sim.sleep(4)
            sim.nodes[0].restart()

        sim.start_soon(trouble)
        view = await sim.nodes[0].submit("count", {"n": 1, "ms": 3000}, wait=100)
        assert isinstance(view, TaskView)
        assert view.state is TaskState.SUCCEEDED

    passes(body)


def test_a_disk_that_fails_refuses_and_works_again_after_the_block() -> None:
    async def body(sim: Sim) -> None:
        node = sim.nodes[0]
        with node.fail_disk():
            refused = await node.submit("count", {"n": 1})
            assert isinstance(refused, Refused)
            assert refused.code == "storage_failed"
        await sim.sleep(10)
        assert isinstance(await node.submit("count", {"n": 1}), Accepted)

    passes(body)


# Draws.


def test_some_and_rest_share_out_all_nodes_and_follow_the_seed() -> None:
    drawn: dict[int, list[str]] = {}

    def body_of(seed: int) -> Callable[[Sim], Any]:
        async def body(sim: Sim) -> None:
            with pytest.raises(ScenarioError, match=r"draw some first"):
                _ = sim.rest
            some = sim.some(2)
            assert len(some) == 2
            assert {*some, *sim.rest} == set(sim.nodes)
            assert not {*some} & {*sim.rest}
            drawn.setdefault(seed, []).append(" ".join(node.name for node in some))
            assert sim.some(1, among=sim.nodes[3:])[0].index >= 3

        return body

    for seed in range(20):
        passes(body_of(seed), seed, nodes=5)
        ended = passes(body_of(seed), seed, nodes=5)
        assert ended.drawn[0].startswith(drawn[seed][0])
    assert all(one == two for one, two in drawn.values())
    assert len({one for one, _ in drawn.values()}) > 4


def test_rest_is_relative_to_the_last_draw_of_the_same_task() -> None:
    async def body(sim: Sim) -> None:
        mine = sim.some(1)

        async def other() -> None:
            theirs = sim.some(2)
            await sim.sleep(1)
            assert not {*theirs} & {*sim.rest}

        async with sim.open_nursery() as nursery:
            nursery.start_soon(other)
        assert {*mine, *sim.rest} == set(sim.nodes)

    passes(body)


@pytest.mark.parametrize("count", [0, 4, -1])
def test_more_nodes_than_there_are_cannot_be_drawn(count: int) -> None:
    async def body(sim: Sim) -> None:
        sim.some(count)

    assert "there are 3 nodes" in fails(body, ScenarioError)


# The network.


def reach(sim: Sim) -> str:
    """Who reaches whom, as one letter per pair."""
    return " ".join("".join("x" if a is b or a.reaches(b) else "." for b in sim.nodes) for a in sim.nodes)


ALL = "xxx xxx xxx"


def test_partitions_nest_and_overlap_and_each_ends_its_own() -> None:
    async def body(sim: Sim) -> None:
        assert reach(sim) == ALL
        async with sim.net.partition("n0", ["n1", "n2"]):
            assert reach(sim) == "x.. .xx .xx"
            async with sim.net.partition(["n2"]):  # against everybody else
                assert reach(sim) == "x.. .x. ..x"
            assert reach(sim) == "x.. .xx .xx"
        assert reach(sim) == ALL
        first, second = sim.net.isolate("n0"), sim.net.isolate(sim.nodes[1])
        await first.__aenter__()
        await second.__aenter__()
        assert reach(sim) == "x.. .x. ..x"
        await first.__aexit__(None, None, None)
        assert reach(sim) == "x.x .x. x.x"
        await second.__aexit__(None, None, None)
        assert reach(sim) == ALL

    passes(body)


def test_one_way_silences_only_what_the_sources_say() -> None:
    async def body(sim: Sim) -> None:
        async with sim.net.one_way("n0"):
            assert reach(sim) == "x.. xxx xxx"
            assert sim.nodes[0].isolated
        async with sim.net.isolate("n0", ["n1"]):
            assert reach(sim) == "x.. .x. ..x"
        assert not sim.nodes[0].isolated

    passes(body)


def test_a_minority_is_a_side_with_no_more_than_half_of_all() -> None:
    async def body(sim: Sim) -> None:
        async with sim.net.partition(["n0", "n1"]):
            assert [node.in_minority for node in sim.nodes] == [True, True, False, False, False]

    passes(body, nodes=5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda net: net.partition(), "two sides"),
        (lambda net: net.partition(["n0", "n1", "n2"]), "two sides"),
        (lambda net: net.partition([], ["n1"]), "nobody to cut off"),
        (lambda net: net.partition(["n0"], ["n0", "n1"]), "on two sides"),
        (lambda net: net.isolate("n9"), "no node 'n9'"),
        (lambda net: net.link(loss=5), "For 5 % write 0.05"),
        (lambda net: net.link(loss="much"), "loss='much'): it is a probability"),
        (lambda net: net.link(delay_ms="much"), "delays are milliseconds"),
        (lambda net: net.link(delay_ms=(5, 1)), "smaller bound first"),
    ],
)
def test_a_network_that_cannot_be_is_refused(make: Callable[[Any], Any], words: str) -> None:
    async def body(sim: Sim) -> None:
        make(sim.net)

    assert words in fails(body, ScenarioError)


def test_links_get_worse_for_a_block_and_blocks_add_up() -> None:
    async def body(sim: Sim) -> None:
        network = sim.world.network
        stations = network.stations

        def loss(sender: int, receiver: int) -> float:
            return round(network.link_between(stations[sender], stations[receiver]).loss, 4)

        async with sim.net.link("n0", loss=0.5):
            assert (loss(0, 1), loss(1, 0), loss(1, 2)) == (0.55, 0.55, 0.1)
            async with sim.net.link(loss=0.5):
                assert loss(1, 2) == 0.55
        assert loss(0, 1) == 0.1
        sent, lost = sum(network.sent.values()), network.drops["loss"]
        async with sim.net.link(loss=0.9):
            await sim.sleep(20)
        assert network.drops["loss"] - lost > 0.5 * (sum(network.sent.values()) - sent)

    passes(body, nodes=3, link=LinkProfile(loss=0.1))


# Faults of every kind.


OPTIONS: dict[str, dict[str, Any]] = {"groups": {"groups": (("n0",), ("n1", "n2"))}}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_fault_works_as_a_block(kind: str) -> None:
    async def body(sim: Sim) -> None:
        await sim.sleep(1)
        async with sim.fault(kind, **OPTIONS.get(kind, {})) as trouble:
            assert sim.world.troubles == trouble.struck
            await sim.sleep(8)
        assert sim.world.troubles == 0

    ended = passes(body, nodes=5, tasks_per_s=2)
    assert kind in ended.fired


def test_faults_are_written_as_kinds_as_structs_and_by_name() -> None:
    async def body(sim: Sim) -> None:
        async with sim.fault(Isolate, nodes=("n1",)):
            assert reach(sim) == "x.x .x. x.x"
        async with sim.fault(Isolate(0, nodes=("n1",))):
            assert reach(sim) == "x.x .x. x.x"
        async with sim.fault("isolate", nodes=("n1",)), sim.fault(Crash, nodes=("n2",)):
            assert [node.up for node in sim.nodes] == [True, True, False]
        assert sim.up == sim.nodes
        assert reach(sim) == ALL

    assert passes(body).fired == {"isolate": 3, "crash": 1}


def test_every_fault_of_a_test_draws_for_itself() -> None:
    victims: list[tuple[str, str]] = []

    async def body(sim: Sim) -> None:
        struck: list[str] = []
        for _ in range(2):
            async with sim.fault(Crash):
                struck += [node.name for node in sim.nodes if not node.up]
        victims.append((struck[0], struck[1]))

    for seed in (*range(10), *range(10)):
        passes(body, seed, nodes=5, settle=False)
    assert victims[:10] == victims[10:]
    assert any(one != two for one, two in victims)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda sim: sim.fault("isolat"), "Did you mean 'isolate'"),
        (lambda sim: sim.fault(Isolate, cout=2), "Did you mean 'count'"),
        (lambda sim: sim.fault(Isolate, count=9), "1 to 3"),
        (lambda sim: sim.fault(Groups), "two groups"),
        (lambda sim: sim.fault("lossy", loss="much"), "The fault lossy: loss must be a number, as in loss=0.3."),
        (lambda sim: sim.fault(Isolate, nodes=7), "nodes must be nodes, by name, as in nodes=n0+n1"),
        (lambda sim: sim.fault(7), "no fault"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(make: Callable[[Sim], Any], words: str) -> None:
    async def body(sim: Sim) -> None:
        make(sim)

    assert words in fails(body, ScenarioError)


def test_a_block_is_used_once_and_what_is_left_open_ends_with_the_test() -> None:
    async def body(sim: Sim) -> None:
        trouble = sim.net.isolate("n0")
        with trouble:
            pass
        with pytest.raises(ScenarioError, match="entered already"), trouble:
            pass
        sim.net.isolate("n1").__enter__()

    ended = passes(body)
    assert ended.report.drops.get("cut", 0) == 0
