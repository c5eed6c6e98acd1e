"""The network of the simulator: datagrams may be lost, streams delay or reset, and cuts cut what they say."""

from __future__ import annotations

import pytest

from protocols.core import Endpoint
from sim.network import STREAM_UNSENT_MAX, Cut, LinkProfile
from tests.sim.pingpong import Say
from tests.sim.simkit import MS, S, Small

# Datagrams.


def test_latency_stays_within_its_bounds_and_varies() -> None:
    small = Small(link=LinkProfile(latency_ms_min=1.0, latency_ms_max=3.0))
    small.say(0, 1, 500, stream=False)
    small.run(1)
    delays = [at for at, *_ in small.ears.heard]
    assert len(delays) == 500
    assert 1 * MS <= min(delays) < 1.2 * MS
    assert 2.8 * MS < max(delays) <= 3 * MS


def test_datagrams_overtake_each_other_and_streams_do_not() -> None:
    small = Small(link=LinkProfile(latency_ms_min=0.2, latency_ms_max=20.0))
    small.say(0, 1, 100, stream=False)
    small.say(0, 1, 100, stream=True)
    small.run(1)
    assert small.ears.numbers(1, "Line") == list(range(100))
    datagrams = small.ears.numbers(1, "Pong")
    assert sorted(datagrams) == list(range(100))
    assert datagrams != list(range(100))


def test_loss_and_duplication_come_at_their_rates() -> None:
    small = Small(link=LinkProfile(loss=0.2, duplicate=0.1))
    small.say(0, 1, 5000, stream=False)
    small.run(1)
    numbers = small.ears.numbers(1, "Pong")
    assert 3800 < len(set(numbers)) < 4200
    assert 300 < len(numbers) - len(set(numbers)) < 500
    assert small.world.network.drops["loss"] == 5000 - len(set(numbers))


def test_reordering_holds_datagrams_up() -> None:
    small = Small(link=LinkProfile(latency_ms_min=1.0, latency_ms_max=1.0, reorder=0.5, reorder_ms=50.0))
    small.say(0, 1, 200, stream=False)
    small.run(1)
    assert small.ears.numbers(1, "Pong") != list(range(200))
    assert 50 < small.world.network.reordered < 150
    assert max(at for at, *_ in small.ears.heard) > 40 * MS


def test_a_stream_loses_nothing_to_packet_loss_and_is_late_instead() -> None:
    small = Small(link=LinkProfile(loss=0.3))
    small.say(0, 1, 50)
    small.run(5)
    assert small.ears.numbers(1) == list(range(50))
    assert small.ears.heard[-1][0] > 200 * MS


def test_a_message_for_another_id_than_the_one_at_the_address_goes_nowhere() -> None:
    small = Small(3)
    stranger = Endpoint(small.endpoint(2).node_id, small.endpoint(1).address)
    anybody = Endpoint("", small.endpoint(1).address)
    nowhere = Endpoint("", "192.0.2.1:1")
    for to in (stranger, anybody, nowhere):
        small.ask(0, Say(to, 1, True))
        small.ask(0, Say(to, 1, False))
    small.run(1)
    assert small.ears.numbers(1) == [0]
    assert small.ears.numbers(1, "Pong") == [0]
    assert small.ears.numbers(2) == []
    assert small.world.network.drops["nobody_there"] == 4


def test_two_nodes_cannot_share_an_address() -> None:
    small = Small(2)
    with pytest.raises(ValueError, match="two nodes"):
        small.world.network.attach(small.world.processes[0].station)


# Cuts.


def test_a_cut_loses_datagrams_between_sides_and_only_those() -> None:
    small = Small(4)
    cut = small.cut([0, 0, 1, 1])
    for sender, receiver in ((0, 1), (2, 3), (0, 2), (3, 1)):
        small.say(sender, receiver, 1, stream=False, first=sender)
    small.run(1)
    assert small.ears.numbers(1, "Pong") == [0]
    assert small.ears.numbers(3, "Pong") == [2]
    assert small.ears.numbers(2, "Pong") == []
    small.world.heal(cut)
    small.say(0, 2, 1, stream=False, first=7)
    small.run(1)
    assert small.ears.numbers(2, "Pong") == [7]


def test_a_one_way_cut_loses_one_direction() -> None:
    small = Small(2)
    small.cut([1, 0], one_way=True)
    small.say(0, 1, 3, stream=False)
    small.say(1, 0, 3, stream=False)
    small.run(1)
    assert small.ears.numbers(1, "Pong") == []
    assert sorted(small.ears.numbers(0, "Pong")) == [0, 1, 2]


