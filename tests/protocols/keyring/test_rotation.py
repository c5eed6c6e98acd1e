"""Rotation across a mesh, by feeding events: who is asked, who refuses, who catches up, and that no packet is lost."""

from __future__ import annotations

import pytest

from protocols.keyring.keeper import KEYRING_KEY, LINGER
from protocols.keyring.messages import Keys, KeysAsk, KeysHeld
from protocols.keyring.ring import (
    held,
    key_id,
    with_primary,
    with_removed,
)
from protocols.keyring.views import (
    AddKey,
    KeysChanged,
    KeysTold,
    ListKeys,
    RemoveKey,
    TellKeys,
    UseKey,
)
from protocols.membership.member import State
from tests.protocols.harness import id_of
from tests.protocols.keyring.keyring_mesh import (
    FIRST,
    NEW,
    NEW_ID,
    NEWER,
    NEWER_ID,
    OLD,
    OLD_ID,
    SealedWorld,
    done,
    holds,
    refused,
    reported,
    states_of,
)


def test_a_rotation_loses_no_packet() -> None:
    world = SealedWorld()
    a, b, c = world.sealed_mesh("a", "b", "c")
    world.run(5)
    done(a, AddKey(NEW))
    for host in (a, b, c):
        assert host.stored(KEYRING_KEY) == host.node.keyring.ring  # durable before it was acknowledged
        assert holds(host) == [OLD, NEW]
    world.run(5)
    done(b, UseKey(NEW_ID))
    assert [holds(host) for host in (a, b, c)] == [[NEW, OLD]] * 3
    report = done(c, RemoveKey(OLD_ID))  # at once, with packets under the old key still under way
    assert [(key.key, key.primary, key.holders, key.users) for key in report.keys] == [(NEW_ID, True, 3, 3)]
    world.run(30)
    assert [world.keys_of(host) for host in (a, b, c)] == [(NEW,)] * 3
    assert (world.unopened, world.parked) == ([], [])
    assert world.opened > 150


@pytest.mark.parametrize("seed", range(8))
def test_a_rotation_over_a_bad_network_loses_no_packet(seed: int) -> None:
    world = SealedWorld(seed)
    hosts = world.sealed_mesh("a", "b", "c", "d", "e")
    world.jitter = 400_000_000
    world.loss = 0.05
    world.copies = 0.1
    # Streams lose by a reset: a member that was told nothing catches up, and the change waits for it.
    for command in (AddKey(NEW), UseKey(NEW_ID), RemoveKey(OLD_ID)):
        at = hosts[seed % 5]
        for _ in range(20):
            report = reported(at.ask(command)) if command != AddKey(NEW) or NEW not in holds(at) else None
            if report is None or report.done:
                break
        else:
            raise AssertionError(f"{command} never went through")
    world.run_until(lambda: all(holds(host) == [NEW] for host in hosts), within_s=300)
    world.run(LINGER / 1e9 + 10)
    assert [world.keys_of(host) for host in hosts] == [(NEW,)] * 5
    assert world.unopened == []


def test_a_member_that_was_down_catches_up_before_it_says_or_hears_a_packet() -> None:
    world = SealedWorld()
    a, b, c = world.sealed_mesh("a", "b", "c")
    c.crash()
    world.run_until(lambda: a.sees("c") is State.DEAD and b.sees("c") is State.DEAD)
    for command in (AddKey(NEW), UseKey(NEW_ID), RemoveKey(OLD_ID)):
        report = done(a, command)
        assert states_of(report) == {"a": "ok", "b": "ok", "c": "away"}
    world.run(LINGER / 1e9)
    c.start()
    assert holds(c) == [OLD]
    world.run_until(lambda: all(host.sees(name) is State.ALIVE for host in (a, b, c) for name in "abc"))
    assert holds(c) == [NEW]
    world.run(30)
    assert world.unopened == []
    assert c.stored(KEYRING_KEY) == a.node.keyring.ring
    assert done(c, ListKeys()).keys[0].users == 3


def test_a_newcomer_with_the_keys_of_its_token_catches_up_when_it_joins() -> None:
    world = SealedWorld()
    a, b = world.sealed_mesh("a", "b")
    done(a, AddKey(NEW))
    late = world.member("c", keys=tuple(holds(a)))  # let in now, and started much later
    for command in (UseKey(NEW_ID), RemoveKey(OLD_ID), AddKey(NEWER), UseKey(NEWER_ID)):
        done(b, command)
    late.start()
    world.run_until(lambda: late.sees("b") is State.ALIVE and a.sees("c") is State.ALIVE)
    world.run(20)
    assert holds(late) == [NEWER, NEW]
    assert world.unopened == []


