"""Members: their states, the order of what is said about them, and the table of one node.

Everything ever said about a member carries one number, its *precedence*: (generation, incarnation, state) packed so
that comparing integers compares the triple. Larger wins, always and everywhere (SWIM section 4.2, with a boot
generation in front, DESIGN 4):
- only the member itself raises its incarnation, to refute; only a restart raises its generation, so a restart wins;
- within one incarnation alive < suspect < dead < left.

What a member announces about itself (its profile) is believed under the same rule, apart from that: the announcement of
the largest precedence wins. A refutation carries no profile, so it is half the size or less; what was announced
before it stands. Of one incarnation there is one profile: a member that changes what it announces raises its
incarnation, and whoever passes an announcement on under a later incarnation says how many it is old.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from protocols.core import NANOS_PER_S, Endpoint, Instant, NodeId
from protocols.limits import (
    ADDRESS_CHARS_MAX,
    HANDLER_CHARS_MAX,
    HANDLERS_MAX,
    NAME_CHARS_MAX,
    NODE_ID_CHARS,
    WEIGHT_MAX,
)
from protocols.membership.tags import Tags, check_tags, tags_bytes

NANOS_PER_MINUTE = 60 * NANOS_PER_S
STATE_BITS = 2
INCARNATION_BITS = 32
GENERATION_BITS = 28
STATE_MASK = (1 << STATE_BITS) - 1
INCARNATION_MAX = (1 << INCARNATION_BITS) - 1
GENERATION_MAX = (1 << GENERATION_BITS) - 1
INCARNATION_STEP = 1 << STATE_BITS

Id = Annotated[str, Meta(min_length=1, max_length=NODE_ID_CHARS)]
Address = Annotated[str, Meta(max_length=ADDRESS_CHARS_MAX)]
Short = Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
Handler = Annotated[str, Meta(max_length=HANDLER_CHARS_MAX)]
Precedence = Annotated[int, Meta(ge=0, lt=1 << (STATE_BITS + INCARNATION_BITS + GENERATION_BITS))]


class State(IntEnum):
    """What is believed of a member. The order is that of section 4.2 of the SWIM paper, with `LEFT` above."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


STATES = (State.ALIVE, State.SUSPECT, State.DEAD, State.LEFT)


def precedence_of(generation: int, incarnation: int, state: State) -> int:
    """Pack the triple. Raises `OverflowError` where a part does not fit its bits."""
    if not 0 <= generation <= GENERATION_MAX or not 0 <= incarnation <= INCARNATION_MAX:
        raise OverflowError(f"generation {generation} or incarnation {incarnation} out of range")
    return (generation << (STATE_BITS + INCARNATION_BITS)) | (incarnation << STATE_BITS) | state


def state_of(precedence: int) -> State:
    return STATES[precedence & STATE_MASK]


def incarnation_of(precedence: int) -> int:
    return (precedence >> STATE_BITS) & INCARNATION_MAX


def generation_of(precedence: int) -> int:
    return precedence >> (STATE_BITS + INCARNATION_BITS)


def with_state(precedence: int, state: State) -> int:
    """The same generation and incarnation in another state."""
    return (precedence & ~STATE_MASK) | state


class Profile(Struct, frozen=True, array_like=True, gc=False):
    """What a member announces about itself; one value per incarnation.

    Its fields are fixed, for an older member would pass it on without those that it does not know, and so change what
    was announced. A later version that has more to say puts it into tags under reserved keys (`tags.py`).
    """

    name: Short
    address: Address
    handlers: Annotated[tuple[Handler, ...], Meta(max_length=HANDLERS_MAX)] = ()
    zone: Short = ""
    weight: Annotated[int, Meta(ge=0, le=WEIGHT_MAX)] = 1
    version: Short = ""
    tags: Tags = ()

    def __post_init__(self) -> None:
        if self.tags:
            check_tags(self.tags)  # raises `ValueError`, which makes a message that cannot be decoded


class Alive(Struct, frozen=True, array_like=True, tag="a", gc=False):
    """The member says that it is alive. Originates at the member only. Its fields are fixed, as those of `Profile`."""

    node_id: Id
    precedence: Precedence
    profile: Profile
    incarnations_ago: Annotated[int, Meta(ge=0, le=INCARNATION_MAX)] = 0
    """How long ago the profile was announced. Above 0, somebody has put a refutation and what was announced before it
    together; another profile may have been announced in between."""