def test_isolated_nodes_do_not_hear_each_other_and_a_bridge_hears_all() -> None:
    small = Small(5)
    small.cut([1, 2, 0, 0, -1])
    reach = small.world.network.reachable
    assert not reach(0, 1)
    assert not reach(0, 2)
    assert reach(2, 3)
    assert all(reach(4, other) and reach(other, 4) for other in range(4))


def test_a_packet_must_pass_every_cut_in_force() -> None:
    small = Small(4)
    first = small.cut([0, 0, 1, 1])
    small.cut([0, 1, 0, 1])
    reach = small.world.network.reachable
    assert not reach(0, 1)
    assert not reach(0, 2)
    small.world.heal(first)
    assert reach(0, 2)
    assert not reach(0, 1)
    assert not small.world.network.whole


def test_a_cut_of_the_wrong_size_is_refused() -> None:
    small = Small(3)
    with pytest.raises(ValueError, match="a cut of 2 nodes"):
        small.world.cut(Cut([0, 1]))


# Streams.


def test_a_short_cut_delays_a_stream_and_keeps_its_order() -> None:
    small = Small()
    small.say(0, 1, 10)  # under way when the cut begins
    cut = small.cut([0, 1])
    small.say(0, 1, 10, first=10)
    small.run(5)
    assert small.ears.numbers(1) == []
    small.world.heal(cut)
    small.say(0, 1, 10, first=20)
    small.run(5)
    assert small.ears.numbers(1) == list(range(30))
    assert small.world.network.resets == 0


@pytest.mark.parametrize("seed", range(30))
def test_order_survives_cuts_that_come_and_go_while_messages_are_under_way(seed: int) -> None:
    small = Small(seed=seed, link=LinkProfile(latency_ms_min=0.2, latency_ms_max=200.0))
    sent = 0
    for _ in range(20):
        small.say(0, 1, 5, first=sent)
        sent += 5
        small.run(0.03)
        cut = small.cut([0, 1])
        small.say(0, 1, 5, first=sent)
        sent += 5
        small.run(0.05)
        small.world.heal(cut)
        small.run(0.02)
    small.run(10)
    assert small.ears.numbers(1) == list(range(sent))
    assert len(small.world.network.streams) == 0


def test_a_cut_past_the_bound_resets_the_stream_and_a_later_message_gets_through() -> None:
    small = Small(link=LinkProfile(stream_stall_s=3.0))
    cut = small.cut([0, 1])
    small.say(0, 1, 4)
    small.run(4)
    assert small.world.network.resets == 1
    assert small.world.network.drops["reset"] == 4
    small.world.heal(cut)
    small.say(0, 1, 1, first=9)
    small.run(2)
    assert small.ears.numbers(1) == [9]


def test_a_stream_stalls_when_only_the_way_back_is_cut() -> None:
    small = Small()
    cut = small.cut([0, 1], one_way=True)  # what node 1 says is lost, acknowledgements included
    small.say(0, 1, 2)
    small.run(3)
    assert small.ears.numbers(1) == []
    small.world.heal(cut)
    small.run(3)
    assert small.ears.numbers(1) == [0, 1]


def test_too_much_held_resets_the_stream() -> None:
    small = Small()
    small.cut([0, 1])
    small.say(0, 1, STREAM_UNSENT_MAX + 1)
    small.run(0.001)
    assert small.world.network.resets == 1


@pytest.mark.parametrize("victim", [0, 1])
def test_a_crash_of_either_end_loses_what_is_under_way(victim: int) -> None:
    small = Small()
    small.say(0, 1, 5)
    small.world.crash(small.world.processes[victim])
    small.world.boot(small.world.processes[victim])
    small.run(1)
    assert small.ears.numbers(1) == []
    assert small.world.network.drops["reset"] == 5
    small.say(0, 1, 1, first=9)
    small.run(1)
    assert small.ears.numbers(1) == [9]


def test_a_down_node_refuses_streams_and_swallows_datagrams() -> None:
    small = Small()
    small.world.crash(small.world.processes[1])
    small.say(0, 1, 1)
    small.say(0, 1, 1, stream=False)
    small.run(1)
    assert small.world.network.drops["refused"] == 1
    assert small.world.network.drops["down"] == 1
    assert small.now == 1 * S
