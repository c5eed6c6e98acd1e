"""Queries: who is asked, who answers, how often, and until when."""

from __future__ import annotations

import msgspec
import pytest

from protocols.config import HandlerSpec
from protocols.core import Refused
from protocols.limits import HANDLERS_MAX, QUERY_ANSWER_BYTES_MAX
from protocols.membership.event_views import (
    AnswerQuery,
    AskQuery,
    EventList,
    EventView,
    QueryAnswered,
    QueryAnswers,
    ReadEvents,
)
from protocols.membership.member import State
from protocols.membership.messages import Gossip
from protocols.membership.queries import ASKED_AGAIN_MAX, OPEN_MAX, SEEN_MAX
from protocols.membership.rumours import QueryAnswer, QueryAsk, UserQuery
from protocols.standing import BUILT_IN
from tests.protocols.harness import Host, World, alive, config_of, endpoint_of, id_of


def query(origin: str, number: int = 1, *, name: str = "ping", generation: int = 1, payload: str = "") -> UserQuery:
    return UserQuery(id_of(origin), generation, number, 5_000, name, payload)


def ask(host: Host, name: str, payload: str = "", *, timeout_ms: int = 5_000) -> QueryAnswers:
    answers = host.ask(AskQuery(name, payload, timeout_ms))
    assert isinstance(answers, QueryAnswers), answers
    return answers


def shown(host: Host) -> list[EventView]:
    listed = host.ask(ReadEvents(limit=512))
    assert isinstance(listed, EventList)
    return list(listed.events)


def met(*names: str) -> Host:
    host = World().add("a", config_of("a")).start()
    host.world.run(0.1)
    host.hears(endpoint_of("b"), Gossip(tuple(alive(name) for name in names)))
    return host


def test_every_live_member_answers_what_it_knows_of_itself() -> None:
    world = World()
    hosts = world.mesh("a", "b", "c", "d", "e")
    began = world.now
    answers = ask(hosts[1], "version")
    assert (answers.answered, answers.asked, answers.silent) == (5, 5, ())
    assert sorted((each.node_name, each.answer) for each in answers.answers) == [(name, "0.1.0") for name in "abcde"]
    assert world.now - began < 3e9  # it does not wait until the time is over
    world.run(30)
    assert all(not shown(host) for host in hosts)  # nobody is asked what the node has answered


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_built_in_fits_an_answer_whatever_the_node_is(name: str) -> None:
    handlers = tuple(HandlerSpec('ü"' * 31 + f"{number:02}") for number in range(HANDLERS_MAX))
    host = World().add("a", config_of("a", handlers=handlers)).start()
    host.world.run(3700)
    (answer,) = ask(host, name).answers
    assert 0 < len(answer.answer.encode()) <= QUERY_ANSWER_BYTES_MAX
    if name in ("handlers", "status"):
        assert msgspec.json.decode(answer.answer)


def test_answers_past_the_limit_are_counted_and_not_kept() -> None:
    world = World()
    a, *_ = world.mesh("a", "b", "c", "d")
    answers = a.ask(AskQuery("ping", limit=2))
    assert isinstance(answers, QueryAnswers)
    assert (len(answers.answers), answers.answered, answers.asked) == (2, 4, 4)


def test_who_is_down_is_counted_and_named_as_silent() -> None:
    world = World()
    a, _, c, _ = world.mesh("a", "b", "c", "d")
    c.crash()
    answers = ask(a, "ping")
    assert (answers.answered, answers.asked, answers.silent) == (3, 4, ("c",))
    world.run_until(lambda: a.sees("c") is State.DEAD)
    assert ask(a, "ping").asked == 3


