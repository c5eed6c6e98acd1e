"""More than a node can do at once: it says so, stays a member, answers at once, and does it all in the end."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter

import pytest
import trio

from meshnode.control.client import connect
from meshnode.errors import MeshError
from protocols.limits import QUEUED_RUNS_MAX
from protocols.tasks.task import Accepted, GetTask, Submit, TaskState, TaskView
from tests.e2e.e2e_support import (
    DEADLINE_S,
    Room,
    all_see,
    eventually,
    finished,
    nodes_in,
    on_node,
    python_handler,
    sees,
    short_directory,
    start_mesh,
    status_of,
    submit,
)

pytestmark = pytest.mark.xdist_group("e2e-load")

FEW_PLACES = python_handler("gate", concurrency=2) + python_handler("echo", concurrency=2)
CALLERS = 30
ANSWER_S_MAX = 10.0
"""A thousand times what an answer takes."""


async def test_more_tasks_than_all_queues_hold_are_taken_in_and_done_once_each() -> None:
    count = 3 * QUEUED_RUNS_MAX
    with short_directory() as root, nodes_in(root, "desk", "shelf", toml=FEW_PLACES) as nodes:
        desk, shelf = nodes
        await start_mesh(nodes)
        room = Room(root / "room")
        accepted: list[str] = []

        async with connect(desk.directory) as client, trio.open_nursery() as nursery:

            async def caller() -> None:
                for _ in range(count // CALLERS):
                    outcome = await client.call(Submit("gate", json.dumps(room.payload)))
                    assert isinstance(outcome, Accepted), outcome
                    accepted.append(outcome.task_id)

            for _ in range(CALLERS):
                nursery.start_soon(caller)

        async def full() -> bool:
            return (await status_of(shelf)).runs_waiting == QUEUED_RUNS_MAX

        # While everybody is full, callers are answered at once, and nobody takes a busy node for a dead one.
        await eventually(full)
        for _ in range(20):
            began = time.monotonic()
            status = await status_of(desk)
            assert time.monotonic() - began < ANSWER_S_MAX
            assert (status.members_dead, status.tasks_queued + status.tasks_running) == (0, count)
        room.open()

        async def all_done() -> bool:
            return (await status_of(desk)).tasks_by_state["succeeded"] == count

        await eventually(all_done)
        assert len(room.starts) == count == len(set(accepted)), "a body ran twice though nothing went wrong"
        for node in nodes:
            log = node.log_path.read_text()
            assert "state=dead" not in log
            assert len(log) < 10_000, "a full queue is no event that is worth a line for each task"


async def test_three_hundred_callers_at_once_are_served_or_told_when_to_come_back() -> None:
    with short_directory() as root, nodes_in(root, "desk") as [desk]:
        await desk.start("--listen", "127.0.0.1:0")
        told: Counter[str] = Counter()
        outputs: list[str] = []

        async def caller(number: int) -> None:
            while True:
                try:
                    accepted = await desk.call(Submit("echo", str(number), idempotency_key=f"caller-{number}"))
                    assert isinstance(accepted, Accepted)
                    task = await desk.call(GetTask(accepted.task_id, wait_ms=20_000))
                except MeshError as error:
                    told[error.code] += 1
                    await trio.sleep(error.retry_after_s / 4)
                else:
                    assert isinstance(task, TaskView)
                    outputs.append(task.output)
                    return

        with trio.fail_after(DEADLINE_S):
            async with trio.open_nursery() as nursery:
                for number in range(300):
                    nursery.start_soon(caller, number)
        assert sorted(outputs) == sorted(str(number) for number in range(300))
        assert set(told) <= {"busy"}
        assert (await status_of(desk)).tasks_by_state["succeeded"] == 300


async def test_a_node_that_was_frozen_is_taken_for_dead_and_comes_back_to_itself() -> None:
    """SIGSTOP until the others have given it up: its run is started elsewhere; the outcome stays one."""
    with short_directory() as root, nodes_in(root, "desk", "shelf") as nodes:
        desk, shelf = nodes
        await start_mesh(nodes)
        assert shelf.process is not None
        theirs, own = Room(root / "theirs"), Room(root / "own")
        of_desk = await on_node(nodes, shelf, theirs, desk)
        of_shelf = await on_node(nodes, shelf, own, shelf)
        shelf.process.send_signal(signal.SIGSTOP)
        try:
            await sees(desk, "shelf", "dead")
            await theirs.started(2)
            echoed = await submit(desk, "echo", 1)
            assert (await finished(desk, echoed)).worker_name == "desk"
        finally:
            shelf.process.send_signal(signal.SIGCONT)
        await all_see(nodes, 2)
        for room in (theirs, own):
            room.open()
        for task_id in (of_desk, of_shelf):
            views = [await finished(node, task_id) for node in nodes]
            assert views[0].state is TaskState.SUCCEEDED
            assert views[0].output == views[1].output
        for room in (theirs, own):
            assert room.starts == sorted(set(room.starts)), "an attempt was started twice"
