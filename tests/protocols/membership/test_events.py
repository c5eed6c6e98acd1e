"""User events over gossip: each one once, in order, through losses, cuts and restarts, and past broken peers."""

from __future__ import annotations

import pytest

from protocols.core import Refused
from protocols.limits import EVENT_BYTES_MAX
from protocols.membership.event_views import AskQuery, EventList, EventSent, ReadEvents, SendEvent
from protocols.membership.events import GIVE_UP_AFTER, QUEUED_MAX, UNSAVED_MAX, WINDOW
from protocols.membership.facts import EventDelivered
from protocols.membership.member import State
from protocols.membership.messages import Gossip, PushPull
from protocols.membership.rumours import EventDigest, Events, EventsWanted, Mark, UserQuery
from protocols.membership.views import Leave
from tests.protocols.harness import Host, World, alive, config_of, endpoint_of, id_of
from tests.protocols.membership.events_kit import event, hears, met, payloads, send

TOP = (1 << 62) - 1
MINUTE = 60 * 10**9


# What is promised.


def test_an_event_reaches_every_node_once_and_its_sender_at_once() -> None:
    world = World()
    hosts = world.mesh("a", "b", "c", "d", "e", "f")
    sent = send(hosts[2], "hello")
    assert (sent.number, sent.members) == (1, 6)
    assert payloads(hosts[2]) == ["hello"]
    world.run(30)
    for host in hosts:
        assert payloads(host) == ["hello"]
        assert len(host.facts_of(EventDelivered)) == 1


@pytest.mark.parametrize("seed", range(8))
def test_events_of_one_origin_come_in_order_through_a_network_that_loses_doubles_and_reorders(seed: int) -> None:
    world = World(seed)
    hosts = world.mesh("a", "b", "c", "d", "e", "f", "g")
    world.loss, world.copies, world.jitter = 0.3, 0.3, 500_000_000
    said: dict[str, list[str]] = {"b": [], "e": []}
    for number in range(20):
        for name, payloads_said in said.items():
            payloads_said.append(f"{name}{number}")
            send(world.hosts[name], payloads_said[-1])
        world.run(0.3)
    world.loss = 0
    world.run_until(lambda: all(len(host.facts_of(EventDelivered)) == 40 for host in hosts), 120)
    for host in hosts:
        heard = payloads(host)
        for name, expected in said.items():
            assert [each for each in heard if each.startswith(name)] == expected


def test_lamport_times_grow_along_what_caused_what() -> None:
    world = World()
    a, b, _ = world.mesh("a", "b", "c")
    first = send(a, "first")
    world.run_until(lambda: bool(b.facts_of(EventDelivered)))
    assert send(b, "second").ltime > first.ltime


def test_whoever_was_cut_off_is_given_what_it_missed_and_tells_what_the_others_missed() -> None:
    world = World()
    hosts = world.mesh("a", "b", "c", "d", "e")
    world.split(("a",), ("b", "c", "d", "e"))
    world.run(40)
    send(world.hosts["a"], "from the one")
    for number in range(5):
        send(world.hosts["b"], f"from the many {number}")
    world.run(60)  # longer than gossip passes anything on
    assert payloads(world.hosts["a"]) == ["from the one"]
    world.heal()
    world.run_until(lambda: all(len(host.facts_of(EventDelivered)) == 6 for host in hosts), 240)
    assert [each for each in payloads(world.hosts["a"]) if "many" in each] == [f"from the many {n}" for n in range(5)]


def test_a_node_that_restarts_repeats_nothing_and_is_given_what_it_missed() -> None:
    world = World()
    a, b, c = world.mesh("a", "b", "c")
    earlier = send(b, "before")
    own = send(c, "its own")
    world.run(5)
    c.crash()
    send(a, "meanwhile")
    world.run(5)
    c.start()
    world.run_until(lambda: c.sees("a") is State.ALIVE and len(c.facts_of(EventDelivered)) == 3, 120)
    assert payloads(c) == ["meanwhile"]
    assert send(c, "afterwards").ltime > max(earlier.ltime, own.ltime)
    world.run(60)
    assert payloads(c) == ["meanwhile", "afterwards"]
    assert payloads(a)[-2:] == ["meanwhile", "afterwards"]


