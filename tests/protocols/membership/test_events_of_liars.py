"""User events that broken peers tell: nobody is silenced, and nothing grows without bound."""

from __future__ import annotations

import pytest

from protocols.config import SwimConfig
from protocols.core import Message
from protocols.membership.events import GIVE_UP_AFTER, HELD_MAX, WINDOW
from protocols.membership.lamport import AHEAD_MAX, LEAP_MAX, LamportClock
from protocols.membership.messages import Gossip
from protocols.membership.rumours import EventDigest, Events, Mark
from tests.protocols.harness import World, alive, config_of, endpoint_of, id_of
from tests.protocols.membership.events_kit import event, hears, met, payloads, send

TOP = (1 << 62) - 1
MINUTE = 60 * 10**9


ABSURD: list[Message] = [
    Gossip((), (event("x", 1),)),  # of a stranger
    Gossip((), (event("b", 1, generation=7),)),  # of a life that nobody has met
    Gossip((), (event("b", 1, ltime=TOP),)),
    EventDigest(TOP, (), True, True),
    Gossip((), (event("b", (1 << 40) - 1),)),
    Gossip((), (event("b", 0, ltime=1),)),
    Gossip((), (event("b", 1, payload="ü" * 400),)),
    Gossip((), (event("a", 1 << 30),)),  # in the name of who hears it
    Events((), True, 1, 1 << 39),
    Events(tuple(event("b", WINDOW + 2 + n) for n in range(300))),
    EventDigest(0, (Mark(id_of("a"), 1, (1 << 40) - 1), Mark(id_of("b"), 1, (1 << 40) - 1)), False, True),
]


@pytest.mark.parametrize("message", ABSURD, ids=range(len(ABSURD)))
def test_what_a_broken_peer_says_silences_nobody(message: Message) -> None:
    host = met("b", "z")
    host.hears(endpoint_of("z"), message)
    host.world.run(GIVE_UP_AFTER / 1e9 + 1)
    assert payloads(host) == []
    hears(host, [event("b", 1, payload="still here")])
    assert payloads(host) == ["still here"]
    assert send(host, "mine").number == 1


def test_a_lamport_time_near_the_end_of_the_numbers_moves_no_clock() -> None:
    world = World()
    a, b, _ = world.mesh("a", "b", "c")
    for host in (a, b):
        host.hears(endpoint_of("c"), Gossip((), (event("c", 1, ltime=TOP),)))
        host.hears(endpoint_of("c"), EventDigest(TOP, (), False, False))
    world.run(5)
    assert send(a, "hello").ltime == 1
    world.run(5)
    assert payloads(b) == ["hello"]
    assert b.node.spreading.events.refused == 2


def test_clocks_that_a_broken_peer_leads_on_silence_nobody() -> None:
    world = World()
    a, b, c = world.mesh("a", "b", "c")
    for _ in range(5):  # only this one hears of it, and says nothing meanwhile
        a.hears(endpoint_of("c"), EventDigest(AHEAD_MAX, (), False, False))
        world.run(61)
    assert 4 * LEAP_MAX <= send(a, "hello").ltime <= 6 * LEAP_MAX
    world.run(5)
    assert payloads(b) == payloads(c) == ["hello"]
    assert send(b, "and I").ltime <= 6 * LEAP_MAX
    world.run(5)
    assert payloads(a) == payloads(c) == ["hello", "and I"]


def test_who_hears_numbers_of_its_own_that_it_never_gave_goes_on_above_them() -> None:
    host = met("b", "z")
    send(host, "one")
    hears(host, [event("a", 5)])
    assert send(host, "two").number == 6
    assert payloads(host) == ["one", "two"]


def test_what_was_said_in_the_name_of_an_origin_that_denies_it_never_reaches_a_user() -> None:
    host = met("b", "z")
    hears(host, [event("b", 1), event("b", 4, payload="forged")])
    host.world.run(1.5)
    host.hears(endpoint_of("b"), Events((), True, 1, 1))
    host.world.run(60)
    hears(host, [event("b", 2), event("b", 3), event("b", 4)])
    assert payloads(host) == ["b1", "b2", "b3", "b4"]


def test_what_is_held_back_is_bounded() -> None:
    names = [f"p{number}" for number in range(10)]
    host = met(*names, checked=False)
    for name in names:
        hears(host, [event(name, number) for number in range(2, WINDOW + 10)])
    host.node.check()
    assert sum(len(each.held) for each in host.node.spreading.events._origins.values()) <= HELD_MAX


def test_the_marks_of_those_who_are_members_no_more_are_forgotten() -> None:
    names = [f"p{number}" for number in range(150)]
    host = World().add("a", config_of("a", swim=SwimConfig(remember_dead=1))).start()
    host.checked = False
    host.world.run(0.1)
    for start in range(0, len(names), 20):
        host.hears(endpoint_of("b"), Gossip(tuple(alive(name) for name in names[start : start + 20])))
    hears(host, [event(name, 1) for name in names])
    assert len([key for key in host.disk if key.startswith("events/heard/")]) == 150
    hears(host, [event("p0", 3)])  # and something of one of them is held back as it goes
    host.node.spreading.events._origins[id_of("p0")].give_up_at = host.world.now + 2 * 3600 * 10**9
    host.world.run(3600)  # none of them answers
    host.hears(endpoint_of("b"), Gossip((alive("q"),)))
    hears(host, [event("q", 1)])
    assert [key for key in host.disk if key.startswith("events/heard/")] == [f"events/heard/{id_of('q')}"]
    host.node.check()


def test_the_clock_may_leap_so_far_in_a_minute_and_no_further() -> None:
    clock = LamportClock(10)
    assert clock.witness(1, 10 + LEAP_MAX)
    assert clock.time == 10 + LEAP_MAX
    assert clock.witness(2, TOP >> 8)
    assert clock.time == 10 + LEAP_MAX
    assert clock.witness(MINUTE, TOP >> 8)
    assert clock.time == 10 + 2 * LEAP_MAX
    assert not clock.witness(2 * MINUTE, TOP)
    assert clock.tick() == 11 + 2 * LEAP_MAX


def test_a_clock_that_stands_at_its_limit_gives_no_time_twice() -> None:
    clock = LamportClock()
    assert clock.witness(1, TOP >> 8)
    first = clock.tick()
    assert clock.witness(2, TOP >> 8)  # told again and again, within the same minute
    assert clock.tick() == first + 1
