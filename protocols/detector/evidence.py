"""What this node's own pings have shown of others: who answers it, since when somebody does not, how long answers take.

Evidence is of round trips only: a message that merely came in shows one way, and what others say is hearsay. A silence
begins when the first ping was sent that stayed unanswered, and ends with an answer. Pings further apart than `GAP_MAX`
are two silences: nobody knows what was in between. Everything is bounded; what was noted first is forgotten first.
"""

from __future__ import annotations

from msgspec import Struct

from protocols.core import NANOS_PER_S, Instant, NodeId
from protocols.detector.roundtrips import RoundTrips

ANSWERED_MAX = 128
"""Members whose last answer is remembered: in a larger mesh those that were probed in the last minutes."""
SILENT_MAX = 64
GAP_MAX = 30 * NANOS_PER_S
AMBIGUOUS: Instant = -1


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
    """The findings of one node. `probes` and `probes_failed` count the probes of the schedule (`probe.py`)."""

    __slots__ = ("_answered", "_pinged", "_pinged_at", "_silent", "probes", "probes_failed", "round_trips")

    def __init__(self) -> None:
        self._pinged: NodeId = ""
        self._pinged_at: Instant = 0
        self._answered: dict[NodeId, Instant] = {}
        self._silent: dict[NodeId, Silence] = {}
        self.round_trips = RoundTrips()
        self.probes = 0
        self.probes_failed = 0

    # Probes of the schedule.

    def probed(self, now: Instant, node_id: NodeId) -> None:
        """A probe has begun with a ping to `node_id`."""
        self._pinged = node_id
        self._pinged_at = now
        self.probes += 1

    def probed_again(self) -> None:
        """The member was pinged once more under the same number: which of the two is answered cannot be told."""
        self._pinged_at = AMBIGUOUS

    def probe_answered(self, now: Instant, by: NodeId) -> None:
        """The probe under way was answered, by its target or by a helper; a helper's word is no evidence of ours."""
        if by != self._pinged:
            return
        if self._pinged_at != AMBIGUOUS:
            self.round_trips.add(now - self._pinged_at)
        self.answered(now, by)

    def probe_failed(
        self, now: Instant, node_id: NodeId, helpers: tuple[NodeId, ...], helpers_heard: tuple[NodeId, ...]
    ) -> None:
        """The probe of `node_id` is over, and neither it nor a helper has answered."""
        self.probes_failed += 1
        since = self._pinged_at if node_id == self._pinged and self._pinged_at != AMBIGUOUS else now
        silence = self.unanswered(now, node_id, since)
        silence.helpers, silence.helpers_heard = helpers, helpers_heard

    # Any ping.

    def answered(self, now: Instant, node_id: NodeId) -> None:
        """`node_id` has answered a ping of this node."""
        answered = self._answered
        if node_id in answered:
            del answered[node_id]  # what is put in comes last again
        elif len(answered) >= ANSWERED_MAX:
            del answered[next(iter(answered))]
        answered[node_id] = now
        if self._silent:
            self._silent.pop(node_id, None)

    def unanswered(self, now: Instant, node_id: NodeId, sent: Instant, pings: int = 1) -> Silence:
        """`node_id` has not answered so many pings, of which the first was sent at `sent`."""
        silence = self._silent.pop(node_id, None)
        if silence is None or sent - silence.last > GAP_MAX:
            silence = Silence(sent, now, 0)
            if len(self._silent) >= SILENT_MAX:
                del self._silent[next(iter(self._silent))]
        silence.last = now
        silence.pings += pings
        self._silent[node_id] = silence
        return silence

    # What is known.

    def last_answer(self, node_id: NodeId) -> Instant | None:
        """When `node_id` last answered; None where it never did, or that was forgotten."""
        return self._answered.get(node_id)

    def silence(self, node_id: NodeId) -> Silence | None:
        """The pings that `node_id` leaves unanswered; None while it answers."""
        return self._silent.get(node_id)
