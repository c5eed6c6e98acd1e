"""What nodes ask each other about whether a third one can be reached. On streams, which show the asker who answers; the
signature shows it to others (`statements.py`)."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, TypeAlias

from msgspec import Meta

from protocols.core import Statement
from protocols.limits import CREDENTIAL_BYTES_MAX
from protocols.membership.member import Id, Precedence
from protocols.signing import SIGNATURE_BYTES

ACCUSERS_MAX = 8

QuestionId = Annotated[int, Meta(ge=0, lt=1 << 62)]
Millis = Annotated[int, Meta(ge=0, lt=1 << 48)]
Pings = Annotated[int, Meta(ge=0, lt=1 << 31)]
Accusers = Annotated[tuple[Id, ...], Meta(max_length=ACCUSERS_MAX)]
Credential = Annotated[bytes, Meta(max_length=CREDENTIAL_BYTES_MAX)]


class Reach(IntEnum):
    """What a member knows of whether another one answers its pings."""

    UNKNOWN = 0
    """It has not tried: the other has left, is a stranger, or too many are being tried at once."""
    ANSWERS = 1
    SILENT = 2


class AskReach(Statement, frozen=True, array_like=True, tag="askreach", gc=False):
    """Does `about` answer you? Answered by `Reached` with the same number, after a few pings where need be."""

    question: QuestionId
    about: Id


class Reached(Statement, frozen=True, array_like=True, tag="reached", gc=False):
    """What I know of whether the one you ask about answers me."""

    question: QuestionId
    reach: Reach
    precedence: Precedence = 0
    """What I believe of it: generation, incarnation and state. 0: I do not know it."""
    accusers: Accusers = ()
    """Who accuses it, as far as I have heard; the first accusation first."""
    has_answered: bool = False
    answered_ms: Millis = 0
    """Milliseconds since it last answered a ping of mine, where it has."""
    silent_ms: Millis = 0
    """For how long it has left my pings unanswered; 0 while it answers."""
    pings: Pings = 0
    """How many it has left unanswered in a row."""
    credential: Credential = b""
    signature: Annotated[bytes, Meta(max_length=SIGNATURE_BYTES)] = b""
    """Mine, of a `ReachStatement` with all of this; none from an older node, which does not sign."""


DetectorMessage: TypeAlias = AskReach | Reached
