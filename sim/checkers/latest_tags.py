"""What a caller was told that a node's tags are, is what the node announces in every later life, and what all show.

A change is acknowledged when it is durable. From then on the node may have other tags only by a later change; changes
that its crash left without an answer may have taken effect, all up to any one of them, for saves are first-in
first-out. Judged when a node begins a life, and in the settling phase: then the rows that other nodes have of it (in a
large mesh, those of an even sample of nodes) must show what it may have, too, within the bound of `agreement`.

A member whose data a scenario has destroyed (`Process.lost_data`) is not held to its words.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from protocols.core import Command, Fact, Instant, Outcome, Unknown
from protocols.membership.facts import NodeStarted
from protocols.membership.tagging import NodeTags, SetTags
from protocols.membership.tags import Tags, merged
from sim.checkers.agreement import agreement_bound
from sim.checkers.checker import Checker
from sim.inspect import own_row, rows_of
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World

NODES_ASKED_MAX = 128


class Told:
    """What callers know of the tags that were set at one node: as last told, and changes without an answer since."""

    def __init__(self) -> None:
        self.changed: dict[str, str] = {}
        self.unknown: list[SetTags] = []


class LatestTags(Checker):
    """Tags that a caller was told of outlive restarts, and every node comes to show them."""

    name = "latest_tags"
    facts = (NodeStarted,)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._told: dict[int, Told] = {}
        """By node; only those whose tags somebody changed."""

    def on_reply(self, now: Instant, process: Process, command: Command, outcome: Outcome) -> None:
        if type(command) is not SetTags:
            return
        told = self._told.setdefault(process.index, Told())
        if isinstance(outcome, NodeTags):
            told.changed = {key: outcome.tags[key] for key in outcome.changed}
            told.unknown = []
        elif isinstance(outcome, Unknown):
            told.unknown.append(command)

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        told = self._told.get(process.index)
        row = own_row(process.core)
        if told is None or row is None or process.lost_data:
            return
        possible = _possible(process, told)
        if row.alive.profile.tags not in possible:
            self.violated(now, process, f"begins a life with tags {row.alive.profile.tags!r}, not {_either(possible)}")

    def deadline(self) -> Instant:
        processes = self.world.processes
        return self.asked_since() + agreement_bound(processes[0].config.swim, len(processes))

    def waits_for(self, now: Instant) -> str:
        if not self._told:
            return ""
        core = self.world.core
        observers = core[:: -(-len(core) // NODES_ASKED_MAX) or 1]
        for subject in core:
            told = self._told.get(subject.index)
            if told is None or subject.lost_data or not subject.up:
                continue
            if any(type(command) is SetTags for _, command, _ in subject.pending.values()):
                return f"a change of the tags of {subject.name} is under way"
            possible = _possible(subject, told)
            for observer in (subject, *observers):
                row = rows_of(observer.core).get(subject.config.node_id)
                if row is not None and row.alive.profile.tags not in possible:
                    tags = row.alive.profile.tags
                    return f"{observer.name} shows tags {tags!r} of {subject.name}, not {_either(possible)}"
        return ""


def _possible(process: Process, told: Told) -> list[Tags]:
    """What the node may announce: as last told, or with changes that have no answer, up to any one of them."""
    states = accumulate(told.unknown, _after, initial=told.changed)
    return [merged(process.config.tags, tuple(sorted(changed.items())))[0] for changed in states]


def _after(changed: dict[str, str], command: SetTags) -> dict[str, str]:
    return {key: value for key, value in changed.items() if key not in command.unset} | command.set


def _either(possible: list[Tags]) -> str:
    return " or ".join(map(repr, possible))
