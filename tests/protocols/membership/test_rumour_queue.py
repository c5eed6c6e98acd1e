"""What goes into a gossip packet behind the news of members, how often, and who gives way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.limits import EVENT_BYTES_MAX, RUMOURS_PER_PACKET_MAX, UPDATES_BYTES_MAX
from protocols.membership.member import GENERATION_MAX
from protocols.membership.messages import Gossip
from protocols.membership.rumour_queue import PASSED_OVER_MAX, RUMOURS_QUEUED_MAX, RumourQueue
from protocols.membership.rumours import Rumour, UserEvent, UserQuery, fits, rumour_bytes
from protocols.wire import decode_message, encode_message
from tests.protocols.harness import World, alive, endpoint_of, id_of

ROOM = UPDATES_BYTES_MAX


def event(number: int, size: int = 10) -> UserEvent:
    return UserEvent(id_of("b"), 1, number, number, "n", "x" * size)


def numbers(taken: tuple[Rumour, ...]) -> list[int]:
    return [rumour.number for rumour in taken]


def test_the_least_sent_goes_first_and_each_is_dropped_after_its_times() -> None:
    queue = RumourQueue()
    queue.put(event(1))
    assert numbers(queue.take(0, 4, 3, ROOM)) == [1]
    queue.put(event(2))
    assert numbers(queue.take(0, 4, 3, ROOM)) == [2, 1]
    assert queue.size == 1
    assert numbers(queue.take(0, 4, 3, ROOM)) == [2]
    assert queue.take(0, 4, 3, ROOM) == ()
    assert queue.size == 0


def test_packets_are_bounded_by_bytes_and_by_count() -> None:
    queue = RumourQueue()
    for number in range(40):
        queue.put(event(number, 1))
    assert len(queue.take(0, 9, 1, 10_000)) == RUMOURS_PER_PACKET_MAX
    wide = RumourQueue()
    for number in range(3):
        wide.put(event(number, 500))
    assert numbers(wide.take(0, 9, 1, ROOM)) == [0, 1]


def test_what_is_of_no_use_any_more_is_dropped() -> None:
    queue = RumourQueue()
    queue.put(UserQuery(id_of("b"), 1, 1, 100, "n", ""), expires=50)
    assert len(queue.take(49, 9, 1, ROOM)) == 1
    assert queue.take(50, 9, 1, ROOM) == ()
    assert queue.size == 0


def test_a_full_queue_drops_what_was_sent_most() -> None:
    queue = RumourQueue()
    for number in range(RUMOURS_QUEUED_MAX):
        queue.put(event(number))
    sent = numbers(queue.take(0, 9, 1, ROOM))
    for number in range(1000, 1000 + len(sent)):
        queue.put(event(number))
    assert queue.size == RUMOURS_QUEUED_MAX
    left: list[int] = []
    while queue.size:
        left += numbers(queue.take(0, 1, 1, ROOM))
    assert sorted(left) == sorted({*range(RUMOURS_QUEUED_MAX), *range(1000, 1000 + len(sent))} - set(sent))


def test_rumours_that_were_passed_over_claim_room_and_give_it_back() -> None:
    queue = RumourQueue()
    assert queue.claim() == 0
    queue.put(event(1))
    for _ in range(PASSED_OVER_MAX):
        assert queue.claim() == 0
        assert queue.take(0, 9, 1, 0) == ()
    assert queue.claim() == rumour_bytes(event(1))
    assert numbers(queue.take(0, 9, 1, queue.claim())) == [1]
    assert queue.claim() == 0


def test_news_of_members_comes_first_but_does_not_keep_users_quiet_for_ever() -> None:
    """A node whose queue of membership news never runs dry still passes events on, in every fourth packet or so."""
    world = World()
    host = world.add("a").start()
    world.run(0.1)
    names = [f"p{number}" for number in range(120)]
    for start in range(0, len(names), 20):
        host.hears(endpoint_of("p0"), Gossip(tuple(alive(name) for name in names[start : start + 20])))
    host.hush()
    host.hears(endpoint_of("p0"), Gossip((), (UserEvent(id_of("p0"), 1, 1, 1, "n", "x" * 500),)))
    world.run(0.85)
    rounds = host.said_of(Gossip)[::3]
    carried = [bool(gossip.rumours) for gossip in rounds]
    assert len(rounds) >= 4
    assert carried[:PASSED_OVER_MAX] == [False] * PASSED_OVER_MAX
    assert carried[PASSED_OVER_MAX]
    assert all(gossip.updates for gossip in rounds)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=EVENT_BYTES_MAX)


@given(
    st.integers(0, GENERATION_MAX),
    st.integers(0, (1 << 40) - 1),
    st.integers(0, (1 << 62) - 1),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64),
    texts,
)
def test_the_size_bound_is_one_and_a_packet_of_two_fits(
    generation: int, number: int, ltime: int, name: str, payload: str
) -> None:
    event = UserEvent(id_of("b"), generation, number, ltime, name, payload)
    empty = len(encode_message(Gossip(())))
    for rumour in (event, UserQuery(id_of("b"), generation, number, 45_000, name, payload)):
        message = Gossip((), (rumour,))
        assert len(encode_message(message)) - empty <= rumour_bytes(rumour)
        assert decode_message(encode_message(message)) == message
    if fits(event):
        assert 2 * rumour_bytes(event) <= UPDATES_BYTES_MAX


@pytest.mark.parametrize("text", ["\ud800", "x" * EVENT_BYTES_MAX, "ü" * (EVENT_BYTES_MAX // 2)])
def test_what_is_no_text_or_too_long_does_not_fit(text: str) -> None:
    assert not fits(UserEvent(id_of("b"), 1, 1, 1, "n", text))
