"""The member table of one node, and random picks from it that cost no more than the pick."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from protocols.core import Instant, NodeId
from protocols.membership.layered import Layered
from protocols.membership.member import STATE_MASK, Alive, Member, State

ALIVE = int(State.ALIVE)
SUSPECT = int(State.SUSPECT)


class MemberTable:
    """Rows by node id, this node's own row included; counts by state are kept, not counted."""

    __slots__ = ("_counts", "_ids", "_ids_are_shared", "not_alive", "rows")

    def __init__(self) -> None:
        self.rows: Layered[Member] = Layered()
        self._ids: list[NodeId] = []
        self._ids_are_shared = False
        self._counts = [0, 0, 0, 0]
        self.not_alive = 0
        """Members that are suspect, dead or gone: asked for with every probe and ack."""

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Member]:
        return self.rows.each()

    def get(self, node_id: NodeId) -> Member | None:
        rows = self.rows
        return rows.own.get(node_id) or rows.below.get(node_id)

    def insert(self, member: Member) -> None:
        """Add a row that was not there."""
        node_id = member.alive.node_id
        assert node_id not in self.rows
        self.rows[node_id] = member
        self._own_ids().append(node_id)
        self._count(member.precedence & STATE_MASK, 1)

    def remove(self, node_id: NodeId) -> None:
        member = self.rows.pop(node_id)
        self._own_ids().remove(node_id)
        self._count(member.precedence & STATE_MASK, -1)

    def _count(self, state: int, more: int) -> None:
        self._counts[state] += more
        if state != ALIVE:
            self.not_alive += more

    def believe(self, now: Instant, member: Member, alive: Alive, precedence: int, by: NodeId) -> Member:
        """Put what is believed of a member from now on in the place of the row `member`."""
        before = member.precedence & STATE_MASK
        after = precedence & STATE_MASK
        since = member.since
        if before != after:
            since = now
            self._count(before, -1)
            self._count(after, 1)
        endpoint = member.endpoint if alive.profile.address == member.endpoint.address else None
        row = Member(alive, precedence, by, since, endpoint)
        self.rows.own[alive.node_id] = row
        return row

    def learn(self, member: Member, alive: Alive) -> Member:
        """Put a newer announcement into the row `member`; what is believed of it stands."""
        row = Member(alive, member.precedence, member.by, member.since)
        row.stale_to = member.stale_to
        self.rows.own[alive.node_id] = row
        return row

    def fill(self, others: MemberTable) -> None:
        """Add all rows of `others` that are not there yet, and share them: `others` must not change from now on.

        Raises `ValueError` for a table that does not know all members of this one.
        """
        replaced = [others.rows[node_id] for node_id in self.rows if node_id in others.rows]
        if len(replaced) < len(self.rows):
            raise ValueError("a table can only be filled from one that knows all of its members")
        for state, count in enumerate(others._counts):
            self._count(state, count)
        for member in replaced:
            self._count(member.precedence & STATE_MASK, -1)
        self.rows.lie_on(others.rows)
        self._ids = others._ids
        self._ids_are_shared = True

    def _own_ids(self) -> list[NodeId]:
        if self._ids_are_shared:
            self._ids = self._ids[:]
            self._ids_are_shared = False
        return self._ids

    def list_ids(self) -> list[NodeId]:
        """The ids of all members, this node's own included, as a new list."""
        return self._ids[:]

    def count(self, state: State) -> int:
        return self._counts[state]

    @property
    def present(self) -> int:
        """Members that count towards the size of the mesh: alive and suspect, this node included."""
        return self._counts[ALIVE] + self._counts[SUSPECT]

    def sample(self, rng: Random, count: int, wanted: Callable[[Member], bool]) -> list[Member]:
        """Up to `count` distinct random `wanted` rows; may miss some where few are (memberlist, kRandomNodes)."""
        ids = self._ids
        total = len(ids)
        if total <= 3 * count:
            pool = [member for member in self.rows.values() if wanted(member)]
            rng.shuffle(pool)
            return pool[:count]
        picked: list[Member] = []
        own, below = self.rows.own.get, self.rows.below
        random = rng.random
        for _ in range(min(3 * total, 50)):
            node_id = ids[int(random() * total)]
            member = own(node_id) or below[node_id]
            if member not in picked and wanted(member):
                picked.append(member)
                if len(picked) == count:
                    break
        return picked

    def check_counts(self) -> bool:
        """Whether the kept counts are those of the rows (for invariant checks)."""
        counts = [0, 0, 0, 0]
        for member in self.rows.each():
            counts[member.precedence & STATE_MASK] += 1
        return counts == self._counts and sum(counts[SUSPECT:]) == self.not_alive and len(self._ids) == len(self.rows)
