"""Agents in a real mesh: submit, wait, result; tools of other nodes; and daemons that go away under the bridge."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import httpx2
import pytest
import trio
import trio.testing

from scripts.localmesh import LocalNode
from tests.e2e.e2e_mcp import CLIENT_WARNINGS, ERAS, WAYS, connected, stdio
from tests.e2e.e2e_support import (
    DEADLINE_S,
    FILES_SERVER,
    GATES,
    LISTEN,
    Room,
    all_see,
    eventually,
    finished,
    nodes_in,
    popen,
    python_handler,
    short_directory,
    start_mesh,
)
from tests.meshnode.mcp.mcp_clients import answer, refusal

pytestmark = [pytest.mark.xdist_group("e2e-mcp"), pytest.mark.filterwarnings(CLIENT_WARNINGS)]

SERVE = (*LISTEN, "--mcp", "0")


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[LocalNode]]:
    """The agent sits at `desk`; `box` has the MCP server. A module's test may stop and start `desk`."""
    with short_directory() as root, nodes_in(root, "desk", "box") as nodes:
        nodes[0].configure(GATES + python_handler("fail"))
        nodes[1].configure(GATES + FILES_SERVER)
        trio.run(start_mesh, nodes, *SERVE)
        yield nodes


@pytest.mark.parametrize(("way", "era"), list(itertools.product(WAYS, ERAS)))
async def test_an_agent_does_its_work(nodes: list[LocalNode], way: str, era: str) -> None:
    desk = nodes[0]
    room = Room(desk.directory.parent / f"{way}-{era}")
    async with connected(way, era, desk) as client:
        assert (client.protocol_version < "2026") is (era == "legacy")

        async def well() -> bool:
            status = await answer(client, "mesh_get_status")
            return (status["name"], status["members_alive"]) == ("desk", 2)

        await eventually(well)

        task = await answer(client, "mesh_submit_task", handler="gate", payload=room.payload, idempotency_key=way + era)
        assert task["final"] is False
        again = await answer(client, "mesh_submit_task", handler="gate", payload=None, idempotency_key=way + era)
        assert (again["task_id"], again["existing"]) == (task["task_id"], True)
        await room.started(1)
        assert (await answer(client, "mesh_wait_task", task_id=task["task_id"], wait_s=0.2))["state"] == "running"
        room.open()
        ended = await answer(client, "mesh_wait_task", task_id=task["task_id"], wait_s=20)
        assert (ended["state"], ended["final"], ended["result"]) == ("succeeded", True, {"attempt": 1})

        failed = await answer(client, "mesh_submit_task", handler="fail", payload="it", wait_s=20)
        assert failed["state"] == "failed"
        assert "cannot do 'it'" in failed["detail"]
        text = await refusal(client, "mesh_submit_task", handler="gait")
        assert "gate" in text

        async def found() -> set[str]:
            return {tool["tool"] for tool in (await answer(client, "mesh_find_tools", query="lines"))["tools"]}

        assert await eventually(found) == {"read_head", "file_stats"}
        called = await answer(
            client, "mesh_call_tool", server="files", tool="read_head", arguments={"path": "noop.py", "lines": 1}
        )
        assert called["final"] is True
        assert "The smallest body" in str(called)
        text = await refusal(
            client, "mesh_call_tool", server="files", tool="read_head", arguments={"path": "../pyproject.toml"}
        )
        assert "lies outside of the root" in text
        assert "on box" in text
        text = await refusal(client, "mesh_call_tool", server="fils", tool="read_head")
        assert "files" in text
    assert (await finished(desk, task["task_id"])).attempt == 1


async def test_http_lets_in_who_has_the_token_and_comes_from_here(nodes: list[LocalNode]) -> None:
    desk = nodes[0]
    url = desk.ready["mcp"]
    assert (desk.directory / "mcp.token").stat().st_mode & 0o077 == 0
    token = (desk.directory / "mcp.token").read_text().strip()
    good = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    async with httpx2.AsyncClient() as session:
        for headers, statuses in (
            ({}, {401}),
            ({**good, "Authorization": "Bearer " + token[:-1]}, {401}),
            ({**good, "Authorization": "Basic " + token}, {401}),
            ({**good, "Host": "evil.example"}, {403, 421}),
            ({**good, "Origin": "https://evil.example"}, {403}),
        ):
            reply = await session.post(url, json=body, headers=headers)
            assert reply.status_code in statuses, (headers, reply.text)
            assert token not in reply.text
        assert (await session.get(url.replace("/mcp", "/etc/passwd"), headers=good)).status_code == 404


