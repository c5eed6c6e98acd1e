"""`/metrics`, `/livez` and `/readyz` over real loopback HTTP: what they say, to whom, and when a node is not ready."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
import trio
from msgspec.structs import replace

from meshnode.calls import CallerCommand, CallerOutcome, Inspect, Inspection
from meshnode.errors import MeshError
from meshnode.mcp.http import serve_metrics
from meshnode.observe.exposition import CONTENT_TYPE, render
from meshnode.observe.face import COMMIT_S_MAX, unready
from meshnode.observe.figures import families
from meshnode.transport.traffic import Flow
from protocols.core import Refused
from protocols.membership.views import GetStatus, MembershipStatus, NodeStatus
from tests.meshnode.mcp.mcp_clients import CLIENT_WARNINGS, DEADLINE_S, TOKEN, served
from tests.meshnode.observe.prometheus_text import Metric, read

pytestmark = pytest.mark.filterwarnings(CLIENT_WARNINGS)

STATUS = NodeStatus(
    node_id="a" * 26,
    name='desk "one"',
    mesh="ho\\me",
    address="127.0.0.1:1",
    version="0.1.0",
    generation=3,
    incarnation=2,
    uptime_s=61.5,
    phase="serving",
    members_alive=4,
    members_suspect=1,
    members_dead=2,
    tasks_queued=1,
    tasks_running=2,
    tasks_finished=3,
    tasks_by_state={"queued": 1, "running": 2, "succeeded": 3},
    runs_active=5,
    runs_waiting=6,
    handlers=("ok",),
    members_left=7,
    membership=MembershipStatus(3, 8, 1, 9, 400, 5, 390, 0.5, 0.00042, 0.0123, 256, 14, 13, 21, 6, 5, 7, 2, 1),
    refused={"members": 5, "events": 0},
)
DAEMON = Inspection(
    pid=7,
    version="0.1.0",
    rss_bytes=50_000_000,
    mcp_url="",
    drops={"packet_replayed": 2, "bad_message": 1},
    saves=9,
    commits=4,
    streams_open=3,
    traffic={"ack": Flow(395, 31_600, 5, 400), "ping": Flow(9, 720, 400, 32_000)},
    commit_s=0.25,
    cpu_s=1.5,
    started_unix_s=1.8e9,
)


class Node:
    """Answers as it is told; keeps what it was asked."""

    def __init__(self) -> None:
        self.status: NodeStatus | Refused | MeshError = STATUS
        self.daemon = DAEMON
        self.commands: list[CallerCommand] = []

    async def call(self, command: CallerCommand) -> CallerOutcome:
        self.commands.append(command)
        if isinstance(command, Inspect):
            return self.daemon
        assert isinstance(command, GetStatus)
        if isinstance(self.status, MeshError):
            raise self.status
        return self.status


@asynccontextmanager
async def face_of(node: Node) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the paths that are served without MCP."""
    async with trio.open_nursery() as nursery:

        async def run(*, task_status: trio.TaskStatus[str]) -> None:
            await serve_metrics(node, port=0, task_status=task_status)

        url = await nursery.start(run)
        assert url.endswith("/metrics")
        async with httpx2.AsyncClient(base_url=url.removesuffix("/metrics"), timeout=DEADLINE_S) as client:
            yield client
        nursery.cancel_scope.cancel()


# Health.


