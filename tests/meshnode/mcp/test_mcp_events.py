"""What the tools for events and queries do, in process, on real node cores."""

from __future__ import annotations

from typing import Any

import trio
from mcp import Client

from meshnode.calls import Caller
from meshnode.mcp.tools import build_server
from tests.meshnode.mcp.mcp_clients import answer, refusal
from tests.meshnode.mcp.mcp_mesh import two_nodes


def client_of(caller: Caller) -> Client:
    return Client(build_server(caller, node_name="x"), mode="auto")


async def test_what_one_agent_tells_the_agent_at_another_node_reads_once() -> None:
    async with two_nodes() as (alpha, beta), client_of(alpha) as teller, client_of(beta) as reader:
        nothing = await answer(reader, "mesh_read_events")
        assert (nothing["events"], nothing["more"], nothing["missed"]) == ([], False, False)
        sent = await answer(teller, "mesh_send_event", name="deployed", payload='{"v": 7}')
        assert sent["members"] == 2
        heard = await answer(reader, "mesh_read_events", after=nothing["cursor"], wait_s=30)
        (event,) = heard["events"]
        assert (event["kind"], event["name"], event["payload"]) == ("event", "deployed", '{"v": 7}')
        assert (event["node"], event["ltime"], event["query_id"]) == ("alpha", sent["ltime"], "")
        assert (await answer(reader, "mesh_read_events", after=heard["cursor"]))["events"] == []
        assert len((await answer(reader, "mesh_read_events"))["events"]) == 1


async def test_nodes_answer_for_themselves_and_agents_for_their_node() -> None:
    async with two_nodes() as (alpha, beta), client_of(alpha) as asker, client_of(beta) as other:
        versions = await answer(asker, "mesh_query", name="version", timeout_s=30)
        assert (versions["answered"], versions["asked"], versions["silent"]) == (2, 2, [])
        assert sorted(each["node"] for each in versions["answers"]) == ["alpha", "beta"]
        assert {each["answer"] for each in versions["answers"]} == {"0.1.0"}

        found: dict[str, Any] = {}

        async def ask() -> None:
            found.update(await answer(asker, "mesh_query", name="lunch?", payload="noon", timeout_s=3))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            (question,) = (await answer(other, "mesh_read_events", wait_s=30))["events"]
            assert (question["kind"], question["name"], question["payload"]) == ("query", "lunch?", "noon")
            assert 0 < question["answer_within_s"] <= 3
            answered = await answer(other, "mesh_answer_query", query_id=question["query_id"], answer="yes")
            assert answered["query_id"] == question["query_id"]
            again = await refusal(other, "mesh_answer_query", query_id=question["query_id"], answer="no")
            assert "answered" in again
        assert [(each["node"], each["answer"]) for each in found["answers"]] == [("beta", "yes")]
        assert (found["answered"], found["asked"], found["silent"]) == (1, 2, ["alpha"])
        late = await refusal(other, "mesh_answer_query", query_id="x.1.1", answer="yes")
        assert "query_over" in late


async def test_what_does_not_fit_is_refused_with_a_way_out() -> None:
    async with two_nodes() as (alpha, _), client_of(alpha) as client:
        assert "too_large" in await refusal(client, "mesh_send_event", name="n", payload="ü" * 300)
        assert "too_large" in await refusal(client, "mesh_query", name="n", payload="ü" * 300)
        assert "bad_cursor" in await refusal(client, "mesh_read_events", after="yesterday")
        assert "bad_arguments" in await refusal(client, "mesh_send_event", name="")
        assert "bad_arguments" in await refusal(client, "mesh_query", name="ping", timeout_s=46)
