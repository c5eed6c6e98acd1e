"""Steady views: what the raw stream of changes in the member table is to those who act upon it (DESIGN 4, stability).

A view is who serves: alive or suspect, for a suspect keeps its place until the verdict. Its number grows by one with
every view that is published. Three rules stand between the table and the next view:

- *Bursts.* A change is published once nothing more has changed for `view_quiet`, and `view_wait_max` after the first
  unpublished one at the latest. A thousand joins are a few views.
- *Pace.* In any minute there are at most `views_per_minute` views, whatever happens: half of them may come at once, the
  others one by one. What has to wait is in the next one.
- *Flapping.* Each time that a member goes, or has a new life, costs it `flap_cost` of debt, which time pays back. Who
  owes more than twice that is held: of it nothing but its going is published, until it owes no more than once that,
  and in no case for longer than `flap_hold_max` after it last went. So in any time T a member comes back into the view
  3 + T / flap_cost times at most; and whoever goes once or twice is never held.

The last is route flap damping (RFC 2439), its figure of merit kept as a debt that is paid back at a constant rate: all
in whole nanoseconds, and with a bound that can be told in a line. Rapid (USENIX ATC 2018) dampens by agreement instead
(K observers of each member, a high and a low watermark): its views are the same everywhere, but wait for a quorum.
These here are one node's own, like everything in SWIM; that enough others agree is what a suspicion asks for already.

Views lag behind the table by design, and those of two nodes differ for as long as one of them holds somebody back. What
must be right at once, or must be the same everywhere, goes by the table: whom to probe, runs of workers that died, the
ring (made from views, it differed between nodes at the end of every run of `flip-flop.toml`). Nothing here changes the
table. With nothing unpublished there is nothing to do: what is kept is only what differs from the table.
"""

from __future__ import annotations

from protocols.config import SwimConfig
from protocols.core import NANOS_PER_S, Instant, NodeId
from protocols.membership.facts import ViewChanged
from protocols.membership.member import STATE_MASK, Member, State
from protocols.membership.table import MemberTable
from protocols.outbox import NEVER

SUSPECT = int(State.SUSPECT)
MINUTE = 60 * NANOS_PER_S
FLAPS_AT_ONCE = 2
"""How often a member may go, with no time in between, before it is held."""


def returns_max(config: SwimConfig, within: Instant) -> int:
    """How often one member may come back into the view in any `within` nanoseconds, at most."""
    return FLAPS_AT_ONCE + 1 + within // config.flap_cost


