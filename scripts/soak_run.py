"""Proves all planted bugs, then runs drawn scenarios and the examples on fresh seeds until the time is over.

Run N of a soak with base B is a function of B + N and of the code alone: every fourth is one of the examples in turn,
every other one a mesh, a network, a workload and a swarm of faults, all drawn from it. So a soak that is given the base
of another does the same runs again, on however many cores.

Exit status: 0 everything held, 1 something did not (with the command that shows it again), 2 unusable input.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path

from msgspec.structs import replace

from sim.cli.outputs import FAILURES
from sim.disk import DiskProfile
from sim.errors import ScenarioError
from sim.failure.render import render
from sim.failure.report import investigate
from sim.faults.mix import Mix, Swarm, strikes
from sim.files import load
from sim.network import LinkProfile
from sim.scenario import Liveness, Report, Scenario, run
from sim.sweep import Coverage, sweep, usable_cores
from tests.sim.planted.every import EVERY
from tests.sim.planted.hashes import BUGS, trace_hashes
from tests.sim.planted.mutant import Mutant, false_alarms, prove

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLES = REPOSITORY / "examples" / "scenarios"
EXAMPLE_EVERY = 4
MINUTES_MAX = 7 * 24 * 60
BASE_MAX = 1 << 48
RUNS_FOR_A_GAP = 100
"""Runs of one example in which everything that it asks for should have happened at least once."""
LINE_EVERY_S = 60.0


@cache
def examples() -> tuple[tuple[str, Scenario], ...]:
    """The example scenarios by the name of their file."""
    return tuple((path.stem, load(path)) for path in sorted(EXAMPLES.glob("*.toml")))


def drawn(seed: int) -> tuple[str, Scenario]:
    """What run `seed` is: a name (empty: it was drawn) and a scenario."""
    known = examples()
    if known and seed % EXAMPLE_EVERY == 0:
        name, scenario = known[seed // EXAMPLE_EVERY % len(known)]
        return name, replace(scenario, seed=seed)
    draw = random.Random(f"soak/{seed}")
    rough = draw.random() < 0.5
    scenario = Scenario(
        nodes=draw.choice((1, 2, 3, 3, 4, 5, 5, 6, 7, 9, 12, 20)),
        seconds=draw.choice((30.0, 60.0, 90.0)),
        seed=seed,
        start="join" if draw.random() < 0.3 else "converged",
        link=LinkProfile(
            latency_ms_max=draw.choice((2.0, 20.0, 120.0)),
            loss=draw.random() * 0.1 if rough else 0.0,
            duplicate=draw.random() * 0.1 if rough else 0.0,
            reorder=draw.random() * 0.2 if rough else 0.0,
        ),
        disk=DiskProfile(commit_ms_max=draw.choice((3.0, 3.0, 50.0, 400.0))),
        tasks_per_s=draw.choice((0.0, 1.0, 4.0, 10.0)),
    )
    if scenario.nodes > 2 and draw.random() < 0.2:
        scenario = replace(scenario, liveness=Liveness(rest="broken"))
    mix = Mix(swarm=Swarm())
    faults = strikes(mix, seed, scenario.names, scenario.seconds)
    return "", replace(scenario, faults=faults)


def run_drawn(_: Scenario, seed: int) -> Report:
    """One run of a soak. Sweeps call it in their workers."""
    return run(drawn(seed)[1])


class Soak:
    """One soak. `run` does it and gives the exit status."""

    def __init__(self, base: int, minutes: float) -> None:
        self._base = base
        self._began = time.monotonic()
        self._end = self._began + 60 * minutes
        self._minutes = minutes
        self._line_at = self._began + LINE_EVERY_S
        self._proven = 0
        self._whole = Coverage()
        self._examples: dict[str, Coverage] = {}

    def run(self) -> int:
        """All of it."""
        print(f"soak of {self._minutes:g} min; again: scripts/soak --base {self._base} {self._minutes:g}", flush=True)
        if not self._prove_all() or not self._sweep():
            return 1
        gaps = [
            f"{name}: {gap.text}"
            for name, coverage in sorted(self._examples.items())
            if coverage.seeds >= RUNS_FOR_A_GAP
            for gap in coverage.gaps()
        ]
        for line in (*self._whole.sentences()[:2], *gaps):
            print(line)
        print(f"{len(gaps)} gap(s)" if gaps else "every property held", flush=True)
        return 1 if gaps else 0

    def _prove_all(self) -> bool:
        """Whether every planted bug is caught, and nothing else is, on fixed seeds and on those of this soak."""
        for first_seed in (0, self._base):
            for mutant in EVERY:
                complaint = _complaint(mutant, first_seed)
                if complaint:
                    print(f"NOT PROVEN  {mutant.name}: {complaint}", flush=True)
                    return False
                self._proven += not first_seed
                self._progress()
        for name in BUGS:
            if (len(set(trace_hashes(name, (1, 2)))) == 1) != (name == "none"):
                print(f"NOT PROVEN  {name}: trace hashes under two PYTHONHASHSEEDs", flush=True)
                return False
        proven = self._proven + sum(name != "none" for name in BUGS)
        print(f"all {proven} planted bugs are caught, and nothing without them", flush=True)
        return True

    def _sweep(self) -> bool:
        reports: Iterator[Report] = sweep(Scenario(), count(self._base), usable_cores(), run_drawn)
        for report in reports:
            self._whole.add(report)
            name, scenario = drawn(report.seed)
            if name:
                self._examples.setdefault(name, Coverage()).add(report)
            if not report.held:
                _tell(name, scenario, report)
                return False
            self._progress()
            if time.monotonic() > self._end:
                return True
        return True

    def _progress(self) -> None:
        """One line a minute."""
        now = time.monotonic()
        if now < self._line_at:
            return
        self._line_at += LINE_EVERY_S
        whole = self._whole
        minutes = (now - self._began) / 60
        line = f"{minutes:.0f} of {self._minutes:g} min: {self._proven} planted bugs caught, {whole.seeds:,} runs, "
        print(f"{line}{whole.virtual_seconds / 3600:.1f} virtual hours, nothing violated", flush=True)


def _complaint(mutant: Mutant, first_seed: int) -> str:
    """What is wrong with the proof of `mutant`; empty when it is caught, and the code as it stands holds."""
    proof = prove(mutant, first_seed)
    if not proof.caught:
        seeds = f"{proof.seeds[0]}..{proof.seeds[-1]}"
        return f"{mutant.breaks} In seeds {seeds} only {proof.fallen} fell, not {mutant.caught_by}"
    alarms = false_alarms(mutant, proof.seeds)
    return f"the code as it stands does not hold: {alarms[0]}" if alarms else ""


def _tell(name: str, scenario: Scenario, report: Report) -> None:
    """Everything about a run that failed, with the command that shows it again."""
    for violation in report.violations[:3]:
        print(f"VIOLATED  {name or 'drawn'}, seed {report.seed}: {violation.property}: {violation.text}", flush=True)
    print(render(investigate(scenario, report, out=FAILURES)), flush=True)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes <= MINUTES_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes above 0 and up to {MINUTES_MAX}")
    return minutes


def _base(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < BASE_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0 and below {BASE_MAX}")
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("minutes", nargs="?", type=_minutes, default=10.0, help="how long (default 10)")
    parser.add_argument("--base", type=_base, help="first seed, to do a soak again (default: a fresh one)")
    options = parser.parse_args()
    base = options.base or random.SystemRandom().randrange(1, BASE_MAX)
    try:
        examples()  # one that cannot be read is found before anything is run
        return Soak(base, options.minutes).run()
    except ScenarioError as error:
        print(f"scripts/soak: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
