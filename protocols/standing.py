"""What a node tells of itself and of its members: to callers, and in answer to queries that need no user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from protocols.core import NANOS_PER_S, Instant, NodeId, Refused
from protocols.detector.evidence import quantile
from protocols.membership.member import Member, State
from protocols.membership.views import MemberList, MembershipStatus, MemberView, NodeStatus
from protocols.tasks.task import TaskState

if TYPE_CHECKING:
    from protocols.node import Node

BUILT_IN = ("ping", "version", "handlers", "status")
"""Names of queries that every node answers by itself: `pong`; its version; its handlers, as many as fit, and its vitals
as JSON."""
HANDLERS_BYTES_MAX = 900
"""Of names, so that with their quotes and commas they stay one answer."""


def members_of(node: Node, now: Instant) -> MemberList:
    """Everybody in the member table of `node`."""
    views = [member_view(node, now, member) for member in node.swim.table]
    views.sort(key=lambda view: (view.state != "alive", view.name, view.node_id))
    return MemberList(tuple(views))


def member_view(node: Node, now: Instant, member: Member) -> MemberView:
    """One member as `node` sees it."""
    profile = member.alive.profile
    is_self = member is node.swim.me
    heard = node.vitals.view(now, member.alive.node_id) if member.state <= State.SUSPECT else None
    return MemberView(
        node_id=member.alive.node_id,
        name=profile.name,
        address=profile.address,
        state=member.state.name.lower(),
        generation=member.generation,
        incarnation=member.incarnation,
        handlers=profile.handlers,
        zone=profile.zone,
        weight=profile.weight,
        tags=dict(profile.tags),
        state_age_s=round((now - member.since) / NANOS_PER_S, 3),
        is_self=is_self,
        vitals=node.vitals.own_view() if is_self else heard,
        rtt=node.membership.rtt.to(now, member),
        held_s=round(node.swim.steady.held_for(now, member.alive.node_id) / NANOS_PER_S, 3),
    )


def status_of(node: Node, now: Instant) -> NodeStatus:
    """How `node` stands; it has begun to serve."""
    me = node.swim.me
    assert me is not None
    config, table, book = node.config, node.swim.table, node.tasks.book
    by_state = {state.name.lower(): 0 for state in TaskState}
    for task in (*book.open.values(), *book.finished.values()):
        by_state[task.progress.state.name.lower()] += 1
    phase = node.phase.value
    if phase == "serving" and node.membership.must_join:
        phase = "joining"
    return NodeStatus(
        node_id=config.node_id,
        name=config.name,
        mesh=config.mesh,
        address=config.address,
        version=me.alive.profile.version,
        generation=node.generation,
        incarnation=me.incarnation,
        uptime_s=round(node.uptime(now) / NANOS_PER_S, 3),
        phase=phase,
        members_alive=table.count(State.ALIVE),
        members_suspect=table.count(State.SUSPECT),
        members_dead=table.count(State.DEAD),
        tasks_queued=by_state["queued"],
        tasks_running=by_state["running"],
        tasks_finished=len(book.finished),
        tasks_by_state=by_state,
        runs_active=node.worker.active,
        runs_waiting=node.worker.waiting,
        handlers=node.worker.handlers,
        storage_error=node.storage_error,
        members_left=table.count(State.LEFT),
        membership=membership_of(node, now),
        vitals=node.vitals.own_view(),
        rtt=node.membership.rtt.summary(now),
        refused={
            "members": node.swim.refused,
            "events": node.spreading.events.refused,
            "queries": node.spreading.queries.refused,
            "keyrings": node.keyring.rejected,
            "signatures": node.confirmer.refused,
        },
    )


def membership_of(node: Node, now: Instant) -> MembershipStatus:
    """How the membership protocol of `node` is doing."""
    membership, swim = node.membership, node.swim
    evidence = membership.evidence
    count, total = evidence.round_trips()
    round_trips = evidence.last_round_trips()
    return MembershipStatus(
        health_score=swim.health.score,
        health_score_max=node.config.swim.health_max,
        suspicions_open=len(swim.suspicions),
        refutations=swim.refutations,
        probes=membership.prober.probes,
        probes_failed=evidence.probes_failed,
        probe_rtt_count=count,
        probe_rtt_sum_s=total / NANOS_PER_S,
        probe_rtt_median_s=quantile(round_trips, 50) / NANOS_PER_S,
        probe_rtt_p99_s=quantile(round_trips, 99) / NANOS_PER_S,
        probe_rtt_window=len(round_trips),
        push_pulls_begun=membership.tables_offered,
        push_pulls_answered=membership.tables_answered,
        view_changes=membership.view_changes.total,
        view_changes_last_minute=membership.view_changes.last_minute(now),
        view_number=swim.steady.number,
        view_members=swim.steady.size,
        views_last_minute=membership.views.last_minute(now),
        members_held=swim.steady.held(now),
    )


def is_alive(node: Node, node_id: NodeId) -> bool:
    """Whether `node` takes a member for alive."""
    member = node.swim.table.get(node_id)
    return member is not None and member.state is State.ALIVE


def not_serving(phase: str, next_step: str) -> Refused:
    """What a caller is told who comes too early or too late."""
    return Refused(phase, f"This node is {phase}.", next_step, retry_after_s=1.0)


def answer_of(node: Node, now: Instant, name: str) -> str | None:
    """The answer of `node` to the query `name`; None where it has none by itself."""
    me = node.swim.me
    if me is None or name not in BUILT_IN:
        return None
    if name == "ping":
        return "pong"
    if name == "version":
        return me.alive.profile.version
    if name == "handlers":
        return _json(_first(me.alive.profile.handlers))
    table = node.swim.table
    return _json(
        {
            "phase": node.phase.value,
            "uptime_s": node.uptime(now) // NANOS_PER_S,
            "members_alive": table.count(State.ALIVE),
            "tasks_open": len(node.tasks.book.open),
            "runs_active": node.worker.active,
            "runs_waiting": node.worker.waiting,
        }
    )


def _first(names: tuple[str, ...]) -> list[str]:
    """As many of `names` as fit an answer."""
    shown: list[str] = []
    room = HANDLERS_BYTES_MAX
    for name in names:
        room -= len(_json(name).encode()) + 1
        if room < 0:
            break
        shown.append(name)
    return shown


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