def test_a_member_that_was_cut_off_catches_up_when_the_cut_heals() -> None:
    world = SealedWorld()
    a, b, c = world.sealed_mesh("a", "b", "c")
    world.split(("a", "b"), ("c",))
    world.run_until(lambda: a.sees("c") is State.DEAD and b.sees("c") is State.DEAD and c.sees("a") is State.DEAD)
    for command in (AddKey(NEW), UseKey(NEW_ID), RemoveKey(OLD_ID)):
        done(a, command)
    world.run(30)
    world.heal()
    world.run_until(lambda: all(host.sees(name) is State.ALIVE for host in (a, b, c) for name in "abc"))
    assert holds(c) == [NEW]
    world.run(30)
    assert world.unopened == []


def test_a_pause_of_the_network_that_nobody_died_of_costs_a_moment() -> None:
    """Cut off for a rotation that was forced: the first packet that does not open makes the two ends speak."""
    world = SealedWorld()
    a, b, c = world.sealed_mesh("a", "b", "c")
    world.run(3)
    done(a, AddKey(NEW))
    world.split(("a", "b"), ("c",))
    forced = a.request(UseKey(NEW_ID, force=True))
    world.run_until(lambda: holds(b)[0] == NEW, within_s=12)
    a.request(RemoveKey(OLD_ID, force=True))
    world.run_until(lambda: holds(b) == [NEW], within_s=12)
    assert forced in a.outcomes
    assert holds(c) == [OLD, NEW]
    world.heal()
    world.run(3)
    assert [holds(host) for host in (a, b, c)] == [[NEW]] * 3
    lost = len(world.unopened)
    world.run(30)
    assert len(world.unopened) <= lost + 5


def test_a_restart_keeps_it() -> None:
    world = SealedWorld()
    a, b = world.sealed_mesh("a", "b")
    for command in (AddKey(NEW), UseKey(NEW_ID), RemoveKey(OLD_ID)):
        done(a, command)
    for host in (a, b):
        host.restart()
    assert holds(a) == holds(b) == [NEW]
    world.run(10)
    assert world.unopened == []


def test_use_is_refused_until_all_live_members_hold_the_key() -> None:
    world = SealedWorld()
    a, b, c = world.sealed_mesh("a", "b", "c")
    world.lets_through = lambda source, target, message: target is not c or not isinstance(message, Keys | KeysAsk)
    report = reported(a.ask(AddKey(NEW)))
    assert (report.done, report.code) == (True, "members_behind")
    assert states_of(report) == {"a": "ok", "b": "ok", "c": "silent"}
    assert "c gave no answer" in report.message
    report = reported(a.ask(UseKey(NEW_ID[:3])))
    assert (report.done, report.code, report.key) == (False, "key_not_everywhere", NEW_ID)
    assert "c gave no answer" in report.message
    assert "--force" in report.next_step
    assert holds(a)[0] == OLD
    world.lets_through = lambda source, target, message: True
    done(a, UseKey(NEW_ID))  # asking gives it the key
    assert [holds(host)[0] for host in (a, b, c)] == [NEW] * 3
    assert world.unopened == []


def test_use_is_refused_where_a_member_answers_and_does_not_hold_the_key() -> None:
    world = SealedWorld()
    a, b = world.sealed_mesh("a", "b")
    done(a, AddKey(NEW))
    world.lets_through = lambda source, target, message: not isinstance(message, KeysHeld)
    a.hush()
    request = a.request(UseKey(NEW_ID))
    world.run(0.1)
    (asked,) = a.said_of(KeysAsk)
    a.hears(b.endpoint, KeysHeld(asked.ask_id, (key_id(OLD),)))  # as who could not take it over might
    report = reported(a.outcomes[request])
    assert (report.done, report.code) == (False, "key_not_everywhere")
    assert "b is behind" in report.message
    assert holds(a)[0] == OLD


def test_a_key_that_goes_while_the_members_are_asked_is_not_made_the_primary() -> None:
    world = SealedWorld()
    a, b = world.sealed_mesh("a", "b")
    done(a, AddKey(NEW))
    world.lets_through = lambda source, target, message: not isinstance(message, KeysHeld)
    a.hush()
    request = a.request(UseKey(NEW_ID))
    world.run(0.1)
    (asked,) = a.said_of(KeysAsk)
    a.hears(b.endpoint, Keys(with_removed(a.node.keyring.ring, key_id(NEW))))  # another operator, at b
    a.hears(b.endpoint, KeysHeld(asked.ask_id, (key_id(OLD), key_id(NEW))))
    assert refused(a.outcomes[request]).code == "unknown_key"
    assert holds(a) == [OLD]


