"""A disk without room under a working node: nothing new is taken in, reads go on, and it recovers by itself.

Once by a limit on the size of the daemon's files, which needs no privilege, and once by a small file system that is
really full, where the test may mount one.
"""

from __future__ import annotations

import itertools
import os
import resource
import subprocess
from collections.abc import Iterator, Sized
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio

from meshnode.errors import MeshError
from protocols.core import Refused
from protocols.tasks.task import Accepted, GetTask, Submit, TaskState, TaskView
from scripts.localmesh import LocalNode
from tests.e2e.e2e_support import (
    DEADLINE_S,
    GATES,
    LISTEN,
    Room,
    all_see,
    at,
    eventually,
    finished,
    nodes_in,
    on_node,
    short_directory,
    start_mesh,
    status_of,
    submit,
    up,
)

pytestmark = pytest.mark.xdist_group("e2e-full-disk")


@contextmanager
def no_file_may_grow(node: LocalNode) -> Iterator[None]:
    """Every write of the daemon to a file fails: EFBIG, as ENOSPC would."""
    assert node.process is not None
    _, hard = resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # the test has stopped it
            resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (hard, hard))


async def refused(node: LocalNode) -> None:
    """A submission is turned away with words, by the command line too."""
    run = await at(node, "submit", "echo", "--payload", '"no room"')
    run.assert_told(1, "can not write to its data directory", "Free or repair the disk")
    assert run.document["error"]["code"] == "storage_failed"
    assert run.document["error"]["retry_after_s"] > 0


async def well_again(node: LocalNode) -> None:
    """It takes tasks in again without having been touched."""

    async def taken() -> bool:
        outcome = await node.call(Submit("echo", '"room again"'))
        return isinstance(outcome, Accepted) and (await finished(node, outcome.task_id)).output == '"room again"'

    await eventually(taken)
    assert (await status_of(node)).storage_error == ""


async def test_a_disk_that_takes_no_more_for_a_while_loses_nothing() -> None:
    with short_directory() as root, nodes_in(root, "desk", "shelf") as nodes:
        desk, shelf = nodes
        await start_mesh(nodes)
        known = [await submit(desk, "echo", number) for number in range(10)]
        outputs = [(await finished(desk, task_id)).output for task_id in known]
        rooms = [Room(root / name) for name in ("here", "there")]
        running = [await on_node(nodes, node, room, desk) for node, room in zip(nodes, rooms, strict=True)]

        with no_file_may_grow(desk):
            await refused(desk)
            assert (await status_of(desk)).storage_error
            run = await at(desk, "token")
            run.assert_told(1, "could not be recorded", "Check free space")
            # Reads go on, here and from elsewhere, and so does the mesh.
            assert [(await finished(desk, task_id)).output for task_id in known] == outputs
            assert [(await finished(shelf, task_id)).output for task_id in known] == outputs
            await all_see(nodes, 2)
            for number in range(8):
                assert (await finished(shelf, await submit(shelf, "echo", number))).output == str(number)
            # What ends now can not be recorded, so nobody is told that it has ended.
            for room in rooms:
                room.open()
            for task_id in running:
                outcome = await desk.call(GetTask(task_id, wait_ms=1500))
                assert isinstance(outcome, Refused) or not outcome.state.final  # type: ignore[union-attr]  # a TaskView
            await refused(desk)

        for task_id in running:
            assert (await finished(desk, task_id)).state is TaskState.SUCCEEDED
        await well_again(desk)
        assert [room.starts for room in rooms] == [[1], [1]]

        desk.kill()
        await desk.start(*LISTEN)
        for task_id, output in zip(known, outputs, strict=True):
            assert (await finished(desk, task_id)).output == output
        for task_id in running:
            assert (await finished(desk, task_id)).output == '{"attempt":1}'