@pytest.mark.parametrize("seed", range(5))
def test_who_was_not_reached_is_asked_again_to_its_face(seed: int) -> None:
    world = World(seed)
    hosts = world.mesh("a", "b", "c", "d", "e", "f")
    lost: dict[str, int] = {}

    def lets_through(source: Host, target: Host, message: object) -> bool:
        if isinstance(message, QueryAnswer):
            lost[source.name] = lost.get(source.name, 0) + 1
            return lost[source.name] > 1
        return True

    world.lets_through = lets_through
    answers = ask(hosts[0], "ping")
    assert (answers.answered, answers.asked) == (6, 6)
    assert all(count == 2 for count in lost.values())
    assert len(lost) == 5
    assert min(each.after_ms for each in answers.answers if each.node_name != "a") >= 1_250


def test_of_many_that_are_silent_all_are_asked_again_in_turn() -> None:
    names = [f"p{number}" for number in range(150)]
    host = World().add("a", config_of("a")).start()
    host.world.run(0.1)
    for start in range(0, len(names), 20):
        host.hears(endpoint_of("p0"), Gossip(tuple(alive(name) for name in names[start : start + 20])))
    host.request(AskQuery("lunch?", timeout_ms=8_000))
    host.world.run(2.1)
    assert ASKED_AGAIN_MAX - 1 <= len(host.said_of(QueryAsk)) <= ASKED_AGAIN_MAX  # one of them is the asker itself
    host.world.run(2)
    assert all(host.said_of(QueryAsk, name) for name in names)


@pytest.mark.parametrize("seed", range(5))
def test_nearly_everybody_is_counted_though_a_third_of_the_packets_is_lost(seed: int) -> None:
    world = World(seed)
    hosts = world.mesh(*"abcdefghij")
    world.loss = 0.3
    assert ask(hosts[0], "ping", timeout_ms=10_000).answered >= 9


def test_users_answer_for_their_node_what_it_does_not_know_itself() -> None:
    world = World()
    a, b, c = world.mesh("a", "b", "c")
    request = a.request(AskQuery("lunch?", "at noon", 20_000))
    world.run(3)
    (seen,) = shown(b)
    assert (seen.kind, seen.name, seen.payload, seen.origin_name) == ("query", "lunch?", "at noon", "a")
    assert 16 < seen.answer_within_s < 20
    assert isinstance(b.ask(AnswerQuery(seen.query_id, "yes")), QueryAnswered)
    again = b.ask(AnswerQuery(seen.query_id, "no"))
    assert isinstance(again, Refused)
    assert again.code == "answered"
    assert isinstance(a.ask(AnswerQuery(shown(a)[0].query_id, "me too")), QueryAnswered)
    world.run_until(lambda: request in a.outcomes)
    outcome = a.outcomes[request]
    assert isinstance(outcome, QueryAnswers)
    assert {(each.node_name, each.answer) for each in outcome.answers} == {("b", "yes"), ("a", "me too")}
    assert (outcome.answered, outcome.asked, outcome.silent) == (2, 3, ("c",))
    world.run(2)
    late = c.ask(AnswerQuery(seen.query_id, "late"))
    assert isinstance(late, Refused)
    assert late.code == "query_over"


def test_a_reader_that_waits_is_told_as_soon_as_there_is_something() -> None:
    world = World()
    a, b = world.mesh("a", "b")
    began = world.now
    request = b.request(ReadEvents(wait_ms=50_000))
    idle = b.request(ReadEvents(wait_ms=1_000))
    world.run(2)
    nothing = b.outcomes[idle]
    assert isinstance(nothing, EventList)
    assert not nothing.events
    a.request(AskQuery("lunch?"))
    world.run_until(lambda: request in b.outcomes)
    first = b.outcomes[request]
    assert isinstance(first, EventList)
    assert len(first.events) == 1
    assert world.now - began < 5e9
    after = b.ask(ReadEvents(first.cursor))
    assert isinstance(after, EventList)
    assert after.events == ()
    assert after.cursor == first.cursor
    assert not after.more
    assert not after.missed


