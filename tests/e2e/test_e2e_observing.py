"""A real mesh as its operators see it: metrics and health over HTTP, status, `why`, and a table that is watched."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import httpx2
import pytest
import trio

from scripts.localmesh import LocalNode
from tests.e2e.e2e_mcp import CLIENT_WARNINGS
from tests.e2e.e2e_support import (
    DEADLINE_S,
    LISTEN,
    all_see,
    at,
    command,
    environment,
    eventually,
    finished,
    meshnode,
    nodes_in,
    sees,
    short_directory,
    start_mesh,
    submit,
)
from tests.meshnode.observe.prometheus_text import Metric, read

pytestmark = [pytest.mark.xdist_group("e2e-observing"), pytest.mark.filterwarnings(CLIENT_WARNINGS)]

SERVE = (*LISTEN, "--metrics", "0")


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[LocalNode]]:
    """Every test leaves all three running."""
    with short_directory() as root, nodes_in(root, "desk", "shelf", "box") as nodes:
        trio.run(start_mesh, nodes, *SERVE)
        yield nodes


async def get(node: LocalNode, path: str) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=DEADLINE_S) as client:
        return await client.get(node.ready["metrics"].replace("/metrics", path))


async def metrics_of(node: LocalNode) -> dict[str, Metric]:
    response = await get(node, "/metrics")
    assert response.status_code == 200
    return read(response.text)


async def test_metrics_are_of_this_node_and_grow_with_what_it_does(nodes: list[LocalNode]) -> None:
    desk = nodes[0]
    before = await metrics_of(desk)
    assert before["meshnode_info"].label_values("node") == {"desk"}
    assert before["meshnode_info"].label_values("node_id") == {desk.ready["id"]}
    assert before["meshnode_members"].value(state="alive") == 3
    await finished(desk, await submit(desk, "echo", "x"))

    counted = ("meshnode_messages_sent_total", "meshnode_received_bytes_total")

    async def grown() -> dict[str, Metric] | None:
        now = await metrics_of(desk)
        flows = [now[name].samples.get((name, (("type", kind),)), 0) for name in counted for kind in ("ping", "ack")]
        done = now["meshnode_tasks"].value(state="succeeded") == 1
        return now if done and all(flows) and now["meshnode_probe_rtt_seconds"].value("_count") > 0 else None

    after = await eventually(grown)
    assert after is not None
    assert 0 < after["meshnode_probe_rtt_seconds"].value(quantile="0.5") < 30
    for name in ("meshnode_probes_total", "meshnode_storage_saves_total"):
        assert after[name].value() >= before[name].value()
    assert after["meshnode_storage_saves_total"].value() > before["meshnode_storage_saves_total"].value()
    document = (await at(desk, "status")).document
    pings = document["daemon"]["traffic"]["ping"]
    assert pings["messages_out"] >= after["meshnode_messages_sent_total"].value(type="ping")
    assert pings["bytes_in"] >= after["meshnode_received_bytes_total"].value(type="ping")
    assert document["membership"]["probes"] >= after["meshnode_probes_total"].value()
    assert document["daemon"]["metrics_url"] == desk.ready["metrics"]


async def test_metrics_hold_no_secrets(nodes: list[LocalNode]) -> None:
    desk, shelf, _ = nodes
    token = (await at(desk, "token")).document["token"]
    text = (await get(desk, "/metrics")).text
    for secret in (token, token[-20:], str(desk.directory), shelf.ready["id"], shelf.ready["listen"]):
        assert secret not in text


async def test_a_node_is_ready_once_it_has_joined_and_not_before(nodes: list[LocalNode]) -> None:
    """A member that knows only a seed which nobody serves: it lives, and is not ready."""
    box = nodes[2]
    assert (await get(box, "/readyz")).status_code == 200
    await box.stop()
    database = box.directory / "node.db"
    kept = {path: path.read_bytes() for path in box.directory.glob("node.db*")}
    seeds = box.directory / "seeds"
    told = seeds.read_bytes()
    for path in kept:
        path.unlink()  # with it goes what it remembers of its peers
    seeds.write_text("127.0.0.1:9\n")
    try:
        await box.start(*SERVE)
        response = await get(box, "/readyz")
        assert response.status_code == 503
        assert response.text.splitlines()[0] == "not ready"
        assert "has not joined its mesh" in response.text
        assert (await get(box, "/livez")).status_code == 200
        assert (await metrics_of(box))["meshnode_ready"].value() == 0
        await box.stop()
    finally:
        database.unlink(missing_ok=True)
        for path in box.directory.glob("node.db*"):
            path.unlink()
        for path, data in kept.items():
            path.write_bytes(data)
        seeds.write_bytes(told)
    await box.start(*SERVE)

    async def ready() -> bool:
        return (await get(box, "/readyz")).status_code == 200

    await eventually(ready)
    await all_see(nodes, 3)


async def test_why_tells_what_all_of_them_find_and_a_watch_shows_what_changes(nodes: list[LocalNode]) -> None:
    desk, shelf, box = nodes

    async def well() -> bool:
        """A node that is slow for a second is suspect for a moment."""
        document = (await at(desk, "why", "box")).document
        found = {finding["by"]["name"]: finding["reach"] for finding in document["findings"]}
        return found == dict.fromkeys(("desk", "shelf", "box"), "answers") and document["member"]["state"] == "alive"

    await eventually(well)
    watch = await trio.lowlevel.open_process(
        command("members", "--watch", "--json", "--dir", desk.directory), stdout=subprocess.PIPE, env=environment()
    )
    try:
        assert watch.stdout is not None
        seen = b""

        async def shown(change: str, state: str) -> None:
            nonlocal seen
            assert watch.stdout is not None
            with trio.fail_after(DEADLINE_S):
                while True:
                    *lines, seen = seen.split(b"\n")
                    for line in map(json.loads, lines):
                        if (line["change"], line["member"]["name"], line["member"]["state"]) == (change, "box", state):
                            return
                    data = await watch.stdout.receive_some()
                    assert data, "the watch has ended"
                    seen += data

        await shown("present", "alive")
        box.kill()
        await sees(desk, "box", "dead")
        await shown("state", "dead")
        document = (await at(desk, "why", box.ready["id"][:8])).document
        assert document["member"]["state"] == "dead"
        assert {finding["by"]["name"]: finding["reach"] for finding in document["findings"]} == {
            "desk": "silent",
            "shelf": "silent",
        }
        assert [finding["signed"] for finding in document["findings"]] == [True, True]
        assert document["refused"] == []
        assert [teller["name"] for teller in document["unheard"]] == ["box"]
        assert document["suspicion"]["accusers"]
        run = await meshnode("why", "box", "--dir", shelf.directory)
        assert run.status == 0
        assert run.out.splitlines()[-1] == "Nobody who was asked reaches box: it is down, or cut off from all of them."
        await box.start(*SERVE)
        await shown("restarted", "alive")
        await all_see(nodes, 3)
    finally:
        watch.kill()
        await watch.wait()
        assert watch.stdout is not None
        await watch.stdout.aclose()
    (await at(desk, "why", "bocks")).assert_told(1, "no member with the name or id 'bocks'", "box")
