"""Exec handlers over real programs: what reaches them, what comes back, and how they are stopped."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import psutil
import pytest
import trio
from trio.testing import MockClock

from meshnode.config import ExecHandler
from meshnode.executors.exec import BadPayload, build_argv
from meshnode.executors.pool import Executors
from protocols.limits import DETAIL_CHARS_MAX, OUTPUT_BYTES_MAX
from protocols.tasks.task import BodyEnded, BodyStatus
from tests.meshnode.executors.executor_support import Start, alive, perform, pids_in, until

WRITE_PIDS_AND = "echo $$ $! > {file}.tmp; mv {file}.tmp {file}; "


async def started(start: Start, argv: list[str], extra: str = "") -> Executors:
    return await start(f'[handlers.h]\nexecutor = "exec"\nargv = {json.dumps(argv)}\n{extra}')


async def outcome(start: Start, argv: list[str], payload: object = None, extra: str = "") -> BodyEnded:
    return await perform(await started(start, argv, extra), "h", payload)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code.replace("{", "{{").replace("}", "}}")]


async def test_placeholders_are_filled_and_text_is_wrapped(start: Start) -> None:
    ended = await outcome(
        start, ["echo", "-n", "<{a}|{b}|{c}>", "{{a}}"], {"a": "x y; $HOME `id` ü", "b": 1.5, "c": True}
    )
    assert ended.status is BodyStatus.OK
    assert json.loads(ended.output) == {"stdout": "<x y; $HOME `id` ü|1.5|true> {a}", "exit_status": 0}


@pytest.mark.parametrize("text", ['{"a": [1, "ü"]}\n', "17", '"x"', "  [1]  "])
async def test_json_on_stdout_is_the_output_itself(start: Start, text: str) -> None:
    ended = await outcome(start, ["printf", "%s", "{text}"], {"text": text})
    assert ended.output == text.strip()


@pytest.mark.parametrize("text", ["", "0123", "NaN", '{"a":1}{"a":2}', "[1,]", "[" * 10_000])
async def test_what_only_looks_like_json_is_text(start: Start, text: str) -> None:
    ended = await outcome(start, ["printf", "%s", "{text}"], {"text": text})
    assert json.loads(ended.output) == {"stdout": text, "exit_status": 0}


async def test_bytes_that_are_no_text_are_replaced(start: Start) -> None:
    ended = await outcome(start, ["printf", "a\\377b"])
    assert json.loads(ended.output)["stdout"] == "a\ufffdb"


async def test_the_payload_is_on_stdin(start: Start) -> None:
    payload = {"list": list(range(30_000)), "text": "ü"}
    ended = await outcome(start, ["cat"], payload)
    assert json.loads(ended.output) == payload


async def test_a_program_need_not_read_its_stdin(start: Start) -> None:
    ended = await outcome(start, ["true"], "x" * 200_000)
    assert ended.status is BodyStatus.OK


async def test_the_environment_is_closed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_DAEMON", "x")
    ended = await outcome(start, ["env"], None, 'env = { GIVEN = "yes" }')
    variables = dict(line.split("=", 1) for line in json.loads(ended.output)["stdout"].splitlines())
    assert set(variables) <= {"PATH", "HOME", "LANG", "GIVEN", "MESHNODE_TASK_ID", "MESHNODE_ATTEMPT"}
    assert (variables["GIVEN"], variables["MESHNODE_TASK_ID"], variables["MESHNODE_ATTEMPT"]) == ("yes", "t1", "3")


async def test_the_working_directory(start: Start, tmp_path: Path) -> None:
    ended = await outcome(start, ["pwd"], None, f'cwd = "{tmp_path}"')
    assert json.loads(ended.output)["stdout"].strip() == str(tmp_path)


async def test_a_nonzero_exit_is_an_error_with_the_end_of_stderr(start: Start) -> None:
    ended = await outcome(start, ["sh", "-c", "echo out; seq 100000 >&2; echo so it failed >&2; exit 3"])
    assert ended.status is BodyStatus.ERROR
    assert "sh exited with status 3" in ended.detail
    assert ended.detail.endswith("so it failed")
    assert len(ended.detail) <= DETAIL_CHARS_MAX


async def test_without_stderr_the_end_of_stdout_explains(start: Start) -> None:
    ended = await outcome(start, ["sh", "-c", "echo explained here; exit 1"])
    assert ended.detail.endswith("explained here")


async def test_a_program_that_dies_is_crashed(start: Start) -> None:
    ended = await outcome(start, ["sh", "-c", "kill -SEGV $$"])
    assert ended.status is BodyStatus.CRASHED
    assert "killed by signal 11 (SIGSEGV)" in ended.detail


@pytest.mark.parametrize("argv", [["yes"], python("import sys\nsys.stdout.write('x' * 10_000_000)")])
async def test_too_much_output_ends_the_program_and_costs_no_memory(start: Start, argv: list[str]) -> None:
    before = psutil.Process().memory_info().rss
    ended = await outcome(start, argv)
    assert ended.status is BodyStatus.OUTPUT_LIMIT
    assert str(OUTPUT_BYTES_MAX) in ended.detail
    assert psutil.Process().memory_info().rss - before < 4_000_000


async def test_ten_megabytes_on_stderr_are_not_an_error(start: Start) -> None:
    ended = await outcome(start, ["sh", "-c", "head -c 10000000 /dev/zero >&2"])
    assert ended.status is BodyStatus.OK


@pytest.mark.parametrize(("size", "status"), [(69, BodyStatus.OK), (70, BodyStatus.OUTPUT_LIMIT)])
async def test_the_limit_is_on_the_json_that_is_kept(start: Start, size: int, status: BodyStatus) -> None:
    ended = await outcome(start, ["printf", "%s", "{text}"], {"text": "x" * size}, "output_bytes_max = 98")
    assert ended.status is status, (ended.output, len(ended.output))


@pytest.mark.parametrize("trap", ["", "trap '' TERM; "])
async def test_a_run_past_its_time_is_ended_with_all_its_children(
    start: Start, leaping_clock: MockClock, tmp_path: Path, trap: str
) -> None:
    script = trap + "sleep 1000 & " + WRITE_PIDS_AND.format(file=tmp_path / "pids") + "wait; sleep 1000"
    executors = await started(start, ["sh", "-c", script])
    pids: list[int] = []

    async def leap_once_it_runs() -> None:
        pids.extend(await pids_in(tmp_path / "pids"))
        leaping_clock.jump(500)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leap_once_it_runs)
        ended = await perform(executors, "h", timeout_s=500)
    assert ended.status is BodyStatus.TIMED_OUT
    assert not psutil.pid_exists(pids[0])
    await until(lambda: not any(alive(pid) for pid in pids))


async def test_a_program_may_clean_up_when_it_is_ended(start: Start, tmp_path: Path) -> None:
    ready, cleaned = tmp_path / "ready", tmp_path / "cleaned"
    script = f"trap 'touch {cleaned}; exit 0' TERM; touch {ready}; while :; do sleep 0.02; done"
    executors = await started(start, ["sh", "-c", script])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(perform, executors, "h")
        await until(ready.exists)
        nursery.cancel_scope.cancel()
    assert cleaned.exists()


async def test_a_child_left_in_the_background_ends_with_the_program(start: Start, tmp_path: Path) -> None:
    script = "sleep 1000 & " + WRITE_PIDS_AND.format(file=tmp_path / "pids") + "echo done"
    ended = await outcome(start, ["sh", "-c", script])
    assert json.loads(ended.output)["stdout"] == "done\n"  # and not that its time is over
    pids = await pids_in(tmp_path / "pids")
    await until(lambda: not any(alive(pid) for pid in pids))


async def test_a_process_that_gets_away_does_not_hold_up_the_answer(start: Start, tmp_path: Path) -> None:
    script = "setsid sleep 1000 & " + WRITE_PIDS_AND.format(file=tmp_path / "pids") + "echo done"
    ended = await outcome(start, ["sh", "-c", script])
    assert json.loads(ended.output)["stdout"] == "done\n"  # and not that its time is over
    _, escaped = await pids_in(tmp_path / "pids")
    psutil.Process(escaped).kill()
    await until(lambda: not alive(escaped))


@pytest.mark.parametrize(
    ("argv", "extra", "words"),
    [
        (["no-such-program-anywhere"], "", "was not found"),
        (["./bodies.py"], "", "may not be executed"),
        (["true"], 'cwd = "nowhere"', "nowhere does not exist"),
        (["/dev/null/x"], "", "could not be started"),
    ],
)
async def test_a_program_that_cannot_be_started(start: Start, argv: list[str], extra: str, words: str) -> None:
    ended = await outcome(start, argv, None, extra)
    assert ended.status is BodyStatus.UNAVAILABLE
    assert words in ended.detail


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (None, "exactly these fields: a, b"),
        ([], "exactly these fields"),
        ({"a": 1}, "exactly these fields"),
        ({"a": 1, "b": 2, "c": 3}, "exactly these fields"),
        ({"a": None, "b": 1}, "'a' must be a text"),
        ({"a": 1, "b": {}}, "'b' must be a text"),
        ({"a": "x\0", "b": 1}, "NUL"),
        ({"a": "--help", "b": 1}, "read as an option"),
        ({"a": -5, "b": 1}, "read as an option"),
        ({"a": "x" * 200_000, "b": 1}, "too long for arguments"),
    ],
)
async def test_a_payload_that_does_not_fit_is_the_task_s_error(start: Start, payload: object, words: str) -> None:
    ended = await outcome(start, ["echo", "{a}", "--b={b}"], payload)
    assert ended.status is BodyStatus.ERROR
    assert words in ended.detail


@pytest.mark.parametrize(
    ("argv", "allow", "payload", "result"),
    [
        (("p", "--file={a}"), False, {"a": "-x"}, ["p", "--file=-x"]),
        (("p", "{a}"), True, {"a": "-x"}, ["p", "-x"]),
        (("p", "{a}{b}"), False, {"a": "", "b": "y-"}, ["p", "y-"]),
        (("p", "{a}{b}"), False, {"a": "", "b": "-y"}, None),
        (("p", "--", "{a}"), False, {"a": "-x"}, None),
    ],
)
def test_dashes(argv: tuple[str, ...], allow: bool, payload: object, result: list[str] | None) -> None:
    handler = ExecHandler(argv=argv, allow_dashes=allow)
    if result is None:
        with pytest.raises(BadPayload, match="option"):
            build_argv(handler, payload)
    else:
        assert build_argv(handler, payload) == result


async def test_no_more_programs_at_once_than_the_handler_allows(start: Start, tmp_path: Path) -> None:
    script = f"touch {tmp_path}/run.$$; while [ ! -e {tmp_path}/gate ]; do sleep 0.01; done"
    executors = await started(start, ["sh", "-c", script], "concurrency = 2")

    def count() -> int:
        return len(list(tmp_path.glob("run.*")))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(perform, executors, "h")
        await until(lambda: count() == 2)
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert count() == 2
        (tmp_path / "gate").touch()
    assert count() == 4
