"""What callers on this machine may ask of the daemon, and the one interface through which they ask.

The control socket, the MCP face and the CLI all speak in `Command`s and `Outcome`s. Most go straight to the node core;
the few below concern the daemon itself and are answered by it.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

from msgspec import field

from meshnode.transport.traffic import Flow
from protocols.core import Command, Outcome, Refused, Unknown
from protocols.detector.why import Explanation, Why
from protocols.keyring.views import AddKey, KeysReport, ListKeys, RemoveKey, UseKey
from protocols.membership.event_views import (
    AnswerQuery,
    AskQuery,
    EventList,
    EventSent,
    QueryAnswered,
    QueryAnswers,
    ReadEvents,
    SendEvent,
)
from protocols.membership.rtt import EstimateRtt, RttEstimate
from protocols.membership.tagging import GetTags, NodeTags, SetTags
from protocols.membership.views import GetStatus, Leave, Left, ListMembers, MemberList, NodeStatus
from protocols.tasks.task import Accepted, CancelTask, GetTask, ListTasks, Submit, TaskList, TaskView
from protocols.tools import FindTools, ToolsFound

__all__ = [
    "Accepted",
    "AddKey",
    "AnswerQuery",
    "AskQuery",
    "Caller",
    "CallerCommand",
    "CallerOutcome",
    "CancelTask",
    "CreateToken",
    "EstimateRtt",
    "EventList",
    "EventSent",
    "Explanation",
    "FindTools",
    "GetStatus",
    "GetTags",
    "GetTask",
    "Inspect",
    "Inspection",
    "KeysReport",
    "Leave",
    "Left",
    "ListKeys",
    "ListMembers",
    "ListTasks",
    "MemberList",
    "NodeStatus",
    "NodeTags",
    "QueryAnswered",
    "QueryAnswers",
    "ReadEvents",
    "Refused",
    "Reload",
    "Reloaded",
    "RemoveKey",
    "RttEstimate",
    "SendEvent",
    "SetTags",
    "Submit",
    "TaskList",
    "TaskView",
    "TokenCreated",
    "ToolsFound",
    "Unknown",
    "UseKey",
    "Why",
]


class CreateToken(Command, frozen=True, tag="create_token"):
    """Make a join token. Only the node that holds the mesh's CA key can."""

    lifetime_s: float = 3600.0
    uses: int = 1


class TokenCreated(Outcome, frozen=True, tag="token_created"):
    token: str
    expires_unix_s: float
    uses: int


class Inspect(Command, frozen=True, tag="inspect"):
    """The daemon's own state, for `doctor` and `status`."""


class Inspection(Outcome, frozen=True, tag="inspection"):
    pid: int
    version: str
    rss_bytes: int
    """0 where the machine does not tell."""
    mcp_url: str
    """Empty while MCP over HTTP is not served."""
    drops: dict[str, int]
    """Packets, frames and connections that were refused, by reason."""
    saves: int
    commits: int
    streams_open: int
    traffic: dict[str, Flow] = field(default_factory=dict)
    """Messages and bytes, by the type of message as it is named on the wire."""
    commit_s: float = 0.0
    """For how long the commit under way has been waiting for the disk; 0 where there is none."""
    cpu_s: float = 0.0
    """Processor time that the daemon has used, without the processes of bodies."""
    started_unix_s: float = 0.0
    metrics_url: str = ""
    """Empty while they are not served."""


class Reload(Command, frozen=True, tag="reload"):
    """Read meshnode.toml again, and apply what can be applied while the node runs."""


class Reloaded(Outcome, frozen=True, tag="reloaded"):
    """What another configuration has changed."""

    applied: dict[str, str] = field(default_factory=dict)
    """By key, as `zone` or `handlers.NAME`: "added", "changed" or "removed" since the last one."""
    needs_restart: tuple[str, ...] = ()
    """Keys that say otherwise than at the start of the daemon, and count at its next."""
    tags_left_out: tuple[str, ...] = ()
    """Tags of the configuration that do not fit beside those that `meshnode tags set` has set."""
    generation: int = 0
    incarnation: int = 0
    """In which the node announces what it is now."""


CallerCommand: TypeAlias = (
    Submit
    | GetTask
    | CancelTask
    | ListTasks
    | ListMembers
    | GetStatus
    | GetTags
    | SetTags
    | Why
    | EstimateRtt
    | Leave
    | FindTools
    | ListKeys
    | AddKey
    | UseKey
    | RemoveKey
    | SendEvent
    | ReadEvents
    | AskQuery
    | AnswerQuery
    | CreateToken
    | Inspect
    | Reload
)
CallerOutcome: TypeAlias = (
    Accepted
    | TaskView
    | TaskList
    | MemberList
    | NodeStatus
    | Explanation
    | RttEstimate
    | NodeTags
    | Left
    | ToolsFound
    | KeysReport
    | EventSent
    | EventList
    | QueryAnswers
    | QueryAnswered
    | TokenCreated
    | Inspection
    | Reloaded
    | Refused
    | Unknown
)


class Caller(Protocol):
    """Something that carries a command to the daemon: the daemon itself, or a connection to its control socket."""

    async def call(self, command: CallerCommand) -> CallerOutcome:
        """The outcome, `Refused` and `Unknown` included. Raises `MeshError` where the daemon cannot be reached."""
        ...
