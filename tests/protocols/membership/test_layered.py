"""Two layers behave like the one dictionary that they stand for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.membership.layered import Layered

KEYS = st.sampled_from("abcdefgh")
STEPS = st.lists(st.tuples(st.sampled_from(["set", "pop", "get"]), KEYS, st.integers(1, 9)), max_size=30)


@given(st.dictionaries(KEYS, st.integers(1, 9)), st.dictionaries(KEYS, st.integers(1, 9)), STEPS)
@settings(max_examples=300, deadline=None)
def test_it_is_a_dictionary(below: dict[str, int], own: dict[str, int], steps: list[tuple[str, str, int]]) -> None:
    shared: Layered[int] = Layered()
    for key, value in below.items():
        shared[key] = value
    layered: Layered[int] = Layered()
    for key, value in own.items():
        layered[key] = value
    layered.lie_on(shared)
    plain = {**below, **own}
    for what, key, value in steps:
        if what == "set":
            layered[key] = plain[key] = value
        elif what == "get":
            assert layered.get(key) == plain.get(key)
            assert (key in layered) == (key in plain)
        elif key in plain:
            assert layered.pop(key) == plain.pop(key)
        else:
            with pytest.raises(KeyError):
                layered.pop(key)
        assert len(layered) == len(plain)
    assert dict(layered.items()) == plain
    assert list(layered) == list(layered.keys())
    assert sorted(layered) == sorted(plain)
    assert sorted(layered.values()) == sorted(plain.values())
    assert list(layered.each()) == list(layered.values())
    assert shared.own == below, "what is shared never changes"


def test_there_are_two_layers_at_most() -> None:
    one, two, three = Layered[int](), Layered[int](), Layered[int]()
    two["a"] = three["b"] = 1
    one.lie_on(two)
    with pytest.raises(ValueError, match="two layers"):
        one.lie_on(three)
    with pytest.raises(ValueError, match="two layers"):
        three.lie_on(one)


def test_a_key_that_is_nowhere() -> None:
    with pytest.raises(KeyError):
        Layered[int]()["a"]
    assert Layered[int]().get("a", 7) == 7
