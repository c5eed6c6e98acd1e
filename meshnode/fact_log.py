"""What the log tells of the facts of a node: what operators have to know, and nothing again and again.

Whoever is broken, or lies, can bring about the same fact any number of times; that fills no disk.
"""

from __future__ import annotations

import time

from meshnode.logs import Log
from meshnode.viewlog import ViewLog
from protocols.core import NANOS_PER_S, Fact, NodeId
from protocols.keyring.views import KeyringRejected
from protocols.membership.facts import (
    Announced,
    Forgotten,
    MemberChanged,
    Overslept,
    ReachedByStreamOnly,
    Refuted,
    TagsLeftOut,
    ViewChanged,
)
from protocols.tasks.task import TaskReassigned

SAME_EVERY_S = 600.0
"""How often it is said of one member that UDP does not get through, or that its keyrings are refused."""
REFUTED_EVERY_S = 10.0
"""How often a refutation is told, whoever the accuser is, for the name of one is easily made up."""
REMEMBERED_MAX = 1024


class FactLog:
    """Writes facts on which nothing depends to `log`."""

    def __init__(self, log: Log, node_id: NodeId, name: str) -> None:
        self._log = log
        self._views = ViewLog(log, node_id, name)
        self._stream_only = _Seldom(SAME_EVERY_S)
        self._keyring_rejected = _Seldom(SAME_EVERY_S)
        self._refuted = _Seldom(REFUTED_EVERY_S)
        self._left_out: tuple[str, ...] = ()

    def write(self, fact: Fact) -> None:
        log = self._log
        match fact:
            case MemberChanged():
                self._views.member_changed(fact)
            case ViewChanged():
                self._views.view_changed(fact)
            case Forgotten():
                self._views.forget(fact.node_id)
            case Refuted() if self._refuted.is_time(""):
                log.warning("refuted an accusation", by=fact.accuser[:8], incarnation=fact.incarnation)
            case Overslept():
                log.info("this node did not run for a while", for_s=round(fact.late / NANOS_PER_S, 1))
            case Announced():
                log.info("announced what this node is now", incarnation=fact.incarnation)
            case TagsLeftOut() if fact.keys != self._left_out:
                self._left_out = fact.keys
                keys = ", ".join(fact.keys)
                log.warning("configured tags have no room beside those of `meshnode tags set`", left_out=keys)
            case ReachedByStreamOnly() if self._stream_only.is_time(fact.node_id):
                where = "open its UDP port, and this node's, in every firewall between them"
                log.warning(f"a member answers over TCP alone: {where}", member=fact.node_id[:8])
            case KeyringRejected() if self._keyring_rejected.is_time(fact.by):
                log.warning("a keyring that cannot be true was not taken over", by=fact.by[:8])
            case TaskReassigned(why="refused"):
                log.debug("run refused", task=fact.task_id, attempt=fact.attempt)
            case TaskReassigned():
                log.warning("run given up", task=fact.task_id, attempt=fact.attempt, why=fact.why)
            case _:
                log.debug("fact", fact=fact)


class _Seldom:
    """Of whom something was said, and when: the latest `REMEMBERED_MAX`."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._said_at: dict[NodeId, float] = {}

    def is_time(self, node_id: NodeId) -> bool:
        """Whether it may be said of `node_id` now; if so, it is taken to have been."""
        now = time.monotonic()
        if now - self._said_at.get(node_id, -self._every_s) < self._every_s:
            return False
        self._said_at.pop(node_id, None)
        self._said_at[node_id] = now
        if len(self._said_at) > REMEMBERED_MAX:
            del self._said_at[next(iter(self._said_at))]
        return True
