"""What this node tells Prometheus: names, meanings and values of its metrics.

The figures are those of `meshnode status`; nothing is measured here. `/metrics` asks for no token, so it tells:
- no secrets, no payloads, no names of tasks or callers;
- labels come from closed lists (states, reasons, types of messages), never from what a peer has said of itself, so that
  the number of series is bounded whatever peers do; only this node's own name, id, mesh and version are labels too.
"""

from __future__ import annotations

from collections.abc import Mapping

from meshnode.calls import Inspection
from meshnode.observe.exposition import Family, Kind, Sample
from protocols.membership.views import MembershipStatus, NodeStatus


def families(status: NodeStatus, daemon: Inspection, *, ready: bool) -> list[Family]:
    """All metrics of a node."""
    return [
        *_node(status, ready=ready),
        *_membership(status),
        *_views(status.membership),
        *_transport(daemon),
        *_work(status, daemon),
    ]


def _one(name: str, kind: Kind, meaning: str, value: float) -> Family:
    return Family(name, kind, meaning, (Sample(value),))


def _by(label: str, name: str, kind: Kind, meaning: str, values: Mapping[str, float]) -> Family:
    return Family(name, kind, meaning, tuple(Sample(value, {label: key}) for key, value in values.items()))


def _node(status: NodeStatus, *, ready: bool) -> list[Family]:
    about = {"node": status.name, "node_id": status.node_id, "mesh": status.mesh, "version": status.version}
    return [
        Family("meshnode_info", "gauge", "Which node this is; always 1.", (Sample(1, about),)),
        _one("meshnode_ready", "gauge", "1 while /readyz says that the node is ready, else 0.", int(ready)),
        _one(
            "meshnode_generation",
            "gauge",
            "How many lives the node has had.",
            status.generation,
        ),
        _one("meshnode_uptime_seconds", "gauge", "Time since the node began to serve.", status.uptime_s),
    ]


def _membership(status: NodeStatus) -> list[Family]:
    membership = status.membership
    members = {
        "alive": status.members_alive,
        "suspect": status.members_suspect,
        "dead": status.members_dead,
        "left": status.members_left,
    }
    push_pulls = {"begun": membership.push_pulls_begun, "answered": membership.push_pulls_answered}
    return [
        _by("state", "meshnode_members", "gauge", "Members that this node knows, itself included, by state.", members),
        _one(
            "meshnode_health_score",
            "gauge",
            "Local health: 0 is well; probes of this node take (1 + score) times as long.",
            membership.health_score,
        ),
        _one(
            "meshnode_suspicions_open",
            "gauge",
            "Members that are accused and may yet refute.",
            membership.suspicions_open,
        ),
        _one(
            "meshnode_refutations_total",
            "counter",
            "Accusations of this node itself that it has refuted.",
            membership.refutations,
        ),
        _by(
            "about",
            "meshnode_refused_total",
            "counter",
            "Words of members that no honest node says, by what they are about.",
            status.refused,
        ),
        _one("meshnode_probes_total", "counter", "Probes of other members that were begun.", membership.probes),
        _one(
            "meshnode_probe_failures_total",
            "counter",
            "Probes that neither the member nor anybody on its behalf has answered.",
            membership.probes_failed,
        ),
        _probe_round_trips(membership),
        _by(
            "role",
            "meshnode_push_pulls_total",
            "counter",
            "Exchanges of whole member tables, begun by this node or answered by it.",
            push_pulls,
        ),
    ]


def _views(membership: MembershipStatus) -> list[Family]:
    """How often who is there changes, in the table and in what is published of it."""
    return [
        _one(
            "meshnode_view_changes_total",
            "counter",
            "Changes in the table of the set of live members, or of what one of them announces.",
            membership.view_changes,
        ),
        _one(
            "meshnode_view_changes_last_minute",
            "gauge",
            "Those changes in the last minute.",
            membership.view_changes_last_minute,
        ),
        _one(
            "meshnode_views_total",
            "counter",
            "Views of who is there that were published: batched, at a bounded pace, without who comes and goes.",
            membership.view_number,
        ),
        _one(
            "meshnode_members_held",
            "gauge",
            "Members that the view leaves as they were, for they came and went too often.",
            membership.members_held,
        ),
    ]


def _probe_round_trips(membership: MembershipStatus) -> Family:
    """Quantiles are of the last probes; Prometheus's convention for a window without any is NaN."""
    known = membership.probe_rtt_window > 0
    return Family(
        "meshnode_probe_rtt_seconds",
        "summary",
        "Round trips of probes that were answered directly; quantiles are of the last 128.",
        (
            Sample(membership.probe_rtt_median_s if known else float("nan"), {"quantile": "0.5"}),
            Sample(membership.probe_rtt_p99_s if known else float("nan"), {"quantile": "0.99"}),
            Sample(membership.probe_rtt_sum_s, suffix="_sum"),
            Sample(membership.probe_rtt_count, suffix="_count"),
        ),
    )


def _transport(daemon: Inspection) -> list[Family]:
    traffic = daemon.traffic
    return [
        _by(
            "type",
            "meshnode_messages_received_total",
            "counter",
            "Messages from other nodes that were authenticated and understood, by type.",
            {kind: flow.messages_in for kind, flow in traffic.items()},
        ),
        _by(
            "type",
            "meshnode_messages_sent_total",
            "counter",
            "Messages to other nodes that were handed to the network, or queued on a stream, by type.",
            {kind: flow.messages_out for kind, flow in traffic.items()},
        ),
        _by(
            "type",
            "meshnode_received_bytes_total",
            "counter",
            "Bytes of those received messages: sealed packets, and frames within TLS.",
            {kind: flow.bytes_in for kind, flow in traffic.items()},
        ),
        _by(
            "type",
            "meshnode_sent_bytes_total",
            "counter",
            "Bytes of those sent messages: sealed packets, and frames within TLS.",
            {kind: flow.bytes_out for kind, flow in traffic.items()},
        ),
        _by(
            "reason",
            "meshnode_drops_total",
            "counter",
            "Packets, frames and connections that were refused or lost, by reason.",
            daemon.drops,
        ),
        _one("meshnode_streams_open", "gauge", "TLS streams to and from other nodes that stand.", daemon.streams_open),
    ]


def _work(status: NodeStatus, daemon: Inspection) -> list[Family]:
    runs = {"active": status.runs_active, "waiting": status.runs_waiting}
    return [
        _by(
            "state",
            "meshnode_tasks",
            "gauge",
            "Tasks that this node took in, by state.",
            status.tasks_by_state,
        ),
        _by("state", "meshnode_runs", "gauge", "Bodies that this node executes, for any node.", runs),
        _one("meshnode_storage_saves_total", "counter", "Saves that were asked of the disk.", daemon.saves),
        _one("meshnode_storage_commits_total", "counter", "Commits that these saves were written in.", daemon.commits),
        _one(
            "meshnode_storage_failing",
            "gauge",
            "1 while the last save has failed and is tried again, else 0.",
            int(bool(status.storage_error)),
        ),
        _one(
            "meshnode_storage_commit_wait_seconds",
            "gauge",
            "For how long the commit under way has been waiting for the disk; 0 where there is none.",
            daemon.commit_s,
        ),
        Family(
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory of the daemon; absent where the machine does not tell it.",
            (Sample(daemon.rss_bytes),) if daemon.rss_bytes else (),
        ),
        _one("process_cpu_seconds_total", "counter", "Processor time of the daemon, without bodies.", daemon.cpu_s),
        _one("process_start_time_seconds", "gauge", "When the daemon started, in Unix time.", daemon.started_unix_s),
    ]
