"""Quorum confirmation: the question, how those who are asked find out, and what a broken peer can do to it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.core import NANOS_PER_MS, Carrier, Message, Send
from protocols.detector.confirm import (
    CHECK_PINGS,
    CHECK_SEQ_BASE,
    CHECKS_MAX,
    QUESTIONS_MAX,
    WAITING_MAX,
    check_takes,
)
from protocols.detector.messages import AskReach, Reach, Reached
from protocols.detector.statements import ANSWER_WITHIN, ASKED_MAX, Question
from protocols.membership.member import State, precedence_of
from protocols.membership.messages import Ack, Gossip, Ping, StreamPing
from protocols.outbox import NEVER
from tests.protocols.detector.confirm_kit import (
    OTHERS,
    SECOND,
    answers,
    asked,
    bereaved,
    ids,
    knowing,
    numbered,
    pair,
    questioner,
    silent,
    told,
    tries,
)
from tests.protocols.harness import Host, World, accuse, alive, endpoint_of, id_of

# The question.


def test_it_is_put_to_each_member_once_over_a_stream() -> None:
    asker = questioner(*OTHERS, "x")
    asker.ask(Question(id_of("x"), ids("b", "c", "b", "a", "c"), needed=2))
    sent = [(effect.to.node_id, effect.message) for effect in asker.outbox.drain() if isinstance(effect, Send)]
    assert sent == [(id_of(name), AskReach(numbered(1), id_of("x"))) for name in ("b", "c", "a")]
    assert AskReach.carrier is Reached.carrier is Carrier.STREAM


def test_enough_confirmations_end_it_at_once() -> None:
    asker = questioner(*OTHERS, "x")
    asker.ask(Question(id_of("x"), ids(*OTHERS), needed=2, silent_for=10 * SECOND))
    asker.hears("b", silent(1, 10))
    assert asker.gathered == []
    asker.hears("c", silent(1, 9.999))
    assert asker.gathered == []
    asker.hears("d", silent(1, 11))
    [gathered] = asker.gathered
    assert (gathered.token, gathered.confirmations, gathered.confirmed) == (7, 2, True)
    assert [view.by for view in gathered.views] == [id_of("b"), id_of("c"), id_of("d")]
    assert gathered.unheard == (id_of("e"),)
    asker.hears("e", silent(1, 11))
    assert len(asker.gathered) == 1
    assert asker.confirmer.deadline == NEVER


def test_it_ends_as_soon_as_too_few_are_left_that_could_confirm() -> None:
    asker = questioner(*OTHERS, "x")
    asker.ask(Question(id_of("x"), ids(*OTHERS), needed=3))
    asker.hears("b", answers(1))
    assert asker.gathered == []
    asker.hears("c", Reached(numbered(1), Reach.UNKNOWN))
    [gathered] = asker.gathered
    assert (gathered.confirmed, gathered.confirmations) == (False, 0)
    assert gathered.unheard == ids("d", "e")


def test_more_than_are_asked_can_never_confirm() -> None:
    asker = questioner(*OTHERS, "x")
    asker.ask(Question(id_of("x"), ids("b", "c"), needed=3))
    assert [gathered.confirmed for gathered in asker.gathered] == [False]


def test_a_question_that_needs_nobody_waits_for_all_and_confirms_nothing() -> None:
    asker = questioner(*OTHERS, "x")
    asker.ask(Question(id_of("x"), ids("b", "c")))
    asker.hears("b", silent(1, 100))
    assert asker.gathered == []
    asker.hears("c", silent(1, 100))
    [gathered] = asker.gathered
    assert (gathered.confirmed, gathered.unheard) == (False, ())
    asker.ask(Question(id_of("x"), ()))
    assert [each.views for each in asker.gathered[1:]] == [()]


def test_its_time_is_bounded_and_silence_confirms_nothing() -> None:
    asker = questioner(*OTHERS, "x")
    began = asker.host.world.now
    asker.ask(Question(id_of("x"), ids(*OTHERS, "stranger"), needed=2, within=2 * SECOND))
    asker.hears("b", silent(1, 5))
    assert asker.confirmer.deadline == began + 2 * SECOND
    asker.host.world.run(1.999)
    asker.fire()
    assert asker.gathered == []
    asker.host.world.run(0.001)
    asker.fire()
    [gathered] = asker.gathered
    assert (gathered.confirmed, gathered.confirmations) == (False, 1)
    assert gathered.unheard == ids("c", "d", "e", "stranger")


def test_only_members_that_were_asked_are_heard_and_each_once() -> None:
    asker = questioner(*OTHERS, "x")
    asker.ask(Question(id_of("x"), ids("b", "c", "d"), needed=2))
    for message in (silent(1, 9), silent(1, 9), silent(2, 9)):
        asker.hears("b", message)
    asker.hears("e", silent(1, 9))
    asker.hears("x", silent(1, 9))
    assert asker.gathered == []
    asker.hears("c", silent(1, 9))
    assert [view.by for view in asker.gathered[0].views] == [id_of("b"), id_of("c")]


def test_questions_and_members_asked_are_bounded() -> None:
    names = tuple(f"m{number}" for number in range(ASKED_MAX + 5))
    asker = questioner("x")
    asker.ask(Question(id_of("x"), ids(*names)))
    for _ in range(ASKED_MAX):
        assert asker.gathered == []
        asker.hears(names[0], answers(1))
        names = names[1:]
    assert asker.gathered[0].unheard == ids(*names)
    for _ in range(QUESTIONS_MAX):
        assert not asker.confirmer.full
        asker.ask(Question(id_of("x"), ids("b")))
    assert asker.confirmer.full
    with pytest.raises(AssertionError):
        asker.ask(Question(id_of("x"), ids("b")))


@given(
    needed=st.integers(0, 6),
    said=st.lists(st.tuples(st.sampled_from(OTHERS), st.sampled_from(list(Reach)), st.integers(0, 20)), max_size=10),
)
@settings(max_examples=200, deadline=None)
def test_it_ends_once_with_what_a_plain_count_gives(needed: int, said: list[tuple[str, Reach, int]]) -> None:
    asker = questioner("x")
    asker.ask(Question(id_of("x"), ids(*OTHERS), needed=needed, silent_for=10 * SECOND))
    first: dict[str, bool] = {}
    for name, reach, seconds in said:
        first.setdefault(name, reach is Reach.SILENT and seconds >= 10)
        precedence = precedence_of(1, 0, State.SUSPECT)
        asker.hears(name, Reached(numbered(1), reach, precedence, silent_ms=seconds * 1000))
    asker.host.world.run(ANSWER_WITHIN / SECOND)
    asker.fire()
    [gathered] = asker.gathered
    assert gathered.confirmed == (0 < needed <= sum(first.values()))


# Being asked.


def test_it_pings_and_tells_that_it_was_answered() -> None:
    world, host, _ = pair()
    asked(host, "b")
    assert (told(host), len(tries(host, "b"))) == ([], 1)
    world.run_until(lambda: bool(told(host)), 0.01)
    assert told(host) == [Reached(1, Reach.ANSWERS, precedence_of(1, 0, State.ALIVE), (), True)]
    world.run(5)
    assert len(tries(host, "b")) == 1


def test_who_answered_a_moment_ago_is_not_bothered() -> None:
    _, host, _ = pair(answered=True)
    asked(host, "b")
    [message] = told(host)
    assert (message.reach, message.answered_ms < 500) == (Reach.ANSWERS, True)
    assert tries(host, "b") == []


def test_who_answered_a_moment_ago_and_then_did_not_is_tried() -> None:
    world, host, _ = pair(answered=True)
    host.node.membership.evidence.unanswered(world.now + 1, id_of("b"), world.now + 1)
    asked(host, "b")
    assert (told(host), len(tries(host, "b"))) == ([], 1)


def test_a_dead_node_is_tried_several_times_and_the_silence_grows_with_every_question() -> None:
    world, host, _ = bereaved()
    world.run(60)
    host.hush()
    began = world.now
    asked(host, "b", 1)
    world.run_until(lambda: bool(told(host)), 3)
    assert world.now - began == check_takes(host.config.swim)
    assert len(tries(host, "b")) == CHECK_PINGS
    first = told(host)[0]
    assert (first.reach, first.pings) == (Reach.SILENT, CHECK_PINGS)
    assert first.silent_ms == 1000
    assert first.precedence == precedence_of(1, 0, State.DEAD)
    world.run(8)
    asked(host, "b", 2)
    world.run_until(lambda: len(told(host)) == 2, 3)
    second = told(host)[1]
    assert (second.question, second.reach, second.silent_ms, second.pings) == (2, Reach.SILENT, 10_000, 2 * CHECK_PINGS)


def test_a_silence_is_over_when_the_member_is_back() -> None:
    world, host, other = bereaved()
    asked(host, "b", 1)
    world.run_until(lambda: bool(told(host)), 3)
    assert told(host)[0].silent_ms >= 1000
    other.start()
    world.run(0.002)  # its record is durable: it speaks
    asked(host, "b", 2)
    world.run_until(lambda: len(told(host)) == 2, 3)
    assert (told(host)[1].reach, told(host)[1].silent_ms) == (Reach.ANSWERS, 0)


def test_one_lost_packet_is_no_silence() -> None:
    world, host, _ = pair()
    lost: list[Message] = []

    def lose_the_first(source: Host, target: Host, message: Message) -> bool:
        if isinstance(message, Ping) and message.probe >= CHECK_SEQ_BASE and len(lost) < CHECK_PINGS - 1:
            lost.append(message)
            return False
        return True

    world.lets_through = lose_the_first
    asked(host, "b")
    world.run_until(lambda: bool(told(host)), 3)
    assert len(lost) == CHECK_PINGS - 1
    assert told(host)[0].reach is Reach.ANSWERS


def test_a_stream_will_do_where_no_datagram_comes_through() -> None:
    world, host, _ = pair()
    world.lets_through = lambda source, target, message: message.carrier is Carrier.STREAM
    asked(host, "b")
    world.run_until(lambda: bool(told(host)), 3)
    assert told(host)[0].reach is Reach.ANSWERS
    assert [ping.probe for ping in host.said_of(StreamPing, "b") if ping.probe >= CHECK_SEQ_BASE] != []


def test_who_answers_here_but_not_there_is_told_apart() -> None:
    world = World()
    a, b, c, _ = world.mesh("a", "b", "c", "d")
    world.lets_through = lambda source, target, message: {source.name, target.name} != {"a", "d"}
    world.run(2)
    for host in (a, b, c):
        asked(host, "d")
    world.run(2)
    assert [told(host)[0].reach for host in (a, b, c)] == [Reach.SILENT, Reach.ANSWERS, Reach.ANSWERS]


def test_of_strangers_of_who_left_and_of_itself_it_tells_without_a_ping() -> None:
    world = World()
    host, *_ = world.mesh("a", "b")
    host.hears(endpoint_of("z"), Gossip((alive("gone"), accuse("gone", State.LEFT, by="gone"))))
    host.hush()
    asked(host, "nobody", 1)
    asked(host, "gone", 2)
    asked(host, "a", 3)
    assert told(host) == [
        Reached(1, Reach.UNKNOWN),
        Reached(2, Reach.UNKNOWN, precedence_of(1, 0, State.LEFT)),
        Reached(3, Reach.ANSWERS, precedence_of(1, 0, State.ALIVE), (), True),
    ]
    assert tries(host, "gone") == []


def test_it_tells_who_accuses() -> None:
    host = knowing(*OTHERS, "x")
    host.hears(endpoint_of("b"), Gossip((accuse("x", State.SUSPECT, by="b"),)))
    host.hears(endpoint_of("c"), Gossip((accuse("x", State.SUSPECT, by="c"),)))
    asked(host, "x")
    host.world.run_until(lambda: bool(told(host)), 3)
    assert told(host)[0].accusers == ids("b", "c")


# Bounds.


def test_one_check_serves_all_who_ask_and_only_so_many_wait() -> None:
    host = knowing("x")
    host.hush()
    for number in range(WAITING_MAX + 3):
        asked(host, "x", number)
    assert [message.question for message in told(host)] == [WAITING_MAX, WAITING_MAX + 1, WAITING_MAX + 2]
    assert {message.reach for message in told(host)} == {Reach.UNKNOWN}
    host.world.run(2)
    assert len(told(host)) == WAITING_MAX + 3
    assert len(tries(host, "x")) == CHECK_PINGS


def test_a_flood_of_questions_costs_a_bounded_number_of_pings() -> None:
    names = [f"m{number}" for number in range(3 * CHECKS_MAX)]
    host = knowing(*names)
    host.hush()
    for name in names:
        asked(host, name)
    assert sum(len(tries(host, name)) for name in names) == CHECKS_MAX
    assert len(told(host)) == 2 * CHECKS_MAX


def test_an_ack_counts_only_from_the_one_that_was_pinged() -> None:
    host = knowing("x", "y")
    host.hush()
    asked(host, "x")
    [ping] = tries(host, "x")
    host.hears(endpoint_of("y"), Ack(ping.probe))
    host.hears(endpoint_of("x"), Ack(ping.probe + 1))
    assert told(host) == []
    host.hears(endpoint_of("x"), Ack(ping.probe))
    assert [message.reach for message in told(host)] == [Reach.ANSWERS]
    host.hears(endpoint_of("x"), Ack(ping.probe))
    assert len(told(host)) == 1


def test_the_largest_numbers_that_the_wire_allows_change_nothing() -> None:
    asker = questioner(*OTHERS, "x")
    asker.ask(Question(id_of("x"), ids("b", "c"), needed=2, silent_for=10 * SECOND))
    most = Reached(
        numbered(1), Reach.ANSWERS, (1 << 62) - 1, ids("b"), True, (1 << 48) - 1, (1 << 48) - 1, (1 << 31) - 1
    )
    asker.hears("b", most)
    [gathered] = asker.gathered
    assert not gathered.confirmed  # it says how long, and that the member answers
    assert gathered.views[0].silent_for == ((1 << 48) - 1) * NANOS_PER_MS
    host = asker.host
    asked(host, "x", (1 << 62) - 1)
    host.world.run(2)
    assert [message.question for message in told(host)] == [(1 << 62) - 1]
