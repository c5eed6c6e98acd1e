"""The `meshnode` command against a control socket: real processes, a real socket, and a small daemon in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from meshnode.calls import CallerCommand, CallerOutcome, CreateToken
from meshnode.cli.session import WAIT_CHUNK_S, wait_for_task
from meshnode.errors import ExitCode, MeshError
from protocols.core import Refused, Unknown
from protocols.tasks.task import GetTask, ListTasks, TaskState
from protocols.tools import FindTools
from tests.meshnode.cli_desk import EVIL_NAME, NODE_ID, Desk, interrupt, meshnode, serving, view
from tests.meshnode.cli_runner import TIMEOUT_S, Run
from tests.meshnode.control_desk import short_directory


@pytest.fixture
def root() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


async def test_members(root: Path) -> None:
    async with serving(root, Desk()):
        run = await meshnode(root, "members")
        assert (run.status, run.err) == (0, "")
        assert "desk (this node)" in run.out
        assert r"evil\x1b[31m\x07name" in run.out
        assert r"cuda=12, evil=\x1b[31m\u202e, gpu" in run.out
        assert "\x1b" not in run.out
        assert "\u202e" not in run.out
        assert ".later" not in run.out

        run = await meshnode(root, "members", "--json")
        members = run.document["members"]
        assert isinstance(members, list)
        assert [row["name"] for row in members] == ["desk", EVIL_NAME]
        assert members[0] == {
            "node_id": NODE_ID,
            "name": "desk",
            "address": "127.0.0.1:1",
            "state": "alive",
            "generation": 1,
            "incarnation": 2,
            "handlers": ["ok"],
            "zone": "",
            "weight": 1,
            "state_age_s": 61.0,
            "is_self": True,
            "vitals": {"queued": 2, "running": 3, "capacity": 4, "cpu": 0.355, "memory": None, "age_s": 1.5},
            "rtt": None,
            "tags": {},
            "held_s": 0.0,
        }
        assert members[1]["vitals"] is None
        assert members[1]["rtt"] == {"ms": 1.5, "error_ms": 0.1, "source": "probes", "samples": 2, "age_s": 3.0}


async def test_status(root: Path) -> None:
    async with serving(root, Desk()):
        run = await meshnode(root, "status")
        assert (run.status, run.err) == (0, "")
        for words in ("desk", "home", "serving", "files", "2 running, 3 succeeded", "replay 2", "50 MB", "4 left"):
            assert words in run.out
        for words in (
            "3 of 8: probes of this node fail; it takes 4 × as long",
            "2 open; this node itself was accused once",
            "400, 5 failed; round trip median 0.42 ms, p99 12.3 ms (of the last 256)",
            "14 begun, 13 answered",
            "21, 6 of them in the last minute",
            "0 published, 0 in the last minute",
        ):
            assert words in run.out
        assert [line.split() for line in run.out.splitlines()[-4:]] == [
            ["message", "in", "bytes", "in", "out", "bytes", "out"],
            ["ack", "395", "32", "kB", "5", "400", "B"],
            ["ping", "9", "720", "B", "400", "1.2", "MB"],
            ["all", "404", "32", "kB", "405", "1.2", "MB"],
        ]
        assert "3 of 4 places taken, 2 waiting, cpu 36%\n" in run.out
        assert "0.21 ms to 84.3 ms, median 1.50 ms (4 members, estimates are rough so far)\n" in run.out

        document = (await meshnode(root, "status", "--json")).document
        assert document["phase"] == "serving"
        assert document["rtt"] == {
            "members": 4,
            "nearest_ms": 0.21,
            "median_ms": 1.5,
            "farthest_ms": 84.26,
            "coordinate_error": 0.4,
        }
        assert document["daemon"] == {
            "pid": 7,
            "version": "0.1.0",
            "rss_bytes": 50_000_000,
            "mcp_url": "",
            "drops": {"replay": 2},
            "saves": 9,
            "commits": 4,
            "streams_open": 1,
            "traffic": {
                "ack": {"messages_in": 395, "bytes_in": 31_600, "messages_out": 5, "bytes_out": 400},
                "ping": {"messages_in": 9, "bytes_in": 720, "messages_out": 400, "bytes_out": 1_234_567},
            },
            "commit_s": 0.25,
            "cpu_s": 1.5,
            "started_unix_s": 2e9,
            "metrics_url": "",
        }
        assert document["members_left"] == 4
        membership = document["membership"]
        assert isinstance(membership, dict)
        assert (membership["health_score"], membership["probe_rtt_p99_s"]) == (3, 0.0123)


@pytest.mark.parametrize(
    ("members", "line"),
    [
        (("near",), "desk to near: 0.21 ms ± 0.01 ms (median of the last 3 probes, 4.2s ago)"),
        (
            ("near", "far"),
            "near to far: 184 ms ± 12.3 ms (estimated from network coordinates, heard up to 1m 1s ago)",
        ),
        (
            ("near", "new"),
            "near to new: 3.46 ms ± 9.50 ms (estimated from network coordinates, heard up to 2.0s ago; they are not "
            "settled yet, ask again in a minute)",
        ),
    ],
)
async def test_rtt_says_how_far_and_what_it_knows_that_from(root: Path, members: tuple[str, ...], line: str) -> None:
    async with serving(root, Desk()):
        run = await meshnode(root, "rtt", *members)
        assert (run.status, run.out, run.err) == (0, f"{line}\n", "")


async def test_rtt_as_a_document_and_what_is_not_known_yet(root: Path) -> None:
    async with serving(root, Desk()):
        run = await meshnode(root, "rtt", "near", "--json")
        assert run.document == {
            "a": "desk",
            "a_id": NODE_ID,
            "b": "near",
            "b_id": NODE_ID,
            "rtt": {"ms": 0.2134, "error_ms": 0.015, "source": "probes", "samples": 3, "age_s": 4.2},
        }
        run = await meshnode(root, "rtt", "nobody", "--json")
        assert run.status == 1
        assert run.error["retry_after_s"] == 20.0
        run.assert_told("Not heard yet.", "Ask again in a moment.")


async def test_submit_hands_on_what_was_asked_and_prints_the_id_alone(root: Path) -> None:
    desk = Desk()
    async with serving(root, desk):
        run = await meshnode(
            root, "submit", "slow", "--payload", "-", "--key", "k", "--timeout", "90s", stdin=b' {"a":1} '
        )
        assert (run.status, run.out) == (0, "task-0\n")
        submitted = desk.submitted["task-0"]
        assert (submitted.handler, submitted.payload, submitted.key) == ("slow", '{"a":1}', "k")
        assert submitted.timeout_ms == 90_000
        assert submitted.submitted_unix_ms > 1_700_000_000_000

        run = await meshnode(root, "submit", "slow", "--idempotency-key", "mine", "--json")
        assert run.document == {
            "task_id": "task-1",
            "coordinator": NODE_ID,
            "existing": False,
            "idempotency_key": "mine",
        }
        assert desk.submitted["task-1"].idempotency_key == "mine"
        assert len(submitted.idempotency_key) > 10
        assert submitted.idempotency_key != "mine"


async def test_submit_and_wait_exits_with_how_the_task_went(root: Path) -> None:
    async with serving(root, Desk()):
        run = await meshnode(root, "submit", "ok", "--wait", "5", "--json")
        assert (run.status, run.err) == (0, "")
        assert run.document["state"] == "succeeded"
        assert '"output":{"big":12345678901234567890,"t":"ü"}' in run.out

        run = await meshnode(root, "submit", "ok", "--wait", "5")
        assert (run.status, run.err) == (0, "")
        assert "succeeded" in run.out
        assert '"t": "ü"' in run.out

        run = await meshnode(root, "submit", "bad", "--wait", "5", "--json")
        assert run.status == ExitCode.FAILED
        assert (run.document["state"], run.document["detail"], run.document["output"]) == ("failed", "it broke", None)
        assert run.error["code"] == "task_failed"
        run.assert_told("it broke")

        run = await meshnode(root, "submit", "slow", "--wait", "0.2", "--json")
        assert run.status == ExitCode.UNKNOWN
        assert (run.document["state"], run.error["code"]) == ("running", "still_running")
        task_id = str(run.document["task_id"])
        run.assert_told(f"meshnode task {task_id} --wait", f"meshnode cancel {task_id}")

        run = await meshnode(root, "task", task_id)
        assert (run.status, run.err) == (0, "")
        assert "running" in run.out
        run = await meshnode(root, "task", task_id, "--wait", "100ms")
        assert run.status == ExitCode.UNKNOWN


async def test_refusals_and_unknown_outcomes_keep_the_daemons_words(root: Path) -> None:
    async with serving(root, Desk()):
        run = await meshnode(root, "submit", "full", "--json")
        assert run.status == ExitCode.FAILED
        assert run.document == {
            "error": {
                "code": "busy",
                "message": "There is no room.",
                "next_step": "Try again in a second.",
                "retry_after_s": 1.5,
            }
        }
        run = await meshnode(root, "submit", "lost", "--idempotency-key", "mine", "--json")
        assert (run.status, run.error["code"]) == (ExitCode.UNKNOWN, "unknown")
        run.assert_told("Nobody answered.", "--idempotency-key mine")
        run = await meshnode(root, "task", "nosuch", "--wait", "5", "--json")
        assert (run.status, run.error["code"]) == (ExitCode.FAILED, "unknown_task")


async def test_tasks_cancel_tools_token_and_leave(root: Path) -> None:
    desk = Desk()
    async with serving(root, desk):
        await meshnode(root, "submit", "slow")
        run = await meshnode(root, "tasks", "--state", "running", "--state", "Queued", "--limit", "7", "--json")
        assert desk.commands.pop() == ListTasks((TaskState.RUNNING, TaskState.QUEUED), 7)
        tasks = run.document["tasks"]
        assert isinstance(tasks, list)
        assert (tasks[0]["task_id"], tasks[0]["state"], run.document["total"]) == ("task-0", "running", 1)
        assert "output" not in tasks[0]
        assert "task-0" in (await meshnode(root, "tasks")).out

        run = await meshnode(root, "cancel", "task-0", "--json")
        assert (run.status, run.document["state"]) == (0, "cancelled")

        run = await meshnode(root, "tools", "read", "file", "--json")
        assert desk.commands.pop() == FindTools("read file", "", "", 50)
        tools = run.document["tools"]
        assert isinstance(tools, list)
        assert tools[0]["input_schema"] == {"type": "object"}
        assert run.document["silent"] == ["shelf"]
        run = await meshnode(root, "tools")
        assert "read_text" in run.out
        assert "did not answer in time: shelf" in run.out

        run = await meshnode(root, "token", "--lifetime", "7d", "--uses", "3")
        assert (run.status, run.out) == (0, "mesh1.secret\n")
        assert desk.commands.pop() == CreateToken(7 * 24 * 3600.0, 3)

        run = await meshnode(root, "leave", "--json")
        assert (run.status, run.document) == (0, {"left": True, "open_tasks": 3})


async def test_call_sends_tool_and_arguments_and_prints_what_the_tool_said(root: Path) -> None:
    desk = Desk()
    arguments = root / "arguments.json"
    await trio.Path(arguments).write_text('{"path": "README.md", "n": 1.50}')
    async with serving(root, desk):
        run = await meshnode(root, "call", "files", "read_text", "--arguments", f"@{arguments}")
        assert (run.status, run.out, run.err) == (0, "hello\nworld\n", "")
        submitted = desk.submitted["task-0"]
        assert submitted.handler == "mcp:files"
        assert json.loads(submitted.payload) == {"tool": "read_text", "arguments": {"path": "README.md", "n": 1.5}}

        run = await meshnode(root, "call", "files", "read_text", "--json")
        assert (run.status, run.document["state"]) == (0, "succeeded")
        assert run.document["output"] == {"content": [{"type": "text", "text": "hello\nworld"}], "isError": False}


# Bad luck


async def test_ctrl_c_while_waiting_says_that_the_task_goes_on(root: Path) -> None:
    desk = Desk()
    async with serving(root, desk):
        run = await interrupt(root, desk, "submit", "slow", "--wait", "1h", "--json")
    assert (run.status, run.error["code"]) == (ExitCode.INTERRUPTED, "interrupted")
    run.assert_told("task-0", "meshnode task task-0 --wait")


async def test_ctrl_c_before_an_answer_is_quiet(root: Path) -> None:
    desk = Desk()
    async with serving(root, desk):
        run = await interrupt(root, desk, "submit", "silent")
    assert (run.status, run.out, run.err) == (ExitCode.INTERRUPTED, "", "error: Interrupted.\n")


async def test_a_daemon_that_vanishes_leaves_what_is_known(root: Path) -> None:
    for handler, words in (("silent", "--idempotency-key cli-"), ("slow", "Task task-0 is safe and goes on")):
        desk = Desk()
        runs: list[Run] = []

        async def submit(handler: str = handler, runs: list[Run] = runs) -> None:
            runs.append(await meshnode(root, "submit", handler, "--wait", "1h", "--json"))

        async with trio.open_nursery() as command_nursery, serving(root, desk) as stop:
            command_nursery.start_soon(submit)
            with trio.fail_after(TIMEOUT_S):
                await desk.waiting.wait()
            stop.cancel()
        assert (runs[0].status, runs[0].error["code"]) == (ExitCode.UNKNOWN, "unknown")
        runs[0].assert_told("went away", words)


# Waiting


class Coordinator:
    """Answers `GetTask` from a script, after as long as the script says, and then with a task that runs."""

    def __init__(self, *script: tuple[float, CallerOutcome]) -> None:
        self.script = list(script)
        self.waits_s: list[float] = []

    async def call(self, command: CallerCommand) -> CallerOutcome:
        assert isinstance(command, GetTask)
        self.waits_s.append(command.wait_ms / 1000)
        if not self.script:
            await trio.sleep(command.wait_ms / 1000)
            return view("t", "h", TaskState.RUNNING)
        after_s, outcome = self.script.pop(0)
        await trio.sleep(after_s)
        return outcome


async def test_a_long_wait_is_made_of_calls_that_are_short(autojump_clock: trio.testing.MockClock) -> None:
    coordinator = Coordinator()
    started = trio.current_time()
    assert (await wait_for_task(coordinator, "t", 130.0)).state is TaskState.RUNNING
    assert coordinator.waits_s == [WAIT_CHUNK_S, WAIT_CHUNK_S, 30.0]
    assert trio.current_time() - started == pytest.approx(130.0)


async def test_a_wait_outlives_what_passes(autojump_clock: trio.testing.MockClock) -> None:
    coordinator = Coordinator(
        (0.0, Unknown("silent")),
        (3.0, Unknown("silent")),
        (0.0, Refused("starting", "Not yet.", "", 2.0)),
        (0.0, view("t", "h", TaskState.RUNNING)),
        (40.0, view("t", "h", TaskState.SUCCEEDED, output="1")),
    )
    assert (await wait_for_task(coordinator, "t", 100.0)).output == "1"
    assert len(coordinator.waits_s) == 5


async def test_a_wait_that_only_meets_silence_ends_as_unknown(autojump_clock: trio.testing.MockClock) -> None:
    coordinator = Coordinator(*[(0.0, Unknown("silent"))] * 1000)
    started = trio.current_time()
    with pytest.raises(MeshError) as caught:
        await wait_for_task(coordinator, "t", 10.0)
    assert caught.value.exit_code is ExitCode.UNKNOWN
    assert trio.current_time() - started == pytest.approx(10.0)
    assert len(coordinator.waits_s) <= 12


async def test_a_refusal_for_good_ends_a_wait_at_once(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(MeshError) as caught:
        await wait_for_task(Coordinator((0.0, Refused("unknown_task", "No such task."))), "t", 10.0)
    assert caught.value.code == "unknown_task"


async def test_no_wait_at_all_asks_once(autojump_clock: trio.testing.MockClock) -> None:
    coordinator = Coordinator()
    assert (await wait_for_task(coordinator, "t", 0.0)).state is TaskState.RUNNING
    assert coordinator.waits_s == [0.0]
