"""Whom to exchange whole tables with, so that a mesh forms, stays whole, and grows together again after any cut.

Five reasons, one exchange (push-pull over a stream):
- *joining*: until somebody has answered, seeds and remembered peers are tried every `join_retry_interval`;
- *anti-entropy*: every `push_pull_interval`, scaled by the size of the mesh, with a random live member (memberlist);
- *healing*: every `heal_interval` with one remembered dead member, one peer of the last life that was not met in this
  one, or one seed that no live member answers at, for as long as it is remembered. A cut that outlasts every suspicion
  is repaired by this alone (DESIGN 4), and so is one within which everybody was restarted. Where few are away to many,
  each of the many tries them less often, and the seeds as well, so that who comes back is not met by thousands of
  tables: the few try at every turn, for the many are away to them (serf's reconnector);
- *last resort*: every SELDOM turns of that, one that has left, or one address of the LOST_MAX that were forgotten last,
  as dead or as not met. Who has left comes back by itself, unless all whom it knew have gone meanwhile. And a cut may
  last for longer than anybody is remembered, with no seed on either side and restarts on both: somebody has to go on
  trying, for ever, at next to no cost;
- *hints*: addresses that somebody suggests, who is not trusted (`hints.py`).
It decides only whom to contact; `swim.py` decides what to believe of the answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from protocols.config import NodeConfig
from protocols.core import Endpoint, Instant
from protocols.membership.hints import Hint, Hints
from protocols.membership.member import STATE_MASK, Member, State
from protocols.membership.table import MemberTable
from protocols.outbox import NEVER

PUSH_PULL_SCALE_FROM = 32
"""Meshes up to this size exchange at the plain interval; each doubling adds one (memberlist, pushPullScale)."""
JOIN_FANOUT = 3
PEERS_SAVED_MAX = 64
AWAY_SAVED_MAX = 16
"""Of these, places that are kept for peers that are away, where there are any."""
LOST_MAX = 16
SELDOM = 6
HEAL_MULT = 4
"""How often at least, in one `heal_interval`, all together try each of their dead members and seeds, on average."""


def push_pull_scale(members: int) -> int:
    """How many intervals apart the exchanges of one node are in a mesh of `members`."""
    if members <= PUSH_PULL_SCALE_FROM:
        return 1
    return (members - 1).bit_length() - PUSH_PULL_SCALE_FROM.bit_length() + 2


class Healer:
    """The schedule of table exchanges of one node. `deadline` is when `fire` wants to be called."""

    def __init__(self, config: NodeConfig, rng: Random, peers: tuple[str, ...]) -> None:
        self._config = config
        self._rng = rng
        self._seeds = tuple(seed for seed in config.seeds if seed != config.address)
        self._peers = tuple(peer for peer in peers if peer != config.address)
        self._next_join = NEVER
        self._next_push_pull = NEVER
        self._next_heal = NEVER
        self._seed_turn = 0
        self._seeds_first = False
        self._unmet = self._peers
        """Peers of the last life at whose addresses nobody was met in this one."""
        self._unmet_until: Instant = NEVER
        self._lost: dict[str, None] = {}
        """Addresses of members that were dead for so long that they were forgotten, or not met for as long in this
        life; the last one last."""
        self._heal_turn = 0
        self.hints = Hints(config.swim, rng, config.address)
        self.joined = not self._seeds and not self._peers
        self.deadline: Instant = NEVER

    @property
    def must_join(self) -> bool:
        """Seeds other than this node itself were named, and none has answered yet."""
        return not self.joined and bool(self._seeds)

    def start(self, now: Instant) -> None:
        swim = self._config.swim
        if not self.joined:
            self._next_join = now
        self._next_push_pull = now + int((0.5 + self._rng.random()) * swim.push_pull_interval)
        self._next_heal = now + int((0.5 + self._rng.random()) * swim.heal_interval)
        self._unmet_until = now + swim.remember_dead
        self._rearm()

    def stop(self) -> None:
        self.hints.stop()
        self._next_join = self._next_push_pull = self._next_heal = NEVER
        self.deadline = NEVER

    def answered(self) -> bool:
        """A table came in: whoever was joining has joined. True the first time."""
        if self.joined:
            return False
        self.joined = True
        self._next_join = NEVER
        self._rearm()
        return True

    def fire(self, now: Instant, table: MemberTable, me: Member) -> list[Endpoint]:
        """Whom to send this node's table at `now`, asking for theirs."""
        if now < self.deadline:
            return []
        targets: list[Endpoint] = []
        if now >= self._next_join:
            targets += self._join_targets()
            self._next_join = now + self._config.swim.join_retry_interval
        if now >= self._next_push_pull:
            alive = table.sample(self._rng, 1, lambda member: member is not me and member.state is State.ALIVE)
            targets += [member.endpoint for member in alive]
            scale = push_pull_scale(table.present)
            self._next_push_pull = now + scale * self._config.swim.push_pull_interval
        if now >= self._next_heal:
            targets += self._heal_targets(table) + self._last_resort(table)
            self._next_heal = now + self._config.swim.heal_interval
        if now >= self.hints.deadline:
            targets += self.hints.fire(now, table)
        self._rearm()
        return targets

    def suggest(self, now: Instant, hints: tuple[Hint, ...], table: MemberTable) -> int:
        """Take in addresses that may be worth a try; how many say something new."""
        taken = self.hints.suggest(now, hints, table)
        self._rearm()
        return taken

    def face(self, now: Instant, rival: str) -> None:
        """See who is at the address `rival`, where somebody announces this node's own id."""
        self.hints.face(now, rival)
        self._rearm()

    def forgot(self, addresses: Iterable[str]) -> None:
        """Members at `addresses` were dead, or not met, for as long as anybody is remembered."""
        for address in addresses:
            self._lost.pop(address, None)
            self._lost[address] = None
            if len(self._lost) > LOST_MAX:
                del self._lost[next(iter(self._lost))]

    def still_unmet(self, now: Instant, table: MemberTable) -> tuple[str, ...]:
        """Addresses of the last life's peers that no row of the table has, for as long as the dead are remembered; then
        they are `lost`.

        Walks through the table: asked for once in a while, and what it found serves for the tries in between.
        """
        if self._unmet:
            met = frozenset(member.alive.profile.address for member in table)
            self._unmet = tuple(peer for peer in self._unmet if peer not in met)
            if now >= self._unmet_until:
                self.forgot(self._unmet)
                self._unmet = ()
        return self._unmet

    @property
    def lost(self) -> tuple[str, ...]:
        """The addresses of the last resort."""
        return tuple(self._lost)

    def _rearm(self) -> None:
        self.deadline = min(self._next_join, self._next_push_pull, self._next_heal, self.hints.deadline)

    def _join_targets(self) -> list[Endpoint]:
        peers = list(self._peers)
        self._rng.shuffle(peers)
        others = [peer for peer in peers[:JOIN_FANOUT] if peer not in self._seeds]
        return [Endpoint("", address) for address in (*self._seeds, *others)]

    def _heal_targets(self, table: MemberTable) -> list[Endpoint]:
        """Who is away and the seeds by turns, for a member may be dead for long while a seed leads to another half."""
        away_count = table.count(State.DEAD) + len(self._unmet)
        self._seeds_first = not self._seeds_first
        if self._seeds_first or not away_count:
            targets = self._seed_targets(table)
            if targets:
                return targets
        if not away_count or self._rng.random() * table.present >= HEAL_MULT * away_count:
            return []
        away = [member.endpoint for member in table if member.precedence & STATE_MASK == State.DEAD]
        away += [Endpoint("", address) for address in self._unmet]
        return [away[int(self._rng.random() * away_count)]]

    def _last_resort(self, table: MemberTable) -> list[Endpoint]:
        """Somebody who may well never come back: shared, as the tries of the dead are, by all who are here."""
        self._heal_turn += 1
        count = len(self._lost) + table.count(State.LEFT)
        if not count or (self._heal_turn % SELDOM and table.present > 1):
            return []
        if self._rng.random() * table.present >= HEAL_MULT * count:
            return []
        for address in [
            member.alive.profile.address for member in table if member.precedence & STATE_MASK < State.LEFT
        ]:
            self._lost.pop(address, None)  # met again, or dead anew
        places = [Endpoint("", address) for address in self._lost]
        places += [member.endpoint for member in table if member.precedence & STATE_MASK == State.LEFT]
        return [places[int(self._rng.random() * len(places))]] if places else []

    def _seed_targets(self, table: MemberTable) -> list[Endpoint]:
        seeds = self._seeds
        if not seeds:
            return []
        self._seed_turn = (self._seed_turn + 1) % len(seeds)
        seed = seeds[self._seed_turn]
        if any(member.alive.profile.address == seed for member in table if member.state is State.ALIVE):
            return []
        # A seed may be named otherwise than its member announces, and so seem to be away for ever: shared, too.
        among = table.present
        if among > HEAL_MULT * len(seeds) and self._rng.random() * among >= HEAL_MULT * len(seeds):
            return []
        return [Endpoint("", seed)]


def peers_to_remember(table: MemberTable, me: Member, unmet: tuple[str, ...], lost: tuple[str, ...]) -> tuple[str, ...]:
    """Addresses worth trying after a restart, as many as are kept: of live members, and of those that are away.

    Without the latter two halves that are restarted while they are cut off from each other would forget each other.
    """
    away = list(unmet)
    if table.count(State.DEAD):
        away += [member.alive.profile.address for member in table if member.state is State.DEAD]
    away += lost
    room = PEERS_SAVED_MAX - min(len(away), AWAY_SAVED_MAX)
    addresses: list[str] = []
    for member in table:
        if member is not me and member.precedence & STATE_MASK <= State.SUSPECT:
            addresses.append(member.alive.profile.address)
            if len(addresses) == room:
                break
    return tuple(sorted(list(dict.fromkeys([*addresses, *away]))[:PEERS_SAVED_MAX]))
