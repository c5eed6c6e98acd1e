"""The processes that run the seeds of one test: Ctrl-C is not theirs, and they do not outlive their parent."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil

from sim.testing.jobs import in_processes

ROOT = Path(__file__).resolve().parents[3]
ENDLESS = """
import time
from sim.testing.jobs import in_processes
for _ in in_processes(lambda seed: "x" * 10_000, lambda result: False, range(10**6), 2):
    print("begun", flush=True)
    time.sleep(600)
"""


def test_ctrl_c_does_not_reach_them() -> None:
    def shielded(seed: int) -> bool:
        return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])

    assert list(in_processes(shielded, lambda result: False, range(4), 2)) == [True] * 4
    assert not shielded(0)


def test_they_end_when_their_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", ENDLESS], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        children = psutil.Process(process.pid).children()
        assert len(children) == 2
        process.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    for child in alive:
        child.kill()
    assert not alive
