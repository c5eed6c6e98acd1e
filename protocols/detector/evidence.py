"""What this node's own pings have shown of others: who answers it, since when somebody does not, how long answers take.

Evidence is of round trips only: a message that merely came in shows one way, and what others say is hearsay. A silence
begins when the first ping was sent that stayed unanswered, and ends with an answer. Pings further apart than `GAP_MAX`
are two silences: nobody knows what was in between. Everything is bounded; what was noted first is forgotten first.

Noting an answer happens once a second at every node for ever, so it is one entry at the end of a log: `note`. Whatever
can be worked out from the log is worked out when somebody asks, and it is cut by `fold` now and then.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from protocols.core import NANOS_PER_S, Instant, NodeId

ANSWERS_MAX = 128
"""The last answers, which are remembered: in a mesh of up to that size those of everybody, as a rule."""
SILENT_MAX = 64
GAP_MAX = 30 * NANOS_PER_S
UNTIMED: Instant = -1
"""In the place of the time when a ping was sent: which of several is answered is not known (Karn and Partridge)."""


class Silence(Struct):
    """Pings to one member that stayed unanswered: since when, the last one, how many in a row.

    `helpers` were asked to ping it as well when the last probe failed; `helpers_heard` of them said that they had no
    answer either, and the others were silent themselves.
    """

    since: Instant
    last: Instant
    pings: int
    helpers: tuple[NodeId, ...] = ()
    helpers_heard: tuple[NodeId, ...] = ()


class Evidence:
    """The findings of one node. `note((who, sent, now))`: it has answered the ping that was sent at `sent`, or
    `UNTIMED`."""

    __slots__ = ("_answers", "_folded", "_folded_sum", "_silent", "note", "probes_failed")

    def __init__(self) -> None:
        self._answers: list[tuple[NodeId, Instant, Instant]] = []
        self.note: Callable[[tuple[NodeId, Instant, Instant]], None] = self._answers.append
        self._folded = 0
        self._folded_sum: Instant = 0
        self._silent: dict[NodeId, Silence] = {}
        self.probes_failed = 0

    def probe_failed(
        self,
        now: Instant,
        node_id: NodeId,
        sent: Instant,
        helpers: tuple[NodeId, ...],
        helpers_heard: tuple[NodeId, ...],
    ) -> None:
        """Neither the member that was probed at `sent` nor a helper has answered in time."""
        self.probes_failed += 1
        silence = self.unanswered(now, node_id, now if sent == UNTIMED else sent)
        silence.helpers, silence.helpers_heard = helpers, helpers_heard

    def unanswered(self, now: Instant, node_id: NodeId, sent: Instant, pings: int = 1) -> Silence:
        """`node_id` has not answered so many pings, of which the first was sent at `sent`."""
        silence = self.silence(node_id)
        self._silent.pop(node_id, None)
        if silence is None or sent - silence.last > GAP_MAX:
            silence = Silence(sent, now, 0)
            if len(self._silent) >= SILENT_MAX:
                del self._silent[next(iter(self._silent))]
        silence.last = now
        silence.pings += pings
        self._silent[node_id] = silence
        return silence

    def fold(self) -> None:
        """Forget the oldest answers; how many round trips they were, and how long, is kept, and what silences they
        have ended."""
        old = self._answers[:-ANSWERS_MAX]
        if old:
            for node_id in [each for each in self._silent if self.silence(each) is None]:
                del self._silent[node_id]
            del self._answers[:-ANSWERS_MAX]
            timed = _round_trips(old)
            self._folded += len(timed)
            self._folded_sum += sum(timed)

    # What is known.

    def last_answer(self, node_id: NodeId) -> Instant | None:
        """When `node_id` last answered; None where it never did, or that was forgotten."""
        return next((at for by, _, at in reversed(self._answers) if by == node_id), None)

    def silence(self, node_id: NodeId) -> Silence | None:
        """The pings that `node_id` leaves unanswered; None while it answers."""
        silence = self._silent.get(node_id)
        if silence is None:
            return None
        answered = self.last_answer(node_id)
        return silence if answered is None or answered < silence.last else None

    def round_trips(self) -> tuple[int, Instant]:
        """Of probes: how many in all, and the sum of them."""
        timed = _round_trips(self._answers)
        return self._folded + len(timed), self._folded_sum + sum(timed)

    def last_round_trips(self) -> list[Instant]:
        """The round trips of the last probes, at most `ANSWERS_MAX`, the shortest first."""
        return sorted(_round_trips(self._answers)[-ANSWERS_MAX:])


def _round_trips(answers: list[tuple[NodeId, Instant, Instant]]) -> list[Instant]:
    return [at - sent for _, sent, at in answers if sent != UNTIMED]


def quantile(ascending: list[Instant], of_hundred: int) -> Instant:
    """The smallest duration that `of_hundred` % of all do not exceed (nearest rank); 0 where there are none."""
    assert 0 < of_hundred <= 100
    return ascending[(len(ascending) * of_hundred + 99) // 100 - 1] if ascending else 0
