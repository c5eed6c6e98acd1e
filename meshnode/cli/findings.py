"""What `meshnode doctor` finds, and what its checks learn from each other on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from meshnode.calls import Inspection
from meshnode.config import Config
from meshnode.errors import MeshError
from protocols.membership.views import NodeStatus


class Status(Enum):
    """How a check went. Only FAIL makes the command fail."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"
    """It could not be made, for what an earlier finding says."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table."""

    check: str
    status: Status
    detail: str
    next_step: str = ""

    @classmethod
    def of(cls, check: str, error: MeshError, status: Status = Status.FAIL) -> Finding:
        """An error of the project's, as a finding."""
        return cls(check, status, error.message, error.next_step)


@dataclass
class Case:
    """One node under examination. Checks run in order, and later ones use what earlier ones have filled in."""

    directory: Path
    directory_usable: bool = True
    config: Config | None = None
    workdir_chosen: bool = True
    """False: the directory in which the node is started decides, and nobody knows where that will be."""
    daemon_pid: int | None = None
    status: NodeStatus | None = None
    """Of the running daemon."""
    inspection: Inspection | None = None
    findings: list[Finding] = field(default_factory=list)
