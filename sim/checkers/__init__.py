"""One file a property. `DEFAULT` is what every run is watched by."""

from __future__ import annotations

from sim.checkers.agreement import Agreement
from sim.checkers.checker import Checker, Violation
from sim.checkers.incarnations_grow import IncarnationsGrow
from sim.checkers.no_false_death import NoFalseDeath
from sim.checkers.one_reply import OneReply
from sim.checkers.one_result import OneResult
from sim.checkers.ring_owners import RingOwners
from sim.checkers.survives_the_wire import SurvivesTheWire

DEFAULT: tuple[type[Checker], ...] = (
    IncarnationsGrow,
    NoFalseDeath,
    Agreement,
    OneResult,
    OneReply,
    RingOwners,
    SurvivesTheWire,
)

BY_NAME: dict[str, type[Checker]] = {checker.name: checker for checker in DEFAULT}
"""Every checker that a scenario may name."""

__all__ = [
    "BY_NAME",
    "DEFAULT",
    "Agreement",
    "Checker",
    "IncarnationsGrow",
    "NoFalseDeath",
    "OneReply",
    "OneResult",
    "RingOwners",
    "SurvivesTheWire",
    "Violation",
]
