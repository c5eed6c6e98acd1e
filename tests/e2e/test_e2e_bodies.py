"""Handlers that misbehave, by way of the command line and two real nodes: each costs its own task and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from protocols.limits import PAYLOAD_BYTES_MAX
from protocols.tasks.task import TaskState
from scripts.localmesh import LocalNode
from tests.e2e.e2e_support import (
    GATES,
    Run,
    at,
    eventually,
    exec_handler,
    finished,
    is_alive,
    living_children,
    mesh_of,
    python_handler,
    status_of,
    submit,
)

pytestmark = pytest.mark.xdist_group("e2e-bodies")

WILD = (
    python_handler("crash")
    + python_handler("loud")
    + python_handler("huge")
    + python_handler("hang")
    + python_handler("fail")
    + python_handler("nomodule", "no_such_module:run")
    + python_handler("nofunction", "e2e_bodies:no_such_function")
    + exec_handler("xcrash", "sh", "-c", "echo going down >&2; kill -SEGV $$")
    + exec_handler("xloud", "head", "-c", "10000000", "/dev/zero")
    + exec_handler("xendless", "yes")
    + exec_handler("xhang", "sleep", "{seconds}")
    + exec_handler("xstubborn", "sh", "-c", "trap '' TERM INT; while :; do sleep 1; done")
    + exec_handler("xfail", "sh", "-c", "echo no such luck >&2; exit 3")
    + exec_handler("xmissing", "no-such-program-anywhere")
    + exec_handler("xcat", "cat", "{path}")
)


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[LocalNode]]:
    """`desk` takes tasks in and can do little; `shelf` has the wild handlers."""
    with mesh_of("desk", "shelf", toml=GATES) as nodes:
        shelf = nodes[1]
        trio.run(shelf.stop)
        shelf.configure(GATES + WILD)
        trio.run(shelf.start, "--listen", "127.0.0.1:0")

        async def offered() -> bool:
            run = await at(nodes[0], "members")
            return any("xcat" in member["handlers"] for member in run.document["members"])

        trio.run(eventually, offered)
        yield nodes


@pytest.fixture(autouse=True)
async def nothing_else_suffers(nodes: list[LocalNode]) -> AsyncIterator[None]:
    """After every test both nodes do work, and no body and no task is left over."""
    yield
    for node in nodes:
        assert (await finished(node, await submit(node, "echo", "still here"))).output == '"still here"'

    async def idle() -> bool:
        return (await status_of(nodes[1])).runs_active == 0

    await eventually(idle)


async def run_at_desk(nodes: list[LocalNode], handler: str, *arguments: str, payload: str = "null") -> Run:
    return await at(nodes[0], "submit", handler, "--payload", payload, "--wait", "90", *arguments)


@pytest.mark.parametrize(
    ("handler", "payload", "words"),
    [
        ("crash", "null", ("crashed", "exited with status 7", "last words")),
        ("xcrash", "null", ("crashed", "signal 11", "going down")),
        ("huge", "null", ("output_limit", "10000002 bytes")),
        ("xloud", "null", ("output_limit", "262144 bytes", "Return a reference")),
        ("xendless", "null", ("output_limit", "262144 bytes")),
        ("fail", '"it"', ("ValueError", "cannot do 'it'", "e2e_bodies.py")),
        ("xfail", "null", ("exited with status 3", "no such luck")),
        ("nomodule", "null", ("unavailable", "No module named 'no_such_module'", "`target`")),
        ("nofunction", "null", ("unavailable", "no_such_function", "`target`")),
        ("xmissing", "null", ("unavailable", "'no-such-program-anywhere' was not found", "Install it")),
        ("xcat", "null", ("must be an object with exactly these fields: path",)),
        ("xcat", '{"path": "--help"}', ("would be read as an option", "allow_dashes")),
        ("xcat", '{"path": "a\\u0000b"}', ("NUL",)),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isalpha() else "",
)
async def test_a_body_that_fails_is_one_failed_task_with_the_reason(
    nodes: list[LocalNode], handler: str, payload: str, words: tuple[str, ...]
) -> None:
    run = await run_at_desk(nodes, handler, payload=payload)
    run.assert_told(1, *words)
    document = run.document
    assert (document["state"], document["attempt"], document["worker_name"]) == ("failed", 1, "shelf")
    assert document["error"]["code"] == "task_failed"
    assert len(document["detail"]) <= 2100
    # Recorded once: asking again, at either node, tells the same.
    assert (await finished(nodes[1], document["task_id"])).detail == document["detail"]


async def test_ten_megabytes_on_stdout_are_not_the_result(nodes: list[LocalNode]) -> None:
    run = await run_at_desk(nodes, "loud")
    assert run.status == 0, run.err
    assert run.document["output"] == "said it"


@pytest.mark.parametrize("handler", ["hang", "xhang", "xstubborn"])
async def test_a_body_that_hangs_is_stopped_at_its_limit_and_leaves_no_process(
    nodes: list[LocalNode], handler: str
) -> None:
    assert nodes[1].process is not None
    payload = '{"seconds": 3600}' if handler == "xhang" else "null"
    run = await run_at_desk(nodes, handler, "--timeout", "500ms", payload=payload)
    run.assert_told(1, "timed_out", "stopped at its time limit of 0.5 s")

    async def gone() -> bool:
        return not any(is_alive(pid) and "sleep" in _name(pid) for pid in living_children(nodes[1].process.pid))  # type: ignore[union-attr]  # asserted above

    await eventually(gone)


def _name(pid: int) -> str:
    import psutil

    try:
        return psutil.Process(pid).name()
    except psutil.NoSuchProcess:
        return ""


async def test_a_handler_that_nobody_offers_is_refused_with_those_that_there_are(nodes: list[LocalNode]) -> None:
    run = await run_at_desk(nodes, "ecko")
    run.assert_told(1, "No node offers a handler 'ecko'", "echo", "meshnode.toml")
    assert run.document["error"]["code"] == "unknown_handler"
    run = await at(nodes[0], "call", "fles", "list_files")
    run.assert_told(1, "No node has an MCP server 'fles' attached")


async def test_a_payload_over_the_limit_is_refused_before_it_is_sent(nodes: list[LocalNode]) -> None:
    before = await status_of(nodes[0])
    run = await at(nodes[0], "submit", "echo", "--payload", "-", stdin=b'"' + b"x" * PAYLOAD_BYTES_MAX + b'"')
    run.assert_told(2, f"more than {PAYLOAD_BYTES_MAX} bytes", "nothing was sent", "path")
    run = await at(nodes[0], "submit", "echo", "--payload", '{"unclosed": ')
    run.assert_told(2, "not the JSON that is needed")
    after = await status_of(nodes[0])
    assert after.tasks_by_state == before.tasks_by_state


async def test_a_payload_and_a_result_at_the_limit_pass_whole_from_node_to_node(nodes: list[LocalNode]) -> None:
    for filler in ("x", "ä", "\\u0001"):
        size = (PAYLOAD_BYTES_MAX - 2) // len(filler.encode())
        payload = '"' + filler * size + '"'
        run = await at(nodes[0], "submit", "echo", "--payload", "-", "--wait", "90", stdin=payload.encode())
        assert run.status == 0, run.err
        assert len(run.document["output"]) == size


async def test_a_hundred_bodies_that_crash_take_nothing_with_them(nodes: list[LocalNode]) -> None:
    results: list[TaskState] = []

    async def one(number: int) -> None:
        handler = "crash" if number % 2 else "echo"
        results.append((await finished(nodes[0], await submit(nodes[0], handler, number))).state)

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(one, number)
    assert results.count(TaskState.FAILED) == results.count(TaskState.SUCCEEDED) == 50