def test_a_node_that_restarts_before_it_hears_anybody_does_not_use_a_lamport_time_again() -> None:
    host = World().add("a").start()
    host.world.run(0.1)
    used = [send(host, "x").ltime for _ in range(3)]
    host.restart()
    host.world.run(0.1)
    assert send(host, "y").ltime > max(used)


def test_a_newcomer_begins_with_what_comes_after_it() -> None:
    world = World()
    a, b = world.mesh("a", "b")
    for number in range(5):
        send(a, f"old {number}")
    world.run(10)
    late = world.add("late", config_of("late", seeds=("b",))).start()
    world.run_until(lambda: late.sees("a") is State.ALIVE)
    world.run(2)
    send(a, "new")
    world.run(60)
    assert payloads(late) == ["new"]
    late.restart()  # and what was old stays so
    world.run(60)
    assert payloads(late) == []
    assert b.node.spreading.events.refused == 0


def test_the_first_event_of_a_mesh_reaches_a_member_that_was_away_when_it_was_sent() -> None:
    world = World()
    a, b, c = world.mesh("a", "b", "c")
    c.crash()
    send(a, "the first")
    world.run(60)
    c.start()  # it has never heard an event, and is no newcomer
    world.run_until(lambda: bool(c.facts_of(EventDelivered)), 120)
    assert payloads(b) == payloads(c) == ["the first"]


def newcomer(*others: str) -> Host:
    """A host that has just joined, and has met others of whose events it knows nothing."""
    host = World().add("a", config_of("a", seeds=("b",))).start()
    host.world.run(0.1)
    host.hears(endpoint_of("b"), Gossip(tuple(alive(name) for name in others)))
    return host


def test_what_another_newcomer_has_not_heard_is_not_new() -> None:
    host = newcomer("b", "c")
    host.hears(endpoint_of("c"), EventDigest(0, (), True, False))
    host.hears(endpoint_of("b"), EventDigest(2, (Mark(id_of("b"), 1, 2),), False, True))
    hears(host, [event("b", 1), event("b", 2), event("b", 3)])
    assert payloads(host) == ["b3"]


def test_what_a_newcomer_is_told_of_strangers_and_of_lives_that_nobody_has_met_silences_nobody() -> None:
    host = newcomer("b", "c")
    marks = tuple(Mark(id_of(name), generation, 5) for name, generation in (("a", 1), ("b", 9), ("x", 1)))
    host.hears(endpoint_of("c"), EventDigest(2, marks, False, True))
    host.hears(endpoint_of("b"), Gossip((alive("x"),)))
    hears(host, [event("b", 1), event("x", 1)])
    assert payloads(host) == ["b1", "x1"]
    assert len([key for key in host.disk if key.startswith("events/heard/")]) == 2


def test_of_what_comes_in_one_packet_the_last_is_remembered() -> None:
    host = met("b", "z")
    host.hears(endpoint_of("z"), Gossip((), (event("b", 1), event("b", 2))))
    host.world.run(0.1)
    host.restart()
    host.world.run(0.1)
    host.hears(endpoint_of("b"), Gossip((alive("b"), alive("z"))))
    hears(host, [event("b", 2), event("b", 3)])
    assert payloads(host) == ["b3"]


def test_an_event_is_said_only_once_it_is_durable() -> None:
    world = World()
    a, b, _ = world.mesh("a", "b", "c")
    a.hold_saves = True
    request = a.request(SendEvent("told", "held"))
    world.run(20)
    assert request not in a.outcomes
    assert payloads(a) == payloads(b) == []
    a.release_saves()
    world.run(5)
    assert isinstance(a.outcomes[request], EventSent)
    assert payloads(a) == payloads(b) == ["held"]


