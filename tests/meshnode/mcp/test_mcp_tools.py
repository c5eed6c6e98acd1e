"""What the tools do, in process: on real node cores, and on callers that answer as no healthy mesh would."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable

import pytest
import trio
import trio.testing
from mcp import Client

from meshnode.calls import Caller, CallerCommand, CallerOutcome
from meshnode.errors import ExitCode, MeshError
from meshnode.mcp.bounds import CALL_SECONDS_MAX, CALLS_IN_FLIGHT_MAX, JSON_DEPTH_MAX
from meshnode.mcp.tools import build_server
from protocols.core import Refused, Unknown
from protocols.limits import PAYLOAD_BYTES_MAX
from protocols.tasks.task import Accepted, Submit
from protocols.tools import ToolInfo, ToolsFound
from tests.meshnode.mcp.mcp_clients import ARGUMENTS, ERAS, answer, connected, refusal, text_of
from tests.meshnode.mcp.mcp_mesh import ECHO_SCHEMA, call_files_tool, two_nodes

READS = (True, False, True, False)
RUNS_ANYTHING = (False, True, False, True)
HINTS = {
    "mesh_get_status": READS,
    "mesh_list_members": READS,
    "mesh_set_tags": (False, True, True, False),
    "mesh_submit_task": RUNS_ANYTHING,
    "mesh_get_task": READS,
    "mesh_wait_task": READS,
    "mesh_cancel_task": (False, True, True, False),
    "mesh_list_tasks": READS,
    "mesh_find_tools": READS,
    "mesh_describe_tool": READS,
    "mesh_call_tool": RUNS_ANYTHING,
    "mesh_send_event": (False, False, False, False),
    "mesh_read_events": READS,
    "mesh_query": READS,
    "mesh_answer_query": (False, False, True, False),
}


class Says:
    """A caller that gives every command to a function."""

    def __init__(self, reply: Callable[[CallerCommand], CallerOutcome]) -> None:
        self._reply = reply

    async def call(self, command: CallerCommand) -> CallerOutcome:
        await trio.lowlevel.checkpoint()
        return self._reply(command)


class Silent:
    """A caller that never answers, except that it accepts tasks where told to."""

    def __init__(self, *, accepts: bool = False) -> None:
        self._accepts = accepts
        self.waiting = 0

    async def call(self, command: CallerCommand) -> CallerOutcome:
        if self._accepts and isinstance(command, Submit):
            return Accepted("t.alpha", "alpha")
        self.waiting += 1
        return await trio.sleep_forever()


def client_of(caller: Caller, era: str = "auto") -> Client:
    return Client(build_server(caller, node_name="alpha"), mode=era)


# The catalogue.


@pytest.mark.parametrize("era", ERAS)
async def test_the_catalogue_is_fifteen_described_bounded_tools_with_true_hints(era: str) -> None:
    async with client_of(Silent(), era) as client:
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == set(HINTS)
        for tool in tools:
            assert re.fullmatch(r"mesh(_[a-z]+)+", tool.name)
            assert len(tool.name) < 48
            hints = tool.annotations
            assert hints is not None
            given = (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint)
            assert given == HINTS[tool.name]
            assert tool.title
            assert hints.title == tool.title
            assert tool.description
            assert len(tool.description) > 60
            assert tool.input_schema["additionalProperties"] is False
            for name, field in tool.input_schema["properties"].items():
                assert field["description"], f"{tool.name}.{name} has no description"
                bounds = {"string": {"maxLength", "enum"}, "number": {"maximum"}, "integer": {"maximum"}}
                assert bounds.get(field.get("type"), set(field)) & set(field), f"{tool.name}.{name} has no bound"
            assert tool.output_schema is not None
            assert all(field["description"] for field in tool.output_schema["properties"].values())
        capabilities = client.server_capabilities
        assert capabilities.tools is not None
        assert capabilities.resources is None
        assert capabilities.prompts is None
        assert "mesh_find_tools" in (client.instructions or "")


def test_building_a_server_leaves_the_logging_of_the_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    before = root.level
    build_server(Silent(), node_name="alpha")
    assert root.handlers == []
    assert root.level == before


# Arguments.


@pytest.mark.parametrize("era", ERAS)
async def test_unusable_arguments_are_refused_before_anything_is_asked_of_the_mesh(era: str) -> None:
    async with two_nodes() as (alpha, _), client_of(alpha, era) as client:
        for tool, arguments, words in (
            (
                "mesh_submit_task",
                {"handler": "double", "wait": 3},
                "wait: there is no such argument; did you mean wait_s",
            ),
            ("mesh_submit_task", {}, "handler: Field required"),
            (
                "mesh_submit_task",
                {"handler": "double", "wait_s": 51},
                "wait_s: Input should be less than or equal to 50",
            ),
            ("mesh_wait_task", {"task_id": "t", "wait_s": 50.5}, "wait_s"),
            ("mesh_wait_task", {"task_id": "t", "wait_s": -1}, "wait_s"),
            ("mesh_get_task", {"task_id": "t" * 65}, "task_id"),
            ("mesh_get_task", {"task_id": ""}, "task_id"),
            ("mesh_list_tasks", {"states": ["lost"]}, "states.0"),
            ("mesh_list_tasks", {"limit": 0}, "limit"),
            ("mesh_call_tool", {"server": "files", "tool": "echo", "arguments": [1]}, "arguments"),
            ("mesh_get_status", {"verbose": True}, "takes no arguments"),
        ):
            text = await refusal(client, tool, **arguments)
            assert words in text
            assert "Nothing was done" in text
            assert "bad_arguments" in text
        assert alpha.commands == []
        assert "mesh_get_status" in await refusal(client, "mesh_make_coffee")


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "payload", [None, True, 0, -1.5, "", "[1, 2]", "null", "grüße \U0001f600", [], {"a": {"b": [None]}}, 2**80]
)
async def test_a_payload_arrives_as_the_json_value_that_it_is(payload: object, era: str) -> None:
    async with two_nodes() as (alpha, _), client_of(alpha, era) as client:
        await answer(client, "mesh_submit_task", handler="keep", payload=payload)
        submitted = [command for command in alpha.commands if isinstance(command, Submit)]
        assert json.loads(submitted[0].payload) == payload
        assert submitted[0].submitted_unix_ms > 0


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("era", ERAS)
async def test_a_payload_that_is_too_deep_or_too_large_is_refused_with_the_limit(era: str) -> None:
    async with two_nodes() as (alpha, _), client_of(alpha, era) as client:
        deep = nested(JSON_DEPTH_MAX + 1)
        large = "x" * PAYLOAD_BYTES_MAX
        assert "32 levels" in await refusal(client, "mesh_submit_task", handler="double", payload=deep)
        assert "32 levels" in await refusal(
            client, "mesh_call_tool", server="files", tool="echo", arguments={"text": deep}
        )
        assert str(PAYLOAD_BYTES_MAX) in await refusal(client, "mesh_submit_task", handler="double", payload=large)
        assert alpha.commands == []
        await answer(client, "mesh_submit_task", handler="keep", payload=nested(JSON_DEPTH_MAX))
        await answer(client, "mesh_submit_task", handler="keep", payload="x" * (PAYLOAD_BYTES_MAX - 2))


# Tasks.


async def test_a_task_is_submitted_waited_for_and_listed() -> None:
    async with two_nodes() as (alpha, _), client_of(alpha) as client:
        done = await answer(client, "mesh_submit_task", handler="double", payload="ab", key="k", wait_s=20)
        assert done["state"] == "succeeded"
        assert done["final"] is True
        assert (done["result"], done["node"], done["key"], done["existing"]) == ("abab", "alpha", "k", False)
        assert done["next_step"] == ""
        again = await answer(client, "mesh_get_task", task_id=done["task_id"])
        assert again == {key: value for key, value in done.items() if key != "existing"}

        broken = await answer(client, "mesh_submit_task", handler="fail", payload=7, wait_s=20)
        assert (broken["state"], broken["final"], broken["result"]) == ("failed", True, None)
        assert "no luck with 7" in broken["detail"]
        assert "detail" in broken["next_step"]

        running = await answer(client, "mesh_submit_task", handler="sleep", payload=600)
        assert running["final"] is False
        assert running["task_id"] in running["next_step"]
        cancelled = await answer(client, "mesh_cancel_task", task_id=running["task_id"])
        assert (cancelled["state"], cancelled["final"]) == ("cancelled", True)

        everything = await answer(client, "mesh_list_tasks")
        assert {row["task_id"] for row in everything["tasks"]} == {
            done["task_id"],
            broken["task_id"],
            running["task_id"],
        }
        failed = await answer(client, "mesh_list_tasks", states=["failed", "cancelled", "failed"], limit=1)
        assert failed["total"] == 2
        assert len(failed["tasks"]) == 1


async def test_the_same_idempotency_key_is_the_same_task() -> None:
    async with two_nodes() as (alpha, _), client_of(alpha) as client:
        first = await answer(client, "mesh_submit_task", handler="double", payload=1, idempotency_key="once")
        second = await answer(
            client, "mesh_submit_task", handler="double", payload=2, idempotency_key="once", wait_s=20
        )
        assert second["task_id"] == first["task_id"]
        assert (first["existing"], second["existing"], second["result"]) == (False, True, 2)


async def test_whoever_names_what_is_not_there_is_told_what_is() -> None:
    async with two_nodes() as (alpha, _), client_of(alpha) as client:
        text = await refusal(client, "mesh_submit_task", handler="triple")
        assert "double, fail, keep, raw, sleep" in text
        assert "files" in await refusal(client, "mesh_call_tool", server="flies", tool="echo")
        assert "files" in await refusal(client, "mesh_describe_tool", server="flies", tool="echo")
        assert "burn, echo, slow" in await refusal(client, "mesh_describe_tool", server="files", tool="ehco")


async def test_a_disk_that_fails_is_a_tool_error_and_nothing_was_taken_in() -> None:
    async with two_nodes() as (alpha, _), client_of(alpha) as client:
        alpha.disk_error = "no space left"
        text = await refusal(client, "mesh_submit_task", handler="double", payload=1)
        assert "storage_failed" in text
        assert "no space left" in text
        assert (await answer(client, "mesh_list_tasks"))["total"] == 0
        assert "no space left" in (await answer(client, "mesh_get_status"))["storage_error"]


@pytest.mark.parametrize(
    "text", ["[" * 65 + "]" * 65, "[" * 100_000, "NaN", '"\\ud800"', '{"a": Infinity}', "not json", "1" * 5000]
)
async def test_output_that_is_no_plain_json_is_handed_on_as_text(text: str) -> None:
    async with two_nodes() as (alpha, _), connected("in process", "legacy", alpha) as client:
        task = await answer(client, "mesh_submit_task", handler="raw", payload=text, wait_s=20)
        assert task["result"] == text


# Tools of other nodes.


@pytest.mark.parametrize("era", ERAS)
async def test_a_remote_tool_answers_with_its_own_content(era: str) -> None:
    async with two_nodes() as (alpha, _), client_of(alpha, era) as client:
        found = await answer(client, "mesh_find_tools", query="TEXT say")
        assert [(row["server"], row["tool"], row["node"]) for row in found["tools"]] == [("files", "echo", "beta")]
        described = await answer(client, "mesh_describe_tool", server="files", tool="echo")
        assert described["input_schema"] == ECHO_SCHEMA
        assert described["nodes"] == ["beta"]
        unreadable = await answer(client, "mesh_describe_tool", server="files", tool="burn")
        assert unreadable["input_schema"] == {"type": "object"}

        result = await client.call_tool(
            "mesh_call_tool", {"server": "files", "tool": "echo", "arguments": {"text": "hello"}}
        )
        assert [block.type for block in result.content] == ["text", "image"]
        assert text_of(result) == "hello"
        structured = result.structured_content
        assert (structured["final"], structured["node"], structured["structured"]) == (
            True,
            "beta",
            {"echoed": "hello"},
        )
        assert structured["content"] == [
            {"type": "text", "text": "hello"},
            {"type": "image", "data": "aGk=", "mimeType": "image/png"},
        ]


async def test_a_remote_tool_that_fails_is_an_error_and_one_without_arguments_needs_none() -> None:
    async with two_nodes() as (alpha, _), client_of(alpha) as client:
        text = await refusal(client, "mesh_call_tool", server="files", tool="burn")
        assert "tool_failed" in text
        assert "disk on fire" in text
        assert "on beta" in text


async def test_arguments_given_as_a_string_of_json_are_understood() -> None:
    async with two_nodes() as (alpha, _), client_of(alpha) as client:
        given = {"server": "files", "tool": "echo", "arguments": '{"text": "hello"}'}
        assert text_of(await client.call_tool("mesh_call_tool", given)) == "hello"
        assert "arguments" in await refusal(client, "mesh_call_tool", **(given | {"arguments": "[" * 100_000}))


async def test_a_slow_remote_tool_gives_a_handle_and_its_answer_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with two_nodes() as (alpha, _), client_of(alpha) as client:
        given = {"server": "files", "tool": "slow", "arguments": {"seconds": 60}}
        call = await answer(client, "mesh_call_tool", **given)
        assert (call["final"], call["content"], call["structured"]) == (False, [], None)
        assert call["task_id"] in call["next_step"]
        for _ in range(3):
            task = await answer(client, "mesh_wait_task", task_id=call["task_id"], wait_s=20)
        assert task["result"]["content"] == [{"type": "text", "text": "at last"}]

        late = await refusal(client, "mesh_call_tool", **given, timeout_s=5)
        assert "tool_failed" in late
        assert "longer than 5000 ms" in late


async def test_a_named_node_is_kept_to_or_refused() -> None:
    async with two_nodes() as (alpha, beta), client_of(alpha) as client:
        given = {"server": "files", "tool": "echo", "arguments": {"text": "hello"}}
        assert (await answer(client, "mesh_call_tool", **given, node="beta"))["node"] == "beta"
        assert (await answer(client, "mesh_call_tool", **given, node=beta.node_id))["node"] == "beta"
        text = await refusal(client, "mesh_call_tool", **given, node="alpha")
        assert "not_on_node" in text
        assert "beta" in text
        assert "no_such_server" in await refusal(client, "mesh_call_tool", server="s", tool="t", node="beta")
        await beta.mesh.start("gamma", {"mcp:files": call_files_tool})
        await alpha.sees(3)
        text = await refusal(client, "mesh_call_tool", **given, node="beta")
        assert "cannot_pin" in text
        assert "beta, gamma" in text


async def test_members_are_filtered_and_limited() -> None:
    async with two_nodes() as (alpha, _), client_of(alpha) as client:
        both = await answer(client, "mesh_list_members")
        assert [(row["name"], row["is_self"], row["mcp_servers"]) for row in both["members"]] == [
            ("alpha", True, []),
            ("beta", False, ["files"]),
        ]
        one = await answer(client, "mesh_list_members", limit=1)
        assert (len(one["members"]), one["total"]) == (1, 2)
        assert (await answer(client, "mesh_list_members", handler="double"))["total"] == 1
        assert (await answer(client, "mesh_list_members", state="dead"))["total"] == 0


async def test_members_say_how_busy_and_how_far_away_they_are(autojump_clock: trio.testing.MockClock) -> None:
    async with two_nodes() as (alpha, _), client_of(alpha) as client:
        await answer(client, "mesh_submit_task", handler="sleep", payload=100)
        await trio.sleep(10)  # of the mock clock: a few rounds of probes
        here, there = (await answer(client, "mesh_list_members"))["members"]
        assert here["load"] | {"age_s": 0} == here["load"]
        assert here["rtt_ms"] is None
        assert {row["load"]["running"] for row in (here, there)} == {0, 1}
        assert there["load"]["capacity"] > 0
        assert 0 < there["load"]["age_s"] < 3
        assert there["rtt_ms"] >= 0


# Waits. The clock jumps, so these take no time.


async def test_a_wait_ends_when_it_is_over_and_says_that_the_task_has_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with two_nodes() as (alpha, _), client_of(alpha) as client:
        start = trio.current_time()
        task = await answer(client, "mesh_submit_task", handler="sleep", payload=500, wait_s=50)
        assert task["final"] is False
        assert 45 < trio.current_time() - start <= CALL_SECONDS_MAX

        start = trio.current_time()
        task = await answer(client, "mesh_wait_task", task_id=task["task_id"], wait_s=10)
        assert task["final"] is False
        assert 9.9 < trio.current_time() - start < 12

        for _ in range(20):
            task = await answer(client, "mesh_wait_task", task_id=task["task_id"], wait_s=50)
            if task["final"]:
                break
        assert (task["state"], task["result"]) == ("succeeded", "rested")


@pytest.mark.parametrize("tool", sorted(ARGUMENTS))
async def test_no_call_outlasts_its_bound_when_the_mesh_is_silent(
    tool: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with client_of(Silent()) as client:
        takes = {each.name: each.input_schema["properties"] for each in (await client.list_tools()).tools}
        start = trio.current_time()
        text = await refusal(client, tool, **ARGUMENTS[tool])
        assert trio.current_time() - start <= CALL_SECONDS_MAX
        assert "no_answer" in text
        assert ("may or may not have taken effect" in text) is not HINTS[tool][0]
        assert ("idempotency_key" in text) is ("idempotency_key" in takes[tool])


@pytest.mark.parametrize("wait_s", [0, 50])
async def test_an_accepted_task_is_never_lost_to_a_silent_mesh(
    wait_s: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with client_of(Silent(accepts=True)) as client:
        await client.list_tools()
        start = trio.current_time()
        task = await answer(client, "mesh_submit_task", handler="h", wait_s=wait_s)
        assert trio.current_time() - start < CALL_SECONDS_MAX
        assert (task["task_id"], task["final"]) == ("t.alpha", False)
        assert "could not be read" in task["detail"]
        call = await answer(client, "mesh_call_tool", server="s", tool="t", wait_s=wait_s)
        assert (call["task_id"], call["final"]) == ("t.alpha", False)
        assert "mesh_wait_task" in call["next_step"]


async def test_calls_past_the_bound_are_refused_as_busy_and_room_comes_back() -> None:
    caller = Silent()
    async with client_of(caller) as client, trio.open_nursery() as nursery:
        for _ in range(CALLS_IN_FLIGHT_MAX):
            nursery.start_soon(client.call_tool, "mesh_get_status", {})
        while caller.waiting < CALLS_IN_FLIGHT_MAX:
            await trio.testing.wait_all_tasks_blocked()
        text = await refusal(client, "mesh_get_status")
        assert "busy" in text
        assert "Retry after 1 s" in text
        nursery.cancel_scope.cancel()
    async with two_nodes() as (alpha, _), client_of(alpha) as client:
        await answer(client, "mesh_get_status")


# What goes wrong outside.


@pytest.mark.parametrize("tool", sorted(ARGUMENTS))
async def test_refusals_unknowns_and_unreachable_daemons_are_tool_errors_with_their_words(tool: str) -> None:
    refused = Refused("busy", "It is full", "Wait a little", retry_after_s=2.5)
    async with client_of(Says(lambda _: refused)) as client:
        text = await refusal(client, tool, **ARGUMENTS[tool])
        assert text == "It is full. [busy]\nNext step: Wait a little. Retry after 2.5 s."
    async with client_of(Says(lambda _: Unknown("Nobody answered", ""))) as client:
        text = await refusal(client, tool, **ARGUMENTS[tool])
        assert text.startswith("Nobody answered. [no_answer]\nNext step: ")
    error = MeshError("not_running", "No daemon runs.", "Start it again.")

    def unreachable(_: CallerCommand) -> CallerOutcome:
        raise error

    async with client_of(Says(unreachable)) as client:
        text = await refusal(client, tool, **ARGUMENTS[tool])
        assert text == "No daemon runs. [not_running]\nNext step: Start it again."


async def test_a_defect_is_logged_and_none_of_its_inside_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: CallerCommand) -> CallerOutcome:
        raise RuntimeError("secret inside")

    async with client_of(Says(broken)) as client:
        text = await refusal(client, "mesh_get_status")
    assert "internal_error" in text
    assert "secret" not in text
    assert "secret inside" in caplog.text


async def test_an_answer_of_the_wrong_kind_is_a_defect_and_no_success() -> None:
    async with client_of(Says(lambda _: Accepted("t", "n"))) as client:
        assert "internal_error" in await refusal(client, "mesh_get_task", task_id="t")


@pytest.mark.parametrize("in_words", [True, False])
async def test_a_task_that_may_have_been_taken_in_says_how_to_find_out(in_words: bool) -> None:
    def half(_: CallerCommand) -> CallerOutcome:
        if in_words:
            return Unknown("Nobody answered.", "Ask again with the same key.")
        raise MeshError("unknown", "It went away.", "Ask again with the same key.", ExitCode.UNKNOWN)

    async with client_of(Says(half)) as client:
        for tool, arguments in (
            ("mesh_submit_task", {"handler": "h"}),
            ("mesh_call_tool", {"server": "s", "tool": "t"}),
        ):
            assert "Look with mesh_list_tasks" in await refusal(client, tool, **arguments)
            assert "with the same key" in await refusal(client, tool, **arguments, idempotency_key="k")


async def test_a_list_of_tools_says_what_is_missing_from_it() -> None:
    tools = (ToolInfo("n", "node", "s", "long", "word " * 400), ToolInfo("n", "", "s", "short", "A tool."))
    found = ToolsFound(tools, total=7, silent=("beta", "gamma"))
    async with client_of(Says(lambda _: found)) as client:
        shown = await answer(client, "mesh_find_tools")
    assert shown["total"] == 7
    assert shown["silent"] == ["beta", "gamma"]
    assert "beta, gamma" in shown["next_step"]
    assert "higher limit" in shown["next_step"]
    assert len(shown["tools"][0]["description"]) <= 400
    assert shown["tools"][1] == {"server": "s", "tool": "short", "description": "A tool.", "node": "n"}
    async with client_of(Says(lambda _: ToolsFound((), 0))) as client:
        assert "fewer words" in (await answer(client, "mesh_find_tools", query="x"))["next_step"]
