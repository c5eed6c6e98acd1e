"""The keyring as a semilattice: its laws, and what changes at several nodes at once come to."""

from __future__ import annotations

from functools import reduce
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.keyring.ring import (
    ENTRIES_MAX,
    VERSION_LEAP_MAX,
    KeyEntry,
    Keyring,
    first_keyring,
    held,
    is_sound,
    joined,
    key_id,
    version_of,
    was_removed,
    with_added,
    with_primary,
    with_removed,
)

SECRETS = [bytes([number]) * 32 for number in range(1, 120)]
OLD, NEW, OTHER = SECRETS[:3]
FIRST = first_keyring([OLD])


def secrets_of(ring: Keyring) -> list[bytes]:
    return [key.secret for key in held(ring)]


def key_of(ring: Keyring, secret: bytes) -> KeyEntry:
    return next(key for key in held(ring) if key.secret == secret)


@st.composite
def rings(draw: st.DrawFn) -> Keyring:
    """What nodes of one mesh may come to hold: changes upon changes, and what others did meanwhile."""
    known = [FIRST]
    for _ in range(draw(st.integers(0, 12))):
        ring = draw(st.sampled_from(known))
        change = draw(st.sampled_from(["add", "use", "remove", "join"]))
        others = held(ring)[1:]
        if change == "add":
            known.append(with_added(ring, draw(st.sampled_from(SECRETS[:6]))))
        elif change == "join":
            known.append(joined(ring, draw(st.sampled_from(known))))
        elif others:
            key = draw(st.sampled_from(others))
            known.append(with_primary(ring, key) if change == "use" else with_removed(ring, key.key_id))
    return known[-1]


@settings(max_examples=200, deadline=None)
@given(rings(), rings(), rings())
def test_joining_is_commutative_associative_and_idempotent(a: Keyring, b: Keyring, c: Keyring) -> None:
    assert joined(a, a) == a
    assert joined(a, b) == joined(b, a)
    assert joined(joined(a, b), c) == joined(a, joined(b, c))
    assert joined(joined(a, b), b) == joined(a, b)


def test_the_laws_hold_where_old_entries_are_forgotten() -> None:
    full = reduce(with_added, SECRETS[: ENTRIES_MAX + 10], FIRST)
    half = reduce(with_added, SECRETS[5:40:2], FIRST)
    gone = with_removed(full, key_id(SECRETS[60]))
    wholes = {joined(joined(a, b), c) for a, b, c in permutations((full, half, gone))}
    assert len(wholes) == 1
    assert len(wholes.pop().entries) == ENTRIES_MAX
    assert secrets_of(full)[0] == OLD  # the primary is held although its entry has been forgotten
    assert OLD not in [entry.secret for entry in full.entries]
    another = with_primary(full, key_of(full, SECRETS[60]))
    assert OLD in secrets_of(another)  # and after it was the primary
    assert len(another.entries) == ENTRIES_MAX


@settings(max_examples=200, deadline=None)
@given(rings(), rings())
def test_there_is_always_a_primary_and_each_key_is_held_once(a: Keyring, b: Keyring) -> None:
    both = joined(a, b)
    assert len(secrets_of(both)) == len(set(secrets_of(both))) >= 1
    assert held(both)[0] == both.primary
    assert is_sound(both, a)


def test_a_rotation() -> None:
    added = with_added(FIRST, NEW)
    assert secrets_of(added) == [OLD, NEW]
    used = with_primary(added, key_of(added, NEW))
    assert secrets_of(used) == [NEW, OLD]
    removed = with_removed(used, key_id(OLD))
    assert secrets_of(removed) == [NEW]
    assert version_of(removed) == 3
    assert was_removed(removed, key_id(OLD))
    for behind in (FIRST, added, used):
        assert joined(removed, behind) == removed


def test_two_additions_at_once_both_count() -> None:
    both = joined(with_added(FIRST, NEW), with_added(FIRST, OTHER))
    assert set(secrets_of(both)) == {OLD, NEW, OTHER}


def test_of_two_primaries_made_at_once_one_wins_everywhere_and_the_other_stays_a_key() -> None:
    ring = with_added(with_added(FIRST, NEW), OTHER)
    one, other = with_primary(ring, key_of(ring, NEW)), with_primary(ring, key_of(ring, OTHER))
    assert joined(one, other) == joined(other, one)
    assert set(secrets_of(joined(one, other))) == {OLD, NEW, OTHER}
    winner = max((NEW, OTHER), key=key_id)
    assert secrets_of(joined(one, other))[0] == winner


def test_a_key_that_is_removed_here_and_made_primary_there_is_held_while_it_is_the_primary() -> None:
    ring = with_added(FIRST, NEW)
    both = joined(with_removed(ring, key_id(NEW)), with_primary(ring, key_of(ring, NEW)))
    assert secrets_of(both) == [NEW, OLD]
    back = with_primary(both, key_of(both, OLD))
    assert secrets_of(back) == [OLD, NEW]  # others seal with it until they have heard: only a removal asks them first
    assert secrets_of(joined(back, both)) == [OLD, NEW]
    assert secrets_of(with_removed(back, key_id(NEW))) == [OLD]


def test_of_an_addition_and_a_removal_of_one_version_the_removal_counts() -> None:
    gone, held_on = (Keyring((KeyEntry(key_id(NEW), 5, secret),), FIRST.primary) for secret in (b"", NEW))
    for both in (joined(gone, held_on), joined(held_on, gone)):
        assert NEW not in secrets_of(both)


@pytest.mark.parametrize(
    "ring",
    [
        Keyring(),
        Keyring(FIRST.entries, None),
        Keyring(FIRST.entries, KeyEntry(key_id(OLD), 1)),
        Keyring((KeyEntry(key_id(NEW), 1, OLD),), FIRST.primary),
        Keyring((KeyEntry(key_id(OLD[:5]), 1, OLD[:5]),), FIRST.primary),
        Keyring((KeyEntry(key_id(NEW), VERSION_LEAP_MAX + 1, NEW),), FIRST.primary),
        Keyring((KeyEntry(key_id(NEW), (1 << 62) - 1),), FIRST.primary),
        Keyring(FIRST.entries, KeyEntry(key_id(NEW), (1 << 62) - 1, NEW)),
    ],
)
def test_what_no_correct_member_says_is_not_sound(ring: Keyring) -> None:
    assert not is_sound(ring, FIRST)
    assert is_sound(FIRST, FIRST)


def test_no_text_shows_a_secret() -> None:
    ring = with_removed(with_added(FIRST, NEW), key_id(NEW))
    for text in (repr(ring), repr(with_added(FIRST, NEW))):
        assert repr(OLD)[2:-1] not in text
        assert repr(NEW)[2:-1] not in text
        assert key_id(NEW).hex() in text