def test_while_its_disk_fails_a_node_takes_no_event_in_and_catches_up_afterwards() -> None:
    world = World()
    a, b, _c = world.mesh("a", "b", "c")
    b.disk_error = "no space"
    send(a, "one")
    world.run(10)  # the mark of this one cannot be kept; from here on nothing is taken in
    refused = b.ask(SendEvent("told", "mine"))
    assert isinstance(refused, Refused)
    assert refused.code == "storage_failed"
    send(a, "two")
    world.run(10)
    assert payloads(b) == []
    b.disk_error = ""
    world.run_until(lambda: len(b.facts_of(EventDelivered)) == 2, 120)
    assert payloads(b) == ["one", "two"]


# What is refused.


@pytest.mark.parametrize(
    ("name", "payload", "code"),
    [("", "x", "bad_name"), ("n", "ü" * 256, "too_large"), ("n", "x" * 512, "too_large"), ("n", "\ud800", "too_large")],
)
def test_what_cannot_be_sent_is_refused(name: str, payload: str, code: str) -> None:
    host = met("b")
    refused = host.ask(SendEvent(name, payload))
    assert isinstance(refused, Refused)
    assert refused.code == code
    assert isinstance(host.ask(SendEvent("n", "x" * (EVENT_BYTES_MAX - 1))), EventSent)


