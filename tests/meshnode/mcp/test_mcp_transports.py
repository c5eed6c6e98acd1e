"""Every tool over every transport in both protocol eras, against real node cores."""

from __future__ import annotations

import itertools

import pytest
import trio

from protocols.membership.event_views import AskQuery, EventList, ReadEvents
from tests.meshnode.mcp.mcp_clients import (
    ARGUMENTS,
    CLIENT_WARNINGS,
    ERAS,
    TRANSPORTS,
    answer,
    assert_fits,
    connected,
    refusal,
)
from tests.meshnode.mcp.mcp_mesh import InProcessNode, two_nodes

pytestmark = pytest.mark.filterwarnings(CLIENT_WARNINGS)

EVERY_WAY = list(itertools.product(TRANSPORTS, ERAS))


async def asked(node: InProcessNode) -> str:
    """The id of a question that the users of `node` have put to the mesh, and that nobody has answered yet."""
    node.mesh.spawn_call(node, AskQuery("lunch?", timeout_ms=45_000))
    while True:
        listed = await node.call(ReadEvents(wait_ms=20_000))
        assert isinstance(listed, EventList)
        for each in listed.events:
            if each.kind == "query":
                return each.query_id


@pytest.mark.parametrize(("transport", "era"), EVERY_WAY)
async def test_every_tool_answers_as_its_schema_says_and_fails_as_a_tool_error(transport: str, era: str) -> None:
    async with two_nodes() as (alpha, _), connected(transport, era, alpha) as client:
        assert (client.protocol_version < "2026") is (era == "legacy")
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == set(ARGUMENTS)

        open_task = await answer(client, "mesh_submit_task", handler="sleep", payload=600)
        for name, arguments in ARGUMENTS.items():
            if name == "mesh_wait_task":
                task_id = (await answer(client, "mesh_submit_task", handler="double", payload=1))["task_id"]
            elif name == "mesh_answer_query":
                task_id = await asked(alpha)
            else:
                task_id = open_task["task_id"]
            given = {key: task_id if value == "?" else value for key, value in arguments.items()}
            schema = tools[name].output_schema
            assert schema is not None
            assert_fits(await answer(client, name, **given), schema)

        assert "unknown_task" in await refusal(client, "mesh_get_task", task_id="nothing.here")
        assert "already_final" in await refusal(client, "mesh_cancel_task", task_id=open_task["task_id"])


@pytest.mark.parametrize(("transport", "era"), EVERY_WAY)
async def test_fifty_calls_at_once_each_get_their_own_answer(transport: str, era: str) -> None:
    results: dict[int, object] = {}

    async with two_nodes() as (alpha, _), connected(transport, era, alpha) as client:
        await client.list_tools()

        async def double(number: int) -> None:
            task = await answer(client, "mesh_submit_task", handler="double", payload=number, wait_s=20)
            results[number] = task["result"]

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(double, number)
    assert results == {number: 2 * number for number in range(50)}
