"""Why a member is believed to be what it is: who accuses it, since when, and on what evidence.

Three sources, told apart in the answer: what this node has concluded (its table and the suspicion), what its own probes
have shown (`evidence.py`), and what others find when they are asked now (`confirm.py`): this node itself, the accusers,
the member in question and a few members at random. Nothing is concluded here, and nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Annotated

from msgspec import Meta, Struct

from protocols.core import NANOS_PER_S, Command, Instant, NodeId, Outcome, Refused, RequestId
from protocols.detector.confirm import Confirmer, Gathered, View
from protocols.detector.evidence import Evidence
from protocols.detector.statements import Question
from protocols.limits import NAME_CHARS_MAX
from protocols.membership.member import Member, State, incarnation_of, state_of
from protocols.membership.naming import find_member
from protocols.membership.swim import Swim
from protocols.membership.views import MemberView
from protocols.outbox import Outbox

ASKED_MAX = 16


class Why(Command, frozen=True, tag="why"):
    """Why is this member believed to be what it is? Answered by an `Explanation` within a few seconds."""

    member: Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]
    """A name, an id, or the first characters of an id."""


class Teller(Struct, frozen=True):
    """A member, as the one who says or does something here. The name is empty where it is not known any more."""

    node_id: NodeId
    name: str


class SuspicionView(Struct, frozen=True):
    """A suspicion: who accuses, in the order in which it was heard. `refute_within_s` 0: it is over."""

    open: bool
    accusers: tuple[Teller, ...]
    age_s: float
    refute_within_s: float = 0.0
    confirmations_wanted: int = 0
    """Further accusers that would still shorten the time to refute."""


class OwnFindings(Struct, frozen=True):
    """What this node's own pings have shown. Times are seconds ago; -1: never, or so long ago that it is forgotten."""

    answered_s: float
    silent_s: float
    """Since the first ping that stayed unanswered was sent; -1: it answers."""
    last_failure_s: float
    pings: int
    """How many stayed unanswered in a row."""
    helpers_silent: tuple[Teller, ...]
    """Who was asked to ping it when the last probe failed, and gave no sign of life."""
    helpers_heard: tuple[Teller, ...]
    """Who was asked and said that it has no answer either: so this node is not cut off itself."""


class Finding(Struct, frozen=True):
    """What one member answered just now. Times are seconds ago; -1: never, or not known."""

    by: Teller
    reach: str
    """`answers`, `silent` or `unknown`."""
    state: str
    """What it believes: `alive`, `suspect`, `dead`, `left`; `unknown` where it has no such member."""
    incarnation: int
    answered_s: float
    silent_s: float
    accusers: tuple[Teller, ...]
    signed: bool = False
    """Whether it has signed that, so that others can be shown it. A member of an older version has not."""


class Explanation(Outcome, frozen=True, tag="explanation"):
    """Everything that this node knows, and what it was told, of one member."""

    member: MemberView
    said_by: Teller
    """Whose word the present state is: the member's own, an accuser's."""
    own: OwnFindings
    findings: tuple[Finding, ...]
    """Of those who answered, in the order in which they did."""
    unheard: tuple[Teller, ...]
    """Who was asked and did not answer in time: cut off, busy, or of an older version."""
    suspicion: SuspicionView | None = None
    """The open suspicion, or else the last one that this node remembers."""
    refused: tuple[Teller, ...] = ()
    """Whose answer was dropped, for its signature is wrong: broken, or not (any more) certified to be who it is."""


