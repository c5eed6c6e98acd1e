"""Who else cannot reach a member: the quorum confirmation of DESIGN 4, as one question and its answers.

SWIM's verdict alone moves no data. Before somebody acts upon a silence he asks: *do at least k of these members confirm
that X is out of reach for at least T?* Each of them tries for itself, and answers for itself over a stream that proves
who it is. Rules:

- Reach is a round trip: X answers the member's own pings, or does not. Gossip and what others found count for nothing.
  As in a probe, a stream will do where no datagram comes through.
- Whoever is asked pings X up to `CHECK_PINGS` times and answers within `check_takes`; a fresher answer of X than one
  probe interval is good enough without. One check of X serves all who ask meanwhile.
- A silence is as long as the one who reports it knows (`evidence.py`): a question with a T is asked again until then.
  It lasts from the first ping that stayed unanswered to the last one, and an old one is none: nobody knows what was
  since. Whoever slept through a check begins it anew, for the answers may lie unread.
- A silence of an earlier life of X than the one that the asker knows confirms nothing: X was started again since.
- Numbers of questions and of pings never come again in a later life of the node: answers to the dead are no answers.
- A question ends with the first of: enough members confirm, too few are left that still could, all have answered, its
  time is over. It ends once. Who does not answer confirms nothing: an older node, for one, does not know the question.
- An answer is signed by whoever gives it, so that the asker can show it to others (`statements.py`). One without a
  signature, of an older node, is shown and confirms nothing. One whose signature is wrong is dropped and counted, and
  its sender is not heard again on this question: a broken peer costs one check of a signature each time it is asked.
- Everything is bounded: questions, members asked, checks, those who wait for one.

It decides nothing about X. `why.py` shows what comes out; Raft's leader will act on `Gathered.confirmed`, and put
`Gathered.asked` and `Gathered.statements` into the ledger.
"""

from __future__ import annotations

from msgspec import Struct

from protocols.config import NodeConfig, SwimConfig
from protocols.core import NANOS_PER_MS, Endpoint, Instant, NodeId
from protocols.detector.evidence import GAP_MAX, UNTIMED, Evidence
from protocols.detector.messages import ACCUSERS_MAX, AskReach, Reach, Reached
from protocols.detector.statements import Asked, Question, SignedReach, confirms, is_genuine, received, signed
from protocols.membership.member import GENERATION_BITS, Member, State
from protocols.membership.messages import Ping, StreamPing
from protocols.membership.swim import Swim
from protocols.membership.telling import news_for
from protocols.outbox import NEVER, Outbox

QUESTIONS_MAX = 64
CHECKS_MAX = 32
"""Members that are being pinged for others at one time."""
WAITING_MAX = 64
"""Those who wait for one check; whoever comes later is told what is known so far."""
CHECK_PINGS = 3
STREAM_PING_WITH = 2
"""Together with which of them a ping goes over a stream: the first datagram is unanswered by then."""
CHECK_SEQ_BASE = 1 << 61
"""Numbers of pings from here on are of checks; probes count from 1."""
COUNT_BITS = 61 - GENERATION_BITS
"""Of a number, how many count within one life; the generation stands above them."""
MILLIS_MAX = (1 << 48) - 1


def check_takes(config: SwimConfig) -> Instant:
    """How long a member that is asked tries before it says that there is no answer."""
    return 2 * config.probe_timeout


class View(Struct, frozen=True):
    """What member `by` found. `answered_ago` and `silent_for`: nanoseconds; `answered_ago` None: never, or long ago."""

    by: NodeId
    reach: Reach
    precedence: int
    accusers: tuple[NodeId, ...]
    answered_ago: Instant | None
    silent_for: Instant
    pings: int
    signed: SignedReach | None = None
    """The same as it can be shown to others, checked; None: an older node, which has not signed it."""

    def confirms(self, asked: Asked) -> bool:
        """Whether it is what is asked for, and can be shown to others."""
        return self.signed is not None and confirms(self.signed.statement, asked)


class Gathered(Struct, frozen=True):
    """What came of the question `token`: views in the order in which they came, and whose there are not."""

    token: int
    asked: Asked
    views: tuple[View, ...]
    unheard: tuple[NodeId, ...]
    """Who has not answered."""
    refused: tuple[NodeId, ...] = ()
    """Whose answer was dropped, for its signature is wrong."""

    @property
    def statements(self) -> tuple[SignedReach, ...]:
        """What of it others can check (`statements.proves`), together with `asked`."""
        return tuple(view.signed for view in self.views if view.signed is not None)

    @property
    def confirmations(self) -> int:
        return sum(view.confirms(self.asked) for view in self.views)

    @property
    def confirmed(self) -> bool:
        """Whether enough members confirm it. Never for a question that needs nobody."""
        return 0 < self.asked.question.needed <= self.confirmations


