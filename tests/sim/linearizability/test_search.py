"""The checker against histories whose answer is known: by hand, by construction, and by trying every order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from random import Random

import pytest
from msgspec.structs import replace

from sim.linearizability import (
    Answer,
    History,
    HistoryError,
    KeyValue,
    Lock,
    Model,
    Operation,
    Read,
    Write,
    check,
    smallest_part,
)
from sim.linearizability.models import Command, Value
from sim.linearizability.search import search
from tests.sim.linearizability.histories import (
    explained_by_some_order,
    guesses,
    random_command,
    spoiled,
    told,
    truthful,
)

HELD, VIOLATED = Answer.HELD, Answer.VIOLATED

BY_HAND = [
    # One after the other.
    ("A w1 0-1; A r 2-3 1", HELD),
    ("A w1 0-1; A r 2-3 n", VIOLATED),
    ("A r 0-1 n", HELD),
    ("A r 0-1 1", VIOLATED),
    ("A w1 0-1; B w2 2-3; A r 4-5 2", HELD),
    ("A w1 0-1; B w2 2-3; A r 4-5 1", VIOLATED),
    ("A w1 0-1; A d 2-3 yes; A r 4-5 n", HELD),
    ("A w1 0-1; A d 2-3 no", VIOLATED),
    ("A d 0-1 no; A d 2-3 no", HELD),
    ("A w1 0-1; A d 2-3 yes; A d 4-5 yes", VIOLATED),
    ("A cn>1 0-1 yes; A c1>2 2-3 yes; A r 4-5 2", HELD),
    ("A cn>1 0-1 yes; B cn>2 2-3 yes", VIOLATED),
    ("A cn>1 0-1 yes; B cn>2 2-3 no; B r 4-5 1", HELD),
    # At the same time.
    ("A w1 0-10; B r 2-4 1", HELD),
    ("A w1 0-10; B r 2-4 n", HELD),
    ("A w1 0-10; B r 2-4 2", VIOLATED),
    ("A w1 0-10; B r 2-4 1; C r 5-6 n", VIOLATED),  # a new value, once seen, is not unseen
    ("A w1 0-10; B r 2-4 n; C r 5-6 1", HELD),
    ("A w1 0-10; B r 2-6 1; C r 3-5 n", HELD),
    ("A w1 0-10; B w2 0-10; C r 11-12 1; D r 13-14 2", VIOLATED),
    ("A w1 0-10; B w2 0-10; C r 11-12 1; D r 13-14 1", HELD),
    ("A w1 0-10; B w2 5-15; C r 11-12 2; C r 13-14 1", VIOLATED),
    ("A w1 0-10; B w2 5-15; C r 11-12 1; C r 13-14 2", HELD),
    ("A cn>1 0-10 yes; B cn>2 0-10 yes", VIOLATED),
    ("A cn>1 0-10 yes; B cn>2 0-10 no", HELD),
    ("A cn>1 0-10 no; B cn>2 0-10 no", VIOLATED),
    ("A cn>1 0-10 yes; B c1>2 0-10 yes; C r 11-12 2", HELD),
    ("A cn>1 0-10 yes; B c1>2 0-10 yes; C r 11-12 1", VIOLATED),
    ("A w1 0-5; B r 5-6 n", HELD),  # a return and a call at one instant overlap
    ("A w1 0-5; B r 6-7 n", VIOLATED),
    ("A w1 0-100; B w2 1-3; B r 4-6 2; C r 7-9 1; D r 10-12 2", VIOLATED),
    ("A w1 0-100; B w2 1-3; B r 4-6 2; C r 7-9 1; D r 10-12 1", HELD),
    ("A w1 0-1; B c1>2 2-20 yes; C c1>3 2-20 yes", VIOLATED),
    ("A w1 0-1; B c1>2 2-20 yes; C c2>3 2-20 yes; D c3>1 2-20 yes; E r 21-22 1", HELD),
    ("A w1 0-1; B d 2-20 yes; C d 2-20 yes", VIOLATED),
    ("A w1 0-1; B d 2-20 yes; C d 2-20 no", HELD),
    # Python takes 1 for True; a store does not.
    ("A w1 0-1; A r 2-3 yes", VIOLATED),
    ("A wyes 0-1; A r 2-3 1", VIOLATED),
    ("A w1 0-1; B cyes>2 2-3 yes", VIOLATED),
    ("A w1 0-1; B d 2-3 1", VIOLATED),
    ("A w1 0-10; B wyes 0-10; C r 11-12 1", HELD),
    ("A w1 0-10; B wyes 0-10; C r 11-12 yes", HELD),
    ("A w1 0-1; B wyes 2-?; C r 3-4 yes", HELD),
    # Without an answer.
    ("A w1 0-?; B r 5-6 1", HELD),
    ("A w1 0-?; B r 5-6 n", HELD),
    ("A w1 0-?; B r 5-6 n; B r 1000-1001 1", HELD),  # it takes effect when nobody waits for it any more
    ("A w1 0-?; B r 5-6 1; B r 7-8 n", VIOLATED),
    ("A w1 10-?; B r 5-6 1", VIOLATED),  # but never before it was asked for
    ("A w1 0-?; A w2 1-?; B r 5-6 2; B r 7-8 1; B r 9-10 2", VIOLATED),
    ("A w1 0-?; C w2 1-?; C w2 2-?; B r 5-6 2; B r 7-8 1; B r 9-10 2", HELD),
    ("A cn>1 0-?; B cn>2 5-6 no", HELD),
    ("A cn>1 0-?; B cn>2 5-6 yes; C r 7-8 2", HELD),
    ("A cn>1 0-?; B cn>2 5-6 yes; C r 7-8 1", VIOLATED),
    ("A w1 0-1; C d 2-?; B r 5-6 1; B r 7-8 n; B r 9-10 n", HELD),
    ("A w1 0-1; C d 2-?; B r 5-6 n; B r 7-8 1", VIOLATED),
    # Several keys: each by itself.
    ("A x:w1 0-1; A y:w2 2-3; B y:r 4-5 2; B x:r 6-7 1", HELD),
    ("A x:w1 0-1; A y:w2 2-3; B y:r 4-5 1; B x:r 6-7 1", VIOLATED),
]

LOCKS_BY_HAND = [
    ("A a 0-1 1; A f1 2-3 yes; B a 4-5 2", HELD),
    ("A a 0-1 1; B a 2-3 2", VIOLATED),
    ("A a 0-1 1; B a 2-3 n; A f1 4-5 yes; B a 6-7 2", HELD),
    ("A a 0-1 1; A f1 2-3 yes; B a 4-5 1", VIOLATED),  # a token given twice fences nobody
    ("A a 0-1 1; A f1 2-3 yes; B a 4-5 3", VIOLATED),
    ("A a 0-1 1; B f7 2-3 yes", VIOLATED),
    ("A a 0-1 1; B f7 2-3 no", HELD),
    ("A a 0-10 1; B a 0-10 1", VIOLATED),
    ("A a 0-10 1; B a 0-10 n", HELD),
    ("A a 0-10 1; B a 0-10 2; A f1 0-10 yes", HELD),
    ("A a 0-?; B a 5-6 n", HELD),
    ("A a 0-?; B a 5-6 1", HELD),
    ("A a 0-?; B a 5-6 2", VIOLATED),
    ("A a 0-1 1; A f1 2-?; B a 5-6 2", HELD),
    ("A a 0-1 1; A f1 2-?; B a 5-6 n; B a 7-8 2; A f1 9-10 yes", VIOLATED),
]


@pytest.mark.parametrize(("text", "answer"), BY_HAND)
def test_key_value_histories_made_by_hand(text: str, answer: Answer) -> None:
    assert check(told(text), KeyValue()).answer is answer


@pytest.mark.parametrize(("text", "answer"), LOCKS_BY_HAND)
def test_lock_histories_made_by_hand(text: str, answer: Answer) -> None:
    assert check(told(text), Lock()).answer is answer


@pytest.mark.parametrize(("text", "answer"), [*BY_HAND, *LOCKS_BY_HAND])
def test_the_oracle_of_these_tests_agrees_with_the_hand(text: str, answer: Answer) -> None:
    model: Model[Hashable] = Lock() if " a " in text else KeyValue()  # type: ignore[assignment]  # states differ
    by_key: dict[str, list[object]] = {}
    operations = told(text)
    for key in dict.fromkeys(each.command.key for each in operations):
        by_key[key] = [explained_by_some_order([each for each in operations if each.command.key == key], model)]
    assert all(found for (found,) in by_key.values()) is (answer is HELD)


@pytest.mark.parametrize("locks", [False, True])
def test_it_agrees_with_trying_every_order(locks: bool) -> None:
    model: Model[Hashable] = Lock() if locks else KeyValue()  # type: ignore[assignment]  # states differ, both hash
    answers: Counter[Answer] = Counter()
    for seed in range(600):
        draw = Random(seed)
        operations = guesses(draw, draw.randrange(1, 7), locks=locks)
        verdict = check(operations, model)
        answers[verdict.answer] += 1
        assert (verdict.answer is HELD) == explained_by_some_order(operations, model), f"seed {seed}: {operations}"
    assert min(answers[HELD], answers[VIOLATED]) > 50


@pytest.mark.parametrize("locks", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_what_a_real_object_did_can_be_explained(seed: int, locks: bool) -> None:
    draw = Random(seed)
    operations = truthful(draw, draw.randrange(20, 120), draw.randrange(2, 8), locks=locks, keys=("x", "y"))
    model: Model[Hashable] = Lock() if locks else KeyValue()  # type: ignore[assignment]  # states differ, both hash
    assert check(operations, model).answer is HELD


@pytest.mark.parametrize("seed", range(20))
def test_one_wrong_answer_among_many_is_found(seed: int) -> None:
    draw = Random(seed)
    operations = truthful(draw, 80, 4, locks=False, keys=("x", "y", "z"))
    for broken in list(spoiled(draw, operations))[:5]:
        assert check(broken, KeyValue()).answer is VIOLATED


@pytest.mark.parametrize("seed", range(20))
def test_the_order_that_is_found_explains_everything_that_was_answered(seed: int) -> None:
    operations = truthful(Random(seed), 40, 4, locks=False)
    answer, order, _ = search(operations, KeyValue(), (None,))
    assert answer is HELD
    assert {each.number for each in order} >= {each.number for each in operations if not each.open}
    state: Value = None
    for position, each in enumerate(order):
        state, result = KeyValue().step(state, each.command)
        assert each.open or result == each.result
        assert all(later.returned_at >= each.called_at for later in order[position + 1 :])


def test_a_search_that_takes_too_long_is_given_up_and_says_so() -> None:
    many = "; ".join(f"C{number} w{number} 0-1000" for number in range(14)) + "; X r 1001-1002 99"
    hopeless = told(many)
    verdict = check(hopeless, KeyValue(), steps_max=1000)
    assert verdict.answer is Answer.GAVE_UP
    assert verdict.steps <= 1001
    assert check(hopeless, KeyValue(), steps_max=1000).steps == verdict.steps


def test_a_violation_of_one_key_counts_though_the_search_gave_up_on_another() -> None:
    many = "; ".join(f"C{number} a:w{number} 0-1000" for number in range(14)) + "; X a:r 1001-1002 99"
    verdict = check(told(many + "; A b:r 0-1 7"), KeyValue(), steps_max=1000)
    assert (verdict.answer, verdict.key) == (VIOLATED, "b")


def test_a_long_history_of_busy_clients_is_cheap() -> None:
    operations = truthful(
        Random(1), 4000, 10, locks=False, lost=0.0, keys=tuple(f"key{number}" for number in range(20))
    )
    verdict = check(operations, KeyValue())
    assert verdict.answer is HELD
    assert verdict.steps < 40 * len(operations)


# Collecting.


def test_a_history_is_collected_as_it_happens() -> None:
    history = History()
    write = history.call("A", 0, Write("x", 1))
    read = history.call("B", 5, Read("x"))
    history.returned(read, 7, 1)
    history.lost(write)
    late = history.call("A", 8, Write("x", 2))
    history.refused(late)
    pending = history.call("B", 9, Write("x", 3))
    first, second, third = history.operations
    assert (first.number, first.open, second.result, third.number, third.open) == (write, True, 1, pending, True)
    assert check(history.operations, KeyValue()).answer is HELD


def test_at_one_instant_what_was_collected_first_came_first() -> None:
    """A client that goes on as soon as it has its answer calls at the instant of its return."""
    history = History()
    write = history.call("A", 0, Write("x", 1))
    history.returned(write, 5, None)
    read = history.call("B", 5, Read("x"))
    history.returned(read, 5, None)
    verdict = check(history.operations, KeyValue())
    assert verdict.answer is VIOLATED
    assert smallest_part(verdict).operations == history.operations[1:]
    unordered = [Operation(each.number, each.client, each.command, each.called_at, 5) for each in history.operations]
    assert check(unordered, KeyValue()).answer is HELD


@pytest.mark.parametrize("seed", range(40))
def test_what_a_real_object_did_at_few_instants_can_be_explained(seed: int) -> None:
    draw, history, now = Random(seed), History(), 0
    state: dict[str, Value] = {"x": None, "y": None}
    under_way: list[tuple[int, Command, Value, bool]] = []
    for _ in range(60):
        now += draw.random() < 0.2
        step = draw.randrange(3)
        if step == 0:
            command = random_command(draw, "c", locks=False, keys=("x", "y"))
            under_way.append((history.call(f"c{draw.randrange(4)}", now, command), command, None, False))
        elif under_way:
            number, command, result, done = under_way.pop(draw.randrange(len(under_way)))
            if not done:
                state[command.key], result = KeyValue().step(state[command.key], command)
                under_way.append((number, command, result, True))
            else:
                history.returned(number, now, result)
    assert check(history.operations, KeyValue()).answer is HELD
    answered = [each for each in history.operations if isinstance(each.command, Read) and not each.open]
    wrong = [replace(each, result=99) if each is answered[-1] else each for each in history.operations]
    assert check(wrong, KeyValue()).answer is VIOLATED


def test_a_history_that_makes_no_sense_is_refused() -> None:
    history = History()
    write = history.call("A", 10, Write("x", 1))
    with pytest.raises(HistoryError, match="before its call"):
        history.returned(write, 9, None)
    with pytest.raises(HistoryError, match="not under way"):
        history.lost(write)
    with pytest.raises(HistoryError, match="never called"):
        history.returned(99, 9, None)


def test_a_command_of_another_model_is_an_error_of_the_caller() -> None:
    with pytest.raises(TypeError, match="knows no Acquire"):
        check(told("A a 0-1 1"), KeyValue())
