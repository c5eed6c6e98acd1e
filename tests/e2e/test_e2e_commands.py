"""The commands of a mesh of three, asked at nodes that have nothing to do with the matter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import trio

from scripts.localmesh import LocalNode
from tests.e2e.e2e_support import (
    FILES_SERVER,
    GATES,
    LISTEN,
    REPOSITORY,
    Room,
    all_see,
    at,
    eventually,
    finished,
    meshnode,
    nodes_in,
    on_node,
    short_directory,
    start_mesh,
    submit,
)

pytestmark = pytest.mark.xdist_group("e2e-commands")


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[LocalNode]]:
    """`desk` founded the mesh, `shelf` does the work, `box` has the MCP server."""
    with short_directory() as root, nodes_in(root, "desk", "shelf", "box") as nodes:
        nodes[2].configure(GATES + FILES_SERVER)
        trio.run(start_mesh, nodes)
        yield nodes


async def test_members_are_the_same_from_everywhere(nodes: list[LocalNode]) -> None:
    tables: list[list[tuple[Any, ...]]] = []

    async def agreed() -> bool:
        """A node that is slow for a second is suspect for a moment."""
        tables.clear()
        for node in nodes:
            run = await at(node, "members")
            assert run.status == 0, run.err
            members = run.document["members"]
            assert [member["name"] for member in members if member["is_self"]] == [node.name]
            tables.append([(m["node_id"], m["name"], m["address"], m["state"], m["handlers"]) for m in members])
        return tables[0] == tables[1] == tables[2]

    await eventually(agreed)
    assert [row[0] for row in tables[0]] == [node.ready["id"] for node in sorted(nodes, key=lambda node: node.name)]
    assert {row[1]: row[4] for row in tables[0]} == {
        "desk": ["gate", "echo"],
        "shelf": ["gate", "echo"],
        "box": ["gate", "echo", "mcp:files"],
    }
    run = await meshnode("members", "--dir", nodes[1].directory)
    assert run.status == 0
    assert all(node.ready["id"][:8] in run.out for node in nodes)


async def test_any_node_tells_how_far_away_and_how_busy_the_others_are(nodes: list[LocalNode]) -> None:
    desk, shelf, box = nodes

    async def known() -> bool:
        run = await at(desk, "rtt", "shelf", "box")
        return run.status == 0

    await eventually(known)
    estimated = (await at(desk, "rtt", shelf.ready["id"][:8], "box")).document
    assert (estimated["a"], estimated["b"], estimated["rtt"]["source"]) == ("shelf", "box", "coordinates")
    assert estimated["rtt"]["ms"] > 0
    probed = (await at(desk, "rtt", "box")).document
    assert (probed["a"], probed["b"], probed["rtt"]["source"]) == ("desk", "box", "probes")
    assert 0 < probed["rtt"]["ms"] < 10_000

    async def told() -> bool:
        """The first report of a machine is a second old, and travels with the next probe."""
        members = (await at(shelf, "members")).document["members"]
        return all(member["vitals"] and member["vitals"]["memory"] for member in members)

    await eventually(told)
    assert (await at(box, "status")).document["rtt"]["members"] == 2
    unknown = await at(desk, "rtt", "nobody")
    assert unknown.status == 1
    assert "meshnode members" in unknown.err


async def test_status_is_of_the_node_that_is_asked(nodes: list[LocalNode]) -> None:
    desk, shelf, box = nodes
    room = Room(desk.directory.parent / "status")
    task_id = await on_node(nodes, shelf, room, box)
    stands: dict[str, dict[str, Any]] = {}

    async def settled() -> bool:
        """What ended in earlier tests is over for its worker a moment later."""
        stands.update({node.name: (await at(node, "status")).document for node in nodes})
        told = [[document[key] for key in ("members_alive", "runs_active")] for document in stands.values()]
        return told == [[3, 0], [3, 1], [3, 0]]

    await eventually(settled)
    assert {name: document["phase"] for name, document in stands.items()} == dict.fromkeys(stands, "serving")
    assert {name: document["tasks_running"] for name, document in stands.items()} == {"desk": 0, "shelf": 0, "box": 1}
    assert shelf.process is not None
    assert stands["shelf"]["daemon"]["pid"] == shelf.process.pid
    room.open()
    await finished(box, task_id)


async def test_a_task_is_found_from_everywhere_while_it_runs_and_when_it_is_over(nodes: list[LocalNode]) -> None:
    desk, shelf, box = nodes
    room = Room(desk.directory.parent / "task")
    task_id = await on_node(nodes, shelf, room, desk)
    for node in (shelf, box):
        run = await at(node, "task", task_id)
        assert run.status == 0, run.err
        assert (run.document["state"], run.document["worker_name"]) == ("running", "shelf")
        run = await at(node, "task", task_id, "--wait", "200ms")
        run.assert_told(4, "still running", "the task goes on", task_id)

    waiting: dict[str, object] = {}

    async def wait(node: LocalNode) -> None:
        waiting[node.name] = (await at(node, "task", task_id, "--wait", "90")).document["output"]

    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(wait, node)
        room.open()
    assert waiting == {node.name: {"attempt": 1} for node in nodes}


async def test_tasks_lists_what_the_asked_node_took_in(nodes: list[LocalNode]) -> None:
    mine = [await submit(nodes[1], "echo", number) for number in range(3)]
    for task_id in mine:
        await finished(nodes[1], task_id)
    run = await at(nodes[1], "tasks", "--state", "succeeded", "--limit", "3")
    assert [row["task_id"] for row in run.document["tasks"]] == mine[::-1]
    run = await at(nodes[0], "tasks", "--limit", "500")
    assert not {row["task_id"] for row in run.document["tasks"]} & set(mine)
    run = await at(nodes[0], "tasks", "--state", "suceeded")
    run.assert_told(2, "succeeded")


async def test_cancel_from_a_third_node_stops_the_body_and_is_final(nodes: list[LocalNode]) -> None:
    desk, shelf, box = nodes
    room = Room(desk.directory.parent / "cancel")
    task_id = await on_node(nodes, shelf, room, desk)
    run = await at(box, "cancel", task_id)
    assert run.status == 0, run.err
    assert run.document["state"] == "cancelled"
    room.open()
    again = await at(shelf, "cancel", task_id)
    again.assert_told(1, "already ended: cancelled", "Read its outcome")
    for node in nodes:
        assert (await finished(node, task_id)).detail == "cancelled by a caller"
    run = await at(shelf, "task", task_id, "--wait", "5")
    run.assert_told(1, "was cancelled", "Submit it again")
    assert room.starts == [1]


async def test_a_task_that_nobody_has_is_unknown_with_a_next_step(nodes: list[LocalNode]) -> None:
    keeper = nodes[0].ready["id"][:8]
    for task_id in ("nonsense", f"aaaaaaaaaaaa.{keeper}", "aaaaaaaaaaaa.zzzzzzzz"):
        run = await at(nodes[1], "task", task_id)
        run.assert_told(1, "No node has a task", "Check the id")


async def test_tools_of_another_node_are_found_described_and_called(nodes: list[LocalNode]) -> None:
    desk, _, box = nodes

    async def found() -> list[tuple[str, str]]:
        """A server that is just starting has no tools yet."""
        run = await at(desk, "tools", "first", "lines")
        assert run.status == 0, run.err
        return [(tool["tool"], tool["node_name"]) for tool in run.document["tools"]]

    assert await eventually(found) == [("read_head", "box")]

    async def described() -> list[dict[str, Any]]:
        run = await at(desk, "tools", "--server", "files", "--tool", "read_head")
        tools: list[dict[str, Any]] = run.document["tools"]
        return tools

    [tool] = await eventually(described)
    assert set(tool["input_schema"]["properties"]) == {"path", "lines"}

    run = await at(desk, "call", "files", "read_head", "--arguments", '{"path": "noop.py", "lines": 1}')
    assert run.status == 0, run.err
    assert (run.document["worker_name"], run.document["coordinator"]) == ("box", desk.ready["id"])
    first_line = (REPOSITORY / "examples" / "noop.py").read_text().splitlines()[0]
    assert run.document["output"]["structured"] == {"lines": [first_line], "truncated": True}
    run = await meshnode("call", "files", "file_stats", "--arguments", '{"path": "noop.py"}', "--dir", desk.directory)
    assert run.status == 0
    assert str((REPOSITORY / "examples" / "noop.py").stat().st_size) in run.out
    assert box.running


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("read_head", '{"path": "../pyproject.toml"}', ("lies outside of the root",)),
        ("read_head", '{"path": "no-such-file"}', ("no-such-file", "Call list_files")),
        ("read_head", '{"lines": "many"}', ("path",)),
        ("no_such_tool", "{}", ("no_such_tool",)),
    ],
)
async def test_a_tool_that_fails_is_a_failed_command_with_its_own_words(
    nodes: list[LocalNode], tool: str, arguments: str, words: tuple[str, ...]
) -> None:
    run = await at(nodes[1], "call", "files", tool, "--arguments", arguments)
    run.assert_told(1, *words)
    assert run.document["state"] == "failed"
    assert run.document["output"] is None


async def test_doctor_finds_a_healthy_node_healthy(nodes: list[LocalNode]) -> None:
    for node in nodes[::2]:

        async def sound(node: LocalNode = node) -> bool:
            """A port that does not answer within two seconds fails, too."""
            checks = (await at(node, "doctor")).document["checks"]
            assert {"identity", "daemon", "own port", "handlers", "database"} <= {check["check"] for check in checks}
            return all(check["status"] != "fail" for check in checks)

        await eventually(sound)


async def test_a_node_whose_mcp_server_can_not_be_started_works_and_says_so() -> None:
    broken = '[mcp_servers.broken]\ncommand = "no-such-program-anywhere"\n'
    mute = '[mcp_servers.mute]\ncommand = "sleep"\nargs = ["3600"]\n'
    with short_directory() as root, nodes_in(root, "desk", toml=GATES + broken + mute) as [desk]:
        await desk.start(*LISTEN)
        await all_see([desk], 1)
        assert (await finished(desk, await submit(desk, "echo", 1))).output == "1"
        run = await at(desk, "call", "broken", "anything")
        run.assert_told(1, "no-such-program-anywhere")
        run = await at(desk, "call", "mute", "anything", "--timeout", "1s")
        run.assert_told(1, "mute" if "mute" in run.err else "time limit")
        run = await at(desk, "tools")
        assert run.status == 0
        assert run.document["tools"] == []
        run = await at(desk, "doctor")
        assert run.status == 1
        assert "no-such-program-anywhere" in run.out
