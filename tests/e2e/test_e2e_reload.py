"""`meshnode reload` and SIGHUP at real daemons: others use what is new, and what runs is left alone."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocols.membership.views import ListMembers, MemberList, MemberView
from protocols.tasks.task import GetTask, TaskState, TaskView
from scripts.localmesh import LocalNode
from tests.e2e.e2e_support import (
    LISTEN,
    Room,
    ask,
    at,
    eventually,
    exec_handler,
    finished,
    is_alive,
    living_children,
    mesh_of,
    python_handler,
    submit,
)

pytestmark = pytest.mark.xdist_group("e2e-reload")

GATE = python_handler("gate", concurrency=1)


@pytest.fixture
def nodes() -> Iterator[list[LocalNode]]:
    with mesh_of("desk", "shelf", toml=python_handler("echo")) as nodes:
        yield nodes


def process_of(node: LocalNode) -> subprocess.Popen[bytes]:
    assert node.process is not None
    return node.process


async def member(node: LocalNode, name: str) -> MemberView:
    """How `node` sees the member."""
    listed = await ask(node, MemberList, ListMembers())
    return next(each for each in listed.members if each.name == name)


async def offers(node: LocalNode, name: str, *handlers: str) -> None:
    """Wait until `node` sees that the member offers exactly these."""

    async def seen() -> bool:
        return sorted((await member(node, name)).handlers) == sorted(handlers)

    await eventually(seen)


async def test_handlers_come_and_go_beside_a_long_run_that_notices_nothing(
    nodes: list[LocalNode], tmp_path: Path
) -> None:
    desk, shelf = nodes
    shelf.configure(GATE)
    run = await at(shelf, "reload")
    assert run.status == 0, run.err
    assert run.document["applied"] == {"handlers.echo": "removed", "handlers.gate": "added"}
    assert run.document["needs_restart"] == []
    await offers(desk, "shelf", "gate")
    room = Room(tmp_path / "room")
    long = await submit(desk, "gate", room.payload)
    await room.started(1)
    before = set(living_children(process_of(shelf).pid))

    shelf.configure('zone = "north"\nweight = 3\ntags = ["gpu"]\n' + GATE + exec_handler("shout", "echo", "hey"))
    run = await at(shelf, "reload")
    changed = {"zone": "changed", "weight": "changed", "tags": "changed", "handlers.shout": "added"}
    assert run.document["applied"] == changed
    await offers(desk, "shelf", "gate", "shout")
    seen = await member(desk, "shelf")
    assert (seen.zone, seen.weight, seen.tags, seen.incarnation) == ("north", 3, {"gpu": ""}, 2)
    shouted = await finished(desk, await submit(desk, "shout"))
    assert (shouted.state, shouted.worker_name) == (TaskState.SUCCEEDED, "shelf")

    waiting = await submit(desk, "gate", room.payload)

    async def is_waiting() -> bool:
        return (await ask(desk, TaskView, GetTask(waiting))).worker_name == "shelf"

    await eventually(is_waiting)
    shelf.configure(exec_handler("shout", "echo", "hey"))
    desk.configure(python_handler("echo") + GATE)
    assert (await at(desk, "reload")).document["applied"] == {"handlers.gate": "added"}
    removed = (await at(shelf, "reload")).document["applied"]
    assert removed == {"zone": "changed", "weight": "changed", "tags": "changed", "handlers.gate": "removed"}
    await offers(desk, "shelf", "shout")
    await room.started(2)  # what waited at shelf was given to desk
    assert before <= set(living_children(process_of(shelf).pid))
    assert room.starts[0] == 1
    room.open()
    first, second = await finished(desk, long), await finished(desk, waiting)
    assert (first.state, first.worker_name, first.attempt) == (TaskState.SUCCEEDED, "shelf", 1)
    assert (second.state, second.worker_name) == (TaskState.SUCCEEDED, "desk")

    async def workers_are_gone() -> bool:
        return not any(is_alive(pid) for pid in before)

    await eventually(workers_are_gone)


async def test_a_bad_file_is_refused_and_changes_nothing(nodes: list[LocalNode]) -> None:
    desk, shelf = nodes
    echo = python_handler("echo")
    for bad in ('zone = "north"\nhandelers = 3\n', 'zone = "north"\n' + echo.replace("target", "taget"), "zone ="):
        shelf.configure(bad)
        run = await at(shelf, "reload")
        run.assert_told(2, "meshnode.toml", "Nothing has changed")
    seen = await member(shelf, "shelf")
    assert (seen.zone, seen.incarnation, seen.handlers) == ("", 0, ("echo",))
    done = await finished(desk, await submit(desk, "echo", "still here"))
    assert done.state is TaskState.SUCCEEDED
    shelf.configure('zone = "north"\nlisten = "127.0.0.1:1"\nseeds = ["127.0.0.1:2"]\n' + echo)
    run = await at(shelf, "reload")
    assert run.document["applied"] == {"zone": "changed"}
    assert run.document["needs_restart"] == ["seeds"], "`--listen` was given at the start, and wins"


async def test_sighup_does_the_same_and_the_log_says_what_came_of_it(nodes: list[LocalNode]) -> None:
    desk, shelf = nodes
    shelf.configure("zone = ")
    process_of(shelf).send_signal(signal.SIGHUP)

    async def logged(words: str) -> bool:
        return words in shelf.log_path.read_text()

    await eventually(lambda: logged("nothing has changed"))
    shelf.configure('zone = "south"\n' + python_handler("echo"))
    process_of(shelf).send_signal(signal.SIGHUP)

    async def moved() -> bool:
        return (await member(desk, "shelf")).zone == "south"

    await eventually(moved)
    await eventually(lambda: logged("configuration reloaded"))


async def test_the_next_start_reads_the_file_and_nothing_else(nodes: list[LocalNode]) -> None:
    desk, shelf = nodes
    shelf.configure('zone = "north"\n' + python_handler("echo"))
    assert (await at(shelf, "reload")).status == 0
    shelf.configure(python_handler("echo") + exec_handler("shout", "echo", "hey"))
    shelf.kill()
    await shelf.start(*LISTEN)
    await offers(desk, "shelf", "echo", "shout")
    assert (await member(desk, "shelf")).zone == ""
