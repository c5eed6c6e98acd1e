"""Another configuration for executors that run: bodies and processes that are none of its business stay as they are."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import trio

from meshnode.config import Config, load_config
from meshnode.executors.pool import Executors
from protocols.config import HandlerSpec
from protocols.tasks.task import BodyEnded, BodyStatus
from protocols.tools import FindTools
from tests.meshnode.executors.executor_support import Start, alive, perform, pids_in, until

HERE = Path(__file__).parent
SERVER = f"""
[mcp_servers.hand]
command = {json.dumps(sys.executable)}
args = [{json.dumps(str(HERE / "handmade_server.py"))}]
"""


def python(target: str, **more: object) -> str:
    return '[handlers.h]\nexecutor = "python"\ntarget = "bodies:' + target + '"\n' + _lines(more)


def shell(script: str, **more: object) -> str:
    return f'[handlers.h]\nexecutor = "exec"\nargv = {json.dumps(["sh", "-c", script])}\n' + _lines(more)


def _lines(more: dict[str, object]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in more.items())


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    return Configured(tmp_path)


class Configured:
    """Writes configurations and loads them."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __call__(self, toml: str) -> Config:
        (self._root / "meshnode.toml").write_text(toml)
        return load_config(self._root, environ={}, workdir=str(HERE))


async def replace(executors: Executors, config: Config) -> None:
    (await executors.prepare(config)).commit()


def waiting_for(path: Path, word: str) -> str:
    """A program that says who it is, waits for a file, and prints a word."""
    return f"echo $$ >> {path}/started; while [ ! -e {path}/open ]; do sleep 0.02; done; echo '\"{word}\"'"


async def test_an_added_handler_runs_before_it_counts_and_not_after_it_is_given_up(
    start: Start, configured: Configured
) -> None:
    executors = await start("")
    replacement = await executors.prepare(configured(shell("echo 1")))
    assert (await perform(executors, "h")).output == "1"
    assert not executors.capabilities
    replacement.abandon()
    assert (await perform(executors, "h")).status is BodyStatus.UNAVAILABLE
    await replace(executors, configured(shell("echo 1", concurrency=3)))
    assert executors.capabilities == (HandlerSpec("h", 3),)
    assert (await perform(executors, "h")).status is BodyStatus.OK


async def test_a_changed_handler_runs_anew_once_it_counts_and_old_bodies_end_as_they_began(
    start: Start, configured: Configured, tmp_path: Path, nursery: trio.Nursery
) -> None:
    executors = await start(shell(waiting_for(tmp_path, "old")))
    ends: list[BodyEnded] = []

    async def run() -> None:
        ends.append(await perform(executors, "h"))

    nursery.start_soon(run)
    (pid,) = await pids_in(tmp_path / "started")
    replacement = await executors.prepare(configured(shell("echo '\"new\"'")))
    replacement.commit()
    assert (await perform(executors, "h")).output == '"new"'
    assert alive(pid)
    (tmp_path / "open").touch()
    await until(lambda: bool(ends))
    assert ends[0].output == '"old"'


async def test_what_is_given_up_leaves_a_changed_handler_as_it_was(start: Start, configured: Configured) -> None:
    executors = await start(shell("echo '\"old\"'"))
    (await executors.prepare(configured(shell("echo '\"new\"'")))).abandon()
    assert (await perform(executors, "h")).output == '"old"'


async def test_workers_of_an_unchanged_handler_stay_and_those_of_a_removed_one_end(
    start: Start, configured: Configured
) -> None:
    kept = python("pid")
    executors = await start(kept + kept.replace("handlers.h", "handlers.gone"))
    pids = [int((await perform(executors, name)).output) for name in ("h", "gone")]
    other = '[handlers.other]\nexecutor = "exec"\nargv = ["true"]'
    await replace(executors, configured(python("pid", concurrency=5, timeout_s=50.0) + other))
    assert int((await perform(executors, "h")).output) == pids[0]
    await until(lambda: not alive(pids[1]))
    await replace(executors, configured(python("pid", output_bytes_max=1000)))
    assert int((await perform(executors, "h")).output) != pids[0]
    await until(lambda: not alive(pids[0]))


