"""What a node makes of its own silence: it ran late, so what expired meanwhile says nothing about others.

A process is stopped (SIGSTOP), starved of CPU, or suspended with its machine, or its monotonic clock leaps. When it
goes on, everything is overdue at once: the probe under way, the suspicions of others, what it had promised to say. Acks
and refutations lie unread in its sockets, or were lost when those ran over. To judge by that is to accuse the healthy,
and with the authority of a verdict (Lifeguard, DSN 2018, is about little else).

How late it is shows in every step: between the time that it wanted to be woken at, or its last step where that is
later, and now. From `late_min` on, what was due gets the time back that was lost, so that what lies unread is read
first. From `asleep_min` on, which is as long as an answer may take, nothing that was under way proves anything any
more: probes begin anew, suspects are asked once more, no verdict is given before they had time to answer, and local
health says that this node is in doubt.

A node that runs on time pays one comparison a step. One that is always late judges slowly, and never if it sleeps for
more than half of the time; others will.
"""

from __future__ import annotations

from protocols.config import SwimConfig
from protocols.core import Instant

HEALTH_MAX = 3
"""By how much one sleep worsens local health, at most; a failed probe that no helper acked or nacked does as much."""


def late_min(config: SwimConfig) -> Instant:
    """Lateness, in nanoseconds, that is no jitter any more."""
    return config.probe_timeout // 5


def asleep_min(config: SwimConfig) -> Instant:
    """Lateness, in nanoseconds, in which an answer may have come and gone."""
    return config.probe_timeout


def worse_by(config: SwimConfig, late: Instant) -> int:
    """What a sleep costs in local health."""
    return min(HEALTH_MAX, 1 + late // config.probe_interval)
