"""Placement: which member answers for a key (consistent hashing with weights, zones and bounded loads; DESIGN 6).

A `Ring` is a value: the same members give the same ring in whatever order they come. Rules:

- A key belongs to the first virtual node at its token or clockwise after it. A token that two members share belongs to
  the smaller node id, and the other member comes directly after it.
- Minimal disruption: taking a member away changes the owner of its own keys only. Therefore
  `owner_among(key, eligible)` is the owner in the ring of the eligible members: a caller with many views of who is
  alive needs one ring of everybody, and no ring per view.
- A member of weight 0 is in the mesh and not on the ring.
- A ring knows nothing of liveness and never changes; who is on it is decided elsewhere.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from fractions import Fraction
from functools import lru_cache
from itertools import chain, islice, pairwise
from math import ceil
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from protocols.core import NodeId
from protocols.limits import WEIGHT_MAX
from protocols.ring.tokens import CIRCLE, TOKEN_BITS, key_token, vnode_tokens

SLOTS = 256
"""Task records move and replicate in this many units (DESIGN 6)."""
BOUND = 1.25
"""No member is primary for more than this multiple of its weighted share of the slots (DESIGN 6)."""
RINGS_REMEMBERED = 8
"""Rings that `ring_of` keeps; one of 1,000 members holds about 2 MB."""

_WALK_TOKENS = 256
"""How far `owner_among` looks clockwise before it asks the eligible members one by one where they stand."""
_BUCKET_BITS_MAX = 12

TokenSource: TypeAlias = Callable[[NodeId, int], Sequence[int]]
"""Tokens of a member, given its id and weight."""


class RingMember(Struct, frozen=True, gc=False, cache_hash=True):
    """One member as placement sees it. `zone` is what fails together; members that name none share the empty zone."""

    node_id: NodeId
    weight: Annotated[int, Meta(ge=0, le=WEIGHT_MAX)] = 1
    zone: str = ""


class Ring:
    """A consistent-hash ring over `members`. Immutable; may be empty.

    `tokens_of` replaces the hash of the members; it is there to study rings whose tokens are given.

    Raises:
        ValueError: a node id twice, a weight outside 0..WEIGHT_MAX.
    """

    __slots__ = ("_by_id", "_tokens_of", "_zones", "owners", "tokens")

    tokens: Sequence[int]
    """Tokens of all virtual nodes, ascending."""
    owners: Sequence[NodeId]
    """The member that stands at the token of the same index."""

    def __init__(self, members: Iterable[RingMember], *, tokens_of: TokenSource = vnode_tokens) -> None:
        ordered = sorted(members, key=lambda each: each.node_id)
        for one, other in pairwise(ordered):
            if one.node_id == other.node_id:
                raise ValueError(f"member {one.node_id!r} is given twice")
        self._tokens_of = tokens_of
        self._by_id: dict[NodeId, RingMember] = {each.node_id: each for each in ordered if each.weight != 0}
        self._zones = len({member.zone for member in self._by_id.values()})
        self.tokens, self.owners = _sorted_by_token(
            [(node_id, tokens_of(node_id, member.weight)) for node_id, member in self._by_id.items()]
        )

    @property
    def members(self) -> tuple[RingMember, ...]:
        """Who is on the ring, by node id. Members of weight 0 are not."""
        return tuple(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, node_id: NodeId) -> bool:
        return node_id in self._by_id

    def owner(self, key: str) -> NodeId | None:
        """The member that answers for `key`; None where the ring is empty."""
        return self.owner_at(key_token(key))

    def owner_at(self, point: int) -> NodeId | None:
        """The member that answers for one point of the circle, 0 <= point < CIRCLE; None where the ring is empty."""
        if not self.owners:
            return None
        return self.owners[self._index(point)]

    def owner_among(self, key: str, eligible: Collection[NodeId]) -> NodeId | None:
        """The first eligible member clockwise from `key`; None where no eligible member is on the ring.

        A set or a mapping is fastest: anything else is copied into a set. Costs a bounded walk where enough members are
        eligible to be met on it, and a look at each eligible member where they are few among many.
        """
        if not self.owners or not eligible:
            return None
        pool = eligible if isinstance(eligible, Set | Mapping) else frozenset(eligible)
        point = key_token(key)
        for node_id in self._clockwise(self._index(point), _WALK_TOKENS):
            if node_id in pool:
                return node_id
        return self._nearest(point, pool)

    def preference(self, key: str) -> Iterator[NodeId]:
        """Every member once, in the order in which the walk clockwise from `key` meets them."""
        if not self.owners:
            return
        met: set[NodeId] = set()
        for node_id in self._clockwise(self._index(key_token(key)), len(self.owners)):
            if node_id not in met:
                met.add(node_id)
                yield node_id
                if len(met) == len(self._by_id):
                    return

    def replicas(self, key: str, count: int) -> tuple[NodeId, ...]:
        """Up to `count` distinct members for `key`: first those that add a zone, then others, each in ring order.

        The first is always `owner(key)`. There are fewer than `count` only where the ring has fewer members.

        Raises:
            ValueError: a negative count.
        """
        if count < 0:
            raise ValueError(f"cannot place {count} replicas")
        zones: set[str] = set()
        spread: list[NodeId] = []
        others: list[NodeId] = []
        for node_id in self.preference(key):
            enough = len(zones) == self._zones and len(spread) + len(others) >= count
            if len(spread) >= count or enough:
                break
            zone = self._by_id[node_id].zone
            (others if zone in zones else spread).append(node_id)
            zones.add(zone)
        return tuple((spread + others)[:count])

    def primary_caps(self, slot_count: int = SLOTS, bound: float = BOUND) -> dict[NodeId, int]:
        """The most slots, out of `slot_count`, that each member may be primary for: ceil(bound * weighted share).

        Computed exactly, with `bound` read as the decimal that it prints as: all nodes must round alike.

        Raises:
            ValueError: a bound below 1, or not a finite number.
        """
        exact = Fraction(str(bound))
        if exact < 1:
            raise ValueError(f"bound {bound} leaves slots without a primary: it must be at least 1")
        total = sum(member.weight for member in self._by_id.values())
        return {node_id: ceil(exact * slot_count * each.weight / total) for node_id, each in self._by_id.items()}

    def assign_primaries(self, slots: Iterable[int] = range(SLOTS), bound: float = BOUND) -> dict[int, NodeId]:
        """A primary for every slot: the first member clockwise that is below its cap. Empty where the ring is.

        Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2016), with caps by weight. Slots are
        placed in ascending order, so that the outcome does not depend on history. The caps add up to no less than the
        number of slots: there is always room.

        Raises:
            ValueError: a slot outside 0..SLOTS-1, a bound below 1.
        """
        ordered = sorted(set(slots))
        if ordered and not 0 <= ordered[0] <= ordered[-1] < SLOTS:
            raise ValueError(f"slots are 0..{SLOTS - 1}, not {ordered[0]}..{ordered[-1]}")
        room = self.primary_caps(len(ordered), bound)
        primaries: dict[int, NodeId] = {}
        if not room:
            return primaries
        for slot in ordered:
            primary = next(node_id for node_id in self.preference(slot_key(slot)) if room[node_id] > 0)
            room[primary] -= 1
            primaries[slot] = primary
        return primaries

    def _index(self, point: int) -> int:
        """Index of the virtual node that answers for `point`; past the last token the circle starts over."""
        index = bisect_left(self.tokens, point)
        return index if index < len(self.tokens) else 0

    def _clockwise(self, start: int, count: int) -> Iterator[NodeId]:
        """Owners of the virtual nodes from index `start` on, at most `count` and at most one turn."""
        turn = chain(range(start, len(self.owners)), range(start))
        return map(self.owners.__getitem__, islice(turn, count))

    def _nearest(self, point: int, pool: Collection[NodeId]) -> NodeId | None:
        """Of the members in `pool`, the one whose first virtual node clockwise from `point` comes soonest."""
        best: tuple[int, NodeId] | None = None
        for node_id in sorted(pool):  # sorted, because nothing may depend on the order of a set
            member = self._by_id.get(node_id)
            if member is None:
                continue
            tokens = self._tokens_of(node_id, member.weight)
            distance = min((token - point) % CIRCLE for token in tokens)
            if best is None or (distance, node_id) < best:
                best = (distance, node_id)
        return None if best is None else best[1]


def slot_of(key: str) -> int:
    """The slot of a key or task id, 0..SLOTS-1."""
    return key_token(key) % SLOTS


def slot_key(slot: int) -> str:
    """The key under which a slot itself is placed on the ring."""
    return f"slot/{slot}"


def ring_of(members: tuple[RingMember, ...]) -> Ring:
    """`Ring(members)`, shared between callers that have the same members in any order.

    A new ring of 1,000 members took 48 ms (37 where their tokens were remembered), a shared one 0.2 ms: ask when the
    membership has changed, not for every key.

    Raises:
        ValueError: as `Ring` does.
    """
    return _ring_of(tuple(sorted(members, key=lambda each: each.node_id)))


@lru_cache(maxsize=RINGS_REMEMBERED)
def _ring_of(members: tuple[RingMember, ...]) -> Ring:
    return Ring(members)


def _sorted_by_token(placed: Sequence[tuple[NodeId, Sequence[int]]]) -> tuple[Sequence[int], Sequence[NodeId]]:
    """All tokens ascending, and their members; equal tokens stay in the order of `placed`.

    Tokens are dealt by their leading bits into buckets of about a hundred, which are then sorted: a third faster than
    one sort of 128,000, because a bucket stays in the cache.
    """
    bits = min(_BUCKET_BITS_MAX, (sum(len(tokens) for _, tokens in placed) >> 7).bit_length())
    shift = TOKEN_BITS - bits
    token_buckets: list[list[int]] = [[] for _ in range(1 << bits)]
    owner_buckets: list[list[NodeId]] = [[] for _ in range(1 << bits)]
    for node_id, tokens in placed:
        for token in tokens:
            bucket = token >> shift
            token_buckets[bucket].append(token)
            owner_buckets[bucket].append(node_id)
    line = array("Q")
    owners: list[NodeId] = []
    for bucket_tokens, bucket_owners in zip(token_buckets, owner_buckets, strict=True):
        order = sorted(range(len(bucket_tokens)), key=bucket_tokens.__getitem__)
        line.extend([bucket_tokens[index] for index in order])
        owners.extend([bucket_owners[index] for index in order])
    return line, owners
