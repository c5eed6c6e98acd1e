"""Nodes that are told to stop while they work: they go in order, and whatever they had goes on elsewhere or later."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import pytest
import trio

from protocols.tasks.task import TaskState
from scripts.localmesh import LocalNode
from tests.e2e.e2e_support import (
    LISTEN,
    Room,
    all_see,
    at,
    eventually,
    finished,
    is_alive,
    living_children,
    mesh_of,
    meshnode,
    nodes_in,
    on_node,
    python_handler,
    sees,
    short_directory,
    start_mesh,
    states_seen,
    submit,
)

pytestmark = pytest.mark.xdist_group("e2e-stopping")

STOP_S_MAX = 60.0
FEW_PLACES = python_handler("gate", concurrency=2)


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[LocalNode]]:
    with mesh_of("desk", "shelf") as nodes:
        yield nodes


async def shows(node: LocalNode, name: str, how: str) -> None:
    """Wait until the last view in the log of `node` that tells of `name` says `how`: who comes and goes at once is in
    none."""

    async def shown() -> bool:
        views = [line for line in node.log_path.read_text().splitlines() if "INFO view" in line and name in line]
        return bool(views) and re.search(rf"\b(?:{how})=\S*\b{name}\b", views[-1]) is not None

    await eventually(shown)


async def exit_status(node: LocalNode) -> int:
    """The status with which the daemon ends by itself, soon."""
    assert node.process is not None
    with trio.fail_after(STOP_S_MAX):
        return await trio.to_thread.run_sync(node.process.wait, abandon_on_cancel=True)


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "Ctrl-C"])
async def test_a_signal_in_mid_task_loses_nothing_and_looks_like_no_death(nodes: list[LocalNode], how: str) -> None:
    """`desk` has a task that runs on `shelf`, and `shelf` one of its own, when `shelf` is told to stop."""
    desk, shelf = nodes
    assert shelf.process is not None
    root = desk.directory.parent
    theirs, own = Room(root / f"theirs-{how}"), Room(root / f"own-{how}")
    of_desk = await on_node(nodes, shelf, theirs, desk)
    of_shelf = await on_node(nodes, shelf, own, shelf)
    bodies = living_children(shelf.process.pid)
    assert bodies
    await shows(desk, "shelf", "joined|returned")
    log_begins = len(desk.log_path.read_text())

    if how == "Ctrl-C":  # a terminal signals the whole foreground group
        os.killpg(shelf.process.pid, signal.SIGINT)
    else:
        shelf.process.send_signal(signal.Signals[how])
    assert await exit_status(shelf) == 0
    assert not any(is_alive(pid) for pid in bodies)

    # Seen to have left; and its run is started again at once, by the one that is still there.
    await sees(desk, "shelf", "left")
    await theirs.started(2)
    theirs.open()
    task = await finished(desk, of_desk)
    assert (task.state, task.worker_name, task.attempt) == (TaskState.SUCCEEDED, "desk", 2)
    await shows(desk, "shelf", "left")
    assert "failed=" not in desk.log_path.read_text()[log_begins:]

    own.open()
    await shelf.start(*LISTEN)
    task = await finished(shelf, of_shelf)
    assert task.state is TaskState.SUCCEEDED
    assert task.attempt > 1
    assert own.starts == sorted(set(own.starts)), "an attempt was started twice"
    await all_see(nodes, 2)
    assert (await finished(shelf, of_desk)).attempt == 2


async def test_a_second_signal_stops_at_once(nodes: list[LocalNode]) -> None:
    desk, shelf = nodes
    assert shelf.process is not None
    room = Room(desk.directory.parent / "impatient")
    task_id = await on_node(nodes, shelf, room, shelf)
    with trio.move_on_after(STOP_S_MAX):
        while shelf.process.poll() is None:
            shelf.process.send_signal(signal.SIGTERM)
            await trio.lowlevel.checkpoint()
    assert await exit_status(shelf) == 0
    room.open()
    await shelf.start(*LISTEN)
    assert (await finished(shelf, task_id)).state is TaskState.SUCCEEDED
    await all_see(nodes, 2)


async def test_leave_says_what_stays_behind_and_the_node_comes_back_with_it(nodes: list[LocalNode]) -> None:
    desk, shelf = nodes
    room = Room(desk.directory.parent / "leave")
    task_id = await on_node(nodes, desk, room, shelf)
    run = await at(shelf, "leave")
    assert run.status == 0, run.err
    assert run.document == {"left": True, "open_tasks": 1}
    assert await exit_status(shelf) == 0
    await sees(desk, "shelf", "left")

    for name in ("members", "status", "leave"):
        run = await at(shelf, name)
        run.assert_told(3, "No meshnode daemon is running", "meshnode up")
    # Whoever asks elsewhere hears who keeps the task, and that it is not lost.
    run = await meshnode("task", task_id, "--dir", desk.directory)
    run.assert_told(1, "shelf", "Nothing is lost")

    room.open()
    await shelf.start(*LISTEN)
    task = await finished(desk, task_id)
    assert (task.state, task.coordinator) == (TaskState.SUCCEEDED, shelf.ready["id"])
    # The run on `desk` went on all the while: it was the worker, and it stayed.
    assert room.starts == [1]
    assert await states_seen(desk) == {"desk": "alive", "shelf": "alive"}


async def test_queued_tasks_of_a_node_that_leaves_run_elsewhere() -> None:
    """Two tasks run on each of the nodes, the others wait for their turn there; then one of the nodes leaves."""
    with short_directory() as root, nodes_in(root, "desk", "shelf", toml=FEW_PLACES) as nodes:
        desk, shelf = nodes
        await start_mesh(nodes)
        rooms = [Room(root / f"room{number}") for number in range(24)]
        ids = [await submit(desk, "gate", room.payload) for room in rooms]

        async def all_places_taken() -> bool:
            return sum(len(room.starts) for room in rooms) >= 4

        await eventually(all_places_taken)
        run = await at(shelf, "leave")
        assert run.status == 0, run.err
        for room in rooms:
            room.open()
        for task_id in ids:
            assert (await finished(desk, task_id)).state is TaskState.SUCCEEDED
        for room in rooms:
            assert room.starts == sorted(set(room.starts))


async def test_a_node_that_is_alone_stops_in_order() -> None:
    """That it waits for nobody is told by virtual time: tests/protocols/test_node.py."""
    with short_directory() as root, nodes_in(root, "desk") as [desk]:
        await desk.start(*LISTEN)
        assert desk.process is not None
        desk.process.send_signal(signal.SIGTERM)
        assert await exit_status(desk) == 0
