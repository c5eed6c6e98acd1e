"""The dissemination queue: which news goes into which packet, and when it has been told often enough (SWIM 4.1)."""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocols.core import NANOS_PER_MS
from protocols.limits import UPDATES_BYTES_MAX, UPDATES_PER_PACKET_MAX
from protocols.membership.gossip import OUTDATED_MAX, GossipQueue, decimal_digits
from protocols.membership.member import Alive, Profile, State, Update, precedence_of, size_bound
from protocols.membership.messages import Gossip
from tests.protocols.harness import World, accuse, alive, endpoint_of, id_of


def queue_of(*names: str) -> GossipQueue:
    queue = GossipQueue()
    for name in names:
        queue.put(accuse(name, State.SUSPECT))
    return queue


def drained(queue: GossipQueue, limit: int) -> list[tuple[Update, ...]]:
    packets: list[tuple[Update, ...]] = []
    while packet := queue.take(limit):
        packets.append(packet)
        assert len(packets) < 10_000
    return packets


@given(st.integers(0, 10**12))
@example(9)
@example(10)
@example(99)
@example(999_999)
def test_the_digits_of_n_are_the_rounded_logarithm_of_n_plus_one(n: int) -> None:
    assert decimal_digits(n) == len(str(n)) * (n > 0)
    if n < 10**9:  # where floating point is exact enough to be an oracle
        assert decimal_digits(n) == math.ceil(math.log10(n + 1) - 1e-12)


@pytest.mark.parametrize("limit", [1, 2, 4, 8])
def test_news_is_told_as_often_as_the_limit_says_and_then_dropped(limit: int) -> None:
    queue = queue_of("b")
    assert len(drained(queue, limit)) == limit
    assert queue.size == 0
    assert queue.about(id_of("b")) is None


def test_a_packet_for_several_members_counts_for_each_of_them() -> None:
    queue = queue_of("b")
    assert queue.take(4, 3)
    assert queue.take(4, 3)
    assert queue.take(4, 3) == ()
    assert queue.size == 0


def test_a_limit_that_shrinks_with_the_mesh_drops_what_was_told_often_enough() -> None:
    queue = queue_of("b")
    for _ in range(5):
        queue.take(8)
    assert queue.take(4)
    assert queue.size == 0


def test_the_least_told_goes_first_and_the_older_first_among_equals() -> None:
    queue = queue_of("b", "c")
    one_each = size_bound(accuse("b", State.SUSPECT))
    assert [u.node_id for u in queue.take(9, budget=2 * one_each)] == [id_of("b"), id_of("c")]
    queue.put(accuse("d", State.SUSPECT))
    assert [u.node_id for u in queue.take(9, budget=one_each)] == [id_of("d")]
    assert [u.node_id for u in queue.take(9, budget=one_each)] == [id_of("b")]
    queue.put(accuse("e", State.SUSPECT))
    assert [u.node_id for u in queue.take(9)] == [id_of(name) for name in "ecdb"]


def test_newer_news_takes_the_place_of_older_about_the_same_member() -> None:
    queue = queue_of("b", "c")
    queue.take(9)
    newer = accuse("b", State.DEAD)
    queue.put(newer)
    assert queue.size == 2
    assert queue.about(id_of("b")) == newer
    told = [update for packet in drained(queue, 3) for update in packet]
    assert told.count(newer) == 3
    assert accuse("b", State.SUSPECT) not in told


@pytest.mark.parametrize("sends", [True, False], ids=["behind news that never ends", "with nobody to tell"])
def test_news_that_others_took_the_place_of_does_not_pile_up(*, sends: bool) -> None:
    queue = queue_of("first")
    queue.take(9, 3)
    names = [f"n{number}" for number in range(200)]
    for _ in range(100):
        for name in names:
            queue.put(accuse(name, State.SUSPECT))
        for _ in range(2 if sends else 0):
            assert id_of("first") not in {update.node_id for update in queue.take(9, 3)}
    names.append("first")
    assert queue.size == len(names)
    assert sum(len(each) for each in queue._queues) <= queue.size + OUTDATED_MAX
    assert {update.node_id for packet in drained(queue, 9) for update in packet} == {id_of(name) for name in names}


