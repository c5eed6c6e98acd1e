"""What holds of one node's beliefs about the members after every step."""

from __future__ import annotations

from protocols.core import InvariantViolation
from protocols.membership.member import STATE_MASK, State
from protocols.membership.swim import Swim


def check_beliefs(swim: Swim) -> None:
    """Raise `InvariantViolation` where the table contradicts itself."""
    if not swim.table.check_counts():
        raise InvariantViolation("the member counts differ from the rows")
    if swim.me is not None and not swim.leaving and swim.me.state is not State.ALIVE:
        raise InvariantViolation("a serving node believes that it is not alive")
    suspicions = swim.suspicions
    nobody_in_doubt = not len(suspicions)
    for member in swim.table:
        precedence = member.precedence
        if nobody_in_doubt and precedence == member.stale_to == member.alive.precedence and not precedence & STATE_MASK:
            continue  # alive, and as it announced itself: most rows of a large mesh
        if member.state is State.SUSPECT and member.alive.node_id not in suspicions:
            raise InvariantViolation(f"suspect {member.alive.node_id} has no deadline")
        counts = member.stale_to < member.precedence and member.state is not State.LEFT
        if counts != suspicions.is_open(member.alive.node_id):
            raise InvariantViolation(f"{member.alive.node_id}: it is not known whether a further accuser counts")
        if member.alive.precedence > member.precedence:
            raise InvariantViolation(f"{member.alive.node_id} announced more than is believed")
