"""Addresses that somebody suggests: worth a few tries, and never more than that (DESIGN 4, discovery).

A hint comes from outside of the mesh (zeroconf; anything that can shout on a LAN), and nobody vouches for it. So it
changes nothing by itself. All that it can bring about is that this node sends its table to that address by a stream,
which only a proven member of this mesh can open (DESIGN 8); what comes of that is the mesh's word, not the hint's.
- A hint about a live member, or about this node, says nothing new and is passed over.
- HINTS_MAX wait at most. One more takes the place of a random one: a flood of made-up ones delays the true ones, which
  are suggested again and again, and shuts none of them out for good (reservoir sampling).
- One is tried at a time: every `join_retry_interval` while this node is alone, every `heal_interval` once it is in
  touch. Each is tried HINT_TRIES times, and then only if it is suggested anew. In a large mesh each of the many tries
  less often, so that who comes is not met by the tables of thousands (see `healing.py`).
A *rival* is the address at which somebody else announces this node's own id. It is tried at once: where a copy of this
node's data directory runs, the two processes then meet, and the transport of the later one makes it stop.
"""

from __future__ import annotations

from random import Random
from typing import Annotated

from msgspec import Meta, Struct

from protocols.config import SwimConfig
from protocols.core import Command, Endpoint, Instant, NodeId, Outcome
from protocols.limits import ADDRESS_CHARS_MAX, NODE_ID_CHARS
from protocols.membership.member import STATE_MASK, Member, State
from protocols.membership.table import MemberTable
from protocols.outbox import NEVER

HINTS_MAX = 32
HINTS_AT_ONCE_MAX = 64
"""Hints that are looked at in one `Suggest`; the rest of it is passed over."""
HINT_TRIES = 3
TRIED_MULT = 4
"""How often at least, in one `heal_interval`, all together try each hint that they had (see `healing.HEAL_MULT`)."""


class Hint(Struct, frozen=True, gc=False):
    """Somebody says that a member of this mesh may be found at `address` (`host:port`), and that it is `node_id` (empty
    where that was not said). Neither is proven."""

    address: str
    node_id: NodeId = ""


class Suggest(Command, frozen=True, tag="suggest", gc=False):
    """Addresses that may be worth a try. Answered by `Suggested`."""

    hints: tuple[Hint, ...]


class HungUp(Command, frozen=True, tag="hung_up"):
    """A stream with `peer` has ended, and not by this node's will. A hint that the peer may be gone, and no proof."""

    peer: Annotated[str, Meta(max_length=NODE_ID_CHARS)]


class Suggested(Outcome, frozen=True, tag="suggested", gc=False):
    """How many of them say something new; these will be tried, unless others take their places."""

    taken: int


class Hints:
    """The hints that one node has not tried out yet. `deadline` is when `fire` wants to be called."""

    def __init__(self, config: SwimConfig, rng: Random, own_address: str) -> None:
        self._config = config
        self._rng = rng
        self._own_address = own_address
        self._waiting: dict[str, int] = {}
        """Address to how often it will be tried, in the order of the next try."""
        self._next_try: Instant = NEVER
        self._tried_at: Instant = -NEVER
        self._rival = ""
        self._rival_tries = 0
        self._next_rival: Instant = NEVER
        self._faced_at: Instant = -NEVER
        self.deadline: Instant = NEVER

    def __len__(self) -> int:
        return len(self._waiting)

    def stop(self) -> None:
        """Try nothing any more."""
        self._waiting.clear()
        self._next_try = self._next_rival = self.deadline = NEVER

    def suggest(self, now: Instant, hints: tuple[Hint, ...], table: MemberTable) -> int:
        """Take in what is new of `hints`; how many that were."""
        known = _addresses_present(table)
        taken = 0
        for hint in hints[:HINTS_AT_ONCE_MAX]:
            address = hint.address
            if not 0 < len(address) <= ADDRESS_CHARS_MAX or address == self._own_address or address in known:
                continue
            row = table.get(hint.node_id)
            if row is not None and _is_present(row):
                continue
            if address not in self._waiting and len(self._waiting) >= HINTS_MAX:
                del self._waiting[list(self._waiting)[int(self._rng.random() * HINTS_MAX)]]
            self._waiting[address] = HINT_TRIES
            taken += 1
        if self._waiting and self._next_try == NEVER:
            pause = self._pause(table)
            # Who is in touch waits a moment: the mesh may well tell of the newcomer by itself, and all have heard the
            # same hint at the same time.
            first = now if table.present == 1 else now + int(self._rng.random() * pause)
            self._next_try = max(first, self._tried_at + pause)
            self._rearm()
        return taken

    def face(self, now: Instant, address: str) -> None:
        """Somebody announces this node's id at `address`: see who is there, at most every `join_retry_interval`."""
        self._rival, self._rival_tries = address, HINT_TRIES
        self._next_rival = max(now, self._faced_at + self._config.join_retry_interval)
        self._rearm()

    def fire(self, now: Instant, table: MemberTable) -> list[Endpoint]:
        """Whom to send this node's table at `now`."""
        targets: list[Endpoint] = []
        if now >= self._next_rival:
            targets.append(Endpoint("", self._rival))
            self._faced_at = now
            self._rival_tries -= 1
            self._next_rival = now + self._config.join_retry_interval if self._rival_tries else NEVER
        if now >= self._next_try:
            address = self._next_address(table)
            if address:
                self._tried_at = now
                targets.append(Endpoint("", address))
            self._next_try = now + self._pause(table) if self._waiting else NEVER
        self._rearm()
        return targets

    def _next_address(self, table: MemberTable) -> str:
        """The hint whose turn it is; none where nothing is left, or where others of the mesh may as well try it."""
        known = _addresses_present(table)
        for address in [address for address in self._waiting if address in known]:
            del self._waiting[address]
        if not self._waiting or self._rng.random() * table.present >= TRIED_MULT * len(self._waiting):
            return ""
        address = next(iter(self._waiting))
        tries = self._waiting.pop(address) - 1
        if tries:
            self._waiting[address] = tries
        return address

    def _pause(self, table: MemberTable) -> int:
        return self._config.join_retry_interval if table.present == 1 else self._config.heal_interval

    def _rearm(self) -> None:
        self.deadline = min(self._next_try, self._next_rival)


def _addresses_present(table: MemberTable) -> frozenset[str]:
    """Where members are that are alive or may be; asked for membership only, never walked through."""
    return frozenset(member.alive.profile.address for member in table if _is_present(member))


def _is_present(member: Member) -> bool:
    return member.precedence & STATE_MASK <= State.SUSPECT
