"""How long a suspect has to refute before it is declared dead (Lifeguard section IV-B).

A suspicion starts with the long timeout and shortens with each further member that independently accuses:
`T(n) = max(T_min, T_max - ln(n+1)/ln(k+1) · (T_max - T_min))` for n confirmations of the k that are wanted.
`T_min = mult · max(1, log10 N) · interval`, `T_max = max_factor · T_min`; too few members to confirm: T_min alone.
"""

from __future__ import annotations

import heapq
import math
from functools import lru_cache

from protocols.config import SwimConfig
from protocols.core import Instant, NodeId
from protocols.outbox import NEVER

OVER_MAX = 32
"""Suspicions that have ended and are remembered."""


def suspicion_bounds(config: SwimConfig, members: int) -> tuple[int, int, int]:
    """(T_min, T_max, k) in nanoseconds for a mesh of `members`, this node included."""
    wanted = config.suspicion_mult - 2
    if members - 2 < wanted:
        wanted = 0
    shortest = int(config.suspicion_mult * max(1.0, math.log10(max(1, members))) * config.probe_interval)
    longest = shortest * config.suspicion_max_factor if wanted > 0 else shortest
    return shortest, longest, max(0, wanted)


def suspicion_timeout(shortest: int, longest: int, wanted: int, confirmations: int) -> int:
    """Nanoseconds from the start of a suspicion to the verdict, after `confirmations` further accusers."""
    if wanted <= 0 or confirmations >= wanted:
        return shortest
    fraction = math.log(confirmations + 1) / math.log(wanted + 1)
    return max(shortest, int(longest - fraction * (longest - shortest)))


@lru_cache(maxsize=4096)  # while a large mesh grows together again, every suspicion finds another number of members
def timeouts_for(config: SwimConfig, members: int) -> tuple[int, ...]:
    """Timeouts in nanoseconds by number of confirmations, in a mesh of `members`; the last one is T_min."""
    shortest, longest, wanted = suspicion_bounds(config, members)
    return tuple(suspicion_timeout(shortest, longest, wanted, n) for n in range(wanted + 1))


class Suspicion:
    """One suspect: which precedence is in doubt, who accuses, and until when it may refute."""

    __slots__ = ("accusers", "deadline", "not_before", "precedence", "slept", "started", "timeouts")

    def __init__(self, precedence: int, accuser: NodeId, now: Instant, timeouts: tuple[int, ...]) -> None:
        self.precedence = precedence
        self.timeouts = timeouts
        self.started = now
        self.accusers: tuple[NodeId, ...] = (accuser,)
        self.deadline = now + timeouts[0]
        self.slept: Instant = 0
        """For how long this node has not run meanwhile: that time does not count."""
        self.not_before: Instant = 0
        """No verdict before then, however many confirm: the suspect has to be asked again first."""


class Suspicions:
    """All suspicions of one node. `deadline` is when `due` wants to be called; it may be early, never late."""

    __slots__ = ("_by_id", "_heap", "_over", "deadline")

    def __init__(self) -> None:
        self._by_id: dict[NodeId, Suspicion] = {}
        self._heap: list[tuple[Instant, NodeId]] = []
        self._over: dict[NodeId, Suspicion] = {}
        """The last ones that ended, for whoever asks why; the newest last."""
        self.deadline: Instant = NEVER

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, node_id: NodeId) -> bool:
        return node_id in self._by_id

    def start(
        self, now: Instant, node_id: NodeId, precedence: int, accuser: NodeId, config: SwimConfig, n: int
    ) -> bool:
        """Begin to doubt a member; whether further accusers count. Doubt of an older precedence is replaced."""
        timeouts = timeouts_for(config, n)
        suspicion = self._by_id[node_id] = Suspicion(precedence, accuser, now, timeouts)
        self._push(suspicion.deadline, node_id)
        return len(timeouts) > 1

    def is_open(self, node_id: NodeId) -> bool:
        """Whether a further accuser of this suspect would still count."""
        suspicion = self._by_id.get(node_id)
        return suspicion is not None and len(suspicion.accusers) < len(suspicion.timeouts)

    def confirm(self, node_id: NodeId, accuser: NodeId) -> bool:
        """Count a further accuser. True where it was new and wanted, so that it is worth passing on."""
        suspicion = self._by_id.get(node_id)
        if suspicion is None or accuser in suspicion.accusers:
            return False
        confirmations = len(suspicion.accusers)
        if confirmations == len(suspicion.timeouts):
            return False
        suspicion.accusers += (accuser,)
        ends = suspicion.started + suspicion.slept + suspicion.timeouts[confirmations]
        suspicion.deadline = max(ends, suspicion.not_before)
        self._push(suspicion.deadline, node_id)
        return True

    def slept(self, now: Instant, late: Instant) -> list[NodeId]:
        """This node has not run for `late` nanoseconds until `now`: every suspect gets that time back.

        It is heard for as long from now on at least, or for T_min where that is shorter. Returns who the suspects are.
        """
        for suspicion in self._by_id.values():
            suspicion.slept += late
            suspicion.not_before = now + min(late, suspicion.timeouts[-1])
            suspicion.deadline = max(suspicion.deadline + late, suspicion.not_before)
        self._heap = sorted((suspicion.deadline, node_id) for node_id, suspicion in self._by_id.items())
        self.deadline = self._heap[0][0] if self._heap else NEVER
        return list(self._by_id)

    def end(self, node_id: NodeId) -> None:
        """The member refuted, left or died."""
        suspicion = self._by_id.pop(node_id, None)
        if suspicion is None:
            return
        self._keep(node_id, suspicion)
        if not self._by_id:
            self._heap.clear()
            self.deadline = NEVER

    def due(self, now: Instant) -> list[tuple[NodeId, Suspicion]]:
        """Suspects whose time is over, each once; they are suspicions no longer."""
        heap = self._heap
        verdicts: list[tuple[NodeId, Suspicion]] = []
        while heap and heap[0][0] <= now:
            deadline, node_id = heapq.heappop(heap)
            suspicion = self._by_id.get(node_id)
            if suspicion is not None and suspicion.deadline <= deadline:
                del self._by_id[node_id]
                self._keep(node_id, suspicion)
                verdicts.append((node_id, suspicion))
        self.deadline = heap[0][0] if heap else NEVER
        return verdicts

    def get(self, node_id: NodeId) -> Suspicion | None:
        """The suspicion of a member that is open now."""
        return self._by_id.get(node_id)

    def last(self, node_id: NodeId) -> Suspicion | None:
        """The open suspicion of a member, or the last one that ended, where that is remembered."""
        return self._by_id.get(node_id) or self._over.get(node_id)

    def accusers(self, node_id: NodeId) -> tuple[NodeId, ...]:
        """Who accuses a member in the open suspicion, the first one first."""
        suspicion = self._by_id.get(node_id)
        return () if suspicion is None else suspicion.accusers

    def _keep(self, node_id: NodeId, suspicion: Suspicion) -> None:
        over = self._over
        if over.pop(node_id, None) is None and len(over) >= OVER_MAX:
            del over[next(iter(over))]
        over[node_id] = suspicion

    def _push(self, deadline: Instant, node_id: NodeId) -> None:
        heapq.heappush(self._heap, (deadline, node_id))
        self.deadline = self._heap[0][0]