async def test_a_node_that_is_well_is_alive_and_ready() -> None:
    async with face_of(Node()) as client:
        for path, text in (("/livez", "alive\n"), ("/readyz", "ready\n")):
            response = await client.get(path)
            assert (response.status_code, response.text) == (200, text)
            assert response.headers["content-type"] == "text/plain; charset=utf-8"
            assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("status", "daemon", "words"),
    [
        (replace(STATUS, phase="joining"), DAEMON, ["It has not joined its mesh: none of its seeds has answered yet."]),
        (replace(STATUS, phase="leaving"), DAEMON, ["It is leaving its mesh, and stops."]),
        (replace(STATUS, phase="starting"), DAEMON, ["It is starting: its first record is not on its disk yet."]),
        (
            replace(STATUS, storage_error="the disk is full"),
            DAEMON,
            ["Its disk fails, so nothing new is taken in: the disk is full."],
        ),
        (STATUS, replace(DAEMON, commit_s=COMMIT_S_MAX + 2), ["Its disk has not answered for 12 s."]),
        (STATUS, replace(DAEMON, commit_s=COMMIT_S_MAX), []),
        (
            replace(STATUS, phase="joining", storage_error="no space"),
            DAEMON,
            [
                "It has not joined its mesh: none of its seeds has answered yet.",
                "Its disk fails, so nothing new is taken in: no space.",
            ],
        ),
        (STATUS, DAEMON, []),
    ],
)
def test_what_makes_a_node_unready_is_said_in_words(status: NodeStatus, daemon: Inspection, words: list[str]) -> None:
    assert unready(status, daemon) == words


async def test_a_node_that_is_not_ready_says_why_and_is_alive_all_the_same() -> None:
    node = Node()
    async with face_of(node) as client:
        node.status = replace(STATUS, storage_error="the disk is full")
        response = await client.get("/readyz")
        assert response.status_code == 503
        assert response.text.splitlines()[0] == "not ready"
        assert "the disk is full" in response.text
        assert (await client.get("/livez")).status_code == 200
        assert read((await client.get("/metrics")).text)["meshnode_ready"].value() == 0
        node.status = STATUS
        assert (await client.get("/readyz")).status_code == 200


@pytest.mark.parametrize(
    "answer",
    [Refused("starting", "This node is starting.", "Wait."), MeshError("stopping", "The node is stopping.", "")],
)
async def test_a_node_that_answers_nothing_yet_or_any_more_is_not_ready(answer: Refused | MeshError) -> None:
    node = Node()
    node.status = answer
    async with face_of(node) as client:
        for path in ("/readyz", "/metrics"):
            response = await client.get(path)
            assert (response.status_code, response.text) == (503, f"not ready\n{answer.message}\n")
        asked = len(node.commands)
        assert (await client.get("/livez")).status_code == 200
        assert len(node.commands) == asked, "/livez asks nobody: it is to answer whatever the node is up to"


# Who gets in.


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz"])
async def test_no_token_is_asked_for_but_only_loopback_gets_in_and_may_only_read(path: str) -> None:
    node = Node()
    async with face_of(node) as client:
        whole = await client.get(path)
        head = await client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == whole.headers["content-type"]
        assert int(head.headers["content-length"]) == len(whole.content)
        asked = len(node.commands)
        refused = await client.post(path, content=b"x")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
        assert (await client.get(path, headers={"host": "evil.example"})).status_code == 403
        assert (await client.get(path, headers={"origin": "http://evil.example"})).status_code == 403
        assert (await client.get(path + "/")).status_code == 404
        assert (await client.get("/mcp", headers={"authorization": f"Bearer {TOKEN}"})).status_code == 404
        assert len(node.commands) == asked


async def test_where_mcp_is_served_they_are_beside_it_and_mcp_still_wants_its_token() -> None:
    async with served(Node()) as face, httpx2.AsyncClient() as client:
        base = face.url.removesuffix("/mcp")
        for path in ("/metrics", "/livez", "/readyz"):
            response = await client.get(base + path)
            assert response.status_code == 200
            assert TOKEN not in response.text
        assert (await client.get(face.url)).status_code == 401


async def test_a_port_that_is_taken_is_named_with_the_flag_that_chooses_another() -> None:
    async with face_of(Node()) as client:
        port = client.base_url.port
        assert port is not None
        with pytest.raises(MeshError) as caught:
            await serve_metrics(Node(), port=port)
        assert caught.value.code == "port_busy"
        assert f"127.0.0.1:{port}" in caught.value.message
        assert "--metrics" in caught.value.next_step


# Metrics.


def metrics_of(status: NodeStatus = STATUS, daemon: Inspection = DAEMON) -> dict[str, Metric]:
    return read(render(families(status, daemon, ready=True)))


async def test_metrics_come_in_the_format_that_they_say() -> None:
    async with face_of(Node()) as client:
        response = await client.get("/metrics")
        assert (response.status_code, response.headers["content-type"]) == (200, CONTENT_TYPE)
        assert read(response.text) == metrics_of()


