"""Membership as a person sets it: a profile, and what is otherwise; in seconds, and judged as a whole (DESIGN 4).

The profiles are those of memberlist (DefaultLANConfig, DefaultWANConfig, DefaultLocalConfig) in all that memberlist
has; joining, healing, leaving, views and how long the dead are remembered are our own. All nodes of a mesh should be
set alike: a node that probes far faster than its peers gossip accuses more than they can refute in time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from protocols.config import SwimConfig
from protocols.core import NANOS_PER_MS, NANOS_PER_S
from protocols.membership.steady import FLAPS_AT_ONCE

ProfileName: TypeAlias = Literal["lan", "wan", "local"]

LAN = SwimConfig()
WAN = SwimConfig(
    probe_interval=5 * NANOS_PER_S,
    probe_timeout=3 * NANOS_PER_S,
    suspicion_mult=6,
    gossip_interval=500 * NANOS_PER_MS,
    gossip_fanout=4,
    gossip_to_the_dead=60 * NANOS_PER_S,
    push_pull_interval=60 * NANOS_PER_S,
    join_retry_interval=5 * NANOS_PER_S,
    heal_interval=30 * NANOS_PER_S,
    leave_linger=5 * NANOS_PER_S,
    view_quiet=500 * NANOS_PER_MS,
    view_wait_max=2500 * NANOS_PER_MS,
    flap_cost=180 * NANOS_PER_S,
    flap_hold_max=360 * NANOS_PER_S,
)
LOCAL = SwimConfig(
    probe_timeout=200 * NANOS_PER_MS,
    indirect_probes=1,
    suspicion_mult=3,
    gossip_interval=100 * NANOS_PER_MS,
    retransmit_mult=2,
    gossip_rounds_min=2,
    gossip_to_the_dead=15 * NANOS_PER_S,
    push_pull_interval=15 * NANOS_PER_S,
    heal_interval=5 * NANOS_PER_S,
    leave_linger=1 * NANOS_PER_S,
    view_quiet=100 * NANOS_PER_MS,
    view_wait_max=500 * NANOS_PER_MS,
    flap_cost=30 * NANOS_PER_S,
    flap_hold_max=60 * NANOS_PER_S,
)
PROFILES: dict[ProfileName, SwimConfig] = {"lan": LAN, "wan": WAN, "local": LOCAL}

SECONDS_MAX = 7 * 24 * 3600.0
PUSH_PULLS_REMEMBERED = 4
"""Exchanges of tables after which a member that died is still remembered, at least."""
HEALS_REMEMBERED = 4
"""Tries of the dead and the seeds, by turns, for which a member that died is still remembered, at least."""
_COUNTS = {
    "indirect_probes": (0, 16),
    "health_max": (0, 32),
    "suspicion_mult": (2, 32),
    "suspicion_max_factor": (1, 32),
    "gossip_fanout": (1, 16),
    "retransmit_mult": (1, 16),
    "gossip_rounds_min": (1, 32),
    "views_per_minute": (2, 600),
}


class MembershipSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table of settings. What is None is as in the profile."""

    profile: ProfileName = "lan"
    probe_interval_s: float | None = None
    probe_timeout_s: float | None = None
    indirect_probes: int | None = None
    stream_probe: bool | None = None
    health_max: int | None = None
    suspicion_mult: int | None = None
    suspicion_max_factor: int | None = None
    gossip_interval_s: float | None = None
    gossip_fanout: int | None = None
    retransmit_mult: int | None = None
    gossip_rounds_min: int | None = None
    gossip_to_the_dead_s: float | None = None
    push_pull_interval_s: float | None = None
    join_retry_interval_s: float | None = None
    heal_interval_s: float | None = None
    remember_dead_s: float | None = None
    leave_linger_s: float | None = None
    view_quiet_s: float | None = None
    view_wait_max_s: float | None = None
    views_per_minute: int | None = None
    flap_cost_s: float | None = None
    flap_hold_max_s: float | None = None

    def swim(self) -> SwimConfig:
        """What nodes are told. Raises `ValueError`, which says what is wrong, for settings that make no sense."""
        wrong = next(self._wrong(), "")
        if wrong:
            raise ValueError(wrong)
        config = self._unchecked()
        unfit = next(_unfit(config), "")
        if unfit:
            raise ValueError(unfit)
        return config

    def _wrong(self) -> Iterator[str]:
        """What is wrong with single values."""
        if self.profile not in PROFILES:
            yield f"There is no profile {self.profile!r}: it is one of {', '.join(PROFILES)}."
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if value is None or field in ("profile", "stream_probe"):
                continue
            if field in _COUNTS:
                least, most = _COUNTS[field]
                if not least <= value <= most:
                    yield f"{field} = {value}: it must be from {least} to {most}."
            elif not 0 <= value <= SECONDS_MAX:
                yield f"{field} = {value:g}: it must be from 0 to {SECONDS_MAX:g} seconds."

    def _unchecked(self) -> SwimConfig:
        changed: dict[str, int] = {}
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if value is None or field == "profile":
                continue
            name = field.removesuffix("_s")
            changed[name] = int(value * NANOS_PER_S) if name != field else value
        config: SwimConfig = replace(PROFILES[self.profile], **changed)
        return config