def test_a_change_at_a_member_that_is_behind_outdoes_what_it_has_missed() -> None:
    world = SealedWorld()
    a, b, c = world.sealed_mesh("a", "b", "c")
    world.lets_through = lambda source, target, message: target is not c or not isinstance(message, Keys | KeysAsk)
    for command in (AddKey(NEW), UseKey(NEW_ID, force=True), UseKey(OLD_ID, force=True), UseKey(NEW_ID, force=True)):
        assert reported(a.ask(command)).done
    assert (holds(b)[0], holds(c)[0]) == (NEW, OLD)
    world.lets_through = lambda source, target, message: True
    done(c, UseKey(OLD_ID))
    assert [holds(host) for host in (a, b, c)] == [[OLD, NEW]] * 3


def test_force_uses_a_key_that_not_everybody_holds() -> None:
    world = SealedWorld()
    a, b, c = world.sealed_mesh("a", "b", "c")
    c.hold_saves = True
    a.ask(AddKey(NEW))
    assert reported(a.ask(UseKey(NEW_ID))).code == "key_not_everywhere"  # c holds it, but not durably
    report = reported(a.ask(UseKey(NEW_ID, force=True)))
    assert (report.done, report.code) == (True, "members_behind")
    assert holds(a) == holds(b) == [NEW, OLD]
    c.release_saves()
    world.run(1)
    assert c.stored(KEYRING_KEY) == a.node.keyring.ring


def test_remove_is_refused_for_the_primary_and_while_somebody_may_seal_with_it() -> None:
    world = SealedWorld()
    a, _, c = world.sealed_mesh("a", "b", "c")
    assert refused(a.ask(RemoveKey(OLD_ID, force=True))).code == "key_is_primary"
    done(a, AddKey(NEW))
    world.lets_through = lambda source, target, message: target is not c or not isinstance(message, Keys | KeysAsk)
    reported(a.ask(UseKey(NEW_ID, force=True)))
    assert holds(c)[0] == OLD
    report = reported(a.ask(RemoveKey(OLD_ID)))
    assert (report.done, report.code) == (False, "key_in_use")
    assert "c gave no answer" in report.message
    world.lets_through = lambda source, target, message: True
    done(a, RemoveKey(OLD_ID))
    assert holds(c) == [NEW]


def test_a_member_whose_disk_fails_refuses_and_is_named() -> None:
    world = SealedWorld()
    a, _, c = world.sealed_mesh("a", "b", "c")
    c.disk_error = "the disk is full"
    report = reported(a.ask(AddKey(NEW)))
    assert states_of(report) == {"a": "ok", "b": "ok", "c": "refused"}
    assert "c refused (its disk fails: the disk is full)" in report.message
    assert reported(a.ask(UseKey(NEW_ID))).code == "key_not_everywhere"
    c.disk_error = ""
    world.run(3)
    done(a, UseKey(NEW_ID))
    assert c.stored(KEYRING_KEY) == a.node.keyring.ring


def test_a_change_is_not_acknowledged_where_the_own_disk_fails() -> None:
    world = SealedWorld()
    (a,) = world.sealed_mesh("a")
    a.disk_error = "the disk is full"
    assert refused(a.ask(AddKey(NEW))).code == "storage_failed"
    assert refused(a.ask(UseKey(NEW_ID))).code == "storage_failed"
    a.disk_error = ""
    world.run(3)
    assert a.stored(KEYRING_KEY) == a.node.keyring.ring


def test_nobody_is_asked_before_the_change_is_durable_here() -> None:
    world = SealedWorld()
    a, b = world.sealed_mesh("a", "b")
    world.run(5)
    a.hold_saves = True
    a.request(AddKey(NEW))
    world.run(1)
    assert holds(b) == [OLD]
    a.release_saves()
    world.run(1)
    assert holds(b) == [OLD, NEW]


def test_both_halves_of_a_mesh_rotate_and_grow_together_again() -> None:
    world = SealedWorld()
    a, b, c, d = world.sealed_mesh("a", "b", "c", "d")
    world.split(("a", "b"), ("c", "d"))
    world.run_until(lambda: all(x.sees(y) is State.DEAD for x, y in ((a, "c"), (a, "d"), (b, "d"), (c, "a"), (d, "b"))))
    world.run_until(lambda: b.sees("c") is State.DEAD and c.sees("b") is State.DEAD and d.sees("a") is State.DEAD)
    for command in (AddKey(NEW), UseKey(NEW_ID), RemoveKey(OLD_ID)):
        done(a, command)
    for command in (AddKey(NEWER), UseKey(NEWER_ID)):
        done(c, command)
    world.heal()
    world.run_until(lambda: len({host.node.keyring.ring for host in (a, b, c, d)}) == 1)
    world.run_until(lambda: all(x.sees(y) is State.ALIVE for x in (a, b, c, d) for y in "abcd"))
    winner = max((NEW, NEWER), key=key_id)  # both are of the second change of their half
    assert (holds(a)[0], sorted(holds(a))) == (winner, [NEW, NEWER])
    assert done(d, ListKeys()).keys[0].users == 4


