"""MCP over HTTP on real loopback sockets: who gets in, what is bounded, and how it stops."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from random import Random

import httpx2
import pytest
import trio

from meshnode.errors import MeshError
from meshnode.mcp import connection, guard, http
from meshnode.mcp.bounds import HTTP_KEEP_ALIVE_SECONDS, REQUEST_BYTES_MAX
from meshnode.mcp.http import serve_http
from tests.meshnode.mcp.mcp_clients import (
    CLIENT_WARNINGS,
    DEADLINE_S,
    ERAS,
    REPOSITORY,
    TOKEN,
    Served,
    answer,
    http_client,
    served,
)
from tests.meshnode.mcp.mcp_mesh import two_nodes

pytestmark = pytest.mark.filterwarnings(CLIENT_WARNINGS)

AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}
MCP_HEADERS = AUTHORIZED | {"accept": "application/json, text/event-stream", "content-type": "application/json"}


def initialize(request_id: int = 1) -> dict[str, object]:
    parameters = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }
    return {"jsonrpc": "2.0", "id": request_id, "method": "initialize", "params": parameters}


PREFACE_OF_HTTP_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 9


def port_of(url: str) -> int:
    port = httpx2.URL(url).port
    assert port is not None
    return port


async def connect(url: str) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", port_of(url))


async def read_all(stream: trio.SocketStream) -> bytes:
    data = b""
    with trio.fail_after(DEADLINE_S):
        async for chunk in stream:
            data += chunk
    return data


# Who gets in.


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
async def test_without_the_token_nothing_is_served(method: str) -> None:
    async with two_nodes() as (alpha, _), served(alpha) as face, httpx2.AsyncClient() as client:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
            response = await client.request(method, face.url, headers=headers)
            assert response.status_code == 401
            assert response.headers["www-authenticate"].startswith('Bearer realm="meshnode"')
            error = response.json()
            assert error["error"] == "unauthorized"
            assert error["message"]
            assert "Authorization" in error["next_step"]
        assert alpha.commands == []


async def test_other_hosts_other_sites_and_other_paths_are_turned_away() -> None:
    async with two_nodes() as (alpha, _), served(alpha) as face, httpx2.AsyncClient() as client:
        post = partial(client.post, json=initialize())
        assert (await post(face.url, headers=MCP_HEADERS | {"host": "evil.example"})).status_code == 403
        assert (await post(face.url, headers=MCP_HEADERS | {"origin": "http://evil.example"})).status_code == 403
        assert (await post(face.url + "/more", headers=MCP_HEADERS)).status_code == 404
        assert (await post(face.url, headers=MCP_HEADERS | {"origin": "http://localhost:1"})).status_code == 200
        localhost = face.url.replace("127.0.0.1", "localhost")
        assert (
            await post(face.url, headers=MCP_HEADERS | {"host": httpx2.URL(localhost).netloc.decode()})
        ).status_code == 200


@pytest.mark.parametrize(
    "offer",
    [
        "upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
        "upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ],
)
async def test_an_offer_to_upgrade_is_ignored(offer: str) -> None:
    async with two_nodes() as (alpha, _), served(alpha) as face, await connect(face.url) as stream:
        head = f"GET /other HTTP/1.1\r\nhost: 127.0.0.1:{port_of(face.url)}\r\nconnection: upgrade\r\n{offer}\r\n"
        await stream.send_all(head.encode())
        assert (await read_all(stream)).startswith(b"HTTP/1.1 404")


# What is bounded.


async def big_body(size_bytes: int) -> AsyncIterator[bytes]:
    for _ in range(size_bytes // 10_000):
        yield b"x" * 10_000


async def test_a_body_that_is_too_large_is_refused_and_its_sender_sees_why() -> None:
    async with two_nodes() as (alpha, _), served(alpha) as face, httpx2.AsyncClient() as client:
        for content in (b"x" * (REQUEST_BYTES_MAX + 1), big_body(3_000_000)):
            response = await client.post(face.url, headers=MCP_HEADERS, content=content)
            assert response.status_code == 413
            assert response.json()["error"] == "too_large"


async def test_an_unauthorized_sender_that_reads_only_at_the_end_sees_why_too() -> None:
    """A server that closes at once would have the kernel reset the connection, and its answer would be lost."""
    async with two_nodes() as (alpha, _), served(alpha) as face, await connect(face.url) as stream:
        head = f"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:{port_of(face.url)}\r\ncontent-length: 3000000\r\n\r\n"
        await stream.send_all(head.encode())
        for _ in range(300):
            await stream.send_all(b"x" * 10_000)
        assert (await read_all(stream)).startswith(b"HTTP/1.1 401")


async def test_a_body_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "HTTP_BODY_SECONDS", 0.05)
    async with two_nodes() as (alpha, _), served(alpha) as face, await connect(face.url) as stream:
        head = f"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:{port_of(face.url)}\r\nauthorization: Bearer {TOKEN}\r\n"
        await stream.send_all(f"{head}content-length: 10\r\n\r\n12345".encode())
        assert (await read_all(stream)).startswith(b"HTTP/1.1 408")


async def test_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "HTTP_SESSIONS_MAX", 2)
    async with two_nodes() as (alpha, _), served(alpha) as face, httpx2.AsyncClient(headers=MCP_HEADERS) as client:
        opened = [await client.post(face.url, json=initialize()) for _ in range(3)]
        assert [response.status_code for response in opened] == [200, 200, 503]
        await client.delete(face.url, headers={"mcp-session-id": opened[0].headers["mcp-session-id"]})
        assert (await client.post(face.url, json=initialize())).status_code == 200


async def test_connections_are_bounded_and_room_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "HTTP_CONNECTIONS_MAX", 2)
    async with two_nodes() as (alpha, _), served(alpha) as face:
        first, second = await connect(face.url), await connect(face.url)
        async with await connect(face.url) as third:
            assert b"503 Service Unavailable" in await read_all(third)
        await first.aclose()
        with trio.fail_after(HTTP_KEEP_ALIVE_SECONDS / 2):  # long before an idle connection would be closed
            async with httpx2.AsyncClient(headers=MCP_HEADERS) as client:
                while (await client.post(face.url, json=initialize())).status_code == 503:
                    pass  # the server has yet to see that the first is gone
        await second.aclose()


@pytest.mark.parametrize(
    "garbage",
    [
        PREFACE_OF_HTTP_2,
        b"\x00" * 1000,
        b"GET\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\n" + b"a: b\r\n" * 10_000,
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)
async def test_garbage_is_answered_or_dropped_and_hurts_nobody_else(garbage: bytes) -> None:
    async with two_nodes() as (alpha, _), served(alpha) as face:
        async with await connect(face.url) as stream:
            await stream.send_all(garbage)
            await stream.send_eof()
            assert (await read_all(stream)).startswith((b"HTTP/1.1 4", b""))
        async with http_client(face.url, "auto") as client:
            await answer(client, "mesh_get_status")


@pytest.mark.parametrize("body", [b"{", b"[]", b"[" * 100_000, b'{"jsonrpc": "2.0"}', b"\xff", b"null", b""])
@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
async def test_bodies_that_are_no_message_are_client_errors(body: bytes, version: str) -> None:
    async with two_nodes() as (alpha, _), served(alpha) as face, httpx2.AsyncClient() as client:
        response = await client.post(face.url, headers=MCP_HEADERS | {"mcp-protocol-version": version}, content=body)
        assert 400 <= response.status_code < 500


async def test_an_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HTTP_KEEP_ALIVE_SECONDS", 0.05)
    async with two_nodes() as (alpha, _), served(alpha) as face:
        for said in (b"", b"GET /mcp HTTP/1.1\r\nhost:"):
            async with await connect(face.url) as stream:
                await stream.send_all(said)
                assert await read_all(stream) == b""
        monkeypatch.setattr(connection, "HTTP_KEEP_ALIVE_SECONDS", 3600.0)  # a refusal ends the connection by itself
        async with await connect(face.url) as stream:
            await stream.send_all(b"GET /mcp HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await read_all(stream)).startswith(b"HTTP/1.1 403")


async def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HTTP_SEND_SECONDS", 0.2)
    async with two_nodes() as (alpha, _), served(alpha) as face, await connect(face.url) as deaf:
        with trio.fail_after(DEADLINE_S), contextlib.suppress(trio.BrokenResourceError):  # reset, with requests unread
            while True:
                await fall_deaf(face, deaf)


async def test_mutated_requests_leave_nothing_behind(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "HTTP_GRACE_SECONDS", 3600.0)
    chance = Random(7)
    async with two_nodes() as (alpha, _), served(alpha) as face:
        head = f"host: 127.0.0.1:{port_of(face.url)}\r\nauthorization: Bearer {TOKEN}\r\n"
        whole = [
            f"POST /mcp HTTP/1.1\r\n{head}content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}",
            f"POST /mcp HTTP/1.1\r\n{head}transfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n1\r\n{{\r\n0\r\n",
            f"GET /mcp HTTP/1.1\r\n{head}connection: upgrade\r\nupgrade: websocket\r\n\r\nmore",
            f"DELETE /mcp HTTP/1.0\r\n{head}mcp-session-id: x\r\n\r\n",
        ]
        for _ in range(200):
            data = bytearray(chance.choice(whole).encode() * chance.randint(1, 3))
            for _ in range(chance.randint(0, 4)):
                place = chance.randrange(len(data))
                data[place : place + chance.randint(0, 4)] = chance.randbytes(chance.randint(0, 4))
            async with await connect(face.url) as stream:
                await stream.send_all(data)
                await stream.send_eof()
                with contextlib.suppress(trio.BrokenResourceError):  # reset, with something unread
                    await read_all(stream)
        async with http_client(face.url, "auto") as client:
            await answer(client, "mesh_get_status")
        await face.stop()  # no connection was left to wait for
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# Its start and its end.


async def test_a_busy_port_is_a_clear_error() -> None:
    async with two_nodes() as (alpha, _), served(alpha) as face:
        with pytest.raises(MeshError) as raised:
            await serve_http(alpha, port=port_of(face.url), token=TOKEN, node_name="alpha")
        assert raised.value.code == "port_busy"
        assert str(port_of(face.url)) in raised.value.message
        assert "--mcp" in raised.value.next_step
        with pytest.raises(MeshError) as raised:
            await serve_http(alpha, port=70_000, token=TOKEN, node_name="alpha")
        assert raised.value.code == "cannot_listen"


async def test_it_listens_on_loopback_alone_and_frees_the_port_when_it_stops() -> None:
    async with two_nodes() as (alpha, _):
        async with served(alpha) as face:
            port = port_of(face.url)
            with socket.socket() as other:
                other.bind(("127.0.0.2", port))  # would fail if all addresses were taken
        async with served(alpha, port=port) as face, http_client(face.url, "auto") as client:
            await answer(client, "mesh_get_status")


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_under_way_is_answered_when_the_server_stops(era: str) -> None:
    async with two_nodes() as (alpha, _), served(alpha) as face, http_client(face.url, era) as client:
        await client.list_tools()
        task: dict[str, object] = {}

        async def call() -> None:
            task.update(await answer(client, "mesh_submit_task", handler="sleep", payload=600, wait_s=50))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            with trio.fail_after(DEADLINE_S):
                await alpha.waited_on()
            await face.stop()
        assert task["final"] is False
        assert "stopped before it answered" in str(task["detail"])


async def test_idle_connections_do_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "HTTP_GRACE_SECONDS", 3600.0)
    async with two_nodes() as (alpha, _), served(alpha) as face, await connect(face.url) as unused:
        async with httpx2.AsyncClient() as client:
            assert (await client.get(face.url)).status_code == 401
            assert (await client.post(face.url, headers=MCP_HEADERS, json=initialize())).status_code == 200
            await face.stop()
        assert await read_all(unused) == b""


async def fall_deaf(face: Served, stream: trio.SocketStream) -> None:
    """Ask and never read, until the server is stuck in sending (it reads no more then)."""
    request = json.dumps(initialize()).encode()
    head = f"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:{port_of(face.url)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in MCP_HEADERS.items())
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    with trio.move_on_after(1.0) as stuck:
        while True:
            await stream.send_all(f"{head}content-length: {len(request)}\r\n\r\n".encode() + request)
            stuck.deadline = trio.current_time() + 1.0


async def test_open_streams_and_a_client_that_does_not_read_do_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "HTTP_SEND_SECONDS", 3600.0)
    async with two_nodes() as (alpha, _), served(alpha) as face, http_client(face.url, "legacy") as client:
        await answer(client, "mesh_get_status")  # the client holds an open stream now
        async with await connect(face.url) as deaf:
            await fall_deaf(face, deaf)
            await face.stop()


def test_the_sdk_is_imported_only_by_serving() -> None:
    code = (
        "import sys, meshnode.mcp.http, meshnode.mcp.bridge, meshnode.mcp.guard;"
        "print(sorted({'mcp', 'hypercorn', 'pydantic', 'starlette'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
