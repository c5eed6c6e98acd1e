"""The daemon's side of the control socket: each line gets one answer, and no client hurts the daemon."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from meshnode.calls import CallerCommand, CallerOutcome, CreateToken, Inspect, Inspection
from meshnode.control import server as server_module
from meshnode.control.client import connect
from meshnode.control.codec import IN_FLIGHT_MAX, REQUEST_BYTES_MAX, encode_call
from meshnode.control.server import CONNECTIONS_MAX, serve_control
from meshnode.errors import MeshError
from protocols.core import Refused, Unknown
from protocols.membership.views import GetStatus, Leave, Left
from protocols.tasks.task import Accepted, CancelTask, GetTask, Submit, TaskView
from tests.meshnode.control_desk import DEADLINE_S, Desk, answer_line, raw, refusal_of, serving, short_directory


@pytest.fixture
def root() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


async def test_calls_are_answered_and_daemon_errors_become_outcomes(root: Path) -> None:
    desk = Desk()
    async with serving(root, desk), connect(root) as client:
        assert await client.call(Submit("h", "1")) == Accepted("t0", "n")
        assert await client.call(CancelTask("t0")) == Refused("already_final", "It has ended.", "Look at it.", 2.5)
        assert await client.call(CreateToken()) == Unknown("The disk did not answer.", "Ask again.")
        assert await client.call(GetStatus()) == Refused("starting", "Not yet.", "Wait.")
    assert desk.payloads == {"t0": "1"}


async def test_a_slow_request_does_not_hold_up_the_next_on_its_connection(root: Path) -> None:
    desk = Desk()
    outcomes: list[CallerOutcome] = []

    async def wait_for_task() -> None:
        outcomes.append(await client.call(GetTask("t0", 60_000)))

    async with serving(root, desk), connect(root) as client, trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_task)
        await desk.until("waiting", 1)
        assert isinstance(await client.call(Submit("h")), Accepted)
        assert not outcomes
        desk.finish("t0", '"done"')
    assert isinstance(outcomes[0], TaskView)
    assert outcomes[0].output == '"done"'


async def test_many_more_calls_than_may_be_in_flight_all_get_their_own_answer(root: Path) -> None:
    desk = Desk()
    count = 3 * IN_FLIGHT_MAX
    answers: dict[int, CallerOutcome] = {}

    async def ask(number: int) -> None:
        answers[number] = await client.call(GetTask(f"t{number}", 60_000))

    async with serving(root, desk), connect(root) as client, trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(ask, number)
        await desk.until("waiting", IN_FLIGHT_MAX)
        assert desk.calls == IN_FLIGHT_MAX
        for number in range(count):
            desk.finish(f"t{number}", str(number))
    assert {number: answer.output for number, answer in answers.items() if isinstance(answer, TaskView)} == {
        number: str(number) for number in range(count)
    }


async def test_the_daemon_stops_reading_from_a_client_with_too_many_requests_in_flight(root: Path) -> None:
    desk = Desk()
    async with serving(root, desk), raw(root) as stream:
        lines = b"".join(encode_call(number, GetTask("t0", 60_000)) for number in range(IN_FLIGHT_MAX + 50))
        await stream.send_all(lines)
        await desk.until("waiting", IN_FLIGHT_MAX)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert desk.calls == IN_FLIGHT_MAX
        desk.finish("t0", "1")
        ids = {(await answer_line(stream))["id"] for _ in range(IN_FLIGHT_MAX + 50)}
        assert ids == set(range(IN_FLIGHT_MAX + 50))


async def test_bad_lines_are_answered_and_the_connection_stays(root: Path) -> None:
    desk = Desk()
    async with serving(root, desk), raw(root) as stream:
        await stream.send_all(b'nonsense\n{"id": 5, "command": {"type": "explode"}}\n')
        first, second = await answer_line(stream), await answer_line(stream)
        assert first["id"] is None
        assert second["id"] == 5
        for document in (first, second):
            assert refusal_of(document)["code"] == "bad_request"
            assert refusal_of(document)["next_step"]
        await stream.send_all(encode_call(6, Inspect()))
        assert (await answer_line(stream))["id"] == 6
    assert desk.calls == 1


async def test_a_line_cut_into_bytes_is_one_line_and_an_unended_one_is_none(root: Path) -> None:
    desk = Desk()
    async with serving(root, desk), raw(root) as stream:
        for byte in encode_call(1, Inspect()):
            await stream.send_all(bytes([byte]))
        assert (await answer_line(stream))["id"] == 1
        await stream.send_all(encode_call(2, Submit("h"))[:-1])
        await stream.send_eof()
        assert await stream.receive_some() == b""
    assert desk.payloads == {}


async def test_a_line_over_the_limit_is_refused_and_the_connection_closed(root: Path) -> None:
    desk = Desk()

    async def flood() -> None:
        with pytest.raises(trio.BrokenResourceError):  # noqa: PT012  # the loop is the statement under test
            while True:
                await stream.send_all(b"x" * 65536)

    async with serving(root, desk), raw(root) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        document = await answer_line(stream)
        assert document["id"] is None
        assert "longer" in str(refusal_of(document)["message"])
        with pytest.raises(trio.BrokenResourceError):
            # What was sent and not read comes back to the sender as a reset (unix(7)); an end would do as well.
            assert await stream.receive_some() != b""
    async with serving(root, desk), connect(root) as client:
        assert isinstance(await client.call(Submit("h")), Accepted)


async def test_a_line_of_just_the_limit_is_taken(root: Path) -> None:
    desk = Desk()
    empty = len(encode_call(1, Submit("h", "")))
    payload = "x" * (256 * 1024)
    padding = b" " * (REQUEST_BYTES_MAX - empty - len(payload))
    line = encode_call(1, Submit("h", payload))[:-1] + padding + b"\n"
    assert len(line) == REQUEST_BYTES_MAX
    async with serving(root, desk), raw(root) as stream:
        await stream.send_all(line)
        assert (await answer_line(stream))["id"] == 1
    assert desk.payloads == {"t0": payload}


async def test_a_client_that_vanishes_cancels_its_waits_and_not_what_it_submitted(root: Path) -> None:
    desk = Desk()
    desk.submit_gate = trio.Event()
    async with serving(root, desk):
        async with raw(root) as stream:
            await stream.send_all(encode_call(1, GetTask("t9", 60_000)) + encode_call(2, Submit("h", "7")))
            await desk.until("waiting", 1)
            await desk.until("calls", 2)
        await desk.until("waits_cancelled", 1)
        assert desk.payloads == {}
        desk.submit_gate.set()
        with trio.fail_after(DEADLINE_S):
            while desk.payloads != {"t0": "7"}:  # noqa: ASYNC110  # another task's doing, over a socket
                await trio.sleep(0.01)


async def test_a_client_that_vanishes_while_nothing_is_read_from_it_is_noticed_too(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "HANG_UP_CHECK_S", 0.05)
    desk = Desk()
    async with serving(root, desk):
        async with raw(root) as stream:
            call = encode_call(1, GetTask("t9", 60_000))
            await stream.send_all(call * (IN_FLIGHT_MAX + 1))
            await desk.until("waiting", IN_FLIGHT_MAX)
        await desk.until("waits_cancelled", IN_FLIGHT_MAX)


@pytest.fixture
def leaping_clock() -> trio.testing.MockClock:
    """Goes as real time does, and leaps when the test says so."""
    return trio.testing.MockClock(rate=1.0)


async def test_a_client_that_does_not_read_is_dropped_and_holds_up_nobody(
    root: Path, leaping_clock: trio.testing.MockClock
) -> None:
    desk = Desk()
    desk.finish("big", '"' + "x" * 500_000 + '"')
    async with serving(root, desk):
        async with raw(root) as stream:
            line = encode_call(1, GetTask("big"))
            await stream.send_all(line * IN_FLIGHT_MAX + encode_call(2, GetTask("t9", 60_000)))
            await desk.until("calls", IN_FLIGHT_MAX)
            async with connect(root) as other:
                assert isinstance(await other.call(Submit("h")), Accepted)
            leaping_clock.jump(server_module.STALL_S)
            # The whole connection goes, the request behind the stalled ones with it, and nothing is read any more.
            with pytest.raises(trio.BrokenResourceError):  # noqa: PT012  # the loop is the statement under test
                while True:
                    await stream.send_all(line)
        async with connect(root) as other:
            assert isinstance(await other.call(GetTask("big")), TaskView)
    assert desk.waiting == 0


async def test_an_answer_that_is_ready_is_delivered_although_the_daemon_stops(root: Path) -> None:
    class Leaving(Desk):
        async def call(self, command: CallerCommand) -> CallerOutcome:
            stop.cancel()
            return Left(3)

    async with serving(root, Leaving()) as stop:
        with trio.CancelScope(shield=True):
            async with raw(root) as stream:
                await stream.send_all(encode_call(1, Leave()))
                assert (await answer_line(stream))["outcome"] == {"type": "left", "open_tasks": 3}


async def test_a_client_that_does_not_read_delays_the_stop_by_no_more_than_the_flush(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "STALL_S", 3600.0)
    desk = Desk()
    desk.finish("big", '"' + "x" * 1_000_000 + '"')
    assert await calls_until_stopped(root, desk) == 1


async def calls_until_stopped(root: Path, desk: Desk) -> int:
    """Have the daemon stop while a client leaves a large answer untaken."""
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, root / "control.sock", desk)
        async with raw(root) as stream:
            await stream.send_all(encode_call(1, GetTask("big")))
            await desk.until("calls", 1)
            await trio.testing.wait_all_tasks_blocked(0.05)
            nursery.cancel_scope.cancel()
            with trio.fail_after(DEADLINE_S, shield=True):
                while (root / "control.sock").exists():  # noqa: ASYNC110  # the file goes last, and says nothing
                    await trio.sleep(0.01)
    return desk.calls


async def admitted(root: Path) -> bool:
    try:
        async with connect(root) as client:
            return isinstance(await client.call(Inspect()), Inspection)
    except MeshError:
        return False


async def test_connections_past_the_limit_are_told_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "CONNECTIONS_MAX", 2)
    assert CONNECTIONS_MAX == 128
    async with serving(root, Desk()):
        async with connect(root) as one, connect(root) as two:
            assert isinstance(await one.call(Submit("h")), Accepted)
            assert isinstance(await two.call(Submit("h")), Accepted)
            async with raw(root) as stream:
                document = await answer_line(stream)
                assert refusal_of(document)["code"] == "busy"
                assert document["id"] is None
            with pytest.raises(MeshError, match="connections"):
                async with connect(root) as three:
                    await three.call(Inspect())
        with trio.fail_after(DEADLINE_S):
            while not await admitted(root):
                pass


async def test_only_its_user_may_open_the_socket(root: Path) -> None:
    async with serving(root, Desk()):
        mode = (root / "control.sock").stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        assert os.listdir(root) == ["control.sock"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_another_user_is_refused_even_where_the_mode_lets_him_in(root: Path) -> None:
    script = textwrap.dedent("""
        import os, socket, sys
        os.setgid(65534); os.setuid(65534)
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(sys.argv[1])
        print(connection.makefile().readline())
    """)
    async with serving(root, Desk()):
        path = root / "control.sock"
        os.chmod(root, 0o755)
        os.chmod(path, 0o666)
        done = await trio.run_process([sys.executable, "-c", script, str(path)], capture_stdout=True)
    assert refusal_of(json.loads(done.stdout))["code"] == "forbidden"


async def test_a_socket_that_a_dead_daemon_left_is_replaced(root: Path) -> None:
    path = root / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, path, Desk())
        async with connect(root) as client:
            assert isinstance(await client.call(Submit("h")), Accepted)
        nursery.cancel_scope.cancel()
    assert not path.exists()


async def test_the_socket_of_a_live_daemon_is_not_replaced(root: Path) -> None:
    desk = Desk()
    async with serving(root, desk):
        with pytest.raises(MeshError) as caught:
            await serve_control(root / "control.sock", Desk())
        assert caught.value.code == "already_running"
        async with connect(root) as client:
            assert isinstance(await client.call(Submit("h")), Accepted)
    assert len(desk.payloads) == 1


async def test_a_file_in_the_way_is_left_alone(root: Path) -> None:
    path = root / "control.sock"
    path.write_text("precious")
    with pytest.raises(MeshError) as caught:
        await serve_control(path, Desk())
    assert caught.value.code == "control_socket"
    assert path.read_text() == "precious"


async def test_a_missing_directory_is_named(root: Path) -> None:
    with pytest.raises(MeshError, match="cannot be created"):
        await serve_control(root / "nowhere" / "control.sock", Desk())


async def test_a_data_directory_with_a_very_long_path_works(root: Path) -> None:
    deep = root / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    async with serving(deep, Desk()), connect(deep) as client:
        assert isinstance(await client.call(Submit("h")), Accepted)
