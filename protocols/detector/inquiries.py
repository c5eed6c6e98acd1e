"""Questions about members in the life of a node: the confirmer's messages and deadlines, and who hears of answers."""

from __future__ import annotations

from protocols.core import Endpoint, Instant, NodeId, RequestId
from protocols.detector.confirm import Confirmer, Gathered
from protocols.detector.messages import AskReach, Reached
from protocols.detector.why import Explainer, Why
from protocols.outbox import NEVER


class Inquiries:
    """A confirmer and the explainer that asks it. `deadline` is when `fire` wants to be called."""

    __slots__ = ("_explainer", "confirmer", "deadline")

    def __init__(self, confirmer: Confirmer, explainer: Explainer) -> None:
        self.confirmer = confirmer
        self._explainer = explainer
        self.deadline: Instant = NEVER

    def why(self, now: Instant, request_id: RequestId, command: Why) -> None:
        """A caller asks why a member is believed to be what it is."""
        self._explainer.ask(now, request_id, command)
        self._gathered(now)

    def fire(self, now: Instant) -> None:
        self._gathered(now, *self.confirmer.fire(now))

    def received(self, now: Instant, sender: Endpoint, message: AskReach | Reached) -> None:
        if type(message) is AskReach:
            self.confirmer.on_ask(now, sender, message)
            self._gathered(now)
        elif type(message) is Reached:
            self._gathered(now, self.confirmer.on_reached(now, sender, message))

    def on_ack(self, now: Instant, sender: NodeId, seq: int) -> None:
        """An ack that is none of the prober's."""
        self.confirmer.on_ack(now, sender, seq)
        self._gathered(now)

    def _gathered(self, now: Instant, *answers: Gathered | None) -> None:
        for gathered in answers:
            self._explainer.finish(now, gathered)
        self.deadline = self.confirmer.deadline
