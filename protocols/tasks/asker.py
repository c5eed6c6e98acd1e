"""Who wants an answer: a caller on this machine, or another node on behalf of one of its callers."""

from __future__ import annotations

from msgspec import Struct

from protocols.core import Endpoint, Outcome, Pledge, Refused, Reply, RequestId, Then, Unknown
from protocols.tasks.messages import Answer
from protocols.tasks.task import TaskView
from protocols.tools import ToolsFound


class Asker(Struct, frozen=True):
    """`request_id` for a local caller; `endpoint` and `ask_id` for a node (the request id is then -1)."""

    request_id: RequestId
    endpoint: Endpoint | None = None
    ask_id: int = 0

    @property
    def token(self) -> str:
        """Names the asker in a journal tag."""
        return str(self.request_id)


def local(request_id: RequestId) -> Asker:
    return Asker(request_id)


def remote(sender: Endpoint, ask_id: int) -> Asker:
    return Asker(-1, sender, ask_id)


def respond(asker: Asker, outcome: Outcome) -> Then:
    """The effect that answers `asker`. To be said once what it tells is durable."""
    if asker.endpoint is None:
        return Reply(asker.request_id, outcome)
    assert isinstance(outcome, TaskView | ToolsFound | Refused | Unknown), f"{outcome} does not answer a node"
    return Pledge(asker.endpoint, Answer(asker.ask_id, outcome))
