"""Events and queries in a mesh of three daemons: through kill -9, and with an answer that a person gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import trio

from scripts.localmesh import LocalNode
from tests.e2e.e2e_support import LISTEN, Run, all_see, at, eventually, mesh_of

pytestmark = pytest.mark.xdist_group("e2e-events")


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[LocalNode]]:
    with mesh_of("desk", "shelf", "box") as nodes:
        yield nodes


async def heard(node: LocalNode, kind: str = "event") -> list[dict[str, Any]]:
    run = await at(node, "events", "--limit", "512")
    assert run.status == 0, run.err
    return [each for each in run.document["events"] if each["kind"] == kind]


async def names_at(node: LocalNode) -> list[str]:
    return [each["name"] for each in await heard(node)]


async def test_events_reach_every_daemon_once_in_order_and_through_a_kill(nodes: list[LocalNode]) -> None:
    desk, shelf, box = nodes
    for number in range(3):
        assert (await at(desk, "event", f"early-{number}", "ü")).status == 0

    async def all_have(wanted: list[str], *who: LocalNode) -> bool:
        return all([await names_at(node) == wanted for node in who])

    early = [f"early-{number}" for number in range(3)]
    await eventually(lambda: all_have(early, *nodes))
    assert {each["origin_name"] for each in await heard(box)} == {"desk"}
    box.kill()
    assert (await at(shelf, "event", "meanwhile")).status == 0
    await box.start(*LISTEN)
    await all_see(nodes, 3)
    assert (await at(box, "event", "afterwards")).status == 0
    # What it had before it was killed it is not given again; what it missed it is.
    await eventually(lambda: all_have([*early, "meanwhile", "afterwards"], desk, shelf))

    async def caught_up() -> bool:
        return sorted(await names_at(box)) == ["afterwards", "meanwhile"]

    await eventually(caught_up)
    times = [each["ltime"] for each in await heard(desk)]
    assert times == sorted(set(times))


async def test_every_daemon_answers_for_itself(nodes: list[LocalNode]) -> None:
    desk, _, _ = nodes

    async def all_answer() -> bool:
        run = await at(desk, "query", "status", "--timeout", "10")
        assert run.status == 0, run.err
        phases = {each["node_name"]: each["answer"]["phase"] for each in run.document["answers"]}
        assert run.document["answered"] == len(phases)
        return phases == {"desk": "serving", "shelf": "serving", "box": "serving"}

    await eventually(all_answer)


async def test_a_person_answers_what_a_daemon_does_not_know(nodes: list[LocalNode]) -> None:
    desk, shelf, _ = nodes
    asked: list[Run] = []

    async def ask() -> None:
        asked.append(await at(desk, "query", "lunch?", "noon", "--timeout", "40"))

    async def question_everywhere() -> dict[str, Any] | None:
        rows = [[row for row in await heard(node, "query") if row["answer_within_s"]] for node in nodes]
        return rows[0][0] if all(rows) else None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        question = await eventually(question_everywhere)
        assert question is not None
        for node, answer in zip(nodes, ("a", '{"b": 1}', "c"), strict=True):
            run = await at(node, "answer", question["query_id"], answer)
            assert run.status == 0, run.err
    (run,) = asked
    assert run.status == 0, run.err
    assert {each["node_name"]: each["answer"] for each in run.document["answers"]} == {
        "desk": "a",
        "shelf": {"b": 1},
        "box": "c",
    }
    assert (run.document["answered"], run.document["asked"], run.document["silent"]) == (3, 3, [])
    late = await at(shelf, "answer", question["query_id"], "d")
    assert late.status == 1
    assert "answered" in late.err
