"""Attached MCP servers as real processes: those that work, and those that die, hang, flood or never start."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio
from trio.testing import MockClock

from meshnode.executors import mcp
from meshnode.executors.pool import Executors
from protocols.tasks.task import BodyEnded, BodyStatus
from protocols.tools import FindTools
from tests.meshnode.executors.executor_support import Start, alive, perform, until

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits for what fails for sure, and patience with servers that are slow because the machine is."""
    monkeypatch.setattr(mcp, "BACKOFF_BASE_S", 0.1)
    monkeypatch.setattr(mcp, "PROBE_S", 60.0)
    monkeypatch.setattr(mcp, "LISTING_FRESH_S", 600.0)


def server(*args: str, name: str = "s", extra: str = "") -> str:
    return f'[mcp_servers.{name}]\ncommand = "python"\nargs = {json.dumps(args)}\n{extra}\n'


def unruly(file: Path | None = None, mode: str = "serve", extra: str = "") -> str:
    return server("unruly_server.py", mode, *([str(file)] if file else []), extra=extra)


def failing(mode: str, file: Path, name: str = "s") -> str:
    return server("failing_server.py", mode, str(file), name=name)


async def call(executors: Executors, tool: str, timeout_s: float = 30.0, **arguments: Any) -> BodyEnded:
    return await perform(executors, "mcp:s", {"tool": tool, "arguments": arguments}, timeout_s)


async def retried(executors: Executors, tool: str, **arguments: Any) -> BodyEnded:
    """The call, as soon as the server is not merely waiting to be started again."""
    with trio.fail_after(60):
        while True:
            ended = await call(executors, tool, **arguments)
            if ended.status is not BodyStatus.UNAVAILABLE:
                return ended
            await trio.sleep(0.05)


def starts(file: Path) -> list[int]:
    return [int(pid) for pid in file.read_text().split()] if file.exists() else []


async def test_a_server_starts_when_it_is_first_needed_and_is_kept(start: Start, tmp_path: Path) -> None:
    executors = await start(unruly(tmp_path / "starts"))
    await trio.testing.wait_all_tasks_blocked()
    assert starts(tmp_path / "starts") == []
    results = [await call(executors, "pid") for _ in range(3)]
    assert [ended.status for ended in results] == [BodyStatus.OK] * 3, results[0].detail
    (pid,) = starts(tmp_path / "starts")
    assert [json.loads(ended.output)["structured"] for ended in results] == [{"result": pid}] * 3
    assert json.loads(results[0].output)["content"] == [{"type": "text", "text": str(pid)}]


