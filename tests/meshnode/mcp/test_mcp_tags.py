"""Tags over MCP: an agent sets those of its node, sees those of all, and finds nodes by them."""

from __future__ import annotations

import trio
from mcp import Client

from meshnode.mcp.tools import build_server
from tests.meshnode.mcp.mcp_clients import answer, refusal
from tests.meshnode.mcp.mcp_mesh import InProcessNode, two_nodes


def client_of(node: InProcessNode) -> Client:
    return Client(build_server(node, node_name="alpha"), mode="auto")


async def shown(client: Client, **arguments: object) -> dict[str, dict[str, str]]:
    listed = await answer(client, "mesh_list_members", **arguments)
    return {row["name"]: row["tags"] for row in listed["members"]}


async def test_tags_that_an_agent_sets_are_seen_by_all_and_found() -> None:
    async with two_nodes() as (alpha, beta), client_of(alpha) as here, client_of(beta) as there:
        assert await answer(here, "mesh_set_tags") == {"tags": {}, "changed": []}
        given = {"gpu": "", "cuda": "12"}
        assert await answer(here, "mesh_set_tags", set=given) == {"tags": given, "changed": ["cuda", "gpu"]}
        with trio.fail_after(30):
            await beta.shows("alpha", given)
        assert await shown(there, tag="gpu") == await shown(there, tag="cuda=12") == {"alpha": given}
        assert await shown(there, tag="cuda=11") == {}
        changed = await answer(here, "mesh_set_tags", set={"cuda": "13"}, unset=["gpu", "never-set"])
        assert changed["tags"] == {"cuda": "13"}


async def test_tags_that_cannot_be_are_refused_with_a_next_step() -> None:
    async with two_nodes() as (alpha, _), client_of(alpha) as client:
        for arguments, code in (
            ({"set": {"GPU": ""}}, "bad_tag_key"),
            ({"set": {"x": "\x1b[2J"}}, "bad_tag_value"),
            ({"set": {".later": "1"}}, "reserved_tag"),
            ({"set": {f"k{number}": "" for number in range(33)}}, "too_many_tags"),
            ({"set": {f"k{number}": "" for number in range(65)}}, "bad_arguments"),
            ({"unset": "gpu"}, "bad_arguments"),
        ):
            assert f"[{code}]" in await refusal(client, "mesh_set_tags", **arguments)
        assert "[bad_tag_key]" in await refusal(client, "mesh_list_members", tag="GPU")
        assert await answer(client, "mesh_set_tags") == {"tags": {}, "changed": []}
