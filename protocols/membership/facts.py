"""Facts that membership tells whoever listens on this machine."""

from __future__ import annotations

from protocols.core import Fact, Instant, NodeId
from protocols.membership.member import State, generation_of, incarnation_of, state_of


class MemberChanged(Fact, frozen=True, tag="member_changed", gc=False):
    """This node's view of a member changed: a new state, or a newer life (generation) of it."""

    node_id: NodeId
    name: str
    precedence: int
    """(Generation, incarnation, state), packed as in `member.py`."""
    by: NodeId
    """Who said so; the member itself for `ALIVE` and `LEFT`."""

    @property
    def state(self) -> State:
        return state_of(self.precedence)

    @property
    def generation(self) -> int:
        return generation_of(self.precedence)

    @property
    def incarnation(self) -> int:
        return incarnation_of(self.precedence)


class ViewChanged(Fact, frozen=True, tag="view_changed", gc=False):
    """This node has published another view of who serves (`steady.py`). The lists say what it changes in the last one;
    a member is in one of them at most."""

    number: int
    """1 for the first view of a life, then one more each time."""
    serving: int
    """How many members are in it, this node included."""
    joined: tuple[NodeId, ...] = ()
    """Met for the first time."""
    returned: tuple[NodeId, ...] = ()
    """Back after they had failed or left, or in a new life."""
    failed: tuple[NodeId, ...] = ()
    left: tuple[NodeId, ...] = ()
    changed: tuple[NodeId, ...] = ()
    """They announce something else: other handlers, another address."""
    held: int = 0
    """Members that came and went so often that they are left as they are for now."""


class Refuted(Fact, frozen=True, tag="refuted", gc=False):
    """This node was accused and has raised its incarnation."""

    accuser: NodeId
    incarnation: int


class Announced(Fact, frozen=True, tag="announced", gc=False):
    """This node is something else than it announced before, and has raised its incarnation to say so."""

    incarnation: int


class TagsLeftOut(Fact, frozen=True, tag="tags_left_out", gc=False):
    """Tags of this node's configuration have no room beside those that were set while it ran."""

    keys: tuple[str, ...]


class NameConflict(Fact, frozen=True, tag="name_conflict", gc=False):
    """Another live member announces this node's name."""

    other: NodeId
    address: str


class Overslept(Fact, frozen=True, tag="overslept", gc=False):
    """This node did not get to run for a while (stopped, starved, suspended), and has begun to probe anew."""

    late: Instant
    """Nanoseconds between when it wanted to run and when it did."""


class Forgotten(Fact, frozen=True, tag="forgotten", gc=False):
    """A dead or departed member was dropped from the table after its time."""

    node_id: NodeId


class ReachedByStreamOnly(Fact, frozen=True, tag="reached_by_stream_only", gc=False):
    """A member acked no datagram in time, neither its own nor through others, but answered over a stream."""

    node_id: NodeId


class JoinedMesh(Fact, frozen=True, tag="joined_mesh", gc=False):
    """The first seed has answered."""

    via: NodeId


class NodeStarted(Fact, frozen=True, tag="node_started", gc=False):
    """This node's new generation is durable and it takes part in it from now on. Again where it was outgrown."""

    node_id: NodeId
    generation: int


class EventDelivered(Fact, frozen=True, tag="event_delivered", gc=False):
    """This node's users are given an event: once, and those of one origin in the order in which they were sent."""

    origin: NodeId
    generation: int
    number: int
    ltime: int


class QueryClosed(Fact, frozen=True, tag="query_closed", gc=False):
    """A query of this node's users is over: so many members were asked, so many answered."""

    name: str
    asked: int
    answered: int
