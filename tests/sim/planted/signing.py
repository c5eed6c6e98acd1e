"""Broken signatures of views: too little is signed, something else is signed, or nobody looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from msgspec.structs import replace

from protocols.core import NodeId
from protocols.detector import confirm, statements
from protocols.detector.messages import Reached
from protocols.detector.statements import ReachStatement, SignedReach, received, signed
from protocols.signing import Signer
from sim.faults import Crash
from sim.scenario import Scenario
from sim.scenario.mesh import node_id_for
from tests.sim.planted.mutant import mutant_by, patched

ASKED_WHY = Scenario(nodes=5, seconds=30, inquiries_per_s=1, faults=(Crash(5, 20, 1),))


def leaves_the_question_out_of_what_is_signed() -> AbstractContextManager[None]:
    """A signed view does not say to which question, so that it is one for every later question, too."""
    stated = statements._stated

    def stated_for_any(by: NodeId, asker: NodeId, about: NodeId, found: Reached) -> ReachStatement:
        return stated(by, asker, about, replace(found, question=0))

    return patched(statements, "_stated", stated_for_any)


def signs_for_nobody_in_particular() -> AbstractContextManager[None]:
    """A signed view does not say who has asked."""
    stated = statements._stated

    def stated_to_all(by: NodeId, asker: NodeId, about: NodeId, found: Reached) -> ReachStatement:
        return stated(by, by, about, found)

    return patched(statements, "_stated", stated_to_all)


@contextmanager
def takes_the_unsigned_for_signed() -> Iterator[None]:
    """A view counts as signed whatever is in the place of the signature, and one node does not sign."""

    def signed_by_most(signer: Signer, by: NodeId, asker: NodeId, about: NodeId, found: Reached) -> Reached:
        return found if by == node_id_for(1) else signed(signer, by, asker, about, found)

    def taken_for_signed(by: NodeId, asker: NodeId, about: NodeId, message: Reached) -> SignedReach | None:
        return received(by, asker, about, message if message.signature else replace(message, signature=bytes(64)))

    with (
        patched(confirm, "signed", signed_by_most),
        patched(confirm, "received", taken_for_signed),
        patched(confirm, "is_genuine", lambda said, verifier: True),
    ):
        yield


def signs_before_it_is_done() -> AbstractContextManager[None]:
    """What is signed is not yet what is told: one more ping is counted after that."""

    def signed_too_soon(signer: Signer, by: NodeId, asker: NodeId, about: NodeId, found: Reached) -> Reached:
        return replace(signed(signer, by, asker, about, found), pings=found.pings + 1)

    return patched(confirm, "signed", signed_too_soon)


SIGNING = (
    mutant_by(leaves_the_question_out_of_what_is_signed, ASKED_WHY, "signed_views_hold", seeds=2),
    mutant_by(signs_for_nobody_in_particular, ASKED_WHY, "signed_views_hold", seeds=2),
    mutant_by(takes_the_unsigned_for_signed, ASKED_WHY, "signed_views_hold", seeds=2),
    mutant_by(signs_before_it_is_done, ASKED_WHY, "signed_views_hold", seeds=2),
)
