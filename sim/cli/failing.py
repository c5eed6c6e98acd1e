"""What the commands do with a seed that failed: investigate it once, and tell of it in full."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sim.failure.report import Failure
    from sim.scenario import Report, Scenario


def look_into(
    scenario: Scenario,
    report: Report,
    *,
    passing: Report | None,
    out: Path | None,
    repro: str,
    shrink_s: float,
    quiet: bool,
) -> Failure:
    """All there is to say of a failing seed; a line on stderr says that this takes a while, where that helps.

    Files go to the folder `out` (None: none are written).
    """
    from sim.failure.report import investigate

    if not quiet and sys.stderr.isatty():
        what = "looking for its smallest form" if shrink_s > 0 else "running it again"
        print(f"seed {report.seed} violated {report.violations[0].property}; {what} …", file=sys.stderr)
    return investigate(scenario, report, passing=passing, shrink_budget=shrink_s, out=out, repro=repro)


def failure_document(failure: Failure) -> dict[str, Any]:
    """A failure as part of a JSON document."""
    from sim.failure.render import render

    return {
        "seed": failure.report.seed,
        "commit": failure.commit,
        "again": failure.repro,
        "repeats": failure.repeats,
        "files": [str(path) for path in failure.files],
        "text": render(failure),
    }