def test_who_sends_faster_than_the_mesh_can_pass_on_is_told_to_wait() -> None:
    host = met("b")
    outcomes = [host.ask(SendEvent("told", "x" * 500)) for _ in range(QUEUED_MAX + 20)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert refused
    assert refused[0].code == "busy"
    assert refused[0].retry_after_s
    host.world.run(600)  # passed on as often as any news
    assert isinstance(host.ask(SendEvent("told", "again")), EventSent)


def test_a_disk_that_is_too_slow_for_the_events_that_come_costs_no_memory_without_an_end() -> None:
    host = met("b", "z")
    host.hold_saves = True
    for number in range(1, UNSAVED_MAX + 200):
        host.hears(endpoint_of("z"), Gossip((), (event("b", number),)))
    asked = host.request(SendEvent("told", "mine"))
    refused = host.outcomes[asked]
    assert isinstance(refused, Refused)
    assert refused.code == "busy"
    host.hears(endpoint_of("b"), Events((event("b", UNSAVED_MAX + 1),), True, 1, UNSAVED_MAX + 1))  # closes no gap
    host.release_saves()
    host.world.run(1)
    assert len(host.facts_of(EventDelivered)) == UNSAVED_MAX
    hears(host, [event("b", UNSAVED_MAX + 1)])
    assert payloads(host)[-1] == f"b{UNSAVED_MAX + 1}"


def test_a_node_that_leaves_takes_nothing_more_to_tell_or_to_ask() -> None:
    world = World()
    a, _ = world.mesh("a", "b")
    a.request(Leave())
    for command in (SendEvent("told", "too late"), AskQuery("ping")):
        refused = a.outcomes[a.request(command)]
        assert isinstance(refused, Refused)
        assert (refused.code, bool(refused.next_step)) == ("leaving", True)


# Readers.


def test_a_reader_whose_cursor_is_of_an_earlier_life_is_told_that_it_may_have_missed_some() -> None:
    host = met("b")
    hears(host, [event("b", 1)])
    first = host.ask(ReadEvents())
    assert isinstance(first, EventList)
    assert not first.missed
    hears(host, [event("b", 2)])  # given to users, none of whom reads it before the node is gone
    host.restart()
    host.world.run(0.1)
    again = host.ask(ReadEvents(first.cursor, wait_ms=50_000))  # told at once
    assert isinstance(again, EventList)
    assert (again.events, again.missed, again.more) == ((), True, False)
    send(host, "mine")
    after = host.ask(ReadEvents(again.cursor))
    assert isinstance(after, EventList)
    assert ([each.payload for each in after.events], after.missed) == (["mine"], False)


def test_queries_take_no_room_of_the_events_that_are_kept_for_who_missed_them() -> None:
    host = met("b", "z")
    hears(host, [event("b", 1)])
    for number in range(1, 520):
        host.hears(endpoint_of("z"), Gossip((), (UserQuery(id_of("z"), 1, number, 100, "lunch?", ""),)))
        host.world.run(0.2)
    host.hush()
    host.hears(endpoint_of("z"), EventDigest(0, (), True, True))
    assert host.said_of(Events, "z") == [Events((event("b", 1),))]


# Gaps.


def test_what_comes_before_its_turn_waits_and_its_origin_is_asked_for_the_rest() -> None:
    host = met("b", "z")
    hears(host, [event("b", 1), event("b", 3), event("b", 4), event("b", 3)])
    assert payloads(host) == ["b1"]
    host.world.run(3)
    assert host.said_of(EventsWanted, "b") == [EventsWanted(1, 1)]
    assert not host.said_of(EventsWanted, "z")
    host.hears(endpoint_of("b"), Events((event("b", 2),), True, 1, 4))
    host.world.run(60)
    assert payloads(host) == ["b1", "b2", "b3", "b4"]
    assert len(host.said_of(EventsWanted, "b")) == 1


def test_an_origin_that_does_not_keep_what_is_missing_any_more_says_so_and_nobody_waits() -> None:
    host = met("b", "z")
    hears(host, [event("b", 10)])
    host.world.run(1.5)
    host.hears(endpoint_of("b"), Events((event("b", 9), event("b", 10)), True, 1, 10))
    host.world.run(0.1)
    assert payloads(host) == ["b9", "b10"]


def test_who_was_away_for_longer_than_the_window_gets_from_the_origin_what_is_kept() -> None:
    host = met("b", "z")
    hears(host, [event("b", 1), event("b", 10 * WINDOW)])  # nobody but b itself may lead its mark on so far
    assert payloads(host) == ["b1"]
    host.world.run(1.5)
    assert host.said_of(EventsWanted, "b") == [EventsWanted(1, 1)]
    kept = (event("b", 10 * WINDOW - 1), event("b", 10 * WINDOW))
    host.hears(endpoint_of("b"), Events(kept, True, 1, 10 * WINDOW))
    host.world.run(0.1)
    assert payloads(host) == ["b1", *(each.payload for each in kept)]


def test_the_word_of_the_origin_closes_no_gap_while_the_disk_fails() -> None:
    host = met("b", "z")
    hears(host, [event("b", 1), event("b", 3)])
    host.disk_error = "no space"
    hears(host, [event("z", 1)])  # from here on nothing is taken in
    host.hears(endpoint_of("b"), Events((event("b", 2),), True, 1, 3))
    host.world.run(0.1)
    host.disk_error = ""
    host.world.run(8)
    host.hears(endpoint_of("b"), Events((event("b", 2), event("b", 3)), True, 1, 3))
    host.world.run(0.1)
    assert payloads(host) == ["b1", "z1", "b2", "b3"]


def test_where_the_origin_is_silent_the_gap_is_given_up_in_the_end() -> None:
    host = met("b", "z")
    hears(host, [event("b", 2), event("b", 5), event("b", 6)])
    host.world.run(GIVE_UP_AFTER / 1e9 - 2)
    assert payloads(host) == []
    host.world.run(3)
    assert payloads(host) == ["b2", "b5", "b6"]
    hears(host, [event("b", 3), event("b", 6), event("b", 7)])  # the turn of the first is over
    assert payloads(host) == ["b2", "b5", "b6", "b7"]


def test_a_later_life_of_an_origin_ends_the_earlier_one() -> None:
    host = met("b", "z")
    hears(host, [event("b", 1), event("b", 3)])
    host.hears(endpoint_of("b"), Gossip((alive("b", generation=2),)))
    hears(host, [event("b", 1, generation=2, payload="anew"), event("b", 2)])
    assert payloads(host) == ["b1", "b3", "anew"]


def test_a_gap_that_was_filled_in_time_is_asked_for_by_nobody() -> None:
    host = met("b", "z")
    hears(host, [event("b", 1), event("b", 3), event("b", 2)])
    host.world.run(60)
    assert payloads(host) == ["b1", "b2", "b3"]
    assert not host.said_of(EventsWanted)


def test_what_an_origin_was_asked_in_an_earlier_life_says_nothing_of_the_later_one() -> None:
    host = met("b", "z")
    hears(host, [event("b", 1), event("b", 10)])
    host.world.run(1.5)
    assert host.said_of(EventsWanted, "b")
    host.hears(endpoint_of("b"), Gossip((alive("b", generation=2),)))
    later = [event("b", number, generation=2, payload=f"anew {number}") for number in range(1, 6)]
    hears(host, [later[4]])
    host.hears(endpoint_of("b"), Events(tuple(later[:2]), True, 2, 2))  # said before it sent the last
    hears(host, later[2:4])
    assert payloads(host)[2:] == [each.payload for each in later]


def test_whoever_asks_with_what_it_has_of_an_earlier_life_is_given_all_of_this_one() -> None:
    host = met("b")
    for text in ("one", "two"):
        send(host, text)
    for generation, after, texts in ((1, 1, ["two"]), (0, 7, ["one", "two"])):
        host.hush()
        host.hears(endpoint_of("b"), EventsWanted(generation, after))
        (handed,) = host.said_of(Events, "b")
        assert ([each.payload for each in handed.events], handed.whole, handed.last) == (texts, True, 2)


def test_a_life_that_was_outgrown_lends_no_numbers_to_the_next() -> None:
    host = met("b")
    for text in ("one", "two"):
        send(host, text)
    host.hold_saves = True
    host.hears(endpoint_of("b"), Gossip((alive("a", generation=5),)))
    host.request(SendEvent("told", "in between"))  # of the old life, and durable only after the new one has begun
    host.release_saves()
    host.world.run(0.1)
    assert host.node.generation == 6
    host.hush()
    host.hears(endpoint_of("b"), EventsWanted(6, 0))
    assert host.said_of(Events, "b") == [Events((), True, 6, 0)]
    assert send(host, "anew").number == 1


# Digests.


def test_a_digest_is_answered_with_what_its_sender_lacks() -> None:
    host = met("b", "c")
    hears(host, [event("b", 1), event("b", 2), event("c", 1)])
    host.hush()
    host.hears(endpoint_of("c"), EventDigest(0, (Mark(id_of("b"), 1, 1),), True, True))
    assert host.said_of(Events, "c") == [Events((event("b", 2),))]  # its own it has
    (digest,) = host.said_of(EventDigest, "c")
    assert digest == EventDigest(2, (Mark(id_of("b"), 1, 2), Mark(id_of("c"), 1, 1)), False, True)


def test_a_digest_that_says_the_same_in_another_order_is_not_answered() -> None:
    host = met("b", "c")
    hears(host, [event("b", 1), event("c", 1)])
    host.hush()
    host.hears(endpoint_of("z"), EventDigest(0, (Mark(id_of("c"), 1, 1), Mark(id_of("b"), 1, 1)), True, True))
    assert not host.said_of(EventDigest)
    host.hears(endpoint_of("z"), EventDigest(0, (Mark(id_of("c"), 1, 2), Mark(id_of("b"), 1, 1)), True, True))
    assert host.said_of(EventDigest, "z")


def test_an_idle_mesh_says_nothing_but_a_digest_with_each_request_for_a_table() -> None:
    world = World()
    hosts = world.mesh("a", "b", "c")
    for host in hosts:
        host.hush()
    world.run(300)
    for host in hosts:
        assert len(host.said_of(EventDigest)) == sum(table.answer for table in host.said_of(PushPull)) > 0
        assert not host.said_of(Events)
        assert not host.said_of(EventsWanted)
