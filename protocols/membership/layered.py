"""A dictionary on top of another one that is shared: entries of its own hide those below, which never change.

The tables of nodes that start as one mesh in one process are alike but for a few rows. Each keeps what it believes
otherwise; the rest lies below all of them. A node by itself has nothing below, and this is then one dictionary.
Iteration goes through what is below first, in its order, and then through what is only in the upper one.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from itertools import chain
from typing import TypeVar

from protocols.core import NodeId

ValueT = TypeVar("ValueT")


class Layered(Mapping[NodeId, ValueT]):
    """Values are never false. Hot paths look into `own`, then into `below`, themselves."""

    __slots__ = ("_added", "below", "own")

    def __init__(self) -> None:
        self.own: dict[NodeId, ValueT] = {}
        self.below: dict[NodeId, ValueT] = {}
        self._added = 0
        """Keys of `own` that are not below."""

    def lie_on(self, shared: Layered[ValueT]) -> None:
        """Put `shared`, which may not change any more, below. Raises `ValueError` where something lies there."""
        if self.below or shared.below:
            raise ValueError("there can be two layers, not more")
        self.below = shared.own
        self._added = sum(key not in self.below for key in self.own)

    def __getitem__(self, key: NodeId) -> ValueT:
        value = self.own.get(key)
        return self.below[key] if value is None else value

    def get(self, key: NodeId, default: ValueT | None = None) -> ValueT | None:  # type: ignore[override]  # Mapping's default may be of any type
        value = self.own.get(key)
        return self.below.get(key, default) if value is None else value

    def __setitem__(self, key: NodeId, value: ValueT) -> None:
        if key not in self.own and key not in self.below:
            self._added += 1
        self.own[key] = value

    def pop(self, key: NodeId) -> ValueT:
        """Remove `key`, and give back its value. What was shared is copied first. Raises `KeyError`."""
        if self.below:
            self.own = {**self.below, **self.own}
            self.below = {}
            self._added = len(self.own)
        value = self.own.pop(key)
        self._added -= 1
        return value

    def __contains__(self, key: object) -> bool:
        return key in self.own or key in self.below

    def __len__(self) -> int:
        return len(self.below) + self._added

    def items(self) -> ItemsView[NodeId, ValueT]:
        """All of it as one dictionary would show it, at one moment."""
        return self._flat().items()

    def values(self) -> ValuesView[ValueT]:
        """All values, at one moment."""
        return self._flat().values()

    def each(self) -> Iterator[ValueT]:
        """All values one by one, in the order of `values`, for whoever may stop early: nothing is copied."""
        if not self.below:
            return iter(self.own.values())
        lower = map(self.own.get, self.below, self.below.values())
        if not self._added:
            return lower
        return chain(lower, [value for key, value in self.own.items() if key not in self.below])

    def _flat(self) -> dict[NodeId, ValueT]:
        if not self.below:
            return self.own
        return {**self.below, **self.own} if self.own else self.below

    def __iter__(self) -> Iterator[NodeId]:
        yield from self.below
        if self._added:
            yield from (key for key in self.own if key not in self.below)
