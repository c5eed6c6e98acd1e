"""What a node shows as signed can be shown to anybody, and what an honest member signs is believed.

A third party looks at it, who has asked nobody: for each view that an answer to `why` shows as signed, the node must
have been told it by that member, in answer to this node, about the member in question, with a signature over all of it.
The bytes that are signed are put together here once more, so that nothing can be left out of them unnoticed. And as
long as nobody has lied, no view is refused or unsigned: all versions of a run sign.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from protocols.core import Command, Instant, NodeId, Outcome
from protocols.detector.messages import Reached
from protocols.detector.why import Explanation
from protocols.signing import Domain
from sim.checkers.checker import Checker
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World

HEARD_MAX = 512
"""Views that a node was told of late: several questions at a time, of at most 16 members each."""


class SignedViewsHold(Checker):
    """A view that is shown as signed was signed by that member, for that question, and the honest are believed."""

    name = "signed_views_hold"
    messages = (Reached,)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._heard: dict[int, deque[Reached]] = {}
        """By node."""
        self._told: list[tuple[Instant, Process, Explanation]] = []
        """Not judged yet: an answer is given before the message is told that ended the question."""

    def on_message(self, now: Instant, process: Process, message: Reached) -> None:
        self._heard.setdefault(process.index, deque(maxlen=HEARD_MAX)).append(message)
        self._judge()

    def on_reply(self, now: Instant, process: Process, command: Command, outcome: Outcome) -> None:
        if isinstance(outcome, Explanation):
            self._told.append((now, process, outcome))

    def finish(self, now: Instant) -> None:
        self._judge()

    def _judge(self) -> None:
        told, self._told = self._told, []
        for at, process, explanation in told:
            about = explanation.member
            for finding in explanation.findings:
                if finding.signed and not self._was_told(process, finding.by.node_id, about.node_id, finding.reach):
                    text = f"shows as signed by {finding.by.name} what it has not signed: {about.name} {finding.reach}"
                    self.violated(at, process, text)
                elif not finding.signed and not self.world.has_lied:
                    self.violated(at, process, f"shows a view of {finding.by.name} on {about.name} as not signed")
            if explanation.refused and not self.world.has_lied:
                names = ", ".join(teller.name for teller in explanation.refused)
                self.violated(at, process, f"does not believe what {names} signed about {about.name}")

    def _was_told(self, process: Process, by: NodeId, about: NodeId, reach: str) -> bool:
        """Whether `by` has signed for this node that it finds so."""
        signer = self.world.by_id[by].config.signer
        third = self.world.processes[process.index - 1].config.signer
        asker = process.config.node_id
        for said in self._heard.get(process.index, ()):
            if said.reach.name.lower() != reach or said.credential != signer.credential:
                continue
            found = (said.reach, said.precedence, said.accusers, said.has_answered)
            lasted = (said.answered_ms, said.silent_ms, said.pings)
            signed = msgspec.msgpack.encode((by, asker, said.question, about, *found, *lasted))
            if third.verify(by, said.credential, Domain.REACH, signed, said.signature):
                return True
        return False