async def test_a_submission_is_acknowledged_or_refused_and_never_both() -> None:
    """Many callers while the disk comes and goes; then the power fails. What was acknowledged is there, once."""
    acknowledged: list[str] = []
    turned_away: list[Refused] = []
    over = trio.Event()

    with short_directory() as root, nodes_in(root, "desk") as [desk]:
        await desk.start(*LISTEN)

        async def caller(number: int) -> None:
            for round_number in itertools.count():
                if over.is_set():
                    return
                outcome = await desk.call(Submit("echo", f'"{number}.{round_number}"'))
                if isinstance(outcome, Accepted):
                    acknowledged.append(outcome.task_id)
                else:
                    assert isinstance(outcome, Refused)
                    turned_away.append(outcome)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(caller, number)
            await more_of(acknowledged)
            for _ in range(2):
                with no_file_may_grow(desk):
                    await more_of(turned_away)
                await more_of(acknowledged)
            over.set()
        assert {outcome.code for outcome in turned_away} == {"storage_failed"}
        desk.kill()
        await desk.start(*LISTEN)
        outputs = [(await finished(desk, task_id)).output for task_id in acknowledged]
        assert len(set(outputs)) == len(acknowledged) == len(set(acknowledged))
        status = await status_of(desk)
        assert sum(status.tasks_by_state.values()) == len(acknowledged)


async def more_of(things: Sized) -> None:
    """Wait until there are more of them."""
    before = len(things)

    async def grown() -> bool:
        return len(things) > before

    await eventually(grown)


@contextmanager
def small_file_system(size: str) -> Iterator[Path]:
    """A mounted tmpfs. Skips where this user may not mount."""
    with short_directory() as root:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(root)],
            capture_output=True,
            check=False,
        )
        if mounted.returncode != 0:
            pytest.skip(f"a file system can not be mounted here: {mounted.stderr.decode().strip()}")
        try:
            yield root
        finally:
            subprocess.run(["umount", "-l", str(root)], check=True)


def fill(path: Path) -> None:
    """Write until there is no room for another byte."""
    with open(path, "ab", buffering=0) as file, suppress(OSError):
        for size in (4096, 1):
            while file.write(bytes(size)):
                pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
async def test_a_file_system_that_is_full_is_survived_and_named_at_the_start() -> None:
    with small_file_system("16m") as place, nodes_in(place, "desk") as [desk]:
        ballast = place / "ballast"
        ballast.write_bytes(bytes(10 << 20))
        await desk.start(*LISTEN)
        acknowledged: list[str] = []
        payload = '"' + "x" * 200_000 + '"'
        while True:
            outcome = await desk.call(Submit("echo", payload))
            if isinstance(outcome, Refused):
                break
            assert isinstance(outcome, Accepted)
            acknowledged.append(outcome.task_id)
            assert len(acknowledged) < 100, "6 MB do not hold so many"
        assert outcome.code == "storage_failed"
        assert "full" in outcome.message
        assert len(acknowledged) >= 5
        await refused(desk)
        for task_id in acknowledged:
            assert isinstance(await desk.call(GetTask(task_id)), TaskView | Refused)

        # Stopped and started on the full disk, it says what is wrong, or serves; it does not forget.
        desk.kill()
        fill(place / "rest")
        run = await up(desk.directory)
        run.assert_told(1, "No space left" if "No space left" in run.err else "full", "room")

        ballast.unlink()
        (place / "rest").unlink()
        await desk.start(*LISTEN)
        await well_again(desk)
        for task_id in acknowledged:
            assert (await finished(desk, task_id)).output == payload


async def test_a_node_that_is_stopped_on_a_full_disk_stops_and_comes_back_whole() -> None:
    with short_directory() as root, nodes_in(root, "desk", toml=GATES) as [desk]:
        await desk.start(*LISTEN)
        task_id = await submit(desk, "echo", "kept")
        await finished(desk, task_id)
        with no_file_may_grow(desk):
            await refused(desk)
            assert desk.process is not None
            desk.process.terminate()
            with trio.fail_after(DEADLINE_S):
                assert await trio.to_thread.run_sync(desk.process.wait) == 0
        with pytest.raises(MeshError):
            await desk.call(GetTask(task_id))
        await desk.start(*LISTEN)
        assert (await finished(desk, task_id)).output == '"kept"'
