"""Who reaches whom as sides, in words and as letters."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sim.record.sides import GROUPS_MAX, Row, Sides


def names(count: int) -> list[str]:
    return [f"n{index}" for index in range(count)]


def rows(*texts: str) -> list[Row]:
    """One text per sender: x where it does not reach the receiver."""
    return [bytes(character == "x" for character in text) for text in texts]


def partition(labels: Sequence[int]) -> list[Row]:
    return [bytes(label != own for label in labels) for own in labels]


@pytest.mark.parametrize(
    ("who_cannot", "words", "letters"),
    [
        (rows("..", ".."), "", "aa"),
        ([None, None], "", "aa"),
        (partition([0, 1, 0, 1, 1]), "n0 n2 | n1 n3 n4", "ababb"),
        (partition([0, 1, 2]), "n0 | n1 | n2", "..."),
        (partition([0, 0, 1]), "n0 n1 | n2", "aa."),
        # n2 reaches both sides.
        (rows("...xx", "...xx", ".....", "xx...", "xx..."), "n0 n1 n2 | n2 n3 n4", "aabcc"),
        # n0 is not heard, but hears.
        (rows(".xx", "...", "..."), "n0 | n1 n2; n0 unheard by n1 n2", ".aa"),
        # A ring of three: each reaches its neighbours only.
        (
            rows("..x.", "...x", "x...", ".x.."),
            "n0 n1 | n0 n3 | n1 n2 | n2 n3",
            "abcd",
        ),
        # What a row says of the node itself means nothing.
        (rows("x.x", ".xx", "xx."), "n0 n1 | n2", "aa."),
    ],
)
def test_sides(who_cannot: list[Row], words: str, letters: str) -> None:
    sides = Sides(who_cannot)
    assert sides.words(names(len(who_cannot))) == words
    assert sides.letters() == letters


def test_many_nodes_are_counted_not_listed() -> None:
    halves = Sides(partition([index % 2 for index in range(1000)]))
    words = halves.words(names(1000))
    assert words.startswith("n0 n2 n4 ")
    assert words.count("… (500 nodes)") == 2


def test_many_sides_are_counted_not_listed() -> None:
    words = Sides(partition(list(range(20)))).words(names(20))
    assert words.endswith("| 12 more sides")
    crowd = Sides(partition(list(range(GROUPS_MAX + 1))))
    assert (
        crowd.words(names(GROUPS_MAX + 1))
        == f"{GROUPS_MAX + 1} nodes in {GROUPS_MAX + 1} groups that reach different nodes"
    )
