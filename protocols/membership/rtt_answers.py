"""Answers to callers about round-trip times: which members are meant, and what to do where nothing is known yet."""

from __future__ import annotations

from protocols.core import NANOS_PER_S, Instant, NodeId, Refused
from protocols.membership.member import Member, State
from protocols.membership.naming import find_member
from protocols.membership.nearness import Nearness
from protocols.membership.rtt import EstimateRtt, RttEstimate, RttSummary, RttView
from protocols.membership.table import MemberTable


class RttDesk:
    """Answers out of the member table and what is known of round-trip times; None where this node keeps no count."""

    def __init__(self, node_id: NodeId, table: MemberTable, nearness: Nearness | None, probe_interval: Instant) -> None:
        self._me = node_id
        self._table = table
        self._nearness = nearness
        self._probe_interval = probe_interval

    def estimate(self, now: Instant, command: EstimateRtt) -> RttEstimate | Refused:
        a = find_member(self._table, command.a)
        b = find_member(self._table, command.b) if command.b else self._table.get(self._me)
        if isinstance(a, Refused):
            return a
        if isinstance(b, Refused):
            return b
        assert b is not None, "a serving node is in its own table"
        if not command.b:
            a, b = b, a
        if a is b:
            return Refused(
                "same_member",
                f"Both ends are {_name(a)}: there is no way between them.",
                "Name two different members. Where one is named, the other end is this node.",
            )
        if self._nearness is None:
            return Refused(
                "no_coordinates", "This node neither measures its probes nor keeps coordinates: it is told not to.", ""
            )
        rtt = self._nearness.between(now, a.alive.node_id, b.alive.node_id)
        if rtt is None:
            return self._unknown(self._nearness, a, b)
        return RttEstimate(_name(a), a.alive.node_id, _name(b), b.alive.node_id, rtt)

    def to(self, now: Instant, member: Member) -> RttView | None:
        """From this node to a member that may be there; None where it is not known."""
        node_id = member.alive.node_id
        if self._nearness is None or node_id == self._me or member.state > State.SUSPECT:
            return None
        return self._nearness.between(now, self._me, node_id)

    def summary(self, now: Instant) -> RttSummary | None:
        """None where no round-trip time is known."""
        known = sorted(rtt.ms for member in self._table if (rtt := self.to(now, member)) is not None)
        if not known or self._nearness is None:
            return None
        error = round(self._nearness.vivaldi.error, 3)
        middle = (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2
        return RttSummary(len(known), known[0], round(middle, 3), known[-1], error)

    def _unknown(self, nearness: Nearness, a: Member, b: Member) -> Refused:
        silent = [each for each in (a, b) if not nearness.knows_place_of(each.alive.node_id)]
        names = " and ".join(_name(each) for each in silent)
        message = f"This node has not heard yet where {names} is: members tell it when they are probed."
        gone = [each for each in silent if each.state > State.SUSPECT]
        if gone:
            state = gone[0].state.name.lower()
            return Refused(
                "rtt_unknown",
                f"{message} {_name(gone[0])} is {state} here, and who is {state} is not probed.",
                "Ask again once it is back, or ask a node that has known it for longer.",
            )
        round_s = self._table.present * self._probe_interval / NANOS_PER_S
        return Refused(
            "rtt_unknown",
            message,
            f"Ask again in a moment: every member is probed within about {round_s:.0f} s. "
            "If it stays so, no UDP comes through from that member (see `meshnode why`), or it runs an older version, "
            "which tells none: ask on its own machine.",
            retry_after_s=min(round_s, 60.0),
        )


def _name(member: Member) -> str:
    return member.alive.profile.name
