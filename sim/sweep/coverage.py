"""What a sweep has seen, added up report by report, and what it has missed.

A sweep that never did what it was meant to do proves nothing. So one in which an enabled kind of fault never happened,
or a state that a scenario names as `sometimes` was never reached, fails even when every property held.
"""

from __future__ import annotations

from hashlib import blake2b

from msgspec import Struct

from sim.scenario import Report

VIOLATED_MAX = 1000
"""So many violated seeds are remembered by number; the others are only counted."""
PROPERTIES_MAX = 1000


class Gap(Struct, frozen=True):
    """Something that should have happened in at least one seed. `kind` is `fault` or `sometimes`."""

    kind: str
    name: str
    text: str
    """What happened (nothing), and what to do, in two sentences."""


class Coverage:
    """Totals of a sweep. `add` each report; memory does not grow with their number."""

    def __init__(self) -> None:
        self.seeds = 0
        self.events = 0
        self.messages = 0
        self.virtual_seconds = 0.0
        self.wall_seconds = 0.0
        """Time spent in runs, of all processes together."""
        self.violated = 0
        """How many seeds violated something."""
        self.violated_seeds: list[int] = []
        """The first `VIOLATED_MAX` of them."""
        self.first_violated: Report | None = None
        self.properties: dict[str, int] = {}
        """In how many seeds each violated property was violated."""
        self.faults: dict[str, int] = {}
        """How often each enabled kind of fault, and each mishap, happened."""
        self.sometimes: dict[str, int] = {}
        """In how many seeds each named state was reached."""
        self._hash = blake2b(digest_size=16)

    def add(self, report: Report) -> None:
        """Count one report. The order matters to `trace_hash` alone."""
        self.seeds += 1
        self.events += report.events
        self.messages += sum(report.messages.values())
        self.virtual_seconds += report.virtual_seconds
        self.wall_seconds += report.wall_seconds + report.setup_seconds
        self._hash.update(report.trace_hash.encode())
        for kind, count in report.faults.items():
            self.faults[kind] = self.faults.get(kind, 0) + count
        for name, reached in report.sometimes.items():
            self.sometimes[name] = self.sometimes.get(name, 0) + reached
        if not report.held:
            self._add_violated(report)

    def _add_violated(self, report: Report) -> None:
        self.violated += 1
        if self.first_violated is None:
            self.first_violated = report
        if len(self.violated_seeds) < VIOLATED_MAX:
            self.violated_seeds.append(report.seed)
        for name in dict.fromkeys(violation.property for violation in report.violations):
            if name in self.properties or len(self.properties) < PROPERTIES_MAX:
                self.properties[name] = self.properties.get(name, 0) + 1

    @property
    def trace_hash(self) -> str:
        """One hash over the trace hashes of all runs, in the order in which they were added."""
        return self._hash.hexdigest()

    @property
    def held(self) -> bool:
        """Every property held in every seed, and there is no gap."""
        return not self.violated and not self.gaps()

    def gaps(self) -> list[Gap]:
        """What never happened in any seed although the scenario asked for it; faults first, each kind by name."""
        if not self.seeds:
            return []
        among = f"in any of {self.seeds} seeds" if self.seeds > 1 else "in the one seed that was run"
        gaps = [
            Gap(
                "fault",
                kind,
                f"The fault {kind} is enabled and did not happen {among}. Raise its rate, let it begin while there is "
                "somebody to hit, run more seeds, or take it out of the scenario.",
            )
            for kind, count in sorted(self.faults.items())
            if not count
        ]
        gaps += [
            Gap(
                "sometimes",
                name,
                f"The state {name!r}, which should be reached sometimes, was not {among}. Run more seeds, make the "
                "scenario rougher, or correct the condition: what it was meant to show has not been tested.",
            )
            for name, count in sorted(self.sometimes.items())
            if not count
        ]
        return gaps

    def sentences(self) -> list[str]:
        """What the sweep has seen, for people."""
        lines = [
            f"{_several(self.seeds, 'seed')}, {self.virtual_seconds / 3600:.1f} virtual hours, {self.events:,} events, "
            f"{self.messages:,} messages, {self.wall_seconds:.1f} s of computing; trace hash {self.trace_hash}."
        ]
        happened = [f"{kind} {count:,}" for kind, count in sorted(self.faults.items()) if count]
        if happened:
            lines.append(f"What went wrong, and how often: {', '.join(happened)}.")
        if self.sometimes:
            reached = [f"{name!r} in {count:,}" for name, count in sorted(self.sometimes.items())]
            lines.append(f"States reached: {', '.join(reached)} of {_several(self.seeds, 'seed')}.")
        if self.violated:
            broken = [f"{name} in {count:,}" for name, count in sorted(self.properties.items())]
            lines.append(f"{self.violated:,} of {_several(self.seeds, 'seed')} violated: {', '.join(broken)}.")
        else:
            lines.append("Every property held.")
        lines += [gap.text for gap in self.gaps()]
        return lines


def _several(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
