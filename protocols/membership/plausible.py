"""How far hearsay may lead a member on from life to life: what others say of it may be a little ahead, and no more.

Nobody can tell a false word from a true one; it is outdone. Of an incarnation the next one does that, of the largest
incarnation the next life, and of a life that the member never had the one after that. But of lives there are only so
many, and anybody can say that a member is dead in the last one: it would be forgotten for good. So:
- What others say leads nobody on by more than `LIVES_AHEAD_MAX`. To use up the numbers in this way a liar needs weeks,
  for each life that it claims costs the accused a pause (`node.LIFE_PAUSE`). It does not get beyond half of them.
- The accused goes along with more than others do (`PATIENCE`), for they may have been led on step by step. What is
  beyond that it ignores: to outdo it, it would have to make a leap that nobody believes.
- A member that was away for long may really be further ahead. Its own word, said by itself, counts whatever it says;
  where others say that it lives so far ahead, or so far behind, it is asked (`disputes.py`).
- Who meets a member first through a liar has nothing to compare with. It tells the member what it believes; the member
  insists over a stream, which nobody else can open in its name, and its word takes the place of what cannot be true
  (`disputes.py`).
"""

from __future__ import annotations

from protocols.limits import UPDATES_BYTES_MAX
from protocols.membership.member import GENERATION_MAX, Alive, generation_of, incarnation_of, size_bound

LIVES_AHEAD_MAX = 64
"""Lives that a member may have had while nobody heard of it."""
LIFE_TOLD_MAX = GENERATION_MAX // 2
"""Nobody has had so many lives. The other half is left for restarts of whoever was led on up to here."""
PATIENCE = 4
"""How many times as far the accused goes along."""
TO_ASK_MAX = 64
"""Members at a time that are to be asked what they are; so many as one tells news are asked each gossip interval. And
the size of a mesh in which each of those that are told of a death asks the dead."""


def is_plausible(known: int, told: int, patience: int = 1) -> bool:
    """Whether a member that is known at precedence `known` can be at `told`, which others say of it."""
    life = generation_of(told)
    ahead = life - generation_of(known)
    return ahead <= 0 or (ahead <= patience * LIVES_AHEAD_MAX and life <= LIFE_TOLD_MAX)


def is_honest(alive: Alive) -> bool:
    """Whether nodes that keep the rules can have said this: it fits a packet, a later life can still win, and it was
    announced in the same life."""
    if alive.incarnations_ago > incarnation_of(alive.precedence):
        return False
    return size_bound(alive) <= UPDATES_BYTES_MAX and generation_of(alive.precedence) < GENERATION_MAX
