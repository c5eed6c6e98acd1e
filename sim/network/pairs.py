"""Sets of ordered pairs of nodes: what a cut cuts, what a clog clogs, which links a fault makes worse.

Kept as one row of bytes per sender, 1 at each receiver that belongs to it; senders that are alike share a row, so a
cut of thousands of nodes in a few sides is a few rows. A node is never paired with itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


class Pairs:
    """A set of (sender, receiver), by index. Two of them are equal only if they are the same: it is a handle, too."""

    __slots__ = ("rows",)

    def __init__(self, rows: Iterable[bytes]) -> None:
        self.rows = tuple(rows)

    @classmethod
    def listed(cls, count: int, pairs: Iterable[tuple[int, int]]) -> Pairs:
        """Exactly `pairs`, among `count` nodes."""
        rows = [bytearray(count) for _ in range(count)]
        for sender, receiver in pairs:
            if sender != receiver:
                rows[sender][receiver] = 1
        shared: dict[bytes, bytes] = {}
        return cls(shared.setdefault(row, row) for row in map(bytes, rows))

    @classmethod
    def links_of(cls, count: int, nodes: Iterable[int], to: Iterable[int] = (), *, way: str = "both") -> Pairs:
        """The links of `nodes`: with everybody, or only with the nodes in `to`; what they say ("out"), hear ("in"), or
        both."""
        near = bytearray(count)
        far = bytearray(count)
        for node in nodes:
            near[node] = 1
        for node in to:
            far[node] = 1
        if not any(far):
            far = bytearray(b"\x01" * count)
        out = bytes(far) if way != "in" else bytes(count)
        back = bytes(near) if way != "out" else bytes(count)
        either = united([out, back])
        plain = {(0, 0): bytes(count), (1, 0): out, (0, 1): back, (1, 1): either}
        return cls(_without(plain[near[node], far[node]], node) for node in range(count))

    def __contains__(self, pair: tuple[int, int]) -> bool:
        return bool(self.rows[pair[0]][pair[1]])

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for sender, row in enumerate(self.rows):
            for receiver, member in enumerate(row):
                if member:
                    yield sender, receiver

    def __bool__(self) -> bool:
        return any(1 in row for row in self.rows)


class Cut(Pairs):
    """A partition: `labels[i]` is the side of node i, and packets between different sides are lost.

    With `one_way`, only packets from side 1 to any other side are. Side −1 reaches, and is reached by, everyone.
    """

    __slots__ = ()

    def __init__(self, labels: Sequence[int], one_way: bool = False) -> None:
        nothing = bytes(len(labels))
        by_side = {-1: nothing}
        for side in labels:
            if side not in by_side:
                cuts = side == 1 or not one_way
                by_side[side] = bytes(label not in (side, -1) for label in labels) if cuts else nothing
        super().__init__(by_side[side] for side in labels)


def united(rows: Sequence[bytes]) -> bytes:
    """The row that has what any of `rows`, all of one length, has."""
    together = 0
    for row in rows:
        together |= int.from_bytes(row, "little")
    return together.to_bytes(len(rows[0]), "little")


def _without(row: bytes, node: int) -> bytes:
    return row if not row[node] else row[:node] + b"\x00" + row[node + 1 :]
