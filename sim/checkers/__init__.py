"""One file a property. `DEFAULT` is what every run is watched by."""

from __future__ import annotations

from sim.checkers.agreement import Agreement
from sim.checkers.checker import Checker, Violation
from sim.checkers.completeness import Completeness
from sim.checkers.durable_stays import DurableStays
from sim.checkers.events_once import EventsOnce
from sim.checkers.fits_a_packet import FitsAPacket
from sim.checkers.incarnations_grow import IncarnationsGrow
from sim.checkers.latest_tags import LatestTags
from sim.checkers.leave_is_no_failure import LeaveIsNoFailure
from sim.checkers.merge_is_a_join import MergeIsAJoin
from sim.checkers.no_false_death import NoFalseDeath
from sim.checkers.no_resurrection import NoResurrection
from sim.checkers.nobody_forgotten import NobodyForgotten
from sim.checkers.nobody_sees_itself_dead import NobodySeesItselfDead
from sim.checkers.one_profile import OneProfile
from sim.checkers.one_reply import OneReply
from sim.checkers.one_result import OneResult
from sim.checkers.probes_before_it_accuses import ProbesBeforeItAccuses
from sim.checkers.ring_owners import RingOwners
from sim.checkers.saves_are_fifo import SavesAreFifo
from sim.checkers.signed_views_hold import SignedViewsHold
from sim.checkers.survives_the_wire import SurvivesTheWire
from sim.checkers.traffic_is_flat import TrafficIsFlat
from sim.checkers.views_are_few import ViewsAreFew

DEFAULT: tuple[type[Checker], ...] = (
    IncarnationsGrow,
    NoResurrection,
    OneProfile,
    LatestTags,
    NobodySeesItselfDead,
    MergeIsAJoin,
    NoFalseDeath,
    LeaveIsNoFailure,
    ProbesBeforeItAccuses,
    NobodyForgotten,
    Completeness,
    Agreement,
    TrafficIsFlat,
    FitsAPacket,
    SurvivesTheWire,
    RingOwners,
    ViewsAreFew,
    OneResult,
    OneReply,
    EventsOnce,
    SignedViewsHold,
    DurableStays,
    SavesAreFifo,
)

BY_NAME: dict[str, type[Checker]] = {checker.name: checker for checker in DEFAULT}
"""Every checker that a scenario may name. The first line of its docstring says in one sentence what it holds."""

__all__ = [
    "BY_NAME",
    "DEFAULT",
    "Agreement",
    "Checker",
    "Completeness",
    "DurableStays",
    "EventsOnce",
    "FitsAPacket",
    "IncarnationsGrow",
    "LatestTags",
    "LeaveIsNoFailure",
    "MergeIsAJoin",
    "NoFalseDeath",
    "NoResurrection",
    "NobodyForgotten",
    "NobodySeesItselfDead",
    "OneProfile",
    "OneReply",
    "OneResult",
    "ProbesBeforeItAccuses",
    "RingOwners",
    "SavesAreFifo",
    "SignedViewsHold",
    "SurvivesTheWire",
    "TrafficIsFlat",
    "ViewsAreFew",
    "Violation",
]
