"""Hearing the same news in another order, in other groups, or twice, ends in the same beliefs.

What a table is after some news is the join of both (commutative, associative, idempotent), which is why gossip needs
neither order nor memory. Checked on what really goes round: of the packets that arrive, one in a few is taken with the
handful before it, and a copy of some node's rows about the same members, set back to before that news, hears them
through the protocol's own `Swim`,

- in the order of arrival, backwards, and twice: all must end the same;
- half by half, in two copies, of which one then takes in the other's table (`Swim.merge`): that must end the same, but
  that a death which the first copy had not heard of comes as a suspicion, so that the accused can refute.

Two rules of the protocol are no joins, and news that meets them is left out: an accusation in a life that the table
has not met is ignored until the announcement of that life is there; and news of the node itself is not merged but
refuted, which makes new news.

The number of such trials in a run is bounded; they cost about a tenth of a millisecond each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from protocols.config import NodeConfig
from protocols.core import Instant, NodeId
from protocols.membership.member import Alive, Member, Profile, State, Update, generation_of, state_of, with_state
from protocols.membership.messages import Ack, Gossip, Ping
from protocols.membership.swim import Swim
from protocols.outbox import Outbox
from sim.checkers.checker import Checker
from sim.inspect import rows_of
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World

PACKETS_PER_TRIAL = 64
LOTS = 4
"""Packets whose news goes into one trial."""
TRIALS_MAX = 256
"""Trials in one run."""

Beliefs = dict[NodeId, tuple[int, Profile]]


class MergeIsAJoin(Checker):
    """What a node believes depends on what it has heard, not on the order, the grouping or the number of times."""

    name = "merge_is_a_join"
    news = (Ack, Ping, Gossip)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._lots: deque[tuple[Update, ...]] = deque(maxlen=LOTS)
        self._packets = 0
        self.trials = 0

    def on_message(self, now: Instant, process: Process, message: Ack | Ping | Gossip) -> None:
        if self.world.has_lied or self.trials >= TRIALS_MAX:
            return
        self._packets += 1
        left = PACKETS_PER_TRIAL - self._packets % PACKETS_PER_TRIAL
        if left <= LOTS:
            self._lots.append(message.updates)
        elif left == PACKETS_PER_TRIAL and self._lots:
            self._try(now)
            self._lots.clear()

    def _try(self, now: Instant) -> None:
        running = self.world.running()
        process = running[self.trials % len(running)]
        rows = rows_of(process.core)
        own = process.config.node_id
        lots = [
            tuple(each for each in lot if each.node_id != own and _is_met(each, rows.get(each.node_id)))
            for lot in self._lots
        ]
        oldest: dict[NodeId, int] = {}
        for lot in lots:
            for update in lot:
                oldest[update.node_id] = min(update.precedence, oldest.get(update.node_id, update.precedence))
        if not oldest:
            return
        # Set back to an earlier life, a row has not met the later one, however well the table knows it by now.
        lots = [tuple(each for each in lot if _is_met_from(each, oldest[each.node_id])) for lot in lots]
        self.trials += 1
        base = [
            Alive(node_id, with_state(min(row.precedence, precedence), State.ALIVE), row.alive.profile)
            for node_id, precedence in oldest.items()
            if (row := rows.get(node_id)) is not None
        ]
        config = process.config
        forward = _heard(config, base, now, lots)
        expected = _beliefs(forward)
        self._same(now, process, expected, _beliefs(_heard(config, base, now, lots[::-1])), "backwards")
        self._same(now, process, expected, _beliefs(_heard(config, base, now, [*lots, *lots])), "twice")
        first = _heard(config, base, now, lots[: LOTS // 2])
        second = _heard(config, base, now, lots[LOTS // 2 :])
        first.merge(now, second.rows(now))
        self._same(now, process, _doubted(expected), _doubted(_beliefs(first)), "half by half")

    def _same(self, now: Instant, process: Process, expected: Beliefs, found: Beliefs, how: str) -> None:
        if found == expected:
            return
        for node_id, (precedence, profile) in expected.items():
            other = found.get(node_id)
            if other == (precedence, profile):
                continue
            subject = self.world.by_id.get(node_id)
            name = node_id if subject is None else subject.name
            heard = "nothing" if other is None else _told(*other)
            else_heard = _told(precedence, profile)
            text = f"the same news of {name} leaves {heard} when it is heard {how}, and {else_heard} else"
            self.violated(now, process, text)
            return


def _is_met(update: Update, row: Member | None) -> bool:
    """Whether `update` is not an accusation in a life that the table has not met."""
    return isinstance(update, Alive) or (
        row is not None and generation_of(update.precedence) <= generation_of(row.precedence)
    )


def _is_met_from(update: Update, precedence: int) -> bool:
    """Whether `update` is not an accusation in a later life than that of `precedence`."""
    return isinstance(update, Alive) or generation_of(update.precedence) <= generation_of(precedence)


def _heard(config: NodeConfig, base: Sequence[Alive], now: Instant, lots: Sequence[tuple[Update, ...]]) -> Swim:
    """A table of the announcements `base` that has heard `lots`."""
    swim = Swim(config, Outbox())
    for lot in (base, *lots):
        swim.hear(now, lot)
    return swim


def _beliefs(swim: Swim) -> Beliefs:
    return {node_id: (row.precedence, row.alive.profile) for node_id, row in swim.table.rows.items()}


def _doubted(beliefs: Beliefs) -> Beliefs:
    """`beliefs` with every death taken for a suspicion."""
    return {
        node_id: (with_state(precedence, State.SUSPECT) if state_of(precedence) is State.DEAD else precedence, profile)
        for node_id, (precedence, profile) in beliefs.items()
    }


def _told(precedence: int, profile: Profile) -> str:
    return f"{state_of(precedence).name.lower()} at {precedence >> 2} ({profile.name})"