def test_a_packet_holds_no_more_than_may_be_decoded_with_two_places_to_spare() -> None:
    queue = GossipQueue()
    for number in range(500):
        queue.put(Alive(str(number), precedence_of(1, 0, State.ALIVE), Profile("", "")))
    assert len(queue.take(9, budget=1_000_000)) == UPDATES_PER_PACKET_MAX - 2


def test_what_fits_no_packet_is_not_queued_and_takes_older_news_with_it() -> None:
    queue = queue_of("b", "c")
    huge = Alive(id_of("b"), precedence_of(2, 0, State.ALIVE), Profile("b", "b:1", ("h" * 64,) * 20))
    assert size_bound(huge) > UPDATES_BYTES_MAX
    queue.put(huge)
    assert queue.size == 1
    assert [u.node_id for u in queue.take(1)] == [id_of("c")]


NAMES = [f"n{number}" for number in range(12)]
ANNOUNCED = st.builds(
    lambda name, handlers: Alive(
        id_of(name), precedence_of(1, 0, State.ALIVE), Profile(name, "a:1", ("h" * 40,) * handlers)
    ),
    st.sampled_from(NAMES),
    st.integers(0, 30),
)
ACCUSED = st.builds(accuse, st.sampled_from(NAMES), st.sampled_from([State.SUSPECT, State.DEAD]))


@given(
    st.lists(st.one_of(ANNOUNCED, ACCUSED, st.tuples(st.integers(1, 6), st.integers(1, 3))), max_size=60),
    st.integers(1, 6),
)
@settings(max_examples=100, deadline=None)
def test_the_queue_against_a_plain_list(steps: list[Update | tuple[int, int]], limit: int) -> None:
    """Whatever is put in and taken out: nothing is told too often, replaced news never again, packets stay in budget,
    and everything that is still news is told in the end.
    """
    queue = GossipQueue()
    news: dict[str, tuple[Update, int]] = {}

    def took(packet: tuple[Update, ...], copies: int, most: int) -> None:
        assert sum(len(msgspec.msgpack.encode(update)) for update in packet) <= UPDATES_BYTES_MAX
        assert len({update.node_id for update in packet}) == len(packet)
        for update in packet:
            current, times = news[update.node_id]
            assert update is current
            news[update.node_id] = (current, times + copies)
            if times + copies >= most:
                del news[update.node_id]

    for step in steps:
        if isinstance(step, tuple):
            took(queue.take(*step), step[1], step[0])
            continue
        queue.put(step)
        news.pop(step.node_id, None)
        if size_bound(step) <= UPDATES_BYTES_MAX:
            news[step.node_id] = (step, 0)
        assert queue.size == len(news)
    for packet in drained(queue, limit):
        took(packet, 1, limit)
    assert news == {}


# Of a node.


def test_news_goes_to_three_members_every_200_ms_in_five_rounds() -> None:
    world = World()
    host, *_ = world.mesh(*(f"n{number}" for number in range(20)), settle_s=25)
    world.lets_through = lambda source, target, message: not isinstance(message, Gossip)
    sent: list[tuple[int, str]] = []
    world.on_said = lambda who, message: (
        sent.append((world.now, who.said[-1][0].node_id)) if who is host and isinstance(message, Gossip) else None
    )
    host.hears(endpoint_of("z"), Gossip((alive("x"),)))
    world.run(1.9)
    times = sorted({at for at, _ in sent})
    assert [len({to for at, to in sent if at == each}) for each in times] == [3] * 5
    assert [later - earlier for earlier, later in pairwise(times)] == [200 * NANOS_PER_MS] * 4
