"""Quorum confirmation among restarts and sleepers: what was true in an earlier life, or long ago, confirms nothing."""

from __future__ import annotations

import msgspec

from protocols.core import NANOS_PER_MS, Send
from protocols.detector.confirm import CHECK_SEQ_BASE, CHECKS_MAX, COUNT_BITS
from protocols.detector.evidence import GAP_MAX
from protocols.detector.messages import AskReach, Reach, Reached
from protocols.detector.statements import Question
from protocols.membership.member import GENERATION_MAX
from protocols.membership.messages import Ack, Gossip, Ping
from protocols.wire import decode_message, encode_message
from tests.protocols.detector.confirm_kit import (
    OTHERS,
    SECOND,
    Questioner,
    asked,
    bereaved,
    ids,
    numbered,
    pair,
    questioner,
    silent,
    told,
    tries,
)
from tests.protocols.harness import alive, endpoint_of, id_of


def test_an_answer_to_an_earlier_life_of_the_asker_is_none() -> None:
    asker = questioner(*OTHERS, "x")
    asker.host.restart()
    asker.host.world.run(0.002)
    asker = Questioner(asker.host)
    asker.host.hears(endpoint_of("z"), Gossip(tuple(alive(name) for name in (*OTHERS, "x"))))
    asker.ask(Question(id_of("x"), ids("b", "c"), needed=1))
    asker.hears("b", silent(1, 100))  # to the first question of the first life, perhaps about another member
    assert asker.gathered == []
    said = [sent.message for sent in asker.outbox.drain() if isinstance(sent, Send)]
    [number] = {message.question for message in said if isinstance(message, AskReach)}
    assert number == numbered(1, life=2)
    asker.hears("b", msgspec.structs.replace(silent(1, 100), question=number))
    assert [gathered.confirmed for gathered in asker.gathered] == [True]


def test_numbers_of_any_life_fit_the_wire() -> None:
    largest = numbered((1 << COUNT_BITS) - 1, GENERATION_MAX)
    for message in (AskReach(largest, id_of("x")), Ping(CHECK_SEQ_BASE + largest)):
        assert decode_message(encode_message(message)) == message


def test_a_silence_of_an_earlier_life_of_the_member_confirms_nothing() -> None:
    asker = questioner(*OTHERS)
    asker.host.hears(endpoint_of("z"), Gossip((alive("x", 5),)))
    asker.ask(Question(id_of("x"), ids(*OTHERS), needed=2, silent_for=10 * SECOND))
    for name, life in (("b", 4), ("c", 5), ("d", 1), ("e", 6)):
        assert asker.gathered == []
        asker.hears(name, silent(1, 60, life=life))
    [gathered] = asker.gathered
    assert (gathered.confirmed, gathered.confirmations, gathered.asked.life) == (True, 2, 5)


def test_who_slept_through_a_check_begins_it_anew() -> None:
    _, host, _ = pair()
    asked(host, "b")
    [ping] = tries(host, "b")
    # It sleeps for twenty seconds. On waking up timers come first; the answer lies in its socket.
    host.sleep(20)
    assert told(host) == []
    host.hears(endpoint_of("b"), Ack(ping.probe))
    assert [message.reach for message in told(host)] == [Reach.ANSWERS]


def test_who_slept_tells_no_silence_that_lasted_while_it_slept() -> None:
    world, host, other = pair()
    other.crash()
    asked(host, "b")
    host.sleep(20)
    world.run_until(lambda: bool(told(host)), 3)
    assert (told(host)[0].reach, told(host)[0].silent_ms) == (Reach.SILENT, 1000)


def test_an_old_silence_is_told_as_unknown_where_there_is_no_place_to_try() -> None:
    world, host, _ = bereaved()
    host.hears(endpoint_of("z"), Gossip(tuple(alive(f"m{number}") for number in range(CHECKS_MAX))))

    def asked_while_busy(number: int) -> Reached:
        for each in range(CHECKS_MAX):
            asked(host, f"m{each}", 1000 + each)
        asked(host, "b", number)
        return told(host)[-1]

    world.run(5)
    known = host.node.membership.evidence.silence(id_of("b"))
    assert known is not None
    assert known.last < world.now  # who is dead is not probed
    lately = asked_while_busy(1)
    assert (lately.question, lately.reach, lately.silent_ms) == (
        1,
        Reach.SILENT,
        (known.last - known.since) // NANOS_PER_MS,
    )
    world.run(GAP_MAX / SECOND)
    late = asked_while_busy(2)
    assert (late.question, late.reach, late.silent_ms) == (2, Reach.UNKNOWN, 0)