class Pace:
    """Lets at most `views_per_minute` through in any minute (a leaky bucket): half at once, then one by one."""

    __slots__ = ("_burst", "_interval", "_paid_until")

    def __init__(self, per_minute: int) -> None:
        at_once = per_minute // 2
        self._interval = -(-MINUTE // (per_minute - at_once))
        self._burst = (at_once - 1) * self._interval
        self._paid_until: Instant = -NEVER

    @property
    def next_at(self) -> Instant:
        """From when on the next one may pass."""
        return self._paid_until - self._burst

    def passed(self, now: Instant) -> None:
        self._paid_until = max(now, self._paid_until) + self._interval


class SteadyView:
    """The published view of one node. `deadline` is when `fire` wants to be called; `number` is that of the last view,
    0 before the first."""

    __slots__ = (
        "_config",
        "_debts",
        "_due",
        "_me",
        "_pace",
        "_release",
        "_shown",
        "_since",
        "_table",
        "deadline",
        "number",
    )

    def __init__(self, config: SwimConfig, table: MemberTable, me: NodeId) -> None:
        self._config = config
        self._table = table
        self._me = me
        self._shown: dict[NodeId, Member | None] = {}
        """What the last view was made from, of members of which the table says something else since."""
        self._debts: dict[NodeId, tuple[Instant, Instant]] = {}
        """Of members that went of late: when all will be paid back, and until when they are held."""
        self._pace = Pace(config.views_per_minute)
        self._since: Instant = NEVER
        """When the first change happened that is neither published nor held."""
        self._due: Instant = NEVER
        self._release: Instant = NEVER
        """When the next member that is held back now may be shown as it is."""
        self.number = 0
        self.deadline: Instant = NEVER

    # From the table.

    def changed(self, now: Instant, before: Member | None, after: Member) -> None:
        """The row `after` took the place of `before` in the table."""
        served = _serves(before)
        if not served and not _serves(after):
            return
        node_id = after.alive.node_id
        assert before is not None or not served
        if before is not None and served and (not _serves(after) or after.generation > before.generation):
            self._owe(now, node_id)
        if node_id not in self._shown:
            self._shown[node_id] = before
        if self._since == NEVER:
            self._since = now
        self._due = min(now + self._config.view_quiet, self._since + self._config.view_wait_max)
        self._rearm()

    def _owe(self, now: Instant, node_id: NodeId) -> None:
        if node_id == self._me:
            return  # in its own eyes a node is always there
        cost, hold_max = self._config.flap_cost, self._config.flap_hold_max
        paid_at, held_until = self._debts.get(node_id, (now, now))
        paid_at = min(max(now, paid_at) + cost, now + hold_max + cost)
        if paid_at - now > FLAPS_AT_ONCE * cost:
            held_until = paid_at - cost
        self._debts[node_id] = (paid_at, held_until)

    # To those who want to know.

    def fire(self, now: Instant) -> ViewChanged | None:
        """The view to publish now, if any."""
        if now < self.deadline:
            return None
        self._since = self._due = self._release = NEVER
        sorted_out: dict[str, list[NodeId]] = {"joined": [], "returned": [], "failed": [], "left": [], "changed": []}
        published: list[NodeId] = []
        for node_id, shown in list(self._shown.items()):
            row = self._table.get(node_id)
            how = _difference(shown, row)
            held_until = self._held_until(now, node_id) if _serves(row) else now
            if not how:
                del self._shown[node_id]
            elif held_until > now:
                self._release = min(self._release, held_until)
            else:
                sorted_out[how].append(node_id)
                published.append(node_id)
        for node_id in [node_id for node_id, (paid_at, _) in self._debts.items() if paid_at <= now]:
            del self._debts[node_id]
        if not published:
            self._rearm()
            return None
        for node_id in published:
            del self._shown[node_id]
        self._pace.passed(now)
        self.number += 1
        self._rearm()
        lists = {how: tuple(node_ids) for how, node_ids in sorted_out.items()}
        return ViewChanged(self.number, self.size, held=self.held(now), **lists)

    def _held_until(self, now: Instant, node_id: NodeId) -> Instant:
        debt = self._debts.get(node_id)
        return now if debt is None else debt[1]

    def _rearm(self) -> None:
        deadline = min(self._due, self._release)
        self.deadline = deadline if deadline == NEVER else max(deadline, self._pace.next_at)

    # What is published.

    def shows(self, node_id: NodeId) -> bool:
        """Whether a member is in the view."""
        shown = self._shown
        return _serves(shown[node_id] if node_id in shown else self._table.get(node_id))

    @property
    def size(self) -> int:
        """How many members are in the view."""
        unseen = sum(_serves(shown) - _serves(self._table.get(node_id)) for node_id, shown in self._shown.items())
        return self._table.present + unseen

    def held_for(self, now: Instant, node_id: NodeId) -> Instant:
        """Nanoseconds for which the view still says less of a member than the table, because it came and went too
        often; 0 for all others."""
        if node_id not in self._shown or not _difference(self._shown[node_id], self._table.get(node_id)):
            return 0
        return max(0, self._held_until(now, node_id) - now) if _serves(self._table.get(node_id)) else 0

    def held(self, now: Instant) -> int:
        """How many members are held back."""
        return sum(self.held_for(now, node_id) > 0 for node_id in self._shown)

    def lags(self, now: Instant) -> list[NodeId]:
        """Members of which the view says something else than the table, though they are not held back."""
        return [
            node_id
            for node_id, shown in self._shown.items()
            if _difference(shown, self._table.get(node_id)) and not self.held_for(now, node_id)
        ]


def _serves(row: Member | None) -> bool:
    return row is not None and row.precedence & STATE_MASK <= SUSPECT


def _difference(shown: Member | None, row: Member | None) -> str:
    """How the table differs from what was shown of a member, as the name of a list of `ViewChanged`; "" for not at
    all."""
    if row is None or not _serves(row):
        if not _serves(shown):
            return ""
        return "left" if row is not None and row.state is State.LEFT else "failed"
    if shown is None:
        return "joined"
    if not _serves(shown) or row.generation > shown.generation:
        return "returned"
    return "changed" if row.alive.profile != shown.alive.profile else ""
