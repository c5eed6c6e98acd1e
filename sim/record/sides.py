"""Who reaches whom, as sides: in words, and as one letter per node. Pure; asked only when a cut begins or ends.

Nodes that reach the same nodes, and are reached by the same, stand together. A *side* is a largest set of nodes that
all reach each other: so a node that bridges a cut is on both sides, and in a ring of majorities the sides overlap.
Nodes that stand together are taken as one, which keeps this cheap for thousands of nodes and a few cuts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

NODES_SHOWN_MAX = 12
SIDES_SHOWN_MAX = 8
GROUPS_MAX = 64
"""More groups than this are not sorted into sides but counted: no reader could follow them."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"
ALONE = "."

Row: TypeAlias = bytes | None
"""One byte per receiver: 1 where it is not reached. None: all are reached."""
Group: TypeAlias = tuple[int, ...]


class Sides:
    """The sides that `rows` (by sender) make of nodes 0, 1, 2, …"""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self.groups = _groups(rows)
        """Nodes that stand together, each group in order, in the order of their first nodes."""

    def letters(self) -> str:
        """One character per node: nodes with the same letter stand together, a dot reaches nobody."""
        characters = [""] * len(self._rows)
        next_letter = 0
        for group in self.groups:
            if self._is_alone(group):
                letter = ALONE
            else:
                letter = LETTERS[min(next_letter, len(LETTERS) - 1)]
                next_letter += 1
            for node in group:
                characters[node] = letter
        return "".join(characters)

    def words(self, names: Sequence[str]) -> str:
        """`n0 n1 | n2 n3 n4`, with `; n4 unheard by n2 n3` for what is lost one way; empty where all reach all."""
        if not any(row is not None and any(row) for row in self._rows):
            return ""
        if len(self.groups) > GROUPS_MAX:
            return f"{len(self._rows)} nodes in {len(self.groups)} groups that reach different nodes"
        sides = [sorted(node for group in side for node in self.groups[group]) for side in self._cliques()]
        sides.sort()
        shown = [_names(side, names) for side in sides[:SIDES_SHOWN_MAX]]
        if len(sides) > SIDES_SHOWN_MAX:
            shown.append(f"{len(sides) - SIDES_SHOWN_MAX} more sides")
        return " | ".join(shown) + "".join(f"; {text}" for text in self._unheard(names))

    def _reaches(self, sender: int, receiver: int) -> bool:
        row = self._rows[sender]
        return sender == receiver or row is None or not row[receiver]

    def _both_ways(self, one: Group, other: Group) -> bool:
        return self._reaches(one[0], other[0]) and self._reaches(other[0], one[0])

    def _is_alone(self, group: Group) -> bool:
        return len(group) == 1 and not any(
            self._reaches(group[0], other) for other in range(len(self._rows)) if other != group[0]
        )

    def _cliques(self) -> list[tuple[int, ...]]:
        """The largest sets of groups that all reach each other (Bron and Kerbosch, with a pivot)."""
        count = len(self.groups)
        near = [
            {other for other in range(count) if other != one and self._both_ways(self.groups[one], self.groups[other])}
            for one in range(count)
        ]
        found: list[tuple[int, ...]] = []

        def extend(clique: tuple[int, ...], candidates: set[int], done: set[int]) -> None:
            if len(found) > GROUPS_MAX:
                return
            if not candidates and not done:
                found.append(clique)
                return
            pivot = max(sorted(candidates | done), key=lambda group: len(near[group] & candidates))
            for group in sorted(candidates - near[pivot]):
                extend((*clique, group), candidates & near[group], done & near[group])
                candidates = candidates - {group}
                done = done | {group}

        extend((), set(range(count)), set())
        return found

    def _unheard(self, names: Sequence[str]) -> list[str]:
        """Who is heard by fewer than he hears."""
        texts: list[str] = []
        for one in self.groups:
            deaf = [
                node
                for other in self.groups
                if self._reaches(other[0], one[0]) and not self._reaches(one[0], other[0])
                for node in other
            ]
            if deaf:
                texts.append(f"{_names(one, names)} unheard by {_names(sorted(deaf), names)}")
        return texts[:SIDES_SHOWN_MAX]


def _groups(rows: Sequence[Row]) -> list[Group]:
    """Nodes with the same row and the same column, themselves aside."""
    nothing = bytes(len(rows))
    out = [nothing if row is None else _reaching_itself(row, node) for node, row in enumerate(rows)]
    shared: dict[bytes, list[int]] = {}
    for node, row in enumerate(out):
        shared.setdefault(row, []).append(node)
    columns: dict[int, bytes] = {}
    distinct = [(row, members) for row, members in shared.items() if any(row)]
    for node in range(len(rows)):
        columns[node] = bytes(row[node] for row, _ in distinct)
    groups: dict[tuple[bytes, bytes], list[int]] = {}
    for node, row in enumerate(out):
        groups.setdefault((row, columns[node]), []).append(node)
    return [tuple(members) for members in groups.values()]


def _reaching_itself(row: bytes, node: int) -> bytes:
    """What a row says of the node itself means nothing."""
    return row if not row[node] else row[:node] + b"\0" + row[node + 1 :]


def _names(nodes: Sequence[int], names: Sequence[str]) -> str:
    shown = " ".join(names[node] for node in nodes[:NODES_SHOWN_MAX])
    return shown if len(nodes) <= NODES_SHOWN_MAX else f"{shown} … ({len(nodes)} nodes)"
