"""`meshnode status` as people read it: the node, how well it and its links are, and what it says and hears."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from meshnode.calls import Inspection
from meshnode.cli.distances import milliseconds, summary_text, vitals_text
from meshnode.cli.tables import duration, pairs
from meshnode.transport.traffic import Flow
from protocols.membership.views import MembershipStatus, NodeStatus
from protocols.tasks.task import MCP_PREFIX


def status_text(status: NodeStatus, daemon: Inspection) -> str:
    states = ", ".join(f"{count} {state}" for state, count in status.tasks_by_state.items() if count)
    dropped = ", ".join(f"{reason} {count}" for reason, count in sorted(daemon.drops.items()) if count)
    left = f", {status.members_left} left" if status.members_left else ""
    lines = [
        ("node", f"{status.name} ({status.node_id})"),
        ("mesh", status.mesh),
        ("phase", status.phase),
        ("address", status.address),
        ("mcp", daemon.mcp_url or "off"),
        ("metrics", daemon.metrics_url or "off"),
        ("up for", duration(status.uptime_s)),
        (
            "members",
            f"{status.members_alive} alive, {status.members_suspect} suspect, {status.members_dead} dead{left}",
        ),
        ("views", _views(status.membership)),
        *_membership_lines(status.membership),
        ("handlers", ", ".join(name for name in status.handlers if not name.startswith(MCP_PREFIX)) or "none"),
        (
            "mcp servers",
            ", ".join(name.removeprefix(MCP_PREFIX) for name in status.handlers if name.startswith(MCP_PREFIX))
            or "none",
        ),
        ("tasks", states or "none"),
        ("runs", f"{status.runs_active} active, {status.runs_waiting} waiting"),
        ("load", vitals_text(status.vitals)),
        ("rtt", summary_text(status.rtt)),
        ("disk", status.storage_error or f"well ({daemon.saves} saves in {daemon.commits} commits)"),
        ("dropped", dropped or "nothing"),
        ("refused", _refused(status.refused)),
        ("streams", f"{daemon.streams_open} open"),
        ("process", f"pid {daemon.pid}, {memory_text(daemon.rss_bytes)}, meshnode {daemon.version}"),
    ]
    text = pairs(lines)
    return f"{text}\n\n{_traffic_text(daemon.traffic)}" if daemon.traffic else text


def _views(membership: MembershipStatus) -> str:
    """What is published of who is there: how often that changed, and who is left out of it."""
    held = f", {membership.members_held} held back: came and went too often" if membership.members_held else ""
    return f"{membership.view_number} published, {membership.views_last_minute} in the last minute{held}"


def _refused(refused: Mapping[str, int]) -> str:
    """What members have said that no honest node says: one of them is broken, or runs other software."""
    told = ", ".join(f"{count} about {what}" for what, count in refused.items() if count)
    return told or "nothing that members said"


def _membership_lines(membership: MembershipStatus) -> list[tuple[str, str]]:
    score = membership.health_score
    if score:
        health = f"{score} of {membership.health_score_max}: probes of this node fail; it takes {1 + score} × as long"
    else:
        health = "well"
    accused = membership.refutations
    times = "never accused" if not accused else "accused once" if accused == 1 else f"accused {accused} times"
    suspicions = f"{membership.suspicions_open} open; this node itself was {times}"
    probes = f"{membership.probes}, {membership.probes_failed} failed"
    if membership.probe_rtt_window:
        median, p99 = (
            milliseconds(1000 * membership.probe_rtt_median_s),
            milliseconds(1000 * membership.probe_rtt_p99_s),
        )
        probes += f"; round trip median {median}, p99 {p99} (of the last {membership.probe_rtt_window})"
    return [
        ("health", health),
        ("suspicions", suspicions),
        ("probes", probes),
        ("push-pulls", f"{membership.push_pulls_begun} begun, {membership.push_pulls_answered} answered"),
        (
            "changes seen",
            f"{membership.view_changes}, {membership.view_changes_last_minute} of them in the last minute",
        ),
    ]


def _traffic_text(traffic: Mapping[str, Flow]) -> str:
    rows = [("message", "in", "bytes in", "out", "bytes out")]
    rows += [
        (kind, str(flow.messages_in), bytes_text(flow.bytes_in), str(flow.messages_out), bytes_text(flow.bytes_out))
        for kind, flow in traffic.items()
    ]
    flows = list(traffic.values())
    rows.append(
        (
            "all",
            str(sum(flow.messages_in for flow in flows)),
            bytes_text(sum(flow.bytes_in for flow in flows)),
            str(sum(flow.messages_out for flow in flows)),
            bytes_text(sum(flow.bytes_out for flow in flows)),
        )
    )
    return _columns(rows)


def _columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns: the first aligned left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{first:<{widths[0]}}  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True))
        for first, *rest in rows
    )


def memory_text(rss_bytes: int) -> str:
    return f"{rss_bytes / 1e6:.0f} MB" if rss_bytes else "memory not known"


def bytes_text(count: int) -> str:
    """12 B, 3.4 kB, 56 MB: powers of ten, two figures or more."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
