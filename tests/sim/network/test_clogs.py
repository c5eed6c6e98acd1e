"""A clogged link delivers nothing, and then everything in a burst, in order; a full one loses datagrams."""

from __future__ import annotations

from sim.network import CLOGGED_DATAGRAMS_MAX, LinkProfile, Pairs
from tests.sim.simkit import MS, S, Small

WIDE = LinkProfile(latency_ms_min=0.2, latency_ms_max=20.0)


def clogged(small: Small, way: str = "out") -> Pairs:
    pairs = Pairs.links_of(len(small.world.processes), [0], [1], way=way)
    small.world.network.clog(pairs)
    return pairs


def test_datagrams_wait_and_come_in_a_burst_in_order() -> None:
    small = Small(link=WIDE)
    clog = clogged(small)
    for second in range(5):
        small.say(0, 1, 10, stream=False, first=second * 10)
        small.run(1)
    assert small.ears.heard == []
    small.world.network.unclog(small.now, clog)
    small.run(1)
    assert small.ears.numbers(1, "Pong") == list(range(50))
    assert max(at for at, *_ in small.ears.heard) <= 5 * S + 20 * MS
    assert small.world.network.mishaps == {"clogged": 50}


def test_a_full_link_loses_the_newest() -> None:
    small = Small()
    clog = clogged(small)
    small.say(0, 1, CLOGGED_DATAGRAMS_MAX + 7, stream=False)
    small.world.network.unclog(small.now, clog)
    small.run(1)
    assert small.ears.numbers(1, "Pong") == list(range(CLOGGED_DATAGRAMS_MAX))
    assert small.world.network.drops["clogged"] == 7


def test_only_its_own_direction_and_links_are_clogged() -> None:
    small = Small(3)
    clogged(small)
    for sender, receiver in ((1, 0), (0, 2), (2, 1)):
        small.say(sender, receiver, 1, stream=False)
        small.say(sender, receiver, 1, first=9)
    small.run(1)
    assert sorted((listener, what) for _, listener, what, _ in small.ears.heard) == [
        (listener, what) for listener in range(3) for what in ("Line", "Pong")
    ]


def test_streams_wait_and_lose_nothing_and_go_on_at_once() -> None:
    small = Small(link=WIDE)
    small.say(0, 1, 10)  # under way when the clog begins
    clog = clogged(small)
    small.say(0, 1, 10, first=10)
    small.run(5)
    assert small.ears.numbers(1) == []
    small.world.network.unclog(small.now, clog)
    small.say(0, 1, 10, first=20)
    small.run(0.1)
    assert small.ears.numbers(1) == list(range(30))
    assert small.world.network.resets == 0


def test_a_clog_past_the_bound_resets_the_stream() -> None:
    small = Small(link=LinkProfile(stream_stall_s=3.0))
    clogged(small)
    small.say(0, 1, 4)
    small.run(4)
    assert small.world.network.resets == 1
    assert small.world.network.drops["reset"] == 4


def test_what_waits_behind_two_clogs_waits_for_both() -> None:
    small = Small()
    first, second = clogged(small), clogged(small, "both")
    small.say(0, 1, 3, stream=False)
    small.say(0, 1, 3)
    small.world.network.unclog(small.now, first)
    small.run(1)
    assert small.ears.heard == []
    small.world.network.unclog(small.now, second)
    small.run(1)
    assert small.ears.numbers(1, "Pong") == small.ears.numbers(1) == [0, 1, 2]


def test_what_leaves_a_clog_into_a_cut_is_lost_if_it_is_a_datagram() -> None:
    small = Small()
    clog = clogged(small)
    small.say(0, 1, 3, stream=False)
    small.say(0, 1, 3)
    cut = small.cut([0, 1])
    small.world.network.unclog(small.now, clog)
    small.run(1)
    assert small.ears.heard == []
    assert small.world.network.drops["cut"] == 3
    small.world.heal(cut)
    small.run(3)
    assert small.ears.numbers(1) == [0, 1, 2]
    assert small.ears.numbers(1, "Pong") == []
