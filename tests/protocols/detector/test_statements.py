"""Signed views: what a few of them prove to somebody who was not there, and everything that proves nothing."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from protocols.core import NANOS_PER_S
from protocols.detector.messages import QuestionId, Reach, Reached
from protocols.detector.statements import (
    ASKED_MAX,
    Asked,
    Question,
    ReachStatement,
    SignedReach,
    confirms,
    is_genuine,
    proves,
    received,
    signed,
)
from protocols.membership.member import State, precedence_of
from protocols.signing import Domain
from protocols.wire import decode_message, encode_message
from tests.protocols.detector.confirm_kit import Questioner, answers, ids, numbered, questioner, silent
from tests.protocols.harness import id_of
from tests.protocols.signing_kit import Stamp

VOTERS = ("b", "c", "d", "e", "f")
ASKER, LEFT_OUT, ABOUT = id_of("a"), id_of("g"), id_of("x")
LIFE = 4
QUESTION = Question(ABOUT, ids(*VOTERS), needed=3, silent_for=10 * NANOS_PER_S)
ASKED = Asked(QUESTION, ASKER, numbered(7), LIFE)
THIRD = Stamp(id_of("third"))
FOUND = Reached(
    numbered(7), Reach.SILENT, precedence_of(LIFE, 2, State.SUSPECT), ids("b"), True, 30_000, 12_000, pings=9
)


def said(by: str, found: Reached = FOUND, *, asker: str = ASKER, about: str = ABOUT, mesh: str = "test") -> SignedReach:
    """What `by` answers `asker`, as it comes out at the other end of the wire."""
    message = signed(Stamp(id_of(by), mesh), id_of(by), asker, about, found)
    heard = decode_message(encode_message(message))
    assert isinstance(heard, Reached)
    statement = received(id_of(by), asker, about, heard)
    assert statement is not None
    return statement


GOOD = [said(by) for by in VOTERS]


def test_enough_members_prove_it_to_anybody_and_fewer_do_not() -> None:
    assert proves(ASKED, GOOD, THIRD)
    assert proves(ASKED, GOOD[2:], THIRD)
    assert not proves(ASKED, GOOD[3:], THIRD)
    assert not proves(ASKED, [], THIRD)


@pytest.mark.parametrize(
    "useless",
    [
        said("d", asker=LEFT_OUT),
        said("d", about=LEFT_OUT),
        said("d", mesh="another"),
        said("d", replace(FOUND, question=numbered(6))),
        said("d", replace(FOUND, question=numbered(7, 2))),
        said("d", replace(FOUND, reach=Reach.ANSWERS)),
        said("d", replace(FOUND, reach=Reach.UNKNOWN)),
        said("d", replace(FOUND, silent_ms=9_999)),
        said("d", replace(FOUND, precedence=precedence_of(LIFE - 1, 2, State.DEAD))),
        said("g"),
        GOOD[0],
        replace(GOOD[0], statement=GOOD[2].statement),
        replace(GOOD[2], credential=GOOD[0].credential),
        replace(GOOD[2], signature=bytes(64)),
        replace(GOOD[2], signature=b""),
        replace(GOOD[2], signature=GOOD[2].signature[:-1]),
        replace(GOOD[2], credential=b"", signature=b""),
        replace(GOOD[2], statement=replace(GOOD[2].statement, silent_ms=99_000)),
        SignedReach(GOOD[2].statement, Stamp(ASKER).credential, Stamp(ASKER).sign(Domain.REACH, b"")),
    ],
    ids=[
        "to another asker",
        "about another member",
        "of another mesh",
        "of an earlier question",
        "of another life of the asker",
        "it answers",
        "not known",
        "not long enough",
        "of an earlier life of the member",
        "of somebody who was not asked",
        "a second time",
        "another's signature",
        "another's credential",
        "no signature of anybody",
        "an empty signature",
        "a signature that was cut short",
        "unsigned",
        "a longer silence than was signed",
        "signed by the asker in another's name",
    ],
)
def test_what_does_not_count(useless: SignedReach) -> None:
    assert not proves(ASKED, [*GOOD[:2], useless], THIRD)
    assert not proves(ASKED, [useless, *GOOD[:2]], THIRD)
    assert proves(ASKED, [*GOOD[:2], useless, GOOD[4]], THIRD)


def test_what_is_more_than_asked_for_counts() -> None:
    later = [said(by, replace(FOUND, precedence=precedence_of(LIFE + 1, 0, State.DEAD))) for by in VOTERS]
    assert proves(ASKED, later, THIRD)
    longer = [said(by, replace(FOUND, silent_ms=(1 << 48) - 1)) for by in VOTERS]
    assert proves(ASKED, longer, THIRD)
    assert proves(ASKED, [said(by, replace(FOUND, silent_ms=10_000)) for by in VOTERS], THIRD)


def test_it_is_the_checker_who_says_what_is_asked() -> None:
    """An asker who counts other members, or fewer, proves nothing to those who know better."""
    for other in (
        replace(QUESTION, needed=6),
        replace(QUESTION, needed=0),
        replace(QUESTION, of=ids("b", "c", "g")),
        replace(QUESTION, silent_for=13 * NANOS_PER_S),
        replace(QUESTION, about=id_of("y")),
    ):
        assert not proves(replace(ASKED, question=other), GOOD, THIRD)
    assert not proves(replace(ASKED, number=numbered(8)), GOOD, THIRD)
    assert not proves(replace(ASKED, asker=id_of("b")), GOOD, THIRD)
    assert not proves(replace(ASKED, life=LIFE + 1), GOOD, THIRD)
    assert proves(replace(ASKED, question=replace(QUESTION, of=ids("b", "c", "b", "d"))), GOOD, THIRD)


class Counting(Stamp):
    """Counts what it has to check."""

    checked = 0

    def verify(self, by: str, credential: bytes, domain: Domain, statement: bytes, signature: bytes) -> bool:
        self.checked += 1
        return super().verify(by, credential, domain, statement, signature)


def test_however_many_come_a_bounded_number_of_signatures_is_checked() -> None:
    verifier = Counting(id_of("third"))
    wrong = replace(GOOD[0], signature=bytes(64))
    assert not proves(ASKED, [wrong] * 1000 + [GOOD[0], *GOOD[1:3]], verifier)
    assert verifier.checked == 3
    crowd = tuple(f"m{number}" for number in range(ASKED_MAX + 5))
    verifier = Counting(id_of("third"))
    question = replace(QUESTION, of=ids(*crowd), needed=ASKED_MAX)
    assert proves(replace(ASKED, question=question), [said(each) for each in crowd], verifier)
    assert verifier.checked == ASKED_MAX
    assert not proves(replace(ASKED, question=replace(question, needed=ASKED_MAX + 1)), map(said, crowd), verifier)


FIELDS = ReachStatement.__struct_fields__


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_field_of_a_statement_can_be_changed(data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(FIELDS))
    value = getattr(GOOD[0].statement, field)
    match value:
        case bool():
            changed: object = not value
        case Reach():
            changed = data.draw(st.sampled_from(Reach))
        case int():
            changed = data.draw(st.integers(0, (1 << 48) - 1))
        case str():
            changed = data.draw(st.text(min_size=1, max_size=26))
        case _:
            changed = tuple(data.draw(st.lists(st.sampled_from((ASKER, ABOUT, LEFT_OUT)), max_size=8)))
    other = replace(GOOD[0], statement=replace(GOOD[0].statement, **{field: changed}))
    assert is_genuine(other, THIRD) == (changed == value)


@given(st.integers(min_value=0), st.integers(0, 7))
def test_a_flipped_bit_in_what_was_kept_is_noticed(place: int, bit: int) -> None:
    kept = bytearray(msgspec.msgpack.encode(GOOD[0]))
    kept[place % len(kept)] ^= 1 << bit
    try:
        damaged = msgspec.msgpack.decode(kept, type=SignedReach)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    assert damaged == GOOD[0] or not is_genuine(damaged, THIRD)


@given(
    needed=st.integers(0, 6),
    came=st.lists(
        st.tuples(st.sampled_from((*VOTERS, "g")), st.booleans(), st.booleans(), st.integers(8_000, 12_000)), max_size=9
    ),
)
@settings(max_examples=150, deadline=None)
def test_it_is_what_a_plain_count_gives(needed: int, came: list[tuple[str, bool, bool, int]]) -> None:
    statements = []
    first: dict[str, bool] = {}
    for by, genuine, same, silent_ms in came:
        found = replace(FOUND, question=numbered(7 if same else 8), silent_ms=silent_ms)
        each = said(by, found)
        statements.append(each if genuine else replace(each, signature=each.signature[::-1]))
        first.setdefault(by, genuine and same and silent_ms >= 10_000 and by in VOTERS)
    asked = replace(ASKED, question=replace(QUESTION, needed=needed))
    assert proves(asked, statements, THIRD) == (0 < needed <= sum(first.values()))


def test_a_statement_is_encoded_in_one_way_and_stays_within_its_bounds() -> None:
    largest = Reached((1 << 62) - 1, Reach.SILENT, (1 << 62) - 1, ("z" * 26,) * 8, True, (1 << 48) - 1, (1 << 48) - 1)
    message = signed(Stamp("z" * 26), "z" * 26, "y" * 26, "x" * 26, replace(largest, pings=(1 << 31) - 1))
    kept = received("z" * 26, "y" * 26, "x" * 26, message)
    assert kept is not None
    assert confirms(kept.statement, Asked(Question("x" * 26, ()), "y" * 26, (1 << 62) - 1, 0))
    assert len(msgspec.msgpack.encode(kept.statement)) < 400
    whole = msgspec.msgpack.encode(replace(kept, credential=bytes(1024)))
    assert len(whole) < 2048
    assert msgspec.msgpack.decode(whole, type=SignedReach) == replace(kept, credential=bytes(1024))
    # Read back from bytes, or through plain data, it is encoded to the same bytes: so it can be checked by anybody.
    again = msgspec.msgpack.encode(msgspec.convert(msgspec.to_builtins(kept.statement), ReachStatement))
    assert again == msgspec.msgpack.encode(kept.statement)


# While it is asked.


def test_what_was_gathered_proves_what_it_confirms() -> None:
    asker = questioner(*VOTERS, "x")
    asker.ask(replace(QUESTION, needed=2))
    asker.hears("b", silent(1, 10))
    asker.hears("c", answers(1))
    asker.hears("d", silent(1, 11))
    [gathered] = asker.gathered
    assert gathered.confirmed
    assert [each.statement.by for each in gathered.statements] == list(ids("b", "c", "d"))
    assert gathered.asked == Asked(replace(QUESTION, needed=2), ASKER, numbered(1), 1)
    assert proves(gathered.asked, gathered.statements, THIRD)
    assert not proves(gathered.asked, gathered.statements[1:], THIRD)


def test_a_view_without_a_signature_is_shown_and_confirms_nothing() -> None:
    asker = questioner(*VOTERS, "x")
    asker.ask(replace(QUESTION, of=ids("b", "c", "d"), needed=2))
    asker.hears_as_it_is("b", silent(1, 60))
    asker.hears("c", silent(1, 60))
    assert asker.gathered == []
    asker.hears_as_it_is("d", silent(1, 60))
    [gathered] = asker.gathered
    assert (gathered.confirmed, gathered.confirmations) == (False, 1)
    assert [view.signed is not None for view in gathered.views] == [False, True, False]
    assert [view.silent_for for view in gathered.views] == [60 * NANOS_PER_S] * 3
    assert [each.statement.by for each in gathered.statements] == [id_of("c")]
    assert (gathered.refused, gathered.unheard, asker.confirmer.refused) == ((), (), 0)


def test_a_view_with_a_wrong_signature_is_dropped_and_counted_and_its_sender_not_heard_again() -> None:
    asker = questioner(*VOTERS, "x")
    asker.ask(replace(QUESTION, of=ids("b", "c", "d", "e"), needed=2))
    fits = signed(Stamp(id_of("b")), id_of("b"), ASKER, ABOUT, silent(1, 60))
    asker.hears_as_it_is("b", replace(fits, silent_ms=99_000))
    for name in ("c", "c", "b"):
        asker.hears_as_it_is(name, fits)  # it is b's, who had his say
    assert (asker.gathered, asker.confirmer.refused) == ([], 2)
    asker.hears("d", silent(1, 60))
    asker.hears_as_it_is("e", replace(fits, credential=b""))
    [gathered] = asker.gathered
    assert (gathered.confirmed, gathered.refused, gathered.unheard) == (False, ids("b", "c", "e"), ())
    assert [view.by for view in gathered.views] == [id_of("d")]
    assert asker.confirmer.refused == 3


def test_an_answer_to_one_question_is_none_to_the_next() -> None:
    asker = questioner(*VOTERS, "x", "y")
    asker.ask(replace(QUESTION, of=ids("b", "c"), needed=1))
    first = signed(Stamp(id_of("b")), id_of("b"), ASKER, ABOUT, silent(1, 60))
    asker.hears_as_it_is("b", first)
    asker.ask(replace(QUESTION, of=ids("b", "c"), needed=1))
    asker.hears_as_it_is("b", replace(first, question=numbered(2)))
    asker.ask(replace(QUESTION, about=id_of("y"), of=ids("b", "c"), needed=1))
    asker.hears_as_it_is("b", replace(first, question=numbered(3)))
    assert len(asker.gathered) == 1
    assert asker.confirmer.refused == 2


def test_nobody_checks_a_signature_that_nobody_asked_for() -> None:
    verifier = Counting(ASKER)
    asker = Questioner(questioner(*VOTERS, "x").host, verifier)
    asker.ask(replace(QUESTION, of=ids("b", "c"), needed=2))
    for question in (1, 2, 3):
        asker.hears("d", silent(question, 60))
    asker.hears("b", silent(2, 60))
    assert verifier.checked == 0
    for _ in range(3):
        asker.hears("b", silent(1, 60))
    assert verifier.checked == 1


# Older versions.


class OldReached(Struct, frozen=True, array_like=True, tag="reached"):
    """`Reached` before it was signed."""

    question: QuestionId
    reach: Reach
    precedence: int = 0
    accusers: tuple[str, ...] = ()
    has_answered: bool = False
    answered_ms: int = 0
    silent_ms: int = 0
    pings: int = 0


def test_older_and_newer_read_each_other() -> None:
    newer = signed(Stamp(id_of("b")), id_of("b"), ASKER, ABOUT, FOUND)
    _, older = msgspec.msgpack.decode(encode_message(newer), type=tuple[int, OldReached])
    assert msgspec.structs.astuple(older) == msgspec.structs.astuple(newer)[:8]
    heard = decode_message(msgspec.msgpack.encode((1, older)))
    assert heard == FOUND
    assert isinstance(heard, Reached)
    assert received(id_of("b"), ASKER, ABOUT, heard) is None
