"""`/metrics`, `/livez` and `/readyz`: what a monitor on this machine may ask of the node over HTTP.

- `/livez`: 200 as long as the process answers. Whoever restarts what is not alive asks this one.
- `/readyz`: 200 while the node has joined its mesh, serves, and its disk is well; else 503 with the reasons in words.
  Whoever sends work to the node asks this one. A node that is not ready is not helped by a restart.
- `/metrics`: figures for Prometheus (`figures.py`); 503 while there are none.

No token is asked for: these are read-only, hold no secrets, and monitors cannot keep one well. They are served on
loopback alone, behind the same checks of Host and Origin as everything else (`meshnode/mcp/guard.py`), so no other
machine and no web page gets at them; any user of this machine does. This is an ASGI application and holds no state.
"""

from __future__ import annotations

from meshnode.calls import Caller, GetStatus, Inspect, Inspection, NodeStatus, Refused
from meshnode.errors import MeshError
from meshnode.mcp.guard import Receive, Scope, Send
from meshnode.observe.exposition import CONTENT_TYPE, render
from meshnode.observe.figures import families

METRICS = "/metrics"
LIVEZ = "/livez"
READYZ = "/readyz"
PATHS = (METRICS, LIVEZ, READYZ)
PLAIN = "text/plain; charset=utf-8"
COMMIT_S_MAX = 10.0
"""A commit that has waited so long for the disk makes a node unready."""


class Unanswered(Exception):
    """The node gave no figures; the text says why."""


class Face:
    """Answers for the node that `caller` reaches."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, kind, text = await self._answer(scope["path"])
        body = text.encode()
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, path: str) -> tuple[int, str, str]:
        """Status, content type and text."""
        if path == LIVEZ:
            return 200, PLAIN, "alive\n"
        try:
            status, daemon = await self._ask()
        except Unanswered as error:
            return 503, PLAIN, _not_ready([str(error)])
        reasons = unready(status, daemon)
        if path == METRICS:
            return 200, CONTENT_TYPE, render(families(status, daemon, ready=not reasons))
        return (503, PLAIN, _not_ready(reasons)) if reasons else (200, PLAIN, "ready\n")

    async def _ask(self) -> tuple[NodeStatus, Inspection]:
        """Raises `Unanswered`."""
        try:
            status, daemon = await self._caller.call(GetStatus()), await self._caller.call(Inspect())
        except MeshError as error:
            raise Unanswered(error.message) from error
        for outcome in (status, daemon):
            if isinstance(outcome, Refused):
                raise Unanswered(outcome.message)
        assert isinstance(status, NodeStatus)
        assert isinstance(daemon, Inspection)
        return status, daemon


def unready(status: NodeStatus, daemon: Inspection) -> list[str]:
    """Why the node should be sent no work, each reason a sentence; empty while it is ready."""
    reasons: list[str] = []
    match status.phase:
        case "joining":
            reasons.append("It has not joined its mesh: none of its seeds has answered yet.")
        case "leaving":
            reasons.append("It is leaving its mesh, and stops.")
        case "starting":
            reasons.append("It is starting: its first record is not on its disk yet.")
        case _:
            pass
    if status.storage_error:
        reasons.append(f"Its disk fails, so nothing new is taken in: {status.storage_error}.")
    elif daemon.commit_s > COMMIT_S_MAX:
        reasons.append(f"Its disk has not answered for {daemon.commit_s:.0f} s.")
    return reasons


def _not_ready(reasons: list[str]) -> str:
    return "".join(f"{line}\n" for line in ("not ready", *reasons))
