"""Nobody declares a node dead that runs, unless something kept it from being heard (Lifeguard's false positive, at
rate zero).

A verdict is false when its subject runs, has begun its life, and nothing excuses the accuser. Excused is what can keep
a probe of a running node without an ack for a whole probe interval, and what of that may still be going round:

- packet loss, a cut, and faults that mislead (`Fault.misleads`: links that clog, slow down or reorder, processes that
  do not get to run), while they are in force and for the bound of `agreement.py` after;
- a member that lies, while it does and for as long after (`nobody_forgotten.py` asks for what is possible then);
- a way there and back that may be longer than a probe's timeout;
- for verdicts on one node only: a life of it that is not its first and began less than that bound ago. The life before
  is still being judged.

Nothing else is an excuse, in force or not. Probes wait for no disk, need no stream, and ask no wall clock. A monotonic
clock may run fast by as much as the interval is longer than the timeout (twofold, by default). Of third nodes that are
down nothing is needed: who runs is probed directly, and acks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.core import Fact, Instant
from protocols.membership.facts import MemberChanged, NodeStarted
from protocols.membership.member import State
from sim.checkers.agreement import agreement_bound, probes_may_fail
from sim.checkers.checker import Checker
from sim.inspect import own_row
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World


class NoFalseDeath(Checker):
    """Nobody declares a node dead that runs and can be heard."""

    name = "no_false_death"
    facts = (MemberChanged, NodeStarted)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._calm_after = agreement_bound(world.processes[0].config.swim, len(world.processes))
        self._started = [False] * len(world.processes)
        self._anew_at: list[Instant] = [-1] * len(world.processes)
        """By node: when it last began a life that was not its first; -1: it has had one at most."""

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        if type(fact) is NodeStarted:
            if self._started[process.index]:
                self._anew_at[process.index] = now
            self._started[process.index] = True
        elif type(fact) is MemberChanged and fact.state is State.DEAD:
            subject = self.world.by_id.get(fact.node_id)
            if subject is not None and not self._is_true(subject, fact) and not self._excused(now, subject):
                text = f"declares {fact.name} dead, accused by {self._name(fact.by)}; {fact.name} is up"
                self.violated(now, process, text)

    def _is_true(self, subject: Process, fact: MemberChanged) -> bool:
        """It is down, or has not begun its life, or it was a later life that has ended, and its data was destroyed."""
        own = own_row(subject.core)
        return own is None or fact.generation > own.generation

    def _excused(self, now: Instant, subject: Process) -> bool:
        world = self.world
        if world.misleading or world.lying or not world.network.whole or probes_may_fail(world):
            return True
        since = max(world.misled_at, world.lied_at, self._anew_at[subject.index])
        return since >= 0 and now < since + self._calm_after

    def _name(self, node_id: str) -> str:
        process = self.world.by_id.get(node_id)
        return node_id if process is None else process.name
