"""`meshnode mcp`: real processes on real pipes, with the daemon there, not there, and there again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from meshnode.calls import CallerCommand, CallerOutcome
from meshnode.errors import MeshError
from meshnode.mcp.bounds import REQUEST_BYTES_MAX, STDIO_WAITING_WRITES_MAX
from meshnode.mcp.bridge import DaemonLink
from protocols.core import Refused
from protocols.membership.views import GetStatus, Leave, Left
from protocols.tasks.task import Submit
from tests.meshnode.mcp.mcp_clients import (
    ARGUMENTS,
    DEADLINE_S,
    ERAS,
    REPOSITORY,
    answer,
    bridge_command,
    control_served,
    refusal,
    short_directory,
    stdio,
)
from tests.meshnode.mcp.mcp_mesh import two_nodes

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


@pytest.fixture
def root() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


def call(request_id: int, tool: str, **arguments: object) -> dict[str, object]:
    parameters = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": parameters}


class Pipes:
    """A bridge process, spoken to line by line."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.stdin = process.stdin
        self._stdout = process.stdout
        self._stderr = process.stderr
        self._buffer = b""

    async def say(self, *messages: object) -> None:
        await self.stdin.send_all(b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    async def hear(self) -> dict[str, object]:
        """The next line of stdout, which must be one JSON-RPC message."""
        with trio.fail_after(DEADLINE_S):
            while b"\n" not in self._buffer:
                chunk = await self._stdout.receive_some()
                assert chunk, f"stdout ended: {await self.complaints()}"
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        message = json.loads(line)
        assert isinstance(message, dict)
        assert message["jsonrpc"] == "2.0"
        return message

    async def greet(self) -> None:
        await self.say(INITIALIZE, INITIALIZED)
        assert (await self.hear())["id"] == 0

    async def complaints(self) -> str:
        """All of stderr; the process must be about to end."""
        with trio.fail_after(DEADLINE_S):
            return b"".join([chunk async for chunk in self._stderr]).decode()

    async def rest(self) -> bytes:
        """What is left of stdout until it ends."""
        with trio.fail_after(DEADLINE_S):
            return self._buffer + b"".join([chunk async for chunk in self._stdout])

    async def exit_status(self) -> int:
        with trio.fail_after(DEADLINE_S):
            return await self.process.wait()


@asynccontextmanager
async def piped(command: list[str]) -> AsyncIterator[Pipes]:
    async with trio.open_nursery() as nursery:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        run = partial(trio.run_process, command, **pipes, cwd=REPOSITORY, check=False)
        process: trio.Process = await nursery.start(run)
        yield Pipes(process)
        nursery.cancel_scope.cancel()


# With and without a daemon.


@pytest.mark.parametrize("era", ERAS)
async def test_one_bridge_outlives_its_daemon_and_finds_the_next(era: str, root: Path) -> None:
    async with two_nodes() as (alpha, _), stdio(root, era) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == set(ARGUMENTS)
        for _ in range(2):
            text = await refusal(client, "mesh_get_status")
            assert "not_running" in text
            assert str(root) in text
            assert "meshnode up" in text
            async with control_served(alpha, root):
                assert (await answer(client, "mesh_get_status"))["name"] == "alpha"
                assert (await answer(client, "mesh_get_status"))["name"] == "alpha"
        async with control_served(alpha, root):
            await answer(client, "mesh_get_status")
        async with control_served(alpha, root):  # restarted between two calls: nothing is noticed
            await answer(client, "mesh_get_status")


async def test_a_daemon_that_dies_under_a_call_leaves_it_unknown_and_the_next_call_works(root: Path) -> None:
    async with two_nodes() as (alpha, _), trio.open_nursery() as nursery:
        link = DaemonLink(root)
        await nursery.start(link.run)
        caught: list[MeshError] = []

        async def wait() -> None:
            with pytest.raises(MeshError) as raised:
                await link.call(Leave())
            caught.append(raised.value)

        async with trio.open_nursery() as calls, control_served(Stuck(), root):
            calls.start_soon(wait)
            await link.call(GetStatus())
        assert caught[0].code == "unknown"
        async with control_served(alpha, root):
            assert await link.call(GetStatus())
        nursery.cancel_scope.cancel()


class Stuck:
    """A daemon that answers everything but a leave."""

    async def call(self, command: CallerCommand) -> CallerOutcome:
        if isinstance(command, Leave):
            return await trio.sleep_forever()
        return Refused("starting", "Not yet.", "Wait.")


async def test_calls_share_one_connection_and_one_that_failed_is_left_to_those_still_on_it(root: Path) -> None:
    async with trio.open_nursery() as nursery:
        link = DaemonLink(root)
        await nursery.start(link.run)
        desk = Desk()
        async with control_served(desk, root), trio.open_nursery() as calls:
            calls.start_soon(desk.expect_left, link)
            await desk.asked.wait()
            with pytest.raises(MeshError) as raised:
                await link.call(Submit("handler", "x" * 10_000_000))
            assert raised.value.code == "too_large"
            await link.call(GetStatus())  # on a new connection, while the first still waits
            desk.answer.set()
        assert desk.left == Left(3)
        nursery.cancel_scope.cancel()


class Desk:
    """A daemon that answers a leave only once told to."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.answer = trio.Event()
        self.left: CallerOutcome | None = None

    async def call(self, command: CallerCommand) -> CallerOutcome:
        if isinstance(command, Leave):
            self.asked.set()
            await self.answer.wait()
            return Left(3)
        return Refused("starting", "Not yet.", "Wait.")

    async def expect_left(self, link: DaemonLink) -> None:
        self.left = await link.call(Leave())


# The pipes.


async def test_only_messages_reach_stdout_whatever_prints(root: Path) -> None:
    noisy = bridge_command(root)
    noisy[-1] = (
        "import os\n"
        "from meshnode.mcp import bodies\n"
        "quiet = bodies.MeshTools.get_status\n"
        "async def get_status(self, arguments):\n"
        "    print('noise of print', flush=True)\n"
        "    os.write(1, b'noise of a library\\n')\n"
        "    os.system('echo noise of a child; cat')\n"
        "    return await quiet(self, arguments)\n"
        "bodies.MeshTools.get_status = get_status\n"
    ) + noisy[-1]
    async with piped(noisy) as pipes:
        await pipes.greet()
        await pipes.say(call(1, "mesh_get_status"))
        assert (await pipes.hear())["id"] == 1
        await pipes.stdin.aclose()
        assert await pipes.rest() == b""
        assert (await pipes.complaints()).split("\n") == [
            "noise of print",
            "noise of a library",
            "noise of a child",
            "",
        ]
        assert await pipes.exit_status() == 0


async def test_lines_that_are_no_message_are_answered_and_the_next_one_works(root: Path) -> None:
    async with piped(bridge_command(root)) as pipes:
        await pipes.greet()
        for line in (b"garbage", b'{"jsonrpc": "2.0"', b"\xff\xfe", b"[" * 100_000, b"x" * (3 * REQUEST_BYTES_MAX)):
            await pipes.stdin.send_all(b"\n  \n" + line + b"\n")
            error = await pipes.hear()
            assert error["id"] is None
            assert isinstance(error["error"], dict)
        await pipes.say({"jsonrpc": "2.0", "id": 7, "method": "ping"})
        assert (await pipes.hear())["id"] == 7


async def test_a_client_that_does_not_read_is_not_read_from_and_loses_nothing(root: Path) -> None:
    async with piped(bridge_command(root)) as pipes:
        await pipes.greet()
        request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode() + b"\n"
        sent = 0
        with trio.move_on_after(DEADLINE_S) as patience:
            while True:  # until nothing is taken for a second: by then both pipes are full
                with trio.move_on_after(1.0) as blocked:
                    await pipes.stdin.wait_send_all_might_not_block()
                if blocked.cancelled_caught:
                    break
                await pipes.stdin.send_all(request)
                sent += 1
        assert not patience.cancelled_caught
        pipe_and_buffer = 2 * 64 * 1024 // len(request)
        assert sent <= pipe_and_buffer + STDIO_WAITING_WRITES_MAX + 20
        for _ in range(sent):
            assert (await pipes.hear())["id"] == 1


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_a_signal_ends_it_while_the_client_holds_on(number: signal.Signals, status: int, root: Path) -> None:
    async with piped(bridge_command(root)) as pipes:
        await pipes.greet()
        pipes.process.send_signal(number)
        assert await pipes.exit_status() == status
        assert await pipes.complaints() == ""


async def test_the_end_of_input_ends_it_with_a_call_under_way_and_with_a_client_that_is_gone(root: Path) -> None:
    async with two_nodes() as (alpha, _), control_served(alpha, root):
        async with piped(bridge_command(root)) as pipes:
            await pipes.greet()
            await pipes.say(call(1, "mesh_submit_task", handler="sleep", payload=600, wait_s=50))
            await alpha.waited_on()
            await pipes.stdin.aclose()
            assert await pipes.exit_status() == 0
        async with piped([*bridge_command(root)]) as pipes:
            await pipes.stdin.aclose()
            assert await pipes.exit_status() == 0
            assert await pipes.rest() == b""


def test_a_file_on_stdin_works(root: Path, tmp_path: Path) -> None:
    requests = tmp_path / "requests"
    requests.write_text(json.dumps(INITIALIZE) + "\n")
    with requests.open("rb") as file:
        ended = subprocess.run(
            bridge_command(root), stdin=file, capture_output=True, cwd=REPOSITORY, timeout=DEADLINE_S, check=True
        )
    assert json.loads(ended.stdout)["id"] == 0


def test_pipes_that_others_share_are_left_as_they_were(root: Path) -> None:
    """A shell's next command would stumble over a terminal or pipe that is left non-blocking."""
    stdin, to_stdin = os.pipe()
    from_stdout, stdout = os.pipe()
    os.close(to_stdin)
    ended = subprocess.run(bridge_command(root), stdin=stdin, stdout=stdout, cwd=REPOSITORY, timeout=DEADLINE_S)
    assert ended.returncode == 0
    assert os.get_blocking(stdin)
    assert os.get_blocking(stdout)
    for descriptor in (stdin, stdout, from_stdout):
        os.close(descriptor)