async def test_the_bridge_outlives_the_daemon_and_says_how_to_start_it(nodes: list[LocalNode]) -> None:
    """kill -9 while a call waits; a call while nobody is there; and calls again once the node is back."""
    desk = nodes[0]
    room = Room(desk.directory.parent / "bridge")
    async with stdio(desk, "auto") as client:
        task = await answer(client, "mesh_submit_task", handler="gate", payload=room.payload)
        await room.started(1)
        texts: list[str] = []

        async def wait() -> None:
            texts.append(await refusal(client, "mesh_wait_task", task_id=task["task_id"], wait_s=40))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked(0.05)
            await answer(client, "mesh_get_status")  # the wait is under way: calls of one bridge go in order
            desk.kill()
        assert "went away" in texts[0]
        text = await refusal(client, "mesh_get_status")
        assert "not_running" in text
        assert "meshnode up" in text
        assert {tool.name for tool in (await client.list_tools()).tools} >= {"mesh_get_status", "mesh_call_tool"}

        await desk.start(*SERVE)
        room.open()
        ended = await answer(client, "mesh_wait_task", task_id=task["task_id"], wait_s=20)
        assert (ended["task_id"], ended["state"]) == (task["task_id"], "succeeded")
        await all_see(nodes, 2)


async def test_a_tool_of_a_node_that_has_gone_vanishes_and_comes_back(nodes: list[LocalNode]) -> None:
    desk, box = nodes
    async with stdio(desk, "auto") as client:
        await box.stop()
        assert (await answer(client, "mesh_find_tools"))["tools"] == []
        text = await refusal(client, "mesh_call_tool", server="files", tool="read_head", arguments={"path": "noop.py"})
        assert "files" in text
        await box.start(*SERVE)

        async def back() -> bool:
            return bool((await answer(client, "mesh_find_tools"))["tools"])

        await eventually(back)
        called = await answer(
            client, "mesh_call_tool", server="files", tool="file_stats", arguments={"path": "noop.py"}
        )
        assert called["final"] is True


async def test_the_bridge_ends_with_its_client_whatever_that_says(nodes: list[LocalNode]) -> None:
    """Garbage on stdin is answered as such, and end of input is the end."""
    garbage = b"\x00\xff garbage\n{}\n[1,2]\n" + b"{" * 100_000 + b"\n" + b"x" * 3_000_000
    bridge = popen("mcp", "--dir", nodes[0].directory, stdin=-1, stdout=-1, stderr=-1)
    try:
        with trio.fail_after(DEADLINE_S):
            out, err = await trio.to_thread.run_sync(bridge.communicate, garbage)
    finally:
        bridge.kill()
    assert bridge.returncode == 0, err
    assert err == b""
    answers = [json.loads(line) for line in out.splitlines()]
    assert len(answers) >= 4
    assert all("error" in answer for answer in answers)


async def test_a_daemon_that_stops_while_agents_wait_stops_in_time_and_tells_them(nodes: list[LocalNode]) -> None:
    desk = nodes[0]
    room = Room(desk.directory.parent / "stops")
    texts: list[str] = []
    async with connected("http", "auto", desk) as client:
        task = await answer(client, "mesh_submit_task", handler="gate", payload=room.payload)
        await room.started(1)

        async def wait() -> None:
            texts.append(await refusal(client, "mesh_wait_task", task_id=task["task_id"], wait_s=40))

        with trio.fail_after(DEADLINE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked(0.05)  # it has been sent, and is served before the next one
                await answer(client, "mesh_get_status")
                assert await desk.stop() == 0
    assert "stopp" in texts[0]
    room.open()
    await desk.start(*SERVE)
    assert (await finished(desk, task["task_id"])).output in ('{"attempt":1}', '{"attempt":2}')
    await all_see(nodes, 2)
