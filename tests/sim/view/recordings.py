"""Recordings for the tests of the view: a small one whose every number is known, large ones, and one that failed."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from msgspec.structs import replace

from protocols.config import NodeConfig
from protocols.core import Put
from protocols.membership.records import GENERATION_KEY
from protocols.node import Node
from sim.checkers.checker import Violation
from sim.faults import Crash
from sim.record.happening import Happening, Kind, Recording
from sim.record.recorder import record
from sim.scenario import Report, Scenario

MS = 1_000_000
S = 1_000_000_000
NASTY = '</script ><!--<script></script><img src=x onerror="window.broken=1">&amp;\u2028'
"""A name that breaks out of everything that is not escaped."""

CRASHES = Scenario(nodes=4, seconds=30, tasks_per_s=3, faults=(Crash(8, 14, 2), Crash(20, 26, 2)))


class ForgetsItsGeneration(Node):
    """The generation is not found again after a restart, so an old one is used once more."""

    def __init__(self, config: NodeConfig, saved: Iterable[Put], rng: Random) -> None:
        super().__init__(config, [put for put in saved if put.key != GENERATION_KEY], rng)


def failed() -> tuple[Report, Recording]:
    """A run of a planted bug that a checker catches."""
    for seed in range(6):
        report, recording = record(replace(CRASHES, seed=seed), core_factory=ForgetsItsGeneration)
        if not report.held:
            return report, recording
    raise AssertionError("the planted bug was not caught")


def small() -> Recording:
    """3 nodes, 10 s: 8 messages of 2 kinds, 3 of them lost; a cut, a fault, a crash, 3 marks, a violation at 6 s."""
    happenings = (
        Happening(0, Kind.BOOT, 0, "boot", "for the first time"),
        Happening(0, Kind.BOOT, 1, "boot", "for the first time"),
        Happening(0, Kind.BOOT, 2, "boot", "for the first time"),
        Happening(1 * S, Kind.MESSAGE, 0, "Ping", "", 1, 1 * S + 5 * MS),
        Happening(1 * S + 6 * MS, Kind.MESSAGE, 1, "Ack", "", 0, 1 * S + 11 * MS),
        Happening(2 * S, Kind.CUT, -1, "aab", "n0 n1 | n2"),
        Happening(2 * S, Kind.FAULT, -1, "fault", "n2 isolated at 2-5 s", -1, 5 * S),
        Happening(3 * S, Kind.LOST, 0, "Ping", "cut", 2, 3 * S),
        Happening(3 * S, Kind.MARK, 0, "MemberChanged", "n2 is suspect", 2, label="suspect n2"),
        Happening(4 * S, Kind.MESSAGE, 2, "Ping", "", 1, 5 * S + 500 * MS),
        Happening(4 * S, Kind.MARK, 0, "MemberChanged", "n2 is dead", 2, label="dead n2"),
        Happening(5 * S, Kind.CUT, -1, "", ""),
        Happening(5 * S + 100 * MS, Kind.CRASH, 1, "crash", "at the end of life 1"),
        Happening(5 * S + 200 * MS, Kind.LOST, 0, "Ping", "down", 1, 5 * S + 205 * MS),
        Happening(5 * S + 300 * MS, Kind.LOST, 2, "Ack", "nobody_there", -1, 5 * S + 300 * MS),
        Happening(6 * S, Kind.MARK, 2, "Refuted", "refutes n0", 0, label="incarnation 1"),
        Happening(6 * S, Kind.VIOLATION, 2, "incarnations_grow", "it shrank"),
        Happening(7 * S, Kind.FACT, 0, "JoinedMesh", "joined"),
        Happening(8 * S, Kind.BOOT, 1, "boot", "again, life 2"),
        Happening(9 * S, Kind.MESSAGE, 0, "Ping", "", 1, -1),
        Happening(9 * S, Kind.MESSAGE, 0, "Ping", "duplicate", 1, 9 * S + 5 * MS),
    )
    return Recording(
        scenario=Scenario(nodes=3, seconds=10, seed=42, name="small"),
        names=("n0", "n1", "n2"),
        happenings=happenings,
        forgotten=0,
        violations=(Violation("incarnations_grow", 6.0, "n2", "it shrank"),),
        trace_hash="5ca1ab1e",
        end=10 * S,
    )


def nasty() -> Recording:
    """The small one, with a name, a property and words that try to break out of the page."""
    recording = small()
    return replace(
        recording,
        scenario=replace(recording.scenario, name=NASTY),
        names=("n0", NASTY, "n2"),
        happenings=tuple(
            replace(each, text=NASTY) if each.kind in (Kind.CUT, Kind.FAULT) and each.text else each
            for each in recording.happenings
        ),
        violations=(Violation(NASTY, 6.0, NASTY, NASTY), Violation("late", 99.0, "", "after the end")),
    )


def many(nodes: int, count: int) -> Recording:
    """`count` messages among `nodes` nodes within 60 s, one in ten lost, one mark for each twenty."""
    draw = Random(7)
    happenings: list[Happening] = [Happening(0, Kind.BOOT, node, "boot") for node in range(nodes)]
    for number in range(count):
        at = 60 * S * number // count
        sender, receiver = draw.sample(range(nodes), 2)
        kind = draw.choice(("Ping", "Ack", "Gossip", "PushPull", "CheckRuns"))
        if draw.random() < 0.1:
            happenings.append(Happening(at, Kind.LOST, sender, kind, "loss", receiver, at))
        else:
            happenings.append(Happening(at, Kind.MESSAGE, sender, kind, "", receiver, at + draw.randrange(2 * MS)))
        if number % 20 == 0:
            text = f"n{receiver} is suspect"
            happenings.append(
                Happening(at, Kind.MARK, sender, "MemberChanged", text, receiver, label=f"suspect n{receiver}")
            )
    return Recording(
        scenario=Scenario(nodes=nodes, seconds=60),
        names=tuple(f"n{node}" for node in range(nodes)),
        happenings=tuple(happenings),
        forgotten=0,
        violations=(),
        trace_hash="0",
        end=60 * S,
    )
