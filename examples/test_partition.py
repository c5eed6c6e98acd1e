"""Tests of your own over a simulated mesh: copy this file next to your code, and run `pytest`.

    pytest test_partition.py                      all seeds of all tests
    pytest test_partition.py --sim-seed=17        one seed again, as a failure names it
    pytest test_partition.py --sim-seeds=0..5000  more seeds, as in a nightly job; --sim-jobs=0 uses all cores

Nothing here takes real time or needs a network. `sim/README.md` says what else `sim` can do.
"""

from __future__ import annotations

from sim import Accepted, Job, Sim, TaskState, TaskView, all_agree, incarnations_grow, sim_test


@sim_test(nodes=5, seeds=50)
async def test_a_split_mesh_heals(sim: Sim) -> None:
    """Two of five nodes are cut off for 30 s; a minute later all tables agree again."""
    sim.always("incarnations grow", incarnations_grow)
    sim.sometimes("the seed node was cut off", lambda s: s.node("n0").in_minority)
    async with sim.net.partition(sim.some(2), sim.rest):
        await sim.sleep(30)
    await sim.eventually(all_agree, within=60)


@sim_test(nodes=5, seeds=50)
async def test_an_accepted_task_survives_the_crash_of_its_node(sim: Sim) -> None:
    """What was accepted is on the disk: the node comes back and sees to it that it is done."""

    async def resize(job: Job) -> dict[str, object]:
        await job.sleep(job.random.uniform(1, 5))
        return {"thumbnail": f"{job.payload['image']}.small"}

    sim.handler("resize", resize, concurrency=2)
    node = sim.some(1)[0]
    accepted = await node.submit("resize", {"image": "cat.png"})
    assert isinstance(accepted, Accepted)
    await sim.sleep(sim.random.uniform(0, 4))
    node.crash()
    await sim.sleep(10)
    node.restart()
    view = await node.task(accepted.task_id, wait=120)
    assert isinstance(view, TaskView)
    assert view.state is TaskState.SUCCEEDED
    assert view.output == '{"thumbnail":"cat.png.small"}'


@sim_test(nodes=3, seeds=50)
async def test_a_deposit_is_made_once(sim: Sim) -> None:
    """A task may be started more than once. Leave the `if` out, and see how this test fails."""
    account: dict[str, int] = {}  # stands for a database, which notes by whom a row was written

    async def deposit(job: Job) -> None:
        await job.sleep(0.2)
        if job.task_id not in account:
            account[job.task_id] = account.get(job.task_id, 0) + job.payload["amount"]
        await job.sleep(0.2)

    sim.handler("deposit", deposit, concurrency=4, duplicate_starts=0.3)
    for _ in range(5):
        view = await sim.some(1)[0].submit("deposit", {"amount": 10}, wait=60)
        assert isinstance(view, TaskView)
        assert view.state is TaskState.SUCCEEDED
    assert sum(account.values()) == 50
