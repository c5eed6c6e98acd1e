"""What holds of one node after every step, whatever it has been told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.core import InvariantViolation
from protocols.membership.invariants import check_beliefs

if TYPE_CHECKING:
    from protocols.node import Node


def check_node(node: Node) -> None:
    """Raise `InvariantViolation` where the state of a part of `node` breaks a promise."""
    check_beliefs(node.swim)
    node.spreading.events.check()
    if not node.tasks.book.check():
        raise InvariantViolation("the task indexes differ from the tasks")
    if not node.worker.check():
        raise InvariantViolation("the run counts differ from the runs, or exceed a handler's concurrency")
    if not node.keyring.check():
        raise InvariantViolation("the keyring has lost its primary, or a key that it holds retires")
    if not node.membership.check():
        raise InvariantViolation("something of membership is due before the node looks at it")
