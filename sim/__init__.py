"""The simulator: the very same protocol objects as in the daemon, in virtual time, with everything that can break.

The public API of tests stands here: `from sim import sim_test, incarnations_grow, all_agree`. Names are loaded at their
first use, so that `import sim` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocols.core import Refused as Refused
    from protocols.core import Unknown as Unknown
    from protocols.membership.member import State as State
    from protocols.membership.settings import MembershipSettings as MembershipSettings
    from protocols.tasks.task import Accepted as Accepted
    from protocols.tasks.task import TaskState as TaskState
    from protocols.tasks.task import TaskView as TaskView
    from sim.checkers.checker import Checker as Checker
    from sim.checkers.checker import Violation as Violation
    from sim.disk import DiskProfile as DiskProfile
    from sim.errors import ScenarioError as ScenarioError
    from sim.fence import FenceError as FenceError
    from sim.network import LinkProfile as LinkProfile
    from sim.scenario import Scenario as Scenario
    from sim.testing.decorator import sim_test as sim_test
    from sim.testing.errors import AwaitError as AwaitError
    from sim.testing.errors import Cancelled as Cancelled
    from sim.testing.errors import NeverHappened as NeverHappened
    from sim.testing.errors import NotReached as NotReached
    from sim.testing.errors import PropertyViolated as PropertyViolated
    from sim.testing.errors import Stuck as Stuck
    from sim.testing.handlers import Handler as Handler
    from sim.testing.handlers import Job as Job
    from sim.testing.nodes import MemberSeen as MemberSeen
    from sim.testing.nodes import SimNode as SimNode
    from sim.testing.properties import all_agree as all_agree
    from sim.testing.properties import incarnations_grow as incarnations_grow
    from sim.testing.scopes import Nursery as Nursery
    from sim.testing.sim import Sim as Sim

_HOMES = {
    "protocols.core": (
        "Refused",
        "Unknown",
    ),
    "protocols.membership.member": ("State",),
    "protocols.membership.settings": ("MembershipSettings",),
    "protocols.tasks.task": (
        "Accepted",
        "TaskState",
        "TaskView",
    ),
    "sim.checkers.checker": (
        "Checker",
        "Violation",
    ),
    "sim.disk": ("DiskProfile",),
    "sim.errors": ("ScenarioError",),
    "sim.fence": ("FenceError",),
    "sim.network": ("LinkProfile",),
    "sim.scenario": ("Scenario",),
    "sim.testing.decorator": ("sim_test",),
    "sim.testing.errors": (
        "AwaitError",
        "Cancelled",
        "NeverHappened",
        "NotReached",
        "PropertyViolated",
        "Stuck",
    ),
    "sim.testing.handlers": (
        "Handler",
        "Job",
    ),
    "sim.testing.nodes": (
        "MemberSeen",
        "SimNode",
    ),
    "sim.testing.properties": (
        "all_agree",
        "incarnations_grow",
    ),
    "sim.testing.scopes": ("Nursery",),
    "sim.testing.sim": ("Sim",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)  # a list like any other; a test compares it with what is imported above


def __getattr__(name: str) -> object:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'sim' has no attribute {name!r}")
    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