def test_cursors_of_an_earlier_life_read_from_the_beginning_and_nonsense_is_refused() -> None:
    host = met("b")
    for number in range(520):
        host.hears(endpoint_of("b"), Gossip((), (query("b", number, name="lunch?"),)))
        host.world.run(1)
    first = host.ask(ReadEvents("9-4", limit=2))
    assert isinstance(first, EventList)
    assert [each.number for each in first.events] == [8, 9]
    assert first.missed
    assert first.more
    second = host.ask(ReadEvents(first.cursor, limit=2))
    assert isinstance(second, EventList)
    assert [each.number for each in second.events] == [10, 11]
    assert not second.missed
    for cursor in ("x", "1-", "-1", "1-x", "1--2"):
        refused = host.ask(ReadEvents(cursor))
        assert isinstance(refused, Refused)
        assert refused.code == "bad_cursor"


@pytest.mark.parametrize(("name", "payload", "code"), [("", "", "bad_name"), ("n", "ü" * 256, "too_large")])
def test_what_cannot_be_asked_is_refused(name: str, payload: str, code: str) -> None:
    refused = met("b").ask(AskQuery(name, payload))
    assert isinstance(refused, Refused)
    assert refused.code == code


def test_queries_under_way_are_bounded() -> None:
    host = met("b")
    for _ in range(OPEN_MAX):
        host.request(AskQuery("lunch?"))
    refused = host.ask(AskQuery("lunch?"))
    assert isinstance(refused, Refused)
    assert refused.code == "busy"
    host.world.run(6)
    assert len(host.outcomes) == OPEN_MAX + 1


def test_a_query_is_answered_once_however_often_it_is_heard_and_again_only_to_the_asker() -> None:
    host = met("b", "z")
    for _ in range(5):
        host.hears(endpoint_of("z"), Gossip((), (query("b"),)))
    assert host.said_of(QueryAnswer) == [QueryAnswer(1, 1, "pong")]
    host.hears(endpoint_of("b"), QueryAsk(query("b")))
    assert host.said_of(QueryAnswer, "b") == [QueryAnswer(1, 1, "pong")] * 2


@pytest.mark.parametrize(
    "absurd", [query("x"), query("b", generation=9), query("b", payload="ü" * 400), query("a", number=77)]
)
def test_queries_of_strangers_other_lives_or_absurd_size_are_not_taken_in(absurd: UserQuery) -> None:
    host = met("b", "z")
    host.hears(endpoint_of("z"), Gossip((), (absurd,)))
    host.hears(endpoint_of("z"), QueryAsk(absurd))
    host.world.run(1)
    assert not host.said_of(QueryAnswer)
    assert not shown(host)
    assert all(absurd not in gossip.rumours for gossip in host.said_of(Gossip))


def test_a_flood_of_queries_is_answered_up_to_a_bound_and_the_bound_passes() -> None:
    host = met("b")
    for number in range(SEEN_MAX + 50):
        host.hears(endpoint_of("b"), Gossip((), (query("b", number),)))
    assert len(host.said_of(QueryAnswer)) == SEEN_MAX
    mine = host.ask(AskQuery("ping"))
    assert isinstance(mine, Refused)  # rather than nobody being asked
    assert mine.code == "busy"
    host.world.run(6)
    host.hears(endpoint_of("b"), Gossip((alive("b", incarnation=1),), (query("b", 9_999),)))
    assert host.said_of(QueryAnswer)[-1].number == 9_999


def test_answers_that_nobody_asked_for_count_for_nothing() -> None:
    host = met("b", "z")
    request = host.request(AskQuery("lunch?"))
    host.hears(endpoint_of("b"), QueryAnswer(2, 1, "of another life"))
    host.hears(endpoint_of("b"), QueryAnswer(1, 7, "to another query"))
    host.hears(endpoint_of("x"), QueryAnswer(1, 1, "of a stranger"))
    host.hears(endpoint_of("b"), QueryAnswer(1, 1, "ü" * 600))
    host.hears(endpoint_of("b"), QueryAnswer(1, 1, "yes"))
    host.hears(endpoint_of("b"), QueryAnswer(1, 1, "yes, twice"))
    host.world.run(6)
    outcome = host.outcomes[request]
    assert isinstance(outcome, QueryAnswers)
    assert [each.answer for each in outcome.answers] == ["yes"]
    assert outcome.answered == 1
