"""How far the simulator goes: many small runs with everything on, thousands of nodes, hours of virtual time."""

from __future__ import annotations

import time

from scripts.benchmarks.figures import Row, Setting, at_least, below, figure
from scripts.benchmarks.kernel_ping import events_per_s
from scripts.benchmarks.peers import PeerMissing
from scripts.benchmarks.sim_child import measured
from sim.faults import Isolate
from sim.scenario import Scenario, run

MIXED = Scenario(nodes=5, seconds=60, mix="full", tasks_per_s=4)
PEER_S_MAX = 90.0
LARGE_S_MAX = 180.0
LARGE_MB_MAX = 8000.0
HOURS = 14_000.0


def mixed(setting: Setting) -> list[Row]:
    """Small runs with every kind of fault, the workload and all checkers: what a sweep is made of."""
    count = 20 if setting.quick else 100
    setting.say(f"{count} runs of 5 nodes with every fault")
    run(MIXED)
    begun, events = time.perf_counter(), 0
    for seed in range(count):
        report = run(Scenario(nodes=5, seconds=60, mix="full", tasks_per_s=4, seed=seed))
        events += report.events
    wall_s = time.perf_counter() - begun
    note = f"{count} seeds of 60 virtual s, 4 tasks/s, all checkers, one process; settling included"
    what = "5 nodes, full fault mix"
    return [
        figure("sim", f"{what}, runs", count / wall_s, "runs/s per core", goal=at_least(10), note=note),
        figure("sim", f"{what}, events", events / wall_s, "events/s", note=note),
    ]


def large(setting: Setting, nodes: int, *, wall_s_max: float = 0.0, goals: bool = True) -> list[Row]:
    """A large mesh of which one in a hundred is cut off for 20 s."""
    setting.say(f"{nodes} nodes, 1 % isolated for 20 s")
    cut = Isolate(10.0, 30.0, nodes // 100)
    figures = measured(Scenario(nodes=nodes, seconds=60, seed=1, faults=(cut,)), wall_s_max)
    note = (
        f"60 virtual s from a converged start, 1 % isolated from 10 to 30 s; built in {figures.setup_s:.0f} s besides"
    )
    if figures.given_up:
        note += f"; given up at {figures.virtual_s:.0f} virtual s"
    what = f"{nodes} nodes, 1 % isolated"
    time_goal, memory_goal = (below(LARGE_S_MAX), below(LARGE_MB_MAX)) if goals else (None, None)
    return [
        figure("sim", f"{what}, time", figures.wall_s, "s", better="lower", goal=time_goal, note=note),
        figure("sim", f"{what}, memory", figures.peak_mb, "MB", better="lower", goal=memory_goal, note=note),
        figure("sim", f"{what}, events", figures.events / figures.wall_s, "events/s", note=note),
    ]


def growth(setting: Setting) -> list[Row]:
    """Memory after a long run and after one twice as long: it must not grow with virtual time.

    Nodes remember their last 10,000 finished tasks each; both runs go on beyond that.
    """
    setting.say(f"5 nodes for {HOURS:g} and {2 * HOURS:g} virtual s")
    once = measured(Scenario(nodes=5, seconds=HOURS, tasks_per_s=4))
    twice = measured(Scenario(nodes=5, seconds=2 * HOURS, tasks_per_s=4))
    note = f"5 nodes, 4 tasks/s, all checkers, peak after {2 * HOURS:g} against {HOURS:g} virtual s"
    growth_mb = twice.peak_mb - once.peak_mb
    return [
        figure("sim", "memory of a long run", twice.peak_mb, "MB", better="lower", note=note),
        figure("sim", "memory of a long run, growth", growth_mb, "MB", better="lower", goal=below(10), note=note),
    ]


def event_loops(setting: Setting) -> list[Row]:
    """The same ping and ack job on the simulator's kernel and network, on simpy, and on trio's MockClock."""
    nodes, seconds = 1000, 5.0 if setting.quick else 20.0
    setting.say(f"{nodes} nodes ping and ack")
    events, speed = events_per_s(nodes, seconds, 7)
    rows: list[Row] = []
    for package, program in (("simpy", "simpy_ping.py"), ("trio", "trio_ping.py")):
        label, value, missing = None, None, ""
        try:
            arguments = [str(nodes), str(seconds / 2), "7"]
            value = setting.peers.run(package, program, arguments, timeout_s=PEER_S_MAX)["events_per_s"]
            label = setting.peers.label(package) + (" MockClock" if package == "trio" else "")
        except PeerMissing as error:
            missing = f"; {error}"
        note = f"{nodes} nodes, bare kernel and network, no protocol: {speed:.0f} x real time{missing}"
        rows.append(
            figure(
                "sim", f"ping and ack, beside {package}", events, "events/s", peer=label, peer_value=value, note=note
            )
        )
    return rows
