"""Broken tags: announced wrongly, not kept, or lost on their way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from protocols.core import Instant, Put
from protocols.membership import gossip, swim
from protocols.membership.member import Alive, Member, Profile, Refutation
from protocols.membership.records import TAGS_KEY
from protocols.membership.swim import Swim
from protocols.membership.table import MemberTable
from protocols.membership.tagging import SetTags, Tagging
from sim.faults import Crash, CrashLoop, Halves, Lossy, Retag
from sim.scenario import Scenario
from tests.sim.planted.mutant import Tampered, mutant_by, mutant_of, patched

TAGGED = Scenario(
    nodes=6, seconds=60, faults=(Halves(5, 25), Retag(3, 50, 4, every_s=0.7), Crash(30, 35, 3), Crash(40, 44, 2))
)
MISSED = Scenario(
    nodes=24,
    seconds=80,
    faults=(
        Retag(3, 70, 6, every_s=8),
        Halves(5, 20),
        Halves(30, 45),
        Lossy(1, 70, 24, loss=0.6),
        CrashLoop(10, 70, 4),
    ),
)
"""Announcements are missed, refutations are not, and newcomers hear of both from those who missed something."""


class ForgetsItsTags(Tampered):
    """What was set while the node ran is not found again after a restart."""

    def tamper_with_saved(self, saved: list[Put]) -> list[Put]:
        return [put for put in saved if put.key != TAGS_KEY]


def announces_other_tags_in_the_same_incarnation() -> AbstractContextManager[None]:
    """A node that changes its tags does not raise its incarnation."""

    def announce(self: Swim, now: Instant, profile: Profile) -> None:
        me = self.me
        assert me is not None
        alive = Alive(self._id, me.precedence, profile)
        self.me = self.table.believe(now, me, alive, alive.precedence, self._id)
        self.queue.put(alive)

    return patched(Swim, "announce", announce)


@contextmanager
def keeps_what_was_announced_first() -> Iterator[None]:
    """A later announcement of a member that is known is taken for a refutation: its profile is not looked at."""

    def announced(self: Swim, now: Instant, row: Member, update: Alive) -> None:
        self._cleared(now, row, Refutation(update.node_id, update.precedence))

    with patched(Swim, "_announced", announced), patched(MemberTable, "learn", lambda self, member, alive: member):
        yield


@contextmanager
def passes_old_profiles_on_as_new() -> Iterator[None]:
    """Who puts a refutation and an earlier announcement together does not say how old that is."""

    def said_again(announced: Alive, precedence: int) -> Alive:
        return Alive(announced.node_id, precedence, announced.profile)

    with patched(gossip, "said_again", said_again), patched(swim, "said_again", said_again):
        yield


def answers_before_its_tags_are_durable() -> AbstractContextManager[None]:
    """A caller is told that its change has been made as soon as it is taken in."""
    change = Tagging.change

    def answer(self: Tagging, now: Instant, request_id: int, command: SetTags) -> None:
        change(self, now, request_id, command)
        if request_id in self._waiting:
            self._waiting.remove(request_id)
            self._durable = self._wanted
            self._profile, _ = self._make_profile()
            self._outbox.reply(request_id, self.view())
            self._swim.announce(now, self._profile)

    return patched(Tagging, "change", answer)


TAGS = (
    mutant_of(ForgetsItsTags, TAGGED, "latest_tags"),
    mutant_by(announces_other_tags_in_the_same_incarnation, TAGGED, "one_profile"),
    mutant_by(keeps_what_was_announced_first, TAGGED, "latest_tags", "agreement"),
    mutant_by(passes_old_profiles_on_as_new, MISSED, "one_profile"),
    mutant_by(answers_before_its_tags_are_durable, TAGGED, "latest_tags"),
)
