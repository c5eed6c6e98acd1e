"""What a node does not take over from others, and what it does not do for its callers."""

from __future__ import annotations

import pytest

from protocols.core import Unknown
from protocols.keyring.keeper import ANSWER_WAIT, KEYRING_KEY, OPERATIONS_MAX
from protocols.keyring.messages import Keys, KeysAsk, KeysHeld, KeysRefused
from protocols.keyring.ring import (
    KEYS_MAX,
    KeyEntry,
    Keyring,
    first_keyring,
    key_id,
    with_added,
)
from protocols.keyring.views import (
    AddKey,
    KeyringRejected,
    KeysReport,
    ListKeys,
    RemoveKey,
    UseKey,
)
from tests.protocols.harness import World, endpoint_of, id_of
from tests.protocols.keyring.keyring_mesh import (
    NEW,
    OLD,
    OLD_ID,
    SealedWorld,
    done,
    holds,
    refused,
    reported,
    states_of,
)

ABSURD = [
    Keyring(),
    Keyring((), KeyEntry(key_id(NEW), (1 << 62) - 1, NEW)),
    Keyring((KeyEntry(key_id(OLD), (1 << 62) - 1),), KeyEntry(key_id(OLD), 0, OLD)),
    Keyring((KeyEntry(key_id(OLD), 5, NEW),), KeyEntry(key_id(OLD), 0, OLD)),
    Keyring((KeyEntry(key_id(b"x"), 5, b"x"),), KeyEntry(key_id(OLD), 0, OLD)),
    Keyring((), KeyEntry(key_id(OLD), 5)),
]


@pytest.mark.parametrize("ring", ABSURD)
def test_what_a_broken_member_says_changes_nothing(ring: Keyring) -> None:
    world = SealedWorld()
    a, _ = world.sealed_mesh("a", "b")
    before = a.node.keyring.ring
    a.hush()
    a.hears(endpoint_of("b"), Keys(ring))
    a.hears(endpoint_of("b"), KeysAsk(7, ring))
    a.hears(endpoint_of("b"), KeysHeld(7, ()))
    a.hears(endpoint_of("b"), KeysRefused(7, "x"))
    assert a.node.keyring.ring == before
    assert a.stored(KEYRING_KEY) is None
    assert a.facts_of(KeyringRejected) == [KeyringRejected(id_of("b"))] * 2
    assert [message.ask_id for message in a.said_of(KeysRefused)] == [7]


def test_answers_count_once_and_from_those_who_were_asked() -> None:
    world = SealedWorld()
    a, b, _ = world.sealed_mesh("a", "b", "c")
    world.lets_through = lambda source, target, message: not isinstance(message, KeysHeld) or source is b
    request = a.request(AddKey(NEW))
    world.run(0.1)
    ask_id = a.said_of(KeysAsk)[0].ask_id
    stolen = KeysHeld(ask_id, (key_id(NEW),))
    for stranger in ("z", "b", "a"):
        a.hears(endpoint_of(stranger), stolen)
    assert request not in a.outcomes
    world.run(ANSWER_WAIT / 1e9)
    assert states_of(reported(a.outcomes[request])) == {"a": "ok", "b": "ok", "c": "silent"}


def test_what_is_refused_at_once() -> None:
    world = SealedWorld()
    (a,) = world.sealed_mesh("a")
    assert refused(a.ask(AddKey(b"short"))).code == "bad_key"
    assert refused(a.ask(UseKey("ffffffff0"))).code == "unknown_key"
    for number in range(10, 9 + KEYS_MAX):
        done(a, AddKey(bytes([number]) * 32))
    assert refused(a.ask(AddKey(NEW))).code == "too_many_keys"
    done(a, AddKey(OLD))  # again is no change
    assert len(holds(a)) == KEYS_MAX
    done(a, RemoveKey(key_id(bytes([10]) * 32).hex()))
    assert refused(a.ask(AddKey(bytes([10]) * 32))).code == "key_removed"
    digit = OLD_ID[0]
    twin = next(each for each in (bytes([number]) * 32 for number in range(50, 256)) if key_id(each).hex()[0] == digit)
    done(a, AddKey(twin))
    assert f"keys begin with '{digit}'" in refused(a.ask(UseKey(digit))).message


def test_operations_are_bounded() -> None:
    world = SealedWorld()
    a, _ = world.sealed_mesh("a", "b")
    asked = [a.request(ListKeys()) for _ in range(OPERATIONS_MAX + 1)]
    assert refused(a.outcomes[asked[-1]]).retry_after_s > 0
    world.run(1)
    assert all(isinstance(a.outcomes[number], KeysReport) for number in asked[:-1])


def test_a_mesh_without_a_keyring_says_and_takes_nothing() -> None:
    world = World()
    a, b = world.mesh("a", "b")
    assert refused(a.ask(AddKey(NEW))).code == "no_keyring"
    assert a.said_of(Keys) == b.said_of(Keys) == []
    ring = with_added(first_keyring([OLD]), NEW)
    a.hears(b.endpoint, Keys(ring))
    a.hears(b.endpoint, KeysAsk(1, ring))
    assert a.node.keyring.ring == Keyring()
    assert len(a.said_of(KeysRefused)) == 1
    assert not isinstance(a.ask(ListKeys()), Unknown)
