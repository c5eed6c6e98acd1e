"""The JSON documents. A sweep's is written as it goes, a line per seed: its memory does not grow with their number."""

from __future__ import annotations

import sys
from typing import Any, TextIO

import msgspec

from sim.scenario import Report, Scenario
from sim.show.tally import Tally

Document = dict[str, Any]


def run_document(scenario: Scenario, report: Report) -> Document:
    """One run: every figure, the scenario as it was written, and as it was run (`expanded`)."""
    return {"held": report.held, **msgspec.to_builtins(report), "scenario": msgspec.to_builtins(scenario)}


def print_json(document: Document) -> None:
    """The document on stdout, and nothing else."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")


def seed_row(report: Report) -> Document:
    """One seed of a sweep. Of one that held, what it drew is left out: the seed gives it again."""
    row: Document = {
        "seed": report.seed,
        "held": report.held,
        "trace_hash": report.trace_hash,
        "events": report.events,
        "virtual_seconds": report.virtual_seconds,
        "wall_seconds": report.wall_seconds,
        "agreed_after_s": report.agreed_after_s,
        "faults": report.faults,
        "sometimes": report.sometimes,
    }
    if not report.held:
        row["violations"] = msgspec.to_builtins(report.violations)
        row["expanded"] = msgspec.to_builtins(report.expanded)
    return row


class SweepDocument:
    """Writes one document: the scenario, `runs` with one line per seed, then the figures of the whole sweep.

    Nothing is written before the first seed is there: a sweep that cannot begin has no document.
    """

    def __init__(self, scenario: Scenario, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._before = '{"scenario": ' + _line(msgspec.to_builtins(scenario)) + ',\n"runs": [\n'

    def add(self, report: Report) -> None:
        """The next seed."""
        self._out.write(self._before + _line(seed_row(report)))
        self._out.flush()  # who reads along sees every seed when it is done
        self._before = ",\n"

    def close(self, tally: Tally, failure: Document | None) -> None:
        """The end of the document; `failure` tells of the first seed that failed."""
        coverage = tally.coverage
        rest: Document = {
            "held": tally.held,
            "interrupted": tally.broken_off,
            "seeds": tally.seeds,
            "violated": coverage.violated,
            "violated_seeds": coverage.violated_seeds,
            "properties": coverage.properties,
            "gaps": tally.gaps(),
            "trace_hash": coverage.trace_hash,
            "events": coverage.events,
            "virtual_seconds": coverage.virtual_seconds,
            "wall_seconds": coverage.wall_seconds,
            "faults": coverage.faults,
            "sometimes": coverage.sometimes,
            "failure": failure,
        }
        opening = "" if tally.seeds else self._before
        fields = ",\n".join(f"{_line(name)}: {_line(value)}" for name, value in rest.items())
        self._out.write(f"{opening}\n],\n{fields}}}\n")


def _line(value: Any) -> str:
    return msgspec.json.encode(value).decode()
