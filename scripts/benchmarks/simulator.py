"""How much faster than real time the simulator runs a mesh: events per second, and virtual over wall seconds.

The whole run counts, with all checkers on and with settling and the last checks at the end; building the mesh does not.
The peer, simpy, moves the same pings and acks between as many nodes and nothing else: no protocol, no checks.
"""

from __future__ import annotations

import gc
import time
from typing import NamedTuple

from protocols.core import NANOS_PER_S, Instant
from scripts.benchmarks.figures import BenchBroken, Goal, Row, Setting, at_least, figure, median
from scripts.benchmarks.peers import PeerMissing
from sim.faults import Halves
from sim.scenario import Run, Scenario
from sim.world import quiet_collector

SEED = 7
SIMPY_S_MAX = 60.0
CUT = Halves(30.0, 60.0)
BUSY_MIN = 0.95
OVERTIME = 1.1
"""A run with a goal is given this many times the wall time that the goal allows in --quick, then it has missed it."""

Peer = tuple[str, dict[str, float]]


def run(setting: Setting) -> list[Row]:
    from scripts.benchmarks import sim_scale  # it runs this file's watchdog in a process of its own

    quick = setting.quick
    rows = sim_scale.event_loops(setting) + sim_scale.mixed(setting)
    rows += steady(setting, 100, 240.0 if quick else 600.0, rounds=3, goal=at_least(200))
    rows += steady(setting, 1000, 80.0 if quick else 120.0, rounds=1 if quick else 3, goal=at_least(20))
    rows += halves(setting, 200, seconds=120.0, goal=None)
    rows += halves(setting, 1000, seconds=120.0, goal=at_least(5))
    if quick:
        setting.say("long runs, and those of 5,000 and 10,000 nodes, are left out of --quick: they take minutes")
        return rows
    rows += sim_scale.growth(setting)
    rows += sim_scale.large(setting, 5000)
    rows += sim_scale.large(setting, 10_000, wall_s_max=600.0, goals=False)
    return rows


def steady(setting: Setting, nodes: int, seconds: float, *, rounds: int, goal: Goal | None = None) -> list[Row]:
    """A mesh to which nothing happens."""
    scenario = Scenario(nodes=nodes, seconds=seconds, seed=SEED)
    runs: list[Outcome] = []
    for _ in range(rounds):
        setting.say(f"{nodes} nodes, {seconds:g} virtual s")
        runs.append(timed(scenario))
    peer, missing = _simpy(setting, nodes, seconds=min(20.0, 20_000 / nodes))
    label, figures = peer if peer else (None, {})
    busy = median([run.busy for run in runs])
    note = f"{seconds:g} virtual s from a converged start, {_repeats(rounds)}{_waited(busy)}{missing}"
    what = f"{nodes} nodes steady"
    return [
        figure(
            "sim",
            f"{what}, speed",
            median([run.speed for run in runs]),
            "x real time",
            peer=label,
            peer_value=figures.get("times_real_time"),
            goal=goal,
            note=note,
        ),
        figure(
            "sim",
            f"{what}, events",
            median([run.events_per_s for run in runs]),
            "events/s",
            peer=label,
            peer_value=figures.get("events_per_s"),
            note=note,
        ),
    ]


def halves(setting: Setting, nodes: int, *, seconds: float, goal: Goal | None) -> list[Row]:
    """A mesh that is cut in halves and healed."""
    setting.say(f"{nodes} nodes, {seconds:g} virtual s with a cut")
    wall_s_max = OVERTIME * seconds / goal.bound if goal and setting.quick else float("inf")
    run = timed(Scenario(nodes=nodes, seconds=seconds, seed=SEED, faults=(CUT,)), wall_s_max)
    given_up = run.given_up_at is not None
    note = f"{seconds:g} virtual s, cut from {CUT.start_s:g} to {CUT.end_s:g} s; one run{_waited(run.busy)}"
    if given_up:
        note = (
            f"given up at {run.given_up_at:.0f} of {seconds:g} virtual s, after {wall_s_max:.0f} s: a bound; "
            "`scripts/bench sim` runs it to the end"
        )
        note += _waited(run.busy)
    what = f"{nodes} nodes cut in halves"
    return [
        figure("sim", f"{what}, speed", run.speed, "x real time", goal=goal, at_most=given_up, note=note),
        figure("sim", f"{what}, events", run.events_per_s, "events/s", note=note),
    ]


class Outcome(NamedTuple):
    """Of a run that was given up `speed` is an upper bound: the whole time over the wall time of a part."""

    speed: float
    events_per_s: float
    busy: float
    """Processor time over wall time: below 1, something else had the processor."""
    given_up_at: float | None
    """Virtual seconds."""


def timed(scenario: Scenario, wall_s_max: float = float("inf")) -> Outcome:
    """Run as `sim.scenario.run` does, but give up after `wall_s_max`. Raises `BenchBroken` for a broken invariant."""
    gc.collect()
    one = Run(scenario)
    one.start()
    with quiet_collector():
        begun, busy_begun = time.perf_counter(), time.process_time()
        watchdog = Watchdog(one, begun + wall_s_max)
        one.faults_phase()
        one.heal()
        if watchdog.barked_at is None:
            one.settle()
            one.finish()
        wall_s, busy_s = time.perf_counter() - begun, time.process_time() - busy_begun
    report = one.report(wall_s, 0.0)
    if report.violations:
        first = report.violations[0]
        raise BenchBroken(f"{report.nodes} nodes, seed {report.seed}: {len(report.violations)} violations: {first}")
    virtual_s = report.virtual_seconds if watchdog.barked_at is None else scenario.seconds
    return Outcome(virtual_s / wall_s, report.events / wall_s, busy_s / wall_s, watchdog.barked_at)


class Watchdog:
    """Looks at the wall clock once a virtual second, and stops a run that takes too long."""

    def __init__(self, run: Run, deadline: float) -> None:
        self.barked_at: float | None = None
        self._run = run
        self._deadline = deadline
        if deadline < float("inf"):
            self._look_again(run.world.kernel.now)

    def _look_again(self, now: Instant) -> None:
        if now + NANOS_PER_S < self._run.end:
            self._run.world.kernel.push(now + NANOS_PER_S, self._look)

    def _look(self, now: Instant, _a: None, _b: None) -> None:
        if time.perf_counter() > self._deadline:
            self.barked_at = now / NANOS_PER_S
            self._run.world.stop()
        else:
            self._look_again(now)


def _waited(busy: float) -> str:
    """What a note has to say of a run that did not have a core to itself."""
    return f"; had the processor {busy:.0%} of the time" if busy < BUSY_MIN else ""


def _repeats(rounds: int) -> str:
    return "one run" if rounds == 1 else f"median of {rounds} runs"


def _simpy(setting: Setting, nodes: int, *, seconds: float) -> tuple[Peer | None, str]:
    """The peer's label and figures, or what to add to a note."""
    setting.say(f"simpy, {nodes} nodes")
    try:
        arguments = [str(nodes), str(seconds), str(SEED)]
        figures = setting.peers.run("simpy", "simpy_ping.py", arguments, timeout_s=SIMPY_S_MAX)
    except PeerMissing as missing:
        return None, f"; {missing}"
    return (setting.peers.label("simpy"), figures), ""