def test_metrics_tell_what_status_tells() -> None:
    metrics = metrics_of()
    about = metrics["meshnode_info"]
    assert about.value(node='desk "one"', node_id="a" * 26, mesh="ho\\me", version="0.1.0") == 1
    told = {
        "meshnode_ready": 1,
        "meshnode_generation": 3,
        "meshnode_uptime_seconds": 61.5,
        "meshnode_health_score": 3,
        "meshnode_suspicions_open": 1,
        "meshnode_refutations_total": 9,
        "meshnode_probes_total": 400,
        "meshnode_probe_failures_total": 5,
        "meshnode_view_changes_total": 21,
        "meshnode_view_changes_last_minute": 6,
        "meshnode_views_total": 5,
        "meshnode_members_held": 1,
        "meshnode_streams_open": 3,
        "meshnode_storage_saves_total": 9,
        "meshnode_storage_commits_total": 4,
        "meshnode_storage_failing": 0,
        "meshnode_storage_commit_wait_seconds": 0.25,
        "process_resident_memory_bytes": 50_000_000,
        "process_cpu_seconds_total": 1.5,
        "process_start_time_seconds": 1.8e9,
    }
    assert {name: metrics[name].value() for name in told} == told
    labelled = {
        ("meshnode_members", "state"): {"alive": 4, "suspect": 1, "dead": 2, "left": 7},
        ("meshnode_tasks", "state"): {"queued": 1, "running": 2, "succeeded": 3},
        ("meshnode_runs", "state"): {"active": 5, "waiting": 6},
        ("meshnode_push_pulls_total", "role"): {"begun": 14, "answered": 13},
        ("meshnode_refused_total", "about"): {"members": 5, "events": 0},
        ("meshnode_messages_received_total", "type"): {"ack": 395, "ping": 9},
        ("meshnode_messages_sent_total", "type"): {"ack": 5, "ping": 400},
        ("meshnode_received_bytes_total", "type"): {"ack": 31_600, "ping": 720},
        ("meshnode_sent_bytes_total", "type"): {"ack": 400, "ping": 32_000},
        ("meshnode_drops_total", "reason"): {"packet_replayed": 2, "bad_message": 1},
    }
    for (name, label), values in labelled.items():
        assert {value: metrics[name].value(**{label: value}) for value in values} == values
        assert metrics[name].label_values(label) == set(values)
    round_trips = metrics["meshnode_probe_rtt_seconds"]
    assert round_trips.type == "summary"
    assert [round_trips.value(quantile=q) for q in ("0.5", "0.99")] == [0.00042, 0.0123]
    assert (round_trips.value("_sum"), round_trips.value("_count")) == (0.5, 390)
    assert set(metrics) == {*told, *(name for name, _ in labelled), "meshnode_info", "meshnode_probe_rtt_seconds"}


def test_names_types_and_units_are_those_of_the_conventions() -> None:
    for name, metric in metrics_of().items():
        assert metric.help
        assert metric.help.rstrip().endswith("."), name
        assert metric.type in ("counter", "gauge", "summary"), name
        assert (metric.type == "counter") == name.endswith("_total")
        assert name.startswith(("meshnode_", "process_"))
        assert not name.removesuffix("_total").endswith(("_ms", "_s", "_millis", "_kb", "_mb", "_nanos"))


def test_a_window_without_a_round_trip_is_not_a_round_trip_of_no_time() -> None:
    text = render(families(replace(STATUS, membership=MembershipStatus()), DAEMON, ready=False))
    assert 'meshnode_probe_rtt_seconds{quantile="0.5"} NaN' in text.splitlines()
    assert read(text)["meshnode_probe_rtt_seconds"].value("_count") == 0


def test_a_node_that_has_neither_said_nor_dropped_anything_has_no_empty_metrics() -> None:
    metrics = metrics_of(daemon=replace(DAEMON, drops={}, traffic={}))
    assert "meshnode_drops_total" not in metrics
    assert "meshnode_sent_bytes_total" not in metrics