async def test_the_example_server_works_and_refuses_escapes(start: Start, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("one\ntwo\nthree\n")
    (tmp_path / "secret").write_text("x")
    (root / "link").symlink_to(tmp_path / "secret")
    args = ("-m", "examples.files_server", "--root", str(root))
    executors = await start(server(*args, extra=f'cwd = "{ROOT}"'))

    async def structured(tool: str, **arguments: Any) -> object:
        ended = await call(executors, tool, **arguments)
        assert ended.status is BodyStatus.OK, ended.detail
        return json.loads(ended.output)["structured"]

    assert await structured("list_files", directory=".") == {"entries": ["a.txt", "link", "sub/"], "truncated": False}
    assert await structured("read_head", path="a.txt", lines=2) == {"lines": ["one", "two"], "truncated": True}
    assert await structured("file_stats", path="a.txt") == {"bytes": 14, "lines": 3}
    for path in ("../secret", "link", str(tmp_path / "secret"), "sub/../../secret"):
        ended = await call(executors, "file_stats", path=path)
        assert ended.status is BodyStatus.ERROR
        assert "outside of the root" in ended.detail
    assert "no 'nothing' here" in (await call(executors, "file_stats", path="nothing")).detail


async def test_errors_of_tools_are_the_body_s_errors(start: Start) -> None:
    executors = await start(unruly())
    ended = await call(executors, "refuse", why="not on a ü day")
    assert ended.status is BodyStatus.ERROR
    assert "not on a ü day" in ended.detail
    assert (await call(executors, "nothing")).status is BodyStatus.ERROR
    assert (await call(executors, "refuse", wrong=1)).status is BodyStatus.ERROR
    unfit: list[object] = [None, {"tool": 1}, {"tool": "pid", "arguments": []}, {"tool": "pid", "x": 1}, {}]
    for payload in unfit:
        ended = await perform(executors, "mcp:s", payload)
        assert ended.status is BodyStatus.ERROR
        assert '{"tool": text, "arguments": object}' in ended.detail


async def test_the_environment_is_closed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_DAEMON", "x")
    ended = await call(await start(unruly(extra='env = { GIVEN = "yes" }')), "environment")
    environment = json.loads(ended.output)["structured"]
    assert environment["GIVEN"] == "yes"
    assert "SECRET_OF_THE_DAEMON" not in environment


async def test_results_are_bounded_and_the_server_lives_on(start: Start, tmp_path: Path) -> None:
    executors = await start(unruly(tmp_path / "starts"))
    before = (await call(executors, "pid")).output
    assert (await call(executors, "much", size=250_000)).status is BodyStatus.OK
    for size in (300_000, 20_000_000):
        ended = await call(executors, "much", size=size)
        assert ended.status is BodyStatus.OUTPUT_LIMIT, ended.detail
    assert (await call(executors, "pid")).output == before


async def test_a_server_of_the_first_era_with_its_ids_last(start: Start) -> None:
    executors = await start(server("handmade_server.py"))
    assert (
        await call(executors, "size", size=3)
    ).output == '{"content":[{"type":"text","text":"xxx"}],"structured":null}'
    assert (await call(executors, "size", size=6_000_000)).status is BodyStatus.OUTPUT_LIMIT
    assert (await call(executors, "size", size=1)).status is BodyStatus.OK


async def test_a_flood_that_is_no_answer_ends_the_server(start: Start) -> None:
    executors = await start(server("handmade_server.py"))
    ended = await call(executors, "nameless")
    assert ended.status is BodyStatus.CRASHED
    assert "more than 4194304 bytes" in ended.detail
    assert (await retried(executors, "size", size=1)).status is BodyStatus.OK


async def test_a_noisy_server_works(start: Start) -> None:
    assert (await call(await start(unruly(mode="noisy")), "pid")).status is BodyStatus.OK


async def test_a_server_that_dies_takes_its_calls_along_and_is_started_again(start: Start, tmp_path: Path) -> None:
    executors = await start(unruly(tmp_path / "starts"))
    ends: list[BodyEnded] = []

    async def linger() -> None:
        ends.append(await call(executors, "linger"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(linger)
        await call(executors, "pid")
        ends.append(await call(executors, "die", status=7))
    for ended in ends:
        assert ended.status is BodyStatus.CRASHED
        assert "exited with status 7" in ended.detail
        assert "last words" in ended.detail
    meanwhile = await call(executors, "pid")
    if meanwhile.status is not BodyStatus.OK:
        assert meanwhile.status is BodyStatus.UNAVAILABLE
        assert "exited with status 7" in meanwhile.detail
        assert "started again in" in meanwhile.detail
    assert (await retried(executors, "pid")).status is BodyStatus.OK
    assert len(starts(tmp_path / "starts")) == 2


async def test_killing_the_server_from_outside_is_noticed_without_a_call(start: Start, tmp_path: Path) -> None:
    executors = await start(unruly(tmp_path / "starts"))
    await call(executors, "pid")
    (pid,) = starts(tmp_path / "starts")
    psutil.Process(pid).kill()
    await until(lambda: not psutil.pid_exists(pid))
    assert (await retried(executors, "pid")).status is BodyStatus.OK


async def test_a_server_that_exits_at_once_says_why(start: Start, tmp_path: Path) -> None:
    executors = await start(failing("exit", tmp_path / "starts"))
    ended = await call(executors, "pid")
    assert ended.status is BodyStatus.UNAVAILABLE
    for words in ("'s'", "exited with status 1", "cannot find my data", "failing_server.py", "started again in"):
        assert words in ended.detail
    assert (await executors.list_tools(FindTools())).total == 0


async def test_starts_back_off(start: Start, tmp_path: Path) -> None:
    executors = await start(failing("exit", tmp_path / "starts"))
    began = time.monotonic()
    while len(starts(tmp_path / "starts")) < 4:
        assert (await call(executors, "pid")).status is BodyStatus.UNAVAILABLE
        await trio.sleep(0.02)
    assert time.monotonic() - began > 0.1 + 0.2 + 0.4


async def test_a_program_that_does_not_exist(start: Start) -> None:
    ended = await call(await start('[mcp_servers.s]\ncommand = "no-such-program"'), "pid")
    assert ended.status is BodyStatus.UNAVAILABLE
    assert "'no-such-program' was not found" in ended.detail


async def test_a_server_that_never_answers_is_given_up(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executors = await start(failing("silent", tmp_path / "starts"))
    ended = await call(executors, "pid", timeout_s=0.3)
    assert ended.status is BodyStatus.TIMED_OUT
    monkeypatch.setattr(mcp, "START_S", 0.5)
    executors = await start(failing("silent", tmp_path / "starts"))
    ended = await call(executors, "pid")
    assert ended.status is BodyStatus.UNAVAILABLE
    assert "did not complete the MCP handshake" in ended.detail


async def test_a_slow_call_can_be_stopped_without_harm_to_others(start: Start, tmp_path: Path) -> None:
    executors = await start(unruly(tmp_path / "starts"))
    await call(executors, "pid")
    assert (await call(executors, "linger", timeout_s=0.2)).status is BodyStatus.TIMED_OUT
    await trio.sleep(0.1)
    assert (await call(executors, "pid")).status is BodyStatus.OK
    assert len(starts(tmp_path / "starts")) == 1


async def test_a_server_stuck_in_a_stopped_call_is_replaced(
    start: Start, leaping_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp, "PROBE_S", 0.3)
    executors = await start(unruly(tmp_path / "starts"))
    await call(executors, "pid")
    (stuck,) = starts(tmp_path / "starts")

    async def leap_once_it_is_stuck() -> None:
        await until((tmp_path / "starts.blocked").exists)
        leaping_clock.jump(500)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leap_once_it_is_stuck)
        assert (await call(executors, "block", timeout_s=500)).status is BodyStatus.TIMED_OUT
    await until(lambda: not psutil.pid_exists(stuck))
    assert (await retried(executors, "pid")).status is BodyStatus.OK
    assert len(starts(tmp_path / "starts")) == 2


async def test_no_more_calls_at_once_than_the_server_allows(start: Start) -> None:
    executors = await start(unruly(extra="concurrency = 1"))
    await call(executors, "pid")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, executors, "linger")
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert (await call(executors, "pid", timeout_s=0.3)).status is BodyStatus.TIMED_OUT
        nursery.cancel_scope.cancel()


async def test_stopping_the_executors_ends_the_server(start: Start, tmp_path: Path) -> None:
    ends: list[BodyEnded] = []
    async with trio.open_nursery() as calls:
        async with trio.open_nursery() as daemon:
            executors = await start(unruly(tmp_path / "starts"), inside=daemon)
            await call(executors, "pid")

            async def linger() -> None:
                ends.append(await call(executors, "linger"))

            calls.start_soon(linger)
            await trio.testing.wait_all_tasks_blocked(0.05)
            daemon.cancel_scope.cancel()
        (pid,) = starts(tmp_path / "starts")
        assert not alive(pid)
    assert ends[0].status is BodyStatus.CRASHED
    assert (await call(executors, "pid")).status is BodyStatus.UNAVAILABLE


async def listed(start: Start, toml: str) -> Executors:
    """Executors whose servers have all come up."""
    executors = await start(toml)
    names: set[str] = set()
    with trio.fail_after(60):
        while len(names) < toml.count("[mcp_servers"):
            names = {tool.server for tool in (await executors.list_tools(FindTools())).tools}
    return executors


async def test_finding_tools(start: Start) -> None:
    executors = await listed(start, unruly() + server("handmade_server.py", name="h"))

    async def found(limit: int = 50, **query: str) -> list[tuple[str, str]]:
        tools = (await executors.list_tools(FindTools(limit=limit, **query))).tools
        return [(tool.server, tool.tool) for tool in tools]

    everything = [("h", "large-schema"), ("h", "nameless"), ("h", "size")]
    everything += [("s", name) for name in ("block", "die", "environment", "linger", "much", "pid", "refuse")]
    assert await found() == everything
    assert await found(server="h") == everything[:3]
    assert await found(server="nobody") == []
    assert await found(query="SERVER keeps") == [("s", "block")]
    assert await found(tool="pid") == [("s", "pid")]
    assert await found(limit=2) == everything[:2]
    assert (await executors.list_tools(FindTools(limit=2))).total == 10


async def test_schemas_only_for_a_tool_asked_for_by_name(start: Start) -> None:
    executors = await listed(start, unruly() + server("handmade_server.py", name="h"))
    assert {tool.input_schema for tool in (await executors.list_tools(FindTools())).tools} == {""}
    (die,) = (await executors.list_tools(FindTools(tool="die"))).tools
    assert json.loads(die.input_schema)["properties"]["status"]["type"] == "integer"
    (large,) = (await executors.list_tools(FindTools(tool="large-schema"))).tools
    assert large.input_schema == ""
    assert "too large" in large.description


async def test_listings_are_kept_for_a_while(start: Start) -> None:
    executors = await listed(start, server("handmade_server.py"))
    told: set[str] = set()
    for _ in range(3):
        (size,) = (await executors.list_tools(FindTools(tool="size"))).tools
        told.add(size.description)  # how often the server has listed them
    assert len(told) == 1


async def test_a_silent_server_does_not_hold_up_the_others(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp, "START_S", 3600.0)
    silent = failing("silent", tmp_path / "starts", name="silent")
    executors = await start(silent + server("handmade_server.py"))
    with trio.fail_after(60):
        while not (await executors.list_tools(FindTools(server="s"))).tools:
            pass
        tools = await executors.list_tools(FindTools())
    assert {tool.server for tool in tools.tools} == {"s"}
    assert tools.silent == ("silent",)
