"""The caller's side of the control socket: every call ends in an outcome, or in an error that says what is known."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from meshnode.calls import Inspect, Inspection
from meshnode.control import client as client_module
from meshnode.control.client import connect
from meshnode.control.codec import IN_FLIGHT_MAX
from meshnode.control.server import serve_control
from meshnode.errors import ExitCode, MeshError
from protocols.tasks.task import Accepted, GetTask, Submit
from tests.meshnode.control_desk import DEADLINE_S, Desk, serving, short_directory


@pytest.fixture
def root() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


async def test_no_daemon_is_not_running(root: Path) -> None:
    for directory in (root, root / "nowhere"):
        with pytest.raises(MeshError) as caught:
            async with connect(directory):
                pytest.fail("connected to nobody")
        error = caught.value
        assert (error.code, error.exit_code) == ("not_running", ExitCode.NOT_RUNNING)
        assert f"meshnode up --dir {directory}" in error.next_step


async def test_a_dead_socket_is_not_running(root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(root / "control.sock"))
    with pytest.raises(MeshError) as caught:
        async with connect(root):
            pytest.fail("connected to nobody")
    assert caught.value.code == "not_running"


async def test_a_daemon_that_holds_its_directory_and_does_not_serve_yet_is_not_ready(root: Path) -> None:
    script = textwrap.dedent("""
        import os, sys
        from pathlib import Path
        from meshnode.datadir import DataDir
        lock = DataDir(Path(sys.argv[1])).acquire()
        os.write(1, b"held")
        sys.stdin.read()
    """)
    holder = await trio.lowlevel.open_process(
        [sys.executable, "-c", script, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    async with holder.stdin, holder.stdout:
        with trio.fail_after(DEADLINE_S):
            assert await holder.stdout.receive_some() == b"held"
        with pytest.raises(MeshError) as caught:
            async with connect(root):
                pytest.fail("connected to nobody")
    await holder.wait()
    assert (caught.value.code, caught.value.exit_code) == ("not_ready", ExitCode.NOT_RUNNING)
    assert str(holder.pid) in caught.value.message


async def test_a_daemon_that_vanishes_in_mid_call_leaves_every_caller_with_unknown(root: Path) -> None:
    desk = Desk()
    errors: list[MeshError] = []

    async def ask() -> None:
        with pytest.raises(MeshError) as caught:
            await client.call(GetTask("t9", 60_000))
        errors.append(caught.value)

    async with trio.open_nursery() as daemon:
        await daemon.start(serve_control, root / "control.sock", desk)
        with trio.CancelScope(shield=True):
            async with connect(root) as client:
                async with trio.open_nursery() as nursery:
                    for _ in range(3):
                        nursery.start_soon(ask)
                    await desk.until("waiting", 3)
                    daemon.cancel_scope.cancel()
                with pytest.raises(MeshError) as after:
                    await client.call(Inspect())
    assert [(error.code, error.exit_code) for error in errors] == [("unknown", ExitCode.UNKNOWN)] * 3
    assert errors[0].next_step.endswith("and ask again; a task that has an idempotency key is not run twice.")
    assert after.value.code == "not_running"


async def test_a_daemon_that_does_not_answer_in_time_is_unknown_and_the_connection_goes_on(root: Path) -> None:
    desk = Desk()
    desk.submit_gate = trio.Event()
    async with serving(root, desk), connect(root) as client:
        with pytest.raises(MeshError) as caught:
            await client.call(Submit("h", "1"), timeout_s=0.05)
        assert (caught.value.code, caught.value.exit_code) == ("unknown", ExitCode.UNKNOWN)
        desk.submit_gate.set()
        assert await client.call(Submit("h", "2")) == Accepted("t1", "n")
    assert desk.payloads == {"t0": "1", "t1": "2"}


async def test_calls_given_up_keep_their_slot_until_they_are_answered(root: Path) -> None:
    desk = Desk()
    async with serving(root, desk), connect(root) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(IN_FLIGHT_MAX):
                nursery.start_soon(client.call, GetTask("t0", 60_000))
            await desk.until("waiting", IN_FLIGHT_MAX)
            nursery.cancel_scope.cancel()
        with pytest.raises(MeshError) as caught:
            await client.call(Inspect(), timeout_s=0.05)
        assert caught.value.code == "busy"
        desk.finish("t0", "1")
        assert isinstance(await client.call(Inspect()), Inspection)


async def test_an_error_inside_the_block_comes_out_as_itself(root: Path) -> None:
    async with serving(root, Desk()):
        with pytest.raises(KeyError, match="mine"):
            async with connect(root):
                raise KeyError("mine")


async def test_a_daemon_of_another_version_is_named_as_such(root: Path) -> None:
    async def babble(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b'{"id": 1, "outcome": {"type": "from_the_future"}}\n')

    listening = trio.socket.socket(socket.AF_UNIX)
    await listening.bind(str(root / "control.sock"))
    listening.listen(5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, babble, [trio.SocketListener(listening)])
        with pytest.raises(MeshError) as caught:
            async with connect(root) as client:
                await client.call(Inspect())
        nursery.cancel_scope.cancel()
    assert caught.value.code == "incompatible"
    assert "from_the_future" in caught.value.message


async def test_a_full_backlog_is_waited_for_and_then_busy(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "CONNECT_TIMEOUT_S", 0.1)
    with socket.socket(socket.AF_UNIX) as hung, socket.socket(socket.AF_UNIX) as first:
        hung.bind(str(root / "control.sock"))
        hung.listen(0)
        first.connect(str(root / "control.sock"))
        with pytest.raises(MeshError) as caught:
            async with connect(root):
                pytest.fail("the backlog had room")
    assert caught.value.code == "busy"
