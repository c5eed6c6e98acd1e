"""kill -9, of whoever keeps a task and of whoever runs it: one outcome, growing attempts, nothing acknowledged lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
import trio

from meshnode.errors import MeshError
from protocols.tasks.task import Accepted, GetTask, ListTasks, Submit, TaskList, TaskState, TaskView
from scripts.localmesh import LocalNode
from tests.e2e.e2e_support import (
    LISTEN,
    Room,
    all_see,
    ask,
    eventually,
    finished,
    is_alive,
    living_children,
    mesh_of,
    on_node,
    sees,
    status_of,
    submit,
)

pytestmark = pytest.mark.xdist_group("e2e-killing")


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[LocalNode]]:
    with mesh_of("desk", "shelf", "box") as nodes:
        yield nodes


@pytest.fixture
def room(nodes: list[LocalNode], request: pytest.FixtureRequest) -> Room:
    return Room(nodes[0].directory.parent / f"room-{abs(hash(request.node.name)) % 10**8}")


async def test_a_coordinator_that_is_killed_goes_on_when_it_is_back(nodes: list[LocalNode], room: Room) -> None:
    """It ran the task itself, too: the body dies with it, and a new attempt is started."""
    desk = nodes[0]
    assert desk.process is not None
    task_id = await on_node(nodes, desk, room, desk)
    bodies = living_children(desk.process.pid)
    desk.kill()

    async def gone() -> bool:
        return bool(bodies) and not any(is_alive(pid) for pid in bodies)

    await eventually(gone)  # no body outlives its daemon, even so
    await desk.start(*LISTEN)
    await room.started(2)
    room.open()
    task = await finished(desk, task_id)
    assert task.state is TaskState.SUCCEEDED
    assert room.starts == sorted(set(room.starts))
    assert task.attempt == room.starts[-1] > 1
    assert task.output == f'{{"attempt":{task.attempt}}}'
    await all_see(nodes, 3)


async def test_a_worker_goes_on_while_its_coordinator_is_away_and_the_result_is_kept(
    nodes: list[LocalNode], room: Room
) -> None:
    desk, shelf, _ = nodes
    task_id = await on_node(nodes, shelf, room, desk)
    desk.kill()
    room.open()

    async def body_ended() -> bool:
        return (await status_of(shelf)).runs_active == 0

    await eventually(body_ended)
    await desk.start(*LISTEN)
    task = await finished(desk, task_id)
    assert (task.state, task.output, task.attempt) == (TaskState.SUCCEEDED, '{"attempt":1}', 1)
    assert room.starts == [1]
    await all_see(nodes, 3)


async def test_a_worker_that_is_killed_and_stays_away_is_replaced(nodes: list[LocalNode], room: Room) -> None:
    desk, shelf, _ = nodes
    task_id = await on_node(nodes, shelf, room, desk)
    shelf.kill()
    await room.started(2)
    room.open()
    task = await finished(desk, task_id)
    assert (task.state, task.attempt, task.output) == (TaskState.SUCCEEDED, 2, '{"attempt":2}')
    assert task.worker_name in ("desk", "box")
    await sees(desk, "shelf", "dead")
    await shelf.start(*LISTEN)
    await all_see(nodes, 3)
    assert (await finished(shelf, task_id)).output == '{"attempt":2}'


async def test_a_worker_that_is_killed_and_comes_back_at_once_has_lost_its_runs(
    nodes: list[LocalNode], room: Room
) -> None:
    desk, shelf, _ = nodes
    task_id = await on_node(nodes, shelf, room, desk)
    shelf.kill()
    await shelf.start(*LISTEN)
    await room.started(2)
    room.open()
    task = await finished(desk, task_id)
    assert task.state is TaskState.SUCCEEDED
    assert task.attempt == room.starts[-1]
    await all_see(nodes, 3)


async def test_a_hundred_submissions_repeated_through_a_kill_are_a_hundred_tasks(nodes: list[LocalNode]) -> None:
    """Every caller repeats what it did not see answered, with its key, while the node is killed and started again."""
    desk = nodes[0]
    before = sum((await status_of(desk)).tasks_by_state.values())
    answers: dict[int, set[str]] = {number: set() for number in range(100)}
    half = trio.Event()

    async def caller(number: int) -> None:
        for _ in range(3):
            submission = Submit("echo", str(number), idempotency_key=f"once-{number}")
            while True:
                try:
                    outcome = await desk.call(submission)
                except MeshError:
                    await trio.sleep(0.02)
                    continue
                assert isinstance(outcome, Accepted)
                answers[number].add(outcome.task_id)
                break
            if sum(map(bool, answers.values())) >= 50:
                half.set()

    async with trio.open_nursery() as nursery:
        for number in answers:
            nursery.start_soon(caller, number)
        await half.wait()
        desk.kill()
        await desk.start(*LISTEN)
    assert {number: len(ids) for number, ids in answers.items()} == dict.fromkeys(range(100), 1)
    for number, [task_id] in ((number, list(ids)) for number, ids in answers.items()):
        task = await finished(desk, task_id)
        assert (task.state, task.output) == (TaskState.SUCCEEDED, str(number))
    assert sum((await status_of(desk)).tasks_by_state.values()) == before + 100
    await all_see(nodes, 3)

    # And once more after another life: it is known for as long as its task is.
    desk.kill()
    await desk.start(*LISTEN)
    again = await ask(desk, Accepted, Submit("echo", "7", idempotency_key="once-7"))
    assert (again.existing, {again.task_id}) == (True, answers[7])
    await all_see(nodes, 3)


async def test_everybody_is_killed_at_once_and_everything_that_was_acknowledged_ends(nodes: list[LocalNode]) -> None:
    rooms = [Room(nodes[0].directory.parent / f"all-{number}") for number in range(9)]
    ids = {
        await submit(nodes[number % 3], "gate", room.payload): nodes[number % 3] for number, room in enumerate(rooms)
    }
    ended = {await submit(node, "echo", node.name): node for node in nodes for _ in range(5)}
    outputs = {task_id: (await finished(node, task_id)).output for task_id, node in ended.items()}
    for room in rooms:
        await room.started(1)
    for node in nodes:
        node.kill()
    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(node.start, *LISTEN)
    await all_see(nodes, 3)
    for room in rooms:
        room.open()
    for task_id, node in ids.items():
        task = await finished(node, task_id)
        assert task.state is TaskState.SUCCEEDED
    for room in rooms:
        assert room.starts == sorted(set(room.starts)), "an attempt was started twice"
    for task_id, node in ended.items():
        again = await ask(node, TaskView, GetTask(task_id))
        assert (again.state, again.output) == (TaskState.SUCCEEDED, outputs[task_id])
    listed = await ask(nodes[0], TaskList, ListTasks(limit=500))
    assert max(Counter(row.task_id for row in listed.tasks).values()) == 1
