"""Routing, time limits, and what may not be loaded before it is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import trio

from meshnode.config import load_config
from meshnode.executors.pool import Executors
from protocols.config import HandlerSpec
from protocols.tasks.task import BodyEnded, BodyStatus, RunBody
from protocols.tools import FindTools, LocalTools
from tests.meshnode.executors.executor_support import Start, alive, perform, pids_in, until

ROOT = Path(__file__).parents[3]
TOML = """
[handlers.a]
executor = "exec"
argv = ["sleep", "1000"]
timeout_s = 0.2
[handlers.b]
executor = "python"
target = "bodies:echo"
concurrency = 3
[mcp_servers.files]
command = "never-started"
"""


async def test_capabilities_are_handlers_and_servers(start: Start) -> None:
    executors = await start(TOML)
    assert executors.capabilities == (HandlerSpec("a", 1), HandlerSpec("b", 3), HandlerSpec("mcp:files", 4))


async def test_an_unknown_handler_names_those_that_exist(start: Start) -> None:
    ended = await perform(await start(TOML), "c")
    assert ended.status is BodyStatus.UNAVAILABLE
    assert "'c'" in ended.detail
    assert "a, b, mcp:files" in ended.detail


async def test_limits_of_task_and_handler_whichever_is_shorter(start: Start) -> None:
    executors = await start(TOML)
    ended = await perform(executors, "a", timeout_s=60)
    assert (ended.status, ended.detail) == (BodyStatus.TIMED_OUT, "The body was stopped at its time limit of 0.2 s.")
    assert 200 <= ended.run_ms < 60_000
    ended = await perform(executors, "a", timeout_s=0.05)
    assert "0.05 s" in ended.detail


@pytest.mark.parametrize("payload", ["", "{", '{"a": NaN', "[" * 100_000, "\ud800"])
@pytest.mark.parametrize("handler", ["a", "b", "mcp:files"])
async def test_a_payload_that_is_no_json_is_the_task_s_error(start: Start, handler: str, payload: str) -> None:
    ended = await (await start(TOML)).perform(RunBody("t", 1, handler, payload, 10_000))
    assert ended.status is BodyStatus.ERROR


async def test_before_it_runs_nothing_is_performed(tmp_path: Path) -> None:
    (tmp_path / "meshnode.toml").write_text(TOML)
    ended = await perform(Executors(load_config(tmp_path, environ={})), "b")
    assert ended.status is BodyStatus.UNAVAILABLE


async def test_without_servers_there_are_no_tools(start: Start) -> None:
    executors = await start('[handlers.a]\nexecutor = "exec"\nargv = ["true"]')
    assert await executors.list_tools(FindTools()) == LocalTools((), 0)


async def test_stopping_ends_programs_whose_callers_still_wait(start: Start, tmp_path: Path) -> None:
    script = f"trap '' TERM; sleep 1000 & echo $$ $! > {tmp_path}/tmp; mv {tmp_path}/tmp {tmp_path}/pids; wait"
    ends: list[BodyEnded] = []
    async with trio.open_nursery() as callers:
        async with trio.open_nursery() as daemon:
            toml = f'[handlers.h]\nexecutor = "exec"\nargv = {json.dumps(["sh", "-c", script])}\nconcurrency = 2'
            executors = await start(toml, inside=daemon)

            async def one() -> None:
                ends.append(await perform(executors, "h"))

            callers.start_soon(one)
            pids = await pids_in(tmp_path / "pids")
            callers.start_soon(one)
            daemon.cancel_scope.cancel()
        await until(lambda: not any(alive(pid) for pid in pids))  # killed; the kernel takes its moment for a group
    # Whether the second caller comes before or after the stop is the scheduler's choice; neither may hang or succeed.
    assert len(ends) == 2
    assert {ended.status for ended in ends} <= {BodyStatus.UNAVAILABLE, BodyStatus.CRASHED}
    assert "The node stopped while the body ran." in [ended.detail for ended in ends]


async def test_no_descriptor_leaks(start: Start, tmp_path: Path) -> None:
    toml = """
    [handlers.crash]
    executor = "python"
    target = "bodies:exit_at_once"
    [handlers.hang]
    executor = "python"
    target = "bodies:hang"
    [handlers.missing]
    executor = "exec"
    argv = ["no-such-program"]
    [handlers.yes]
    executor = "exec"
    argv = ["yes"]
    """
    executors = await start(toml)

    async def round_of_trouble() -> None:
        assert (await perform(executors, "crash", 3)).status is BodyStatus.CRASHED
        assert (await perform(executors, "hang", str(tmp_path / "p"), 0.1)).status is BodyStatus.TIMED_OUT
        assert (await perform(executors, "missing")).status is BodyStatus.UNAVAILABLE
        assert (await perform(executors, "yes")).status is BodyStatus.OUTPUT_LIMIT

    await round_of_trouble()
    before = psutil.Process().num_fds()
    for _ in range(10):
        await round_of_trouble()
    assert psutil.Process().num_fds() <= before


WORK_WITHOUT_MCP = """
import sys, trio
from pathlib import Path
from meshnode.config import load_config
from meshnode.executors.pool import Executors
from protocols.tasks.task import RunBody
async def main():
    executors = Executors(load_config(Path(sys.argv[1]), environ={}, workdir="tests/meshnode/executors"))
    async with trio.open_nursery() as nursery:
        await nursery.start(executors.run)
        for handler in "ab":
            print((await executors.perform(RunBody("t", 1, handler, "null", 60000))).status.name)
        nursery.cancel_scope.cancel()
trio.run(main)
print([name for name in ("mcp", "pydantic", "anyio", "asyncio", "hypercorn") if name in sys.modules])
"""


def test_the_sdk_is_not_loaded_where_no_server_is_attached(tmp_path: Path) -> None:
    (tmp_path / "meshnode.toml").write_text(TOML.partition("[mcp_servers")[0])
    command = [sys.executable, "-c", WORK_WITHOUT_MCP, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "TIMED_OUT\nOK\n[]\n"
