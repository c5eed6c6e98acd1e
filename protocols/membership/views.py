"""What callers may ask about the mesh, and the answers."""

from __future__ import annotations

from msgspec import Struct, field

from protocols.core import Command, NodeId, Outcome
from protocols.membership.rtt import RttSummary, RttView
from protocols.membership.vitals import VitalsView


class ListMembers(Command, frozen=True, tag="list_members"):
    """Every member this node knows of."""


class GetStatus(Command, frozen=True, tag="get_status"):
    """How this node stands."""


class Leave(Command, frozen=True, tag="leave"):
    """Leave the mesh gracefully. Answered when the word has spread; the daemon then stops."""


class MemberView(Struct, frozen=True):
    """One row of the member table. `state` is `alive`, `suspect`, `dead` or `left`."""

    node_id: NodeId
    name: str
    address: str
    state: str
    generation: int
    incarnation: int
    handlers: tuple[str, ...]
    zone: str
    weight: int
    state_age_s: float
    """Seconds since this node saw the state change."""
    is_self: bool = False
    vitals: VitalsView | None = None
    """How busy it is, as it last said; null where it is not there, or has not said it."""
    rtt: RttView | None = None
    """From this node to it; null for this node, for who is not there, and where it is not known."""
    tags: dict[str, str] = {}
    """In order of their keys; those that begin with a dot are of meshnode itself, and lists leave them out."""
    held_s: float = 0.0
    """Seconds for which the view still leaves it as it was, because it came and went too often."""


class MemberList(Outcome, frozen=True, tag="members"):
    members: tuple[MemberView, ...]
    """Alive first, then by name."""


class MembershipStatus(Struct, frozen=True):
    """How the membership protocol is doing at this node. Counts are since it started."""

    health_score: int = 0
    """Local health (Lifeguard): 0 is well; probes take (1 + score) times as long."""
    health_score_max: int = 0
    suspicions_open: int = 0
    refutations: int = 0
    """How often this node was accused and has answered."""
    probes: int = 0
    probes_failed: int = 0
    probe_rtt_count: int = 0
    probe_rtt_sum_s: float = 0.0
    probe_rtt_median_s: float = 0.0
    """This and p99 are of the last `probe_rtt_window` probes that were answered directly."""
    probe_rtt_p99_s: float = 0.0
    probe_rtt_window: int = 0
    push_pulls_begun: int = 0
    push_pulls_answered: int = 0
    view_changes: int = 0
    """How often the set of live members, or what one of them announces, changed in the table."""
    view_changes_last_minute: int = 0
    view_number: int = 0
    """How many views were published: batched, at a bounded pace, without those that flap (`steady.py`)."""
    view_members: int = 0
    """Members that serve by the last view, this node included."""
    views_last_minute: int = 0
    members_held: int = 0
    """Members that came and went so often that the view leaves them as they were for a while."""


class NodeStatus(Outcome, frozen=True, tag="status"):
    """This node at a glance. Task counts are of tasks that this node coordinates; runs are bodies it executes."""

    node_id: NodeId
    name: str
    mesh: str
    address: str
    version: str
    generation: int
    incarnation: int
    uptime_s: float
    phase: str
    """`starting`, `joining` (seeds named, none answered yet), `serving` or `leaving`."""
    members_alive: int
    members_suspect: int
    members_dead: int
    tasks_queued: int
    tasks_running: int
    tasks_finished: int
    tasks_by_state: dict[str, int]
    runs_active: int
    runs_waiting: int
    handlers: tuple[str, ...]
    storage_error: str = ""
    """Why the last save failed; empty while the disk is well."""
    members_left: int = 0
    membership: MembershipStatus = MembershipStatus()
    vitals: VitalsView | None = None
    rtt: RttSummary | None = None
    """Null where no round-trip time is known yet."""
    refused: dict[str, int] = field(default_factory=dict)
    """Words of members that no honest node says, by what they are about: members, events, queries, keyrings,
    and signatures that are wrong."""


class Left(Outcome, frozen=True, tag="left"):
    """The mesh knows. `open_tasks` stay on this node's disk and go on when it is started again."""

    open_tasks: int
