"""Garbage on every port of a node that works: nothing that is running notices, and the next caller is served."""

from __future__ import annotations

import random
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest
import trio

from meshnode.calls import Inspect, Inspection
from meshnode.datadir import DataDir
from scripts.localmesh import LocalNode
from tests.e2e.e2e_support import (
    LISTEN,
    all_see,
    at,
    drops_of,
    eventually,
    finished,
    is_alive,
    mesh_of,
    meshnode,
    nodes_in,
    short_directory,
    status_of,
    submit,
    token_of,
)

pytestmark = pytest.mark.xdist_group("e2e-garbage")

TASKS = 120
DROPS = 500
MEMORY_BYTES_MAX = 60 << 20
"""How much the daemon may grow under the attack."""


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[LocalNode]]:
    with mesh_of("desk", "shelf", flags=(*LISTEN, "--mcp", "0")) as nodes:
        yield nodes


def noise(seed: int) -> Iterator[bytes]:
    """Random bytes of all sizes, and beginnings of what the ports really speak, gone wrong."""
    numbers = random.Random(seed)
    beginnings = [
        b"",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS ClientHello
        b"\x16\x03\x03\xff\xff",
        b"GET / HTTP/1.1\r\nHost: ",
        b"POST /mcp HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        b'{"id": 1, "command": ',
        b'{"id": 99999999999999999999, "command": {"type": "submit"}}\n',
        b"[" * 5000 + b"\n",
        b'{"id":1,"command":{"type":"leave","x":1}}\n',
        b"\xa1" * 41,
        b"\0" * 64,
    ]
    while True:
        yield numbers.choice(beginnings) + numbers.randbytes(numbers.choice((0, 1, 40, 1400, 9000)))


async def throw_at_tcp(address: str, seed: int, times: int) -> None:
    host, _, port = address.rpartition(":")
    for _, data in zip(range(times), noise(seed), strict=False):
        with suppress(OSError), trio.move_on_after(1.0):
            async with await trio.open_tcp_stream(host, int(port)) as stream:
                await send_and_read(stream, data)


async def throw_at_udp(address: str, seed: int, times: int) -> None:
    host, _, port = address.rpartition(":")
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        for _, data in zip(range(times), noise(seed), strict=False):
            with suppress(OSError):
                sock.sendto(data, (host, int(port)))
            await trio.lowlevel.checkpoint()


async def throw_at_control(node: LocalNode, seed: int, times: int) -> None:
    path = DataDir(node.directory).control_socket()
    for _, data in zip(range(times), noise(seed), strict=False):
        with suppress(OSError), trio.move_on_after(1.0):
            async with await trio.open_unix_socket(path) as stream:
                await send_and_read(stream, data)


async def send_and_read(stream: trio.SocketStream, data: bytes) -> None:
    with suppress(trio.BrokenResourceError):
        await stream.send_all(data)
        await stream.send_eof()
        while await stream.receive_some(65536):
            pass


async def stay_silent(address: str, count: int, *, task_status: trio.TaskStatus[None]) -> None:
    """Connections that never say a word, held until cancelled."""
    host, _, port = address.rpartition(":")
    held: list[trio.SocketStream] = []
    try:
        for _ in range(count):
            held.append(await trio.open_tcp_stream(host, int(port)))
        task_status.started()
        await trio.sleep_forever()
    finally:
        for stream in held:
            stream.socket.close()


async def test_garbage_on_every_port_while_tasks_run(nodes: list[LocalNode]) -> None:
    desk = nodes[0]
    before = await desk.call(Inspect())
    assert isinstance(before, Inspection)
    mesh, mcp = desk.ready["listen"], desk.ready["mcp"].removeprefix("http://").partition("/")[0]
    attacks: list[Callable[[], Awaitable[None]]] = [
        *(lambda seed=seed: throw_at_tcp(mesh, seed, 60) for seed in range(4)),
        *(lambda seed=seed: throw_at_udp(mesh, seed, 500) for seed in range(2)),
        *(lambda seed=seed: throw_at_tcp(mcp, seed, 60) for seed in range(4)),
        *(lambda seed=seed: throw_at_control(desk, seed, 60) for seed in range(4)),
    ]
    outputs: dict[int, str] = {}

    async def work(number: int) -> None:
        via = nodes[number % 2]
        outputs[number] = (await finished(via, await submit(via, "echo", number))).output

    async with trio.open_nursery() as nursery:
        for attack in attacks:
            nursery.start_soon(attack)
        for number in range(TASKS):
            nursery.start_soon(work, number)
    assert outputs == {number: str(number) for number in range(TASKS)}

    await all_see(nodes, 2)
    after = await desk.call(Inspect())
    assert isinstance(after, Inspection)
    assert after.pid == before.pid
    assert after.rss_bytes - before.rss_bytes < MEMORY_BYTES_MAX

    async def arrived() -> bool:
        """The kernel drops packets that a busy daemon does not fetch, so there may have to be more of them."""
        if sum((await drops_of(desk)).values()) > sum(before.drops.values()) + DROPS:
            return True
        await throw_at_udp(mesh, 9, 50)
        return False

    await eventually(arrived)
    assert (await at(desk, "status")).status == 0


async def test_a_crowd_of_silent_connections_keeps_nobody_out(nodes: list[LocalNode]) -> None:
    """More connections than there are places to be greeted in, on the mesh's port and on that of MCP."""
    desk = nodes[0]
    async with trio.open_nursery() as nursery:
        await nursery.start(stay_silent, desk.ready["listen"], 200)
        await nursery.start(stay_silent, desk.ready["mcp"].removeprefix("http://").partition("/")[0], 100)
        with short_directory() as root, nodes_in(root, "late") as [late]:
            await late.start(*LISTEN, "--join", await token_of(desk))
            await all_see([desk, late], 3)
            assert (await finished(late, await submit(late, "echo", 1))).output == "1"
            await late.stop()
        nursery.cancel_scope.cancel()
    assert (await drops_of(desk)).get("handshake_evicted", 0) + (await drops_of(desk)).get("handshake_timeout", 0) > 0


async def test_a_full_control_socket_turns_the_next_one_away_with_words(nodes: list[LocalNode]) -> None:
    desk = nodes[0]
    path = DataDir(desk.directory).control_socket()
    async with trio.open_nursery() as nursery:

        async def hold(task_status: trio.TaskStatus[None]) -> None:
            async with await trio.open_unix_socket(path) as stream:
                task_status.started()
                await stream.receive_some(1)

        for _ in range(140):
            await nursery.start(hold)
        run = await meshnode("members", "--dir", desk.directory)
        run.assert_told(1, "already has 128 connections", "Close some of them")
        assert desk.process is not None
        assert is_alive(desk.process.pid)
        nursery.cancel_scope.cancel()
    await all_see(nodes, 2)
    assert (await status_of(desk)).phase == "serving"
