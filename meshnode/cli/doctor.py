"""`meshnode doctor`: every check in order, one table, and what to do about the first thing that fails.

A check that breaks is itself a finding; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from meshnode.cli.checks_machine import check_clock, check_directory, check_packages, check_python
from meshnode.cli.checks_node import (
    check_config,
    check_daemon,
    check_database,
    check_handlers,
    check_identity,
    check_port,
    check_seeds,
)
from meshnode.cli.findings import Case, Finding, Status
from meshnode.cli.present import Report
from meshnode.cli.tables import table
from meshnode.errors import MeshError

if TYPE_CHECKING:
    from rich.table import Table

CHECKS: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    check_python,
    check_packages,
    check_directory,
    check_config,
    check_identity,
    check_daemon,
    check_clock,
    check_port,
    check_seeds,
    check_handlers,
    check_database,
)
"""In order: a later check may rest on what an earlier one has found."""

_STYLE = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red", Status.SKIP: "dim"}


def doctor(directory: Path) -> Report:
    """Examine the node of `directory`; a failure where any check fails."""
    case = Case(directory)
    for check in CHECKS:
        case.findings.extend(_findings(check, case))
    failed = [finding for finding in case.findings if finding.status is Status.FAIL]
    document = {
        "ok": not failed,
        "directory": str(directory),
        "checks": [
            {
                "check": finding.check,
                "status": finding.status.value,
                "detail": finding.detail,
                "next_step": finding.next_step,
            }
            for finding in case.findings
        ],
    }
    return Report(document, lambda: _table(case.findings), _failure(failed) if failed else None)


def _findings(check: Callable[[Case], Iterator[Finding]], case: Case) -> list[Finding]:
    try:
        return list(check(case))
    except Exception as error:  # a doctor that dies of one symptom tells nothing of the others
        name = check.__name__.removeprefix("check_").replace("_", " ")
        return [Finding(name, Status.FAIL, f"The check itself failed: {error!r}.", "Report it; the other checks hold.")]


def _failure(failed: list[Finding]) -> MeshError:
    first = failed[0]
    what = "1 check fails" if len(failed) == 1 else f"{len(failed)} checks fail"
    return MeshError("doctor", f"{what}, the first: {first.check}: {first.detail}", first.next_step)


def _table(findings: list[Finding]) -> Table:
    rows = [
        (
            finding.check,
            (finding.status.value, _STYLE[finding.status]),
            finding.detail + (f" → {finding.next_step}" if finding.next_step else ""),
        )
        for finding in findings
    ]
    return table(("check", "status", "found → what to do"), rows)