class Accusation(Struct, frozen=True, array_like=True, tag="x", gc=False):
    """`by` says that the member is suspect or dead; or the member says that it leaves."""

    node_id: Id
    precedence: Precedence
    by: Id


class Refutation(Struct, frozen=True, array_like=True, tag="r", gc=False):
    """The member says that it is still alive, and is what it last announced. Originates at the member only."""

    node_id: Id
    precedence: Precedence


Update: TypeAlias = Alive | Accusation | Refutation


def announcement_in(alive: Alive) -> Alive:
    """What the member itself announced, in the incarnation in which it did."""
    if not alive.incarnations_ago:
        return alive
    return Alive(alive.node_id, alive.precedence - alive.incarnations_ago * INCARNATION_STEP, alive.profile)


def said_again(announced: Alive, precedence: int) -> Alive:
    """The announcement together with a refutation of `precedence`, which is of the same generation and no older."""
    ago = incarnation_of(precedence) - incarnation_of(announced.precedence) + announced.incarnations_ago
    return Alive(announced.node_id, precedence, announced.profile, ago)


class Believed(Struct, frozen=True, array_like=True, tag="b", gc=False):
    """A push-pull row of a member of which more is believed than it announced: its last announcement, and what was said
    since."""

    alive: Alive
    precedence: Precedence
    by: Id
    age_minutes: Annotated[int, Meta(ge=0, lt=1 << 32)] = 0
    """For how long it has not been alive, rounded up: who learns it from a table forgets it no later than the rest. 0
    for a member that is alive."""

    @property
    def node_id(self) -> NodeId:
        return self.alive.node_id


class Member:
    """One row: the last announcement, the winning precedence, who said so, and since when (this node's clock).

    A row is never changed but for `stale_to`: `MemberTable.believe` replaces it. So rows may be shared between the
    tables of one process.
    """

    __slots__ = ("_believed", "alive", "as_announced", "by", "endpoint", "precedence", "since", "stale_to")

    def __init__(
        self, alive: Alive, precedence: int, by: NodeId, since: Instant, endpoint: Endpoint | None = None
    ) -> None:
        self.alive = alive
        self.precedence = precedence
        self.by = by
        self.since = since
        self.as_announced = alive if precedence == alive.precedence else None
        """The announcement, where nothing else is believed of the member: its push-pull row then."""
        self.endpoint = endpoint or Endpoint(alive.node_id, alive.profile.address)
        self.stale_to = precedence
        """The largest precedence that is no news of this member: its own; or the one below that while a further accuser
        counts; or, once it has left, that of its first word, for whoever still doubts it has to be told. Whether
        something is news is asked far more often than anything else."""
        self._believed: Believed | None = None

    def row(self, now: Instant) -> Alive | Believed:
        """The push-pull row of this member; the last one made is kept."""
        if self.as_announced is not None:
            return self.as_announced
        age_minutes = (now - self.since) // NANOS_PER_MINUTE + 1 if self.precedence & STATE_MASK else 0
        if self._believed is None or self._believed.age_minutes != age_minutes:
            self._believed = Believed(self.alive, self.precedence, self.by, age_minutes)
        return self._believed

    @property
    def state(self) -> State:
        return STATES[self.precedence & STATE_MASK]

    @property
    def generation(self) -> int:
        return generation_of(self.precedence)

    @property
    def incarnation(self) -> int:
        return incarnation_of(self.precedence)


REFUTATION_OVERHEAD_BYTES = 14
ACCUSATION_OVERHEAD_BYTES = 16
ALIVE_OVERHEAD_BYTES = 34
"""Headers, tag and precedence: everything but the texts, and the profile's own headers with an `Alive`."""
AGO_ONE_BYTE_MAX = 127
"""`incarnations_ago` up to this takes one byte, and else five at most."""


def size_bound(update: Update) -> int:
    """An upper bound of the encoded bytes of `update` (proven against the codec by a property test)."""
    if type(update) is Accusation:
        return ACCUSATION_OVERHEAD_BYTES + _bytes_of(update.node_id + update.by)
    if type(update) is Refutation:
        return REFUTATION_OVERHEAD_BYTES + _bytes_of(update.node_id)
    assert type(update) is Alive
    profile = update.profile
    text = update.node_id + profile.name + profile.address + profile.zone + profile.version + "".join(profile.handlers)
    size = ALIVE_OVERHEAD_BYTES + _bytes_of(text) + 3 * len(profile.handlers)
    if profile.tags:
        size += 2 + tags_bytes(profile.tags)
    return size if update.incarnations_ago <= AGO_ONE_BYTE_MAX else size + 4


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
