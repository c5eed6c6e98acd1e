"""Tokens are stable for ever, spread evenly, and grow with the weight without moving."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.limits import WEIGHT_MAX
from protocols.ring.tokens import CIRCLE, VNODES, Domain, key_token, token_of, vnode_tokens

GOLDEN_EMPTY_KEY = 0xA4B325650470512C
GOLDEN_KEY = 0xF029494990AA882F
GOLDEN_MEMBER = (0x377E9C9A652A2613, 0x469E2FA4D6370968, 0xC64E3D163B226FA0)


def test_tokens_are_the_same_in_every_release() -> None:
    """A change here moves every key of every mesh: it needs a new wire version, not a new golden value."""
    assert key_token("") == GOLDEN_EMPTY_KEY
    assert key_token("invoice/42") == GOLDEN_KEY
    assert vnode_tokens("aaaabbbbccccddddeeeeffffgg", 1)[:3] == GOLDEN_MEMBER


def test_a_member_and_a_key_of_the_same_text_are_unrelated() -> None:
    text = "aaaabbbbccccddddeeeeffffgg"
    assert token_of(Domain.MEMBER, text) != token_of(Domain.KEY, text)
    assert token_of(Domain.KEY, text) == key_token(text)


@given(st.text())
def test_every_text_has_a_token_on_the_circle(text: str) -> None:
    assert 0 <= key_token(text) < CIRCLE


def test_lone_surrogates_have_tokens_of_their_own() -> None:
    assert len({key_token("\ud800"), key_token("\udfff"), key_token("?"), key_token("�")}) == 4


@given(st.text(max_size=8), st.integers(0, 3), st.integers(0, 3), st.integers(1, 20))
def test_more_weight_only_adds_tokens(node_id: str, weight: int, more: int, vnodes: int) -> None:
    light = vnode_tokens(node_id, weight, vnodes)
    heavy = vnode_tokens(node_id, weight + more, vnodes)
    assert len(light) == weight * vnodes
    assert len(heavy) == (weight + more) * vnodes
    assert heavy[: len(light)] == light


def test_tokens_of_many_members_are_distinct_and_evenly_spread() -> None:
    tokens = [token for member in range(400) for token in vnode_tokens(f"member-{member}", 1)]
    assert len(set(tokens)) == 400 * VNODES
    sixteenths = [0] * 16
    for token in tokens:
        sixteenths[token * 16 // CIRCLE] += 1
    expected = len(tokens) / 16
    chi_square = sum((count - expected) ** 2 / expected for count in sixteenths)
    assert chi_square < 37.7, "evenly hashed tokens stay below this in 999 of 1000 cases (15 degrees of freedom)"


@pytest.mark.parametrize("weight", [-1, WEIGHT_MAX + 1])
def test_a_weight_out_of_bounds_is_refused(weight: int) -> None:
    with pytest.raises(ValueError, match="weight"):
        vnode_tokens("a", weight)


def test_no_virtual_nodes_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="virtual node"):
        vnode_tokens("a", 1, 0)
