"""Signed views of whether a member can be reached: what exactly is signed, and what a few of them prove together.

A view that comes over a stream convinces whoever asked for it. These convince anybody: Raft's leader puts them into the
ledger as the grounds of an eviction, and every follower checks for itself, with `proves`, what `confirm.py` found.

- A statement says everything by itself: who has asked whom, under which number, about whom, and what is the answer. The
  mesh is in the signature. So it fits one question and no other: neither another member's, nor a later one of the same
  asker, whose numbers grow from question to question and from life to life. Whoever remembers the last number that he
  has seen of an asker refuses what was put by.
- It is encoded in one way only, as the MessagePack array of its fields, and is built anew from them to be checked. Its
  fields are fixed for ever (`signing.py`).
- What others have signed is believed of nobody but themselves: it is their word, and liars sign lies. Only a number of
  members that must not all lie makes a proof, each counted once.
- A member of an older version does not sign. Its view is shown, and confirms nothing: half of a mesh that is being
  upgraded could not check the grounds that the other half acts upon. Until a majority is upgraded evictions wait, which
  is safe: a member that is dead stays in the ring map a little longer, and its work is elsewhere all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from protocols.core import NANOS_PER_MS, NANOS_PER_S, Instant, NodeId
from protocols.detector.messages import Accusers, Credential, Millis, Pings, QuestionId, Reach, Reached
from protocols.membership.member import Id, Precedence, generation_of
from protocols.signing import SIGNATURE_BYTES, Domain, Signer, Verifier

ASKED_MAX = 32
ANSWER_WITHIN = 3 * NANOS_PER_S
"""What a question gives everybody, by default: a check, a stream that has to be dialled first, and room."""


class Question(Struct, frozen=True):
    """Do at least `needed` of the members `of` confirm that `about` is out of reach for at least `silent_for`?

    With `needed` 0 nothing is to be confirmed: it ends when all have answered. Times are nanoseconds.
    """

    about: NodeId
    of: tuple[NodeId, ...]
    needed: int = 0
    silent_for: Instant = 0
    within: Instant = ANSWER_WITHIN

    @property
    def asked(self) -> tuple[NodeId, ...]:
        """Who is asked: the members `of`, each once, and at most `ASKED_MAX`."""
        return tuple(dict.fromkeys(self.of))[:ASKED_MAX]


class Asked(Struct, frozen=True):
    """A question as it was put: by whom, under which number, and about which life of the member.

    `life` is its generation as the asker knew it at the end; 0: it knew no such member.
    """

    question: Question
    asker: NodeId
    number: int
    life: int


class ReachStatement(Struct, frozen=True, array_like=True, gc=False):
    """What is signed: `by` answers `asker`. The other fields are those of `Reached`, and in the same units."""

    by: Id
    asker: Id
    question: QuestionId
    about: Id
    reach: Reach
    precedence: Precedence
    accusers: Accusers
    has_answered: bool
    answered_ms: Millis
    silent_ms: Millis
    pings: Pings


class SignedReach(Struct, frozen=True, array_like=True, gc=False):
    """A statement with what proves whose it is. At most 2 KB encoded; may come from anybody."""

    statement: ReachStatement
    credential: Credential
    signature: Annotated[bytes, Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]


_encode = msgspec.msgpack.Encoder().encode


def signed(signer: Signer, by: NodeId, asker: NodeId, about: NodeId, found: Reached) -> Reached:
    """`found` as `by` says it to `asker` about `about`: with its signature."""
    signature = signer.sign(Domain.REACH, _encode(_stated(by, asker, about, found)))
    return msgspec.structs.replace(found, credential=signer.credential, signature=signature)


def received(by: NodeId, asker: NodeId, about: NodeId, message: Reached) -> SignedReach | None:
    """What `by` has signed for `asker`, not checked yet; None where it has signed nothing."""
    if not message.signature and not message.credential:
        return None
    return SignedReach(_stated(by, asker, about, message), message.credential, message.signature)


def is_genuine(said: SignedReach, verifier: Verifier) -> bool:
    """Whether the member that the statement names has signed it, in this mesh."""
    encoded = _encode(said.statement)
    return verifier.verify(said.statement.by, said.credential, Domain.REACH, encoded, said.signature)


def confirms(statement: ReachStatement, asked: Asked) -> bool:
    """Whether it answers this very question, with a silence that is long enough and of that life of the member or a
    later one."""
    question = asked.question
    answers = (statement.asker, statement.question, statement.about) == (asked.asker, asked.number, question.about)
    silent = statement.reach is Reach.SILENT and statement.silent_ms * NANOS_PER_MS >= question.silent_for
    return answers and silent and generation_of(statement.precedence) >= asked.life


def proves(asked: Asked, statements: Iterable[SignedReach], verifier: Verifier) -> bool:
    """Whether these statements show that enough members confirm what is asked: `Gathered.confirmed`, checked again.

    For a third party, who puts into `asked` what he knows himself (who may be counted, how many, how long, which life)
    and not what the asker tells. Of each member that was asked the first statement that claims to be its own is looked
    at, so there is a bounded number of signatures to check. Never for a question that needs nobody.
    """
    waiting = dict.fromkeys(asked.question.asked)
    confirming = 0
    for each in statements:
        by = each.statement.by
        if by in waiting:
            del waiting[by]
            confirming += confirms(each.statement, asked) and is_genuine(each, verifier)
    return 0 < asked.question.needed <= confirming


def _stated(by: NodeId, asker: NodeId, about: NodeId, found: Reached) -> ReachStatement:
    return ReachStatement(
        by,
        asker,
        found.question,
        about,
        found.reach,
        found.precedence,
        found.accusers,
        found.has_answered,
        found.answered_ms,
        found.silent_ms,
        found.pings,
    )