async def test_workers_of_a_removed_handler_end_only_after_their_last_body(
    start: Start, configured: Configured, tmp_path: Path, nursery: trio.Nursery
) -> None:
    executors = await start(python("wait_for"))
    started, gate = tmp_path / "started", tmp_path / "gate"
    started.mkdir()
    ends: list[BodyEnded] = []

    async def run() -> None:
        ends.append(await perform(executors, "h", {"started": str(started), "gate": str(gate)}))

    nursery.start_soon(run)
    await until(lambda: any(started.iterdir()))
    await replace(executors, configured(""))
    assert (await perform(executors, "h")).status is BodyStatus.UNAVAILABLE
    assert ends == []
    gate.touch()
    await until(lambda: bool(ends))
    assert ends[0].status is BodyStatus.OK
    await until(lambda: not alive(int(ends[0].output)))


async def test_more_bodies_run_at_once_where_more_are_allowed(
    start: Start, configured: Configured, tmp_path: Path, nursery: trio.Nursery
) -> None:
    executors = await start(shell(waiting_for(tmp_path, "x")))
    ends: list[BodyEnded] = []

    async def run() -> None:
        ends.append(await perform(executors, "h"))

    for _ in range(3):
        nursery.start_soon(run)
    await pids_in(tmp_path / "started")
    await replace(executors, configured(shell(waiting_for(tmp_path, "x"), concurrency=3)))
    await until(lambda: len((tmp_path / "started").read_text().split()) == 3)
    (tmp_path / "open").touch()
    await until(lambda: len(ends) == 3)


async def test_a_run_that_comes_before_a_larger_handler_counts_does_not_wait_for_the_old_ones(
    start: Start, configured: Configured, tmp_path: Path, nursery: trio.Nursery
) -> None:
    executors = await start(shell(waiting_for(tmp_path, "old")))
    replacement = await executors.prepare(configured(shell("echo '\"new\"'", concurrency=2)))
    for _ in range(2):
        nursery.start_soon(perform, executors, "h")
    await pids_in(tmp_path / "started")
    await until(lambda: len((tmp_path / "started").read_text().split()) == 2)
    replacement.commit()
    (tmp_path / "open").touch()


async def test_the_time_limit_that_counts_is_the_present_one(start: Start, configured: Configured) -> None:
    executors = await start(shell("sleep 1000", timeout_s=500.0))
    await replace(executors, configured(shell("sleep 1000", timeout_s=0.1)))
    ended = await perform(executors, "h")
    assert (ended.status, ended.detail) == (BodyStatus.TIMED_OUT, "The body was stopped at its time limit of 0.1 s.")


@pytest.mark.parametrize("counts", [True, False])
async def test_no_more_bodies_run_than_are_allowed_once_it_counts_or_is_given_up(
    start: Start, configured: Configured, tmp_path: Path, nursery: trio.Nursery, counts: bool
) -> None:
    script = waiting_for(tmp_path, "x")
    executors = await start(shell(script, concurrency=3 if counts else 1))
    replacement = await executors.prepare(configured(shell(script, concurrency=1 if counts else 3)))
    if counts:
        replacement.commit()
    else:
        replacement.abandon()
    nursery.start_soon(perform, executors, "h")
    await until(lambda: (tmp_path / "started").exists())
    assert (await perform(executors, "h", timeout_s=1.0)).status is BodyStatus.TIMED_OUT
    assert len((tmp_path / "started").read_text().split()) == 1
    (tmp_path / "open").touch()


async def test_mcp_servers_come_and_go(start: Start, configured: Configured) -> None:
    executors = await start("")
    assert (await executors.list_tools(FindTools())).total == 0
    await replace(executors, configured(SERVER))
    with trio.fail_after(60):
        while not (await executors.list_tools(FindTools())).tools:
            pass
    assert executors.capabilities == (HandlerSpec("mcp:hand", 4),)
    await replace(executors, configured(""))
    found = await executors.list_tools(FindTools())
    assert (found.tools, found.silent) == ((), ())