def _unfit(config: SwimConfig) -> Iterator[str]:
    """What does not go together."""
    at_least = (
        ("probe_timeout", NANOS_PER_MS, "a packet is under way for longer than that"),
        ("gossip_interval", NANOS_PER_MS, "gossip would be all that the node does"),
        ("join_retry_interval", 100 * NANOS_PER_MS, "seeds that are away would be flooded"),
        ("heal_interval", 100 * NANOS_PER_MS, "members that are away would be flooded"),
        ("push_pull_interval", NANOS_PER_S, "a whole table is sent each time"),
        ("flap_cost", NANOS_PER_S, "members that come and go all the time would be shown each time"),
    )
    for name, least, why in at_least:
        if getattr(config, name) < least:
            yield f"{name}_s is {_seconds(getattr(config, name))}: it must be {_seconds(least)} or more, or {why}."
    if config.probe_timeout >= config.probe_interval:
        yield (
            f"probe_timeout_s is {_seconds(config.probe_timeout)} and probe_interval_s "
            f"{_seconds(config.probe_interval)}: the timeout must be shorter, for who has not answered by then is "
            "reached through others within the same interval."
        )
    if config.gossip_interval > config.probe_interval:
        yield (
            f"gossip_interval_s is {_seconds(config.gossip_interval)} and probe_interval_s "
            f"{_seconds(config.probe_interval)}: gossip must be no rarer than probes, or suspects hear too late that "
            "they have to refute."
        )
    if config.remember_dead < PUSH_PULLS_REMEMBERED * config.push_pull_interval:
        yield (
            f"remember_dead_s is {_seconds(config.remember_dead)} and push_pull_interval_s "
            f"{_seconds(config.push_pull_interval)}: the dead must be remembered for {PUSH_PULLS_REMEMBERED} exchanges "
            "at least, or the table of a node that has missed a death brings it back as alive."
        )
    if config.remember_dead < config.gossip_to_the_dead:
        yield (
            f"remember_dead_s is {_seconds(config.remember_dead)} and gossip_to_the_dead_s "
            f"{_seconds(config.gossip_to_the_dead)}: nobody can be told what is forgotten."
        )
    if config.remember_dead < HEALS_REMEMBERED * config.heal_interval:
        yield (
            f"remember_dead_s is {_seconds(config.remember_dead)} and heal_interval_s "
            f"{_seconds(config.heal_interval)}: the dead must be remembered for {HEALS_REMEMBERED} tries at least, or "
            "those behind a cut are forgotten before anybody has looked whether they are back."
        )
    if config.view_quiet > config.view_wait_max:
        yield (
            f"view_quiet_s is {_seconds(config.view_quiet)} and view_wait_max_s {_seconds(config.view_wait_max)}: the "
            "wait must be no shorter, for it is how long a change may be put off by those that follow it."
        )
    if config.flap_hold_max < FLAPS_AT_ONCE * config.flap_cost:
        yield (
            f"flap_hold_max_s is {_seconds(config.flap_hold_max)} and flap_cost_s {_seconds(config.flap_cost)}: it "
            f"must be {FLAPS_AT_ONCE} times that at least, or who comes and goes all the time is let back in too early."
        )


def _seconds(nanos: int) -> str:
    return f"{nanos / NANOS_PER_S:g}"
