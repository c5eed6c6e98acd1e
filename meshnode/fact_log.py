"""What the log tells of the facts of a node: what operators have to know, and nothing twice in a row."""

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

UDP_WARNING_EVERY_S = 600.0
"""How often it is said of one member that UDP does not get through."""


class FactLog:
    """Writes facts on which nothing depends to `log`."""

    def __init__(self, log: Log, node_id: NodeId, name: str) -> None:
        self._log = log
        self._views = ViewLog(log, node_id, name)
        self._udp_warned_at: dict[NodeId, float] = {}

    def write(self, fact: Fact) -> None:
        log = self._log
        match fact:
            case MemberChanged():
                self._views.member_changed(fact)
            case ViewChanged():
                self._views.view_changed(fact)
            case Forgotten():
                self._views.forget(fact.node_id)
            case Refuted():
                log.warning("refuted an accusation", by=fact.accuser[:8], incarnation=fact.incarnation)
            case Overslept():
                log.info("this node did not run for a while", for_s=round(fact.late / NANOS_PER_S, 1))
            case Announced():
                log.info("announced what this node is now", incarnation=fact.incarnation)
            case TagsLeftOut():
                keys = ", ".join(fact.keys)
                log.warning("configured tags have no room beside those of `meshnode tags set`", left_out=keys)
            case ReachedByStreamOnly():
                self._warn_of_udp(fact.node_id)
            case KeyringRejected():
                log.warning("a keyring that cannot be true was not taken over", by=fact.by[:8])
            case TaskReassigned(why="refused"):
                log.debug("run refused", task=fact.task_id, attempt=fact.attempt)
            case TaskReassigned():
                log.warning("run given up", task=fact.task_id, attempt=fact.attempt, why=fact.why)
            case _:
                log.debug("fact", fact=fact)

    def _warn_of_udp(self, member: NodeId) -> None:
        """Of blocked UDP, and not at every probe."""
        now = time.monotonic()
        if now - self._udp_warned_at.get(member, -UDP_WARNING_EVERY_S) >= UDP_WARNING_EVERY_S:
            self._udp_warned_at[member] = now
            self._log.warning(
                "a member answers over TCP alone: open its UDP port, and this node's, in every firewall between them",
                member=member[:8],
            )
