"""One simulated run in a process of its own, so that its memory is its own.

    python -m scripts.benchmarks.sim_child WALL_S_MAX SCENARIO_JSON

Prints one JSON object: what `Figures` has. A run that takes longer than WALL_S_MAX (0: no bound) is given up.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from scripts.benchmarks.figures import BenchBroken
from sim.scenario import Scenario

ROOT = Path(__file__).resolve().parents[2]


class Figures(Struct, frozen=True):
    """Of one run."""

    setup_s: float
    wall_s: float
    events: int
    virtual_s: float
    """How far it came."""
    peak_mb: float
    given_up: bool
    violations: int


def measured(scenario: Scenario, wall_s_max: float = 0.0) -> Figures:
    """Run `scenario` in a new process. Raises `BenchBroken` where that breaks, or a property was violated."""
    command = [sys.executable, "-m", "scripts.benchmarks.sim_child", str(wall_s_max)]
    done = subprocess.run(
        [*command, msgspec.json.encode(scenario).decode()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchBroken(f"a run of {scenario.nodes} nodes broke: {done.stderr.strip().splitlines()[-1:]}")
    figures = msgspec.json.decode(done.stdout, type=Figures)
    if figures.violations:
        raise BenchBroken(f"{scenario.nodes} nodes, seed {scenario.seed}: {figures.violations} violations")
    return figures


def peak_mb() -> float:
    """The most memory that this process has had. `getrusage` would count what its parent had when it was forked."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise BenchBroken("the system does not tell the peak of a process's memory (VmHWM in /proc/self/status)")


def main(wall_s_max: float, scenario: Scenario) -> Figures:
    """Run it here."""
    from protocols.core import NANOS_PER_S
    from scripts.benchmarks.simulator import Watchdog
    from sim.scenario import Run
    from sim.world import quiet_collector

    begun = time.perf_counter()
    one = Run(scenario)
    one.start()
    ready = time.perf_counter()
    with quiet_collector():
        watchdog = Watchdog(one, ready + wall_s_max if wall_s_max else float("inf"))
        one.faults_phase()
        done = time.perf_counter()
        reached_s = one.world.kernel.now / NANOS_PER_S
        events = one.world.kernel.events
    violations = len(one.world.watch.violations)
    return Figures(
        round(ready - begun, 3),
        round(done - ready, 3),
        events,
        reached_s,
        peak_mb(),
        watchdog.barked_at is not None,
        violations,
    )


if __name__ == "__main__":
    told = main(float(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Scenario))
    sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