class Explainer:
    """Answers `Why` at one node."""

    def __init__(
        self,
        swim: Swim,
        evidence: Evidence,
        confirmer: Confirmer,
        outbox: Outbox,
        seed: str,
        view: Callable[[Instant, Member], MemberView],
    ) -> None:
        self._swim = swim
        self._evidence = evidence
        self._confirmer = confirmer
        self._outbox = outbox
        self._seed = seed
        self._view = view

    def ask(self, now: Instant, request_id: RequestId, command: Why) -> None:
        """Begin to gather, or refuse."""
        found = find_member(self._swim.table, command.member)
        if isinstance(found, Refused):
            self._outbox.reply(request_id, found)
        elif self._confirmer.full:
            busy = "Too many questions about members are under way at this node."
            self._outbox.reply(request_id, Refused("busy", busy, "Ask again in a few seconds.", retry_after_s=3.0))
        else:
            node_id = found.alive.node_id
            # A generator for each question: one that is kept would be there at a thousand nodes that nobody asks.
            whom = self._whom_to_ask(node_id, Random(f"{self._seed}/{request_id}"))
            self.finish(now, self._confirmer.ask(now, request_id, Question(node_id, whom)))

    def finish(self, now: Instant, gathered: Gathered | None) -> None:
        """Answer, if it is known by now what everybody says."""
        if gathered is None:
            return
        row = self._swim.table.get(gathered.asked.question.about)
        if row is None:
            gone = Refused("unknown_member", "The member was forgotten while others were asked about it.")
            self._outbox.reply(gathered.token, gone)
            return
        explanation = Explanation(
            member=self._view(now, row),
            said_by=self._teller(row.by),
            own=self._own(now, row.alive.node_id),
            findings=tuple(self._finding(view) for view in gathered.views),
            unheard=self._tellers(gathered.unheard),
            suspicion=self._suspicion(now, row.alive.node_id),
            refused=self._tellers(gathered.refused),
        )
        self._outbox.reply(gathered.token, explanation)

    def _whom_to_ask(self, node_id: NodeId, rng: Random) -> tuple[NodeId, ...]:
        me = self._swim.me
        assert me is not None, "a node that answers callers has started"
        suspicion = self._swim.suspicions.last(node_id)
        accusers = () if suspicion is None else suspicion.accusers
        others = self._swim.table.sample(rng, ASKED_MAX, lambda row: row is not me and row.state is State.ALIVE)
        asked = (me.alive.node_id, node_id, *accusers, *(row.alive.node_id for row in others))
        return tuple(each for each in dict.fromkeys(asked) if self._swim.table.get(each) is not None)[:ASKED_MAX]

    def _teller(self, node_id: NodeId) -> Teller:
        row = self._swim.table.get(node_id)
        return Teller(node_id, "" if row is None else row.alive.profile.name)

    def _tellers(self, node_ids: tuple[NodeId, ...]) -> tuple[Teller, ...]:
        return tuple(self._teller(node_id) for node_id in node_ids)

    def _suspicion(self, now: Instant, node_id: NodeId) -> SuspicionView | None:
        suspicion = self._swim.suspicions.last(node_id)
        if suspicion is None:
            return None
        accusers, age_s = self._tellers(suspicion.accusers), _seconds(now - suspicion.started)
        if self._swim.suspicions.get(node_id) is None:
            return SuspicionView(False, accusers, age_s)
        wanted = len(suspicion.timeouts) - len(suspicion.accusers)
        return SuspicionView(True, accusers, age_s, _seconds(suspicion.deadline - now), wanted)

    def _own(self, now: Instant, node_id: NodeId) -> OwnFindings:
        answered = self._evidence.last_answer(node_id)
        answered_s = -1.0 if answered is None else _seconds(now - answered)
        silence = self._evidence.silence(node_id)
        if silence is None:
            return OwnFindings(answered_s, -1.0, -1.0, 0, (), ())
        silent = tuple(helper for helper in silence.helpers if helper not in silence.helpers_heard)
        return OwnFindings(
            answered_s,
            _seconds(now - silence.since),
            _seconds(now - silence.last),
            silence.pings,
            self._tellers(silent),
            self._tellers(silence.helpers_heard),
        )

    def _finding(self, view: View) -> Finding:
        state = state_of(view.precedence).name.lower() if view.precedence else "unknown"
        return Finding(
            by=self._teller(view.by),
            reach=view.reach.name.lower(),
            state=state,
            incarnation=incarnation_of(view.precedence),
            answered_s=-1.0 if view.answered_ago is None else _seconds(view.answered_ago),
            silent_s=_seconds(view.silent_for) if view.pings else -1.0,
            accusers=self._tellers(view.accusers),
            signed=view.signed is not None,
        )


def _seconds(duration: Instant) -> float:
    return round(max(0, duration) / NANOS_PER_S, 3)