class _Open(Struct):
    """A question under way."""

    token: int
    question: Question
    deadline: Instant
    waiting: dict[NodeId, None]
    views: list[View]
    refused: list[NodeId]


class _Check(Struct):
    """A member that is being pinged because somebody asked."""

    about: NodeId
    seq: int
    began: Instant
    next_ping: Instant
    sent: int
    waiting: list[tuple[Endpoint, int]]


class Confirmer:
    """The questions of one node, and its answers to others. `deadline` is when `fire` wants to be called."""

    def __init__(self, config: NodeConfig, swim: Swim, evidence: Evidence, outbox: Outbox) -> None:
        self._id = config.node_id
        self._config = config.swim
        self._signer = config.signer
        self._swim = swim
        self._evidence = evidence
        self._outbox = outbox
        self._asked = 0
        """Questions so far, and below checks."""
        self._questions: dict[int, _Open] = {}
        self._checked = 0
        self._checks: dict[NodeId, _Check] = {}
        self.refused = 0
        """Answers whose signature was wrong."""
        self.deadline: Instant = NEVER

    # Asking.

    @property
    def full(self) -> bool:
        """No further question may be asked now."""
        return len(self._questions) >= QUESTIONS_MAX

    def ask(self, now: Instant, token: int, question: Question) -> Gathered | None:
        """Put `question` to its members, at most `ASKED_MAX` of them, this node among them where it is named.

        What comes of it bears `token`, and comes out of here, of `on_reached` or of `fire`. Members that are not in the
        table count as unheard. Not while `full`.
        """
        assert not self.full
        self._asked += 1
        number = self._number(self._asked)
        waiting: dict[NodeId, None] = {}
        asked = self._questions[number] = _Open(token, question, now + question.within, waiting, [], [])
        for node_id in question.asked:
            waiting[node_id] = None
            row = self._swim.table.get(node_id)
            if row is not None:
                self._outbox.send(row.endpoint, AskReach(number, question.about))
        gathered = self._finish(number, asked)
        self._rearm()
        return gathered

    def _number(self, count: int) -> int:
        """The `count`th number of this life."""
        me = self._swim.me
        assert me is not None, "a node that speaks has started"
        return me.generation << COUNT_BITS | count

    def on_reached(self, now: Instant, sender: Endpoint, message: Reached) -> Gathered | None:
        """A member has answered; what was gathered, if the question ends with it."""
        asked = self._questions.get(message.question)
        if asked is None or sender.node_id not in asked.waiting:
            return None
        del asked.waiting[sender.node_id]
        said = received(sender.node_id, self._id, asked.question.about, message)
        if said is None or is_genuine(said, self._signer):
            asked.views.append(_view(sender.node_id, message, said))
        else:
            self.refused += 1
            asked.refused.append(sender.node_id)
        gathered = self._finish(message.question, asked)
        self._rearm()
        return gathered

    def _finish(self, number: int, asked: _Open, *, late: bool = False) -> Gathered | None:
        """End a question that nothing can change any more, or that is out of time."""
        question = asked.question
        row = self._swim.table.get(question.about)
        put = Asked(question, self._id, number, 0 if row is None else row.generation)
        confirmations = sum(view.confirms(put) for view in asked.views)
        settled = question.needed > 0 and not confirmations < question.needed <= confirmations + len(asked.waiting)
        if asked.waiting and not settled and not late:
            return None
        del self._questions[number]
        came = dict.fromkeys((*(view.by for view in asked.views), *asked.refused))
        unheard = tuple(node_id for node_id in dict.fromkeys(question.of) if node_id not in came)
        return Gathered(asked.token, put, tuple(asked.views), unheard, tuple(asked.refused))

    # Being asked.

    def on_ask(self, now: Instant, sender: Endpoint, message: AskReach) -> None:
        """Another member, or this one, wants to know whether `about` answers."""
        about = message.about
        row = self._swim.table.get(about)
        if not self._worth_checking(now, about, row):
            self._tell(now, (sender, message.question), about)
            return
        check = self._checks.get(about)
        if check is None and len(self._checks) < CHECKS_MAX:
            self._checked += 1
            check = self._checks[about] = _Check(about, CHECK_SEQ_BASE + self._number(self._checked), now, now, 0, [])
            self._ping(now, check)
        if check is None or len(check.waiting) >= WAITING_MAX:
            self._tell(now, (sender, message.question), about)
            return
        check.waiting.append((sender, message.question))
        self._rearm()

    def _worth_checking(self, now: Instant, about: NodeId, row: Member | None) -> bool:
        """Whether pinging could tell more than is known: not of itself, of strangers, of who left or just answered."""
        if about == self._id or row is None or row.state is State.LEFT:
            return False
        answered = self._evidence.last_answer(about)
        fresh = answered is not None and now - answered < self._config.probe_interval
        return not fresh or self._evidence.silence(about) is not None

    def _ping(self, now: Instant, check: _Check) -> None:
        row = self._swim.table.get(check.about)
        if row is not None:
            check.sent += 1
            if check.sent == STREAM_PING_WITH and self._config.stream_probe:
                self._outbox.send(row.endpoint, StreamPing(check.seq))
            self._outbox.send(row.endpoint, Ping(check.seq, news_for(self._swim, check.about)))
        last = check.sent >= CHECK_PINGS or row is None
        end = check.began + check_takes(self._config)
        check.next_ping = end if last else now + self._config.probe_timeout // 2

    def on_ack(self, now: Instant, by: NodeId, seq: int) -> None:
        """An ack with a number that is none of a probe's."""
        check = self._checks.get(by)
        if check is not None and check.seq == seq:
            self._evidence.note((by, UNTIMED, now))
            self._end_check(now, check)
            self._rearm()

    def _end_check(self, now: Instant, check: _Check) -> None:
        del self._checks[check.about]
        for waiting in check.waiting:
            self._tell(now, waiting, check.about)

    def _tell(self, now: Instant, waiting: tuple[Endpoint, int], about: NodeId) -> None:
        """Answer with what this node knows now."""
        asker, question = waiting
        row = self._swim.table.get(about)
        if row is None:
            self._say(asker, about, Reached(question, Reach.UNKNOWN))
            return
        precedence = row.precedence
        accusers = self._swim.suspicions.accusers(about)[:ACCUSERS_MAX]
        answered = now if about == self._id else self._evidence.last_answer(about)
        silence = self._evidence.silence(about)
        if silence is not None and now - silence.last < GAP_MAX:
            reach, silent_ms, pings = Reach.SILENT, _millis(silence.last - silence.since), silence.pings
        else:
            lately = answered is not None and now - answered < GAP_MAX and row.state is not State.LEFT
            reach, silent_ms, pings = Reach.ANSWERS if lately else Reach.UNKNOWN, 0, 0
        answered_ms = 0 if answered is None else _millis(now - answered)
        told = Reached(question, reach, precedence, accusers, answered is not None, answered_ms, silent_ms, pings)
        self._say(asker, about, told)

    def _say(self, asker: Endpoint, about: NodeId, found: Reached) -> None:
        self._outbox.send(asker, signed(self._signer, self._id, asker.node_id, about, found))

    # Time.

    def fire(self, now: Instant) -> list[Gathered]:
        """Ping again, give checks up, and end questions whose time is over."""
        takes = check_takes(self._config)
        for check in [each for each in self._checks.values() if each.next_ping <= now]:
            if now - check.next_ping > self._config.probe_timeout // 2:  # this node has not run meanwhile (`asleep.py`)
                check.began, check.sent = now, 0
                self._ping(now, check)
            elif now - check.began >= takes:
                self._evidence.unanswered(now, check.about, check.began, check.sent)
                self._end_check(now, check)
            else:
                self._ping(now, check)
        late = [(number, asked) for number, asked in self._questions.items() if asked.deadline <= now]
        gathered = [self._finish(number, asked, late=True) for number, asked in late]
        self._rearm()
        return [each for each in gathered if each is not None]

    def _rearm(self) -> None:
        deadline = min((asked.deadline for asked in self._questions.values()), default=NEVER)
        self.deadline = min((check.next_ping for check in self._checks.values()), default=deadline)
        self.deadline = min(self.deadline, deadline)


def _view(by: NodeId, message: Reached, said: SignedReach | None) -> View:
    return View(
        by,
        message.reach,
        message.precedence,
        message.accusers,
        answered_ago=message.answered_ms * NANOS_PER_MS if message.has_answered else None,
        silent_for=message.silent_ms * NANOS_PER_MS,
        pings=message.pings,
        signed=said,
    )


def _millis(duration: Instant) -> int:
    return min(MILLIS_MAX, duration // NANOS_PER_MS)
