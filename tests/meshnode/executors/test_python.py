"""Python handlers over real worker processes: good bodies, bad bodies, and bodies that must be stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import trio
from trio.testing import MockClock

from meshnode.executors.pool import Executors
from protocols.limits import DETAIL_CHARS_MAX, PAYLOAD_BYTES_MAX
from protocols.tasks.task import BodyEnded, BodyStatus
from tests.meshnode.executors.executor_support import Start, alive, perform, pids_in, until

ROOT = Path(__file__).parents[3]


async def started(start: Start, function: str, extra: str = "", module: str = "bodies") -> Executors:
    return await start(f'[handlers.h]\nexecutor = "python"\ntarget = "{module}:{function}"\n{extra}')


async def outcome(start: Start, function: str, payload: object = None, extra: str = "") -> BodyEnded:
    return await perform(await started(start, function, extra), "h", payload)


@pytest.mark.parametrize(
    "payload", [None, 3, "ü\u2028\U0001f600", {"a": [1, {"b": None}]}, "x" * (PAYLOAD_BYTES_MAX - 2)]
)
async def test_payloads_reach_the_body_and_results_come_back(start: Start, payload: object) -> None:
    ended = await outcome(start, "echo", payload)
    assert ended.status is BodyStatus.OK, ended.detail
    assert json.loads(ended.output) == payload
    assert ended.detail == ""


@pytest.mark.parametrize(
    ("function", "result"),
    [
        ("with_context", [None, "t1", 3]),
        ("with_default", "default"),
        ("wrapped", "t1"),
        ("Model.predict", "predicted None"),
        ("read_stdin", ""),
        ("close_stdout", "closed"),
    ],
)
async def test_shapes_of_bodies(start: Start, function: str, result: object) -> None:
    ended = await outcome(start, function)
    assert (ended.status, ended.detail) == (BodyStatus.OK, "")
    assert json.loads(ended.output) == result


async def test_a_module_of_the_standard_library(start: Start) -> None:
    executors = await started(start, "sqrt", module="math")
    assert (await perform(executors, "h", 9)).output == "3.0"


async def test_an_exception_is_named_with_its_place_and_what_was_printed(start: Start) -> None:
    ended = await outcome(start, "fail", "no such ü")
    assert ended.status is BodyStatus.ERROR
    assert ended.detail.startswith("ValueError: no such ü\nat ")
    assert "bodies.py:" in ended.detail
    assert "in fail" in ended.detail
    assert ended.detail.endswith("printed before it failed")


async def test_a_huge_exception_is_cut_to_what_a_detail_may_hold(start: Start) -> None:
    ended = await outcome(start, "fail", "x" * 100_000)
    assert ended.status is BodyStatus.ERROR
    assert len(ended.detail) <= DETAIL_CHARS_MAX
    assert "in fail" in ended.detail


async def test_a_body_that_exits_ends_only_its_run(start: Start) -> None:
    ended = await outcome(start, "leave")
    assert ended.status is BodyStatus.ERROR
    assert "SystemExit: enough" in ended.detail


@pytest.mark.parametrize(
    ("function", "payload", "words"),
    [
        ("exit_at_once", 7, ["exited with status 7", "last words"]),
        ("exit_at_once", 0, ["exited with status 0", "last words"]),
        ("die_by_signal", signal.SIGKILL, ["killed by signal 9 (SIGKILL)"]),
        ("segfault", None, ["killed by signal 11 (SIGSEGV)", "in segfault"]),
    ],
)
async def test_a_crash_is_told_and_the_next_run_has_a_new_worker(
    start: Start, function: str, payload: object, words: list[str]
) -> None:
    executors = await started(start, function)
    for _ in range(2):
        ended = await perform(executors, "h", payload)
        assert ended.status is BodyStatus.CRASHED
        for word in words:
            assert word in ended.detail


async def test_printing_ten_megabytes_costs_nothing(start: Start) -> None:
    executors = await started(start, "print_much")
    await perform(executors, "h", 1000)
    before = psutil.Process().memory_info().rss
    ended = await perform(executors, "h", 10_000_000)
    assert (ended.status, ended.output) == (BodyStatus.OK, '"done"')
    assert psutil.Process().memory_info().rss - before < 4_000_000


@pytest.mark.parametrize(
    ("size", "extra", "status"),
    [
        (10_000_000, "", BodyStatus.OUTPUT_LIMIT),
        (99, "output_bytes_max = 100", BodyStatus.OUTPUT_LIMIT),
        (98, "output_bytes_max = 100", BodyStatus.OK),
        (256 * 1024 - 2, "", BodyStatus.OK),
    ],
)
async def test_results_are_bounded(start: Start, size: int, extra: str, status: BodyStatus) -> None:
    ended = await outcome(start, "return_much", size, extra)
    assert ended.status is status, ended.detail
    assert (len(ended.output) == size + 2) == (status is BodyStatus.OK)


@pytest.mark.parametrize("what", ["set", "nan", "surrogate", "circle", "bytes"])
async def test_a_result_that_json_cannot_hold_is_the_body_s_error(start: Start, what: str) -> None:
    ended = await outcome(start, "return_expression", what)
    assert ended.status is BodyStatus.ERROR
    assert "cannot be written as JSON" in ended.detail


@pytest.mark.parametrize("function", ["hang", "hang_ignoring_sigterm"])
async def test_a_run_past_its_time_is_killed_before_it_is_answered(
    start: Start, leaping_clock: MockClock, function: str, tmp_path: Path
) -> None:
    executors = await started(start, function)
    pids: list[int] = []

    async def leap_once_it_runs() -> None:
        pids.extend(await pids_in(tmp_path / "pids"))
        leaping_clock.jump(500)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leap_once_it_runs)
        ended = await perform(executors, "h", str(tmp_path / "pids"), timeout_s=500)
    assert ended.status is BodyStatus.TIMED_OUT
    assert "500 s" in ended.detail
    assert ended.run_ms >= 500_000
    (pid,) = pids
    assert not psutil.pid_exists(pid)


async def test_the_handler_s_own_cap_wins_when_it_is_shorter(start: Start, tmp_path: Path) -> None:
    ended = await outcome(start, "hang", str(tmp_path / "pids"), "timeout_s = 0.3")
    assert ended.status is BodyStatus.TIMED_OUT
    assert "0.3 s" in ended.detail


async def test_cancelling_kills_grandchildren_too(start: Start, tmp_path: Path) -> None:
    executors = await started(start, "hang_with_grandchild")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(perform, executors, "h", str(tmp_path / "pids"))
        body, grandchild = await pids_in(tmp_path / "pids")
        family = [body, *(each.pid for each in psutil.Process(body).children(recursive=True))]
        assert grandchild in family
        nursery.cancel_scope.cancel()
    assert not psutil.pid_exists(body)
    await until(lambda: not any(alive(pid) for pid in family))


async def test_a_cancelled_run_leaves_its_place_to_the_next(start: Start, tmp_path: Path) -> None:
    executors = await started(start, "wait_for")
    payload = {"started": str(tmp_path), "gate": str(tmp_path / "gate")}
    with trio.move_on_after(0.3):
        await perform(executors, "h", payload)
    (tmp_path / "gate").touch()
    assert (await perform(executors, "h", payload)).status is BodyStatus.OK


@pytest.mark.parametrize(
    ("module", "function", "words"),
    [
        ("nowhere", "f", ["No module named 'nowhere'"]),
        ("bodies", "nothing", ["has no attribute 'nothing'"]),
        ("bodies", "NOT_CALLABLE", ["not callable"]),
        ("bodies", "asynchronous", ["is async"]),
        ("bodies", "three", ["wants 3 arguments"]),
        ("dies_at_import", "body", ["exited with status 5", "importing, and then gone"]),
    ],
)
async def test_a_body_that_cannot_be_imported_says_what_to_do(
    start: Start, module: str, function: str, words: list[str]
) -> None:
    executors = await started(start, function, module=module)
    for _ in range(2):
        ended = await perform(executors, "h")
        assert ended.status is BodyStatus.UNAVAILABLE
        for word in (*words, "cannot be imported", sys.executable):
            assert word in ended.detail


async def test_a_missing_directory_says_so(start: Start) -> None:
    ended = await outcome(start, "echo", None, 'cwd = "nowhere"')
    assert ended.status is BodyStatus.UNAVAILABLE
    assert "nowhere does not exist" in ended.detail


async def test_a_module_in_the_handler_s_own_directory(start: Start, tmp_path: Path) -> None:
    (tmp_path / "here.py").write_text(
        "import json, msgpack\ndef where(payload):\n    import os\n    return os.getcwd()"
    )
    (tmp_path / "mcp.py").write_text("raise RuntimeError('a name that this project uses, too')")
    executors = await started(start, "where", f'cwd = "{tmp_path}"', module="here")
    assert (await perform(executors, "h")).output == json.dumps(str(tmp_path))


async def test_two_hundred_runs_share_one_worker(start: Start) -> None:
    executors = await started(start, "pid", "concurrency = 4")
    assert len({(await perform(executors, "h")).output for _ in range(200)}) == 1


async def test_a_worker_is_replaced_after_a_thousand_runs(start: Start) -> None:
    executors = await started(start, "pid")
    pids = [(await perform(executors, "h")).output for _ in range(1001)]
    assert len(set(pids[:1000])) == 1
    assert pids[1000] != pids[999]
    await until(lambda: not alive(int(pids[0])))


async def test_an_idle_worker_is_ended(mock_clock: MockClock, start: Start) -> None:
    executors = await started(start, "pid")
    pid = int((await perform(executors, "h", timeout_s=1000)).output)
    mock_clock.jump(30)
    assert (await perform(executors, "h", timeout_s=1000)).output == str(pid)
    mock_clock.jump(50)
    await trio.testing.wait_all_tasks_blocked()
    assert alive(pid)
    mock_clock.jump(20)
    await until(lambda: not psutil.pid_exists(pid))
    assert (await perform(executors, "h", timeout_s=1000)).output != str(pid)


async def test_no_more_bodies_at_once_than_the_handler_allows(start: Start, tmp_path: Path) -> None:
    executors = await started(start, "wait_for", "concurrency = 2")
    (tmp_path / "started").mkdir()
    payload = {"started": str(tmp_path / "started"), "gate": str(tmp_path / "gate")}
    pids: list[str] = []

    async def one() -> None:
        pids.append((await perform(executors, "h", payload)).output)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(one)
        await until(lambda: len(list((tmp_path / "started").iterdir())) == 2)
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert len(list((tmp_path / "started").iterdir())) == 2
        (tmp_path / "gate").touch()
    assert len(pids) == 5
    assert len(set(pids)) == 2


async def test_a_worker_that_breaks_the_protocol_is_stopped(start: Start) -> None:
    ended = await outcome(start, "write_to_every_descriptor")
    assert ended.status is BodyStatus.CRASHED
    assert "something else than an answer" in ended.detail


async def test_a_forked_child_does_not_answer(start: Start) -> None:
    executors = await started(start, "fork_and_return")
    pids = {(await perform(executors, "h")).output for _ in range(10)}
    assert len(pids) == 1


async def test_the_environment_is_closed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_DAEMON", "x")
    ended = await outcome(start, "environment", None, 'env = { GIVEN = "yes" }')
    environment = json.loads(ended.output)
    assert environment["GIVEN"] == "yes"
    assert environment["PATH"].startswith(os.path.dirname(sys.executable))
    assert set(environment) <= {"PATH", "HOME", "LANG", "LC_CTYPE", "PYTHONPATH", "VIRTUAL_ENV", "GIVEN"}


async def test_stopping_the_executors_ends_runs_and_workers(start: Start, tmp_path: Path) -> None:
    ends: list[BodyEnded] = []
    async with trio.open_nursery() as runs:
        async with trio.open_nursery() as daemon:
            toml = '[handlers.h]\nexecutor = "python"\ntarget = "bodies:hang_with_grandchild"'
            executors = await start(toml, inside=daemon)

            async def one() -> None:
                ends.append(await perform(executors, "h", str(tmp_path / "pids")))

            runs.start_soon(one)
            pids = await pids_in(tmp_path / "pids")
            daemon.cancel_scope.cancel()
        assert not psutil.pid_exists(pids[0])
    assert ends[0].status is BodyStatus.CRASHED
    assert "node stopped" in ends[0].detail
    await until(lambda: not any(alive(pid) for pid in pids))
    assert (await perform(executors, "h")).status is BodyStatus.UNAVAILABLE


DAEMON = """
import sys, trio
from pathlib import Path
from meshnode.config import load_config
from meshnode.executors.pool import Executors
from protocols.tasks.task import RunBody
async def main():
    executors = Executors(load_config(Path(sys.argv[1]), environ={}, workdir="tests/meshnode/executors"))
    async with trio.open_nursery() as nursery:
        await nursery.start(executors.run)
        import json
        nursery.start_soon(executors.perform, RunBody("t", 1, "h", json.dumps(sys.argv[2]), 60000))
        nursery.start_soon(executors.perform, RunBody("t", 1, "x", json.dumps({"pids": sys.argv[3]}), 60000))
        await trio.sleep_forever()
trio.run(main)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
async def test_kill_9_of_the_daemon_takes_bodies_and_their_children_along(tmp_path: Path) -> None:
    (tmp_path / "meshnode.toml").write_text(
        '[handlers.h]\nexecutor = "python"\ntarget = "bodies:hang_with_grandchild"\n[handlers.x]\nexecutor = "exec"\n'
        """argv = ["sh", "-c", "trap '' TERM HUP IO; cat >$0.in; echo $$ > $0.tmp; mv $0.tmp $0; sleep 99", "{pids}"]"""
    )
    # Both bodies are given their payload before they say who they are: by then the daemon holds their lifelines.
    files = [tmp_path / "python", tmp_path / "exec"]
    command = [sys.executable, "-c", DAEMON, str(tmp_path), *map(str, files)]
    with subprocess.Popen(command, cwd=ROOT) as daemon:  # noqa: ASYNC220  # it is to be killed, not to be awaited
        pids = [pid for file in files for pid in await pids_in(file)]
        assert len(pids) == 3
        assert all(alive(pid) for pid in pids)
        daemon.kill()
    await until(lambda: not any(alive(pid) for pid in pids))