def test_two_nodes_change_the_primary_at_once() -> None:
    world = SealedWorld()
    a, b, c = world.sealed_mesh("a", "b", "c")
    done(a, AddKey(NEW))
    done(b, AddKey(NEWER))
    asked = {host: host.request(UseKey(name)) for host, name in ((a, NEW_ID), (b, NEWER_ID))}
    world.run(20)
    reports = [reported(host.outcomes[number]) for host, number in asked.items()]
    assert len({host.node.keyring.ring for host in (a, b, c)}) == 1
    assert sorted(holds(a)) == [OLD, NEW, NEWER]
    for report in reports:  # nobody is told that its key seals where another one does
        assert report.done == (report.key == key_id(holds(a)[0]).hex())
        assert report.code == ("" if report.done else "outdone")
    assert world.unopened == []


def test_a_key_is_removed_at_one_node_and_made_the_primary_at_another_at_once() -> None:
    world = SealedWorld()
    a, b, c = world.sealed_mesh("a", "b", "c")
    done(a, AddKey(NEW))
    removal, use = a.request(RemoveKey(NEW_ID)), b.request(UseKey(NEW_ID))
    world.run(20)
    assert [holds(host) for host in (a, b, c)] == [[NEW, OLD]] * 3
    assert reported(b.outcomes[use]).done
    report = reported(a.outcomes[removal])
    assert (report.done, report.code) == (False, "outdone")
    assert world.unopened == []


def test_a_primary_that_was_removed_as_it_became_that_opens_packets_after_the_next_one_seals() -> None:
    world = SealedWorld()
    a, b, c = world.sealed_mesh("a", "b", "c")
    done(a, AddKey(NEW))
    a.request(RemoveKey(NEW_ID))
    b.request(UseKey(NEW_ID))
    world.run(20)
    world.lets_through = lambda source, target, message: target is not c or not isinstance(message, Keys | KeysAsk)
    reported(a.ask(UseKey(OLD_ID, force=True)))
    assert (holds(a)[0], holds(c)[0]) == (OLD, NEW)
    world.run(LINGER / 1e9 + 30)  # c goes on sealing with it
    assert world.unopened == []


def test_a_key_that_goes_opens_packets_for_a_moment_longer() -> None:
    world = SealedWorld()
    (a,) = world.sealed_mesh("a")
    done(a, AddKey(NEW))
    done(a, UseKey(NEW_ID))
    done(a, RemoveKey(OLD_ID))
    assert a.facts_of(KeysChanged)[-1] == KeysChanged((NEW,), (OLD,))
    world.run(LINGER / 1e9 - 0.1)
    assert a.facts_of(KeysChanged)[-1].retiring == (OLD,)
    world.run(0.2)
    assert a.facts_of(KeysChanged)[-1] == KeysChanged((NEW,), ())


def test_a_key_that_was_going_and_is_held_again_stays() -> None:
    world = SealedWorld()
    a, b = world.sealed_mesh("a", "b")
    done(a, AddKey(NEW))
    world.run(5)
    elsewhere = with_primary(with_primary(b.node.keyring.ring, held(b.node.keyring.ring)[1]), held(FIRST)[0])
    elsewhere = with_primary(elsewhere, held(b.node.keyring.ring)[1])  # three changes that a has not heard of
    done(a, RemoveKey(NEW_ID))
    a.hears(b.endpoint, Keys(elsewhere))
    assert holds(a) == [NEW, OLD]
    world.run(LINGER / 1e9 + 1)
    assert a.facts_of(KeysChanged)[-1].keys == (NEW, OLD)
    assert a.facts_of(KeysChanged)[-1].retiring == ()


def test_a_stranger_that_is_behind_is_told_and_tells() -> None:
    """A packet under an unknown key may come from a member that is behind, or from one that is ahead."""
    world = SealedWorld()
    a, b = world.sealed_mesh("a", "b")
    world.lets_through = lambda source, target, message: not isinstance(message, Keys | KeysAsk)
    a.ask(AddKey(NEW))
    world.lets_through = lambda source, target, message: True
    a.hush()
    b.hush()
    assert isinstance(b.ask(TellKeys(id_of("a"))), KeysTold)  # the one behind asks
    world.run(0.1)
    assert holds(b) == [OLD, NEW]
    assert len(b.said_of(Keys)) == len(a.said_of(Keys)) == 1
    for _ in range(5):  # many packets, each asks
        b.ask(TellKeys(id_of("a")))
        b.ask(TellKeys(id_of("nobody")))
        b.ask(TellKeys(id_of("b")))
    world.run(0.1)
    assert len(b.said_of(Keys)) == 1
    world.run(1)
    b.ask(TellKeys(id_of("a")))
    assert len(b.said_of(Keys)) == 2
