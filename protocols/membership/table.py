"""The member table of one node, and random picks from it that cost no more than the pick."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from protocols.core import Instant, NodeId
from protocols.membership.member import STATE_MASK, Alive, Member, State


class MemberTable:
    """Rows by node id, this node's own row included; counts by state are kept, not counted."""

    __slots__ = ("_counts", "_ids", "known", "rows")

    def __init__(self) -> None:
        self.rows: dict[NodeId, Member] = {}
        self.known: dict[NodeId, int] = {}
        """The precedence of every row by itself: whether news is news is asked far more often than anything else."""
        self._ids: list[NodeId] = []
        self._counts = [0, 0, 0, 0]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Member]:
        return iter(self.rows.values())

    def get(self, node_id: NodeId) -> Member | None:
        return self.rows.get(node_id)

    def insert(self, member: Member) -> None:
        """Add a row that was not there."""
        node_id = member.alive.node_id
        assert node_id not in self.rows
        self.rows[node_id] = member
        self.known[node_id] = member.precedence
        self._ids.append(node_id)
        self._counts[member.state] += 1

    def remove(self, node_id: NodeId) -> None:
        member = self.rows.pop(node_id)
        del self.known[node_id]
        self._ids.remove(node_id)
        self._counts[member.state] -= 1

    def believe(self, now: Instant, member: Member, alive: Alive, precedence: int, by: NodeId) -> Member:
        """Put what is believed of a member from now on in the place of the row `member`."""
        before = member.precedence & STATE_MASK
        after = precedence & STATE_MASK
        since = member.since
        if before != after:
            since = now
            self._counts[before] -= 1
            self._counts[after] += 1
        endpoint = member.endpoint if alive.profile.address == member.endpoint.address else None
        row = self.rows[alive.node_id] = Member(alive, precedence, by, since, endpoint)
        self.known[alive.node_id] = precedence
        return row

    def fill(self, members: dict[NodeId, Member]) -> None:
        """Add all of `members` that are not there yet; the rows are shared with whoever else holds them."""
        kept = self.rows
        if not all(node_id in members for node_id in kept):
            raise ValueError("a row would be lost")
        self.rows = {**members, **kept}
        self.known = {node_id: member.precedence for node_id, member in self.rows.items()}
        self._ids = list(self.rows)
        self._counts = [0, 0, 0, 0]
        for member in self.rows.values():
            self._counts[member.precedence & STATE_MASK] += 1

    def count(self, state: State) -> int:
        return self._counts[state]

    @property
    def present(self) -> int:
        """Members that count towards the size of the mesh: alive and suspect, this node included."""
        return self._counts[State.ALIVE] + self._counts[State.SUSPECT]

    def sample(self, rng: Random, count: int, wanted: Callable[[Member], bool]) -> list[Member]:
        """Up to `count` distinct random `wanted` rows; may miss some where few are (memberlist, kRandomNodes)."""
        ids = self._ids
        total = len(ids)
        if total <= 3 * count:
            pool = [member for member in self.rows.values() if wanted(member)]
            rng.shuffle(pool)
            return pool[:count]
        picked: list[Member] = []
        rows = self.rows
        random = rng.random
        for _ in range(min(3 * total, 50)):
            member = rows[ids[int(random() * total)]]
            if member not in picked and wanted(member):
                picked.append(member)
                if len(picked) == count:
                    break
        return picked

    def check_counts(self) -> bool:
        """Whether the kept counts are those of the rows (for invariant checks)."""
        counts = [0, 0, 0, 0]
        for member in self.rows.values():
            counts[member.state] += 1
        known = {node_id: member.precedence for node_id, member in self.rows.items()}
        return counts == self._counts and len(self._ids) == len(self.rows) and known == self.known
