"""Who notices what, and when: 20 real agents, of which one is killed, paused or cut off; and what they cost idle.

The peer is serf, at the same parameters: both run memberlist's `lan` profile. Both meshes are up at once and are hurt
in turn, each in turn the first; the victim comes back, and all know all again, before the next. Detection is a matter
of chance (who probes the victim next), so it is repeated, and medians and worst cases are told.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio

from scripts.benchmarks.agents import MeshnodeAgents, SerfAgents, System, running, wait_until_whole
from scripts.benchmarks.figures import BenchBroken, Row, Setting
from scripts.benchmarks.membership_figures import Cut, Idle, Measured, rows_of
from scripts.benchmarks.mesh import cpu_seconds, resident_mb
from scripts.benchmarks.networks import LOOPBACK, Network, network
from scripts.benchmarks.peers import PeerMissing
from scripts.benchmarks.sightings import Detection, detection, false_positives
from scripts.namespaces import NoNamespaces

AGENTS = 20
SETTLE_S = 3.0
"""What was still under way when all knew all, such as a suspicion being refuted, has ended."""
DETECT_S_MAX = 90.0
PAUSE_S = 5.0
WATCH_S = 10.0
"""After a pause: accusations out of it have been judged by then."""
CUT_ON_S = 2.0
"""The cut goes on after everybody has noticed."""
GET_SERF = (
    "on Debian or Ubuntu `apt-get install serf`; without root `apt-get download serf && dpkg-deb -x serf_*.deb serf`, "
    "then --serf serf/usr/bin/serf"
)


class Plan(NamedTuple):
    """How long, and how often."""

    calm_s: float
    """After the start, for which there is little processor to go round: whoever was starved accuses slowly for a while
    (Lifeguard), and detects late."""
    idle_s: float
    kills: int
    pauses: int
    cuts: int


def run(setting: Setting) -> list[Row]:
    plan = Plan(10.0, 8.0, 2, 1, 1) if setting.quick else Plan(30.0, 20.0, 7, 3, 2)
    serf, missing = None, ""
    try:
        serf = setting.peers.program("serf", GET_SERF)
    except PeerMissing as error:
        missing = str(error)
        setting.say(missing)
    ours, *theirs = trio.run(_measure, setting, plan, serf)
    return rows_of(ours, theirs[0] if theirs else None, missing)


async def _measure(setting: Setting, plan: Plan, serf: Path | None) -> list[Measured]:
    async with AsyncExitStack() as stack:
        trials: list[Trial] = []
        for program in (None, serf) if serf else (None,):
            name = "serf" if program else "meshnode"
            setting.say(f"{AGENTS} agents of {name}")
            directory = setting.scratch / name
            directory.mkdir()
            trials.append(await stack.enter_async_context(prepared(directory, AGENTS, program)))
        return await measure(trials, plan, setting.say)


@asynccontextmanager
async def prepared(directory: Path, agents: int, serf: Path | None) -> AsyncIterator[Trial]:
    """A mesh that is whole: of nodes of ours, or of agents of `serf`. Raises `BenchBroken`."""
    with ExitStack() as stack:
        cable, no_cuts = None, ""
        try:
            cable = stack.enter_context(network())
        except NoNamespaces as error:
            no_cuts = f"nobody was cut off, for that takes network namespaces, and: {error}"
        names = [f"n{index}" for index in range(agents)]
        places = dict.fromkeys(names, cable.common if cable else LOOPBACK)
        if cable:
            places[names[-1]] = cable.alone
        make: Callable[[trio.Nursery], System]
        if serf:
            make = partial(SerfAgents, serf, places)
        else:
            make = partial(MeshnodeAgents, directory, places)
        async with running(make) as system:
            yield Trial(system, cable, no_cuts)


async def measure(trials: Sequence[Trial], plan: Plan, say: Callable[[str], None]) -> list[Measured]:
    """Everything of `plan`, each system in turn the first."""
    say(f"{plan.calm_s + plan.idle_s:g} s of nothing")
    await trio.sleep(plan.calm_s)
    async with trio.open_nursery() as nursery:
        for trial in trials:
            nursery.start_soon(trial.idle, plan.idle_s)
    # Neither the one that has made the mesh nor the one at the end of the cable.
    victims = trials[0].system.names[1:-1]
    for turn in range(plan.kills):
        say(f"kill -9, {turn + 1} of {plan.kills}")
        for trial in _in_turn(trials, turn):
            await trial.kill_one(victims[turn % len(victims)])
    for turn in range(plan.pauses):
        say(f"pause of {PAUSE_S:g} s, {turn + 1} of {plan.pauses}")
        for trial in _in_turn(trials, turn):
            await trial.pause_one(victims[-1 - turn % len(victims)])
    for turn in range(plan.cuts):
        say(f"one cut off, {turn + 1} of {plan.cuts}")
        for trial in _in_turn(trials, turn):
            await trial.cut_off_one()
    return [trial.measured for trial in trials]


def _in_turn(trials: Sequence[Trial], turn: int) -> Sequence[Trial]:
    return trials if turn % 2 == 0 else trials[::-1]


class Trial:
    """One system, the cable of its network where there is one, and what was measured of it so far."""

    def __init__(self, system: System, cable: Network | None, no_cuts: str) -> None:
        self.system = system
        self.measured = Measured(system.label, Idle([], []), no_cuts=no_cuts)
        self._cable = cable

    async def idle(self, seconds: float) -> None:
        """What agents cost that have nothing to do."""
        pids = [self.system.pid(name) for name in self.system.names]
        begun_s, before = time.monotonic(), [cpu_seconds(pid) for pid in pids]
        await trio.sleep(seconds)
        ended_s = time.monotonic()
        shares = [(cpu_seconds(pid) - first) / (ended_s - begun_s) for pid, first in zip(pids, before, strict=True)]
        self.measured.idle = Idle(shares, [resident_mb(pid) for pid in pids])
        self._count_false(begun_s)
        self.system.sightings.delays_s.clear()  # of a machine that was busy starting agents

    async def kill_one(self, victim: str) -> None:
        """kill -9, until all others know; then it is started again."""
        since_s = time.monotonic()
        self.system.kill(victim)
        self.measured.kills.append(await self._found_dead(victim, since_s))
        await self.system.start(victim)
        await wait_until_whole(self.system)
        self._count_false(since_s, gone=victim)
        await trio.sleep(SETTLE_S)

    async def pause_one(self, victim: str) -> None:
        """It stands still for `PAUSE_S`, which is shorter than any suspicion: nobody is to be taken for dead."""
        since_s, pid = time.monotonic(), self.system.pid(victim)
        os.kill(pid, signal.SIGSTOP)
        try:
            await trio.sleep(PAUSE_S)
        finally:
            os.kill(pid, signal.SIGCONT)
        await trio.sleep(WATCH_S)
        await wait_until_whole(self.system)
        wrong = false_positives(self.system.sightings.all, since_s, time.monotonic())
        self.measured.pauses.append(len(wrong))

    async def cut_off_one(self) -> None:
        """The last one is alone until all others know, and a little longer."""
        if self._cable is None:
            return
        since_s, victim = time.monotonic(), self.system.names[-1]
        await self._cable.cut()
        found = await self._found_dead(victim, since_s)
        await trio.sleep(CUT_ON_S)
        healed_s = time.monotonic()
        await self._cable.heal()
        await wait_until_whole(self.system)
        self.measured.cuts.append(Cut(found, self.system.sightings.all[-1].at_s - healed_s))
        self._count_false(since_s, gone=victim, cut_off=victim)
        await trio.sleep(SETTLE_S)

    async def _found_dead(self, victim: str, since_s: float) -> Detection:
        """How long it took, once all others know it. Raises `BenchBroken` where that takes too long."""
        sightings, names = self.system.sightings, self.system.names
        if not await sightings.wait_for(lambda: sightings.all_know(names, victim), DETECT_S_MAX):
            raise BenchBroken(f"{self.system.label}: not everybody noticed within {DETECT_S_MAX:.0f} s")
        self.measured.delays_ms += [delay_s * 1000 for delay_s in sightings.delays_s]
        sightings.delays_s.clear()
        return detection(sightings.all, victim, since_s)

    def _count_false(self, since_s: float, *, gone: str = "", cut_off: str = "") -> None:
        sightings = self.system.sightings.all
        wrong = false_positives(sightings, since_s, time.monotonic(), gone=gone, cut_off=cut_off)
        self.measured.false_elsewhere += len(wrong)
