"""Every fault of disks, clocks, processes and versions can be drawn, written down, and said in words."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from sim.faults import KINDS, AnyFault, Corrupt, Crash, Fault, SyncFails, Upgrade
from sim.scenario import Scenario, run

NAMES = tuple(f"n{index}" for index in range(5))
DESTRUCTIVE = ("wipe", "rollback")
MIXED = (
    *("crash", "crash-loop", "pause", "starve", "restart", "rolling-restart", "mass-restart", "upgrade"),
    *("diskfull", "slowdisk", "syncfail", "corrupt", "clock-drift", "clock-leap", "clock-jump", "retag", "reconfigure"),
)


def drawn(kind: str, seed: int) -> Fault:
    fault = KINDS[kind]
    chance = fault.mixed
    assert chance is not None
    draw = Random(seed)
    end_s = 5 + draw.uniform(chance.lasts_s_min, chance.lasts_s_max)
    return fault.drawn(draw, 5, end_s, draw.randint(chance.count_min, chance.count_max))


@pytest.mark.parametrize("kind", MIXED)
def test_what_is_drawn_can_be_and_survives_being_written_down(kind: str) -> None:
    drawings = [drawn(kind, seed) for seed in range(40)]
    for fault in drawings:
        fault.check(NAMES, 60.0)
        assert fault.describe()
        assert 0 <= fault.nodes_down(5) <= 5
        assert msgspec.json.Decoder(AnyFault).decode(msgspec.json.encode(fault)) == fault
    assert len({msgspec.json.encode(fault) for fault in drawings}) > 20


def test_what_destroys_or_needs_another_fault_is_not_drawn() -> None:
    assert all(KINDS[kind].mixed is None for kind in DESTRUCTIVE)
    assert not any(getattr(drawn("corrupt", seed), "destroy", False) for seed in range(100))


def test_mishaps_are_reported_beside_the_faults() -> None:
    saving = tuple(Crash(start_s, start_s + 2, 3, moment="saving") for start_s in (5, 9, 13, 17))
    faults: tuple[AnyFault, ...] = (*saving, Corrupt(22, 27), Upgrade(30, 45), SyncFails(50, 55, 5))
    report = run(Scenario(nodes=5, seconds=60, seed=5, tasks_per_s=20, faults=faults))
    assert report.held
    for kind, times in {"crash": 4, "corrupt": 1, "upgrade": 1, "syncfail": 1, "refused_start": 1}.items():
        assert report.faults[kind] == times
    assert report.faults["commit_interrupted"] >= 8
    assert 0 < report.faults["torn_write"] + report.faults["reordered_write"] < report.faults["commit_interrupted"]
    for mishap in ("save_failed", "message_across_versions", "record_across_versions"):
        assert report.faults[mishap] > 0
