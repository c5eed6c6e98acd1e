"""What the figures were measured on: figures of two machines cannot be compared, those of two runs on one can."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

from msgspec import Struct

ROOT = Path(__file__).resolve().parents[2]
SYNC_BLOCK_BYTES = 4096
SYNC_REPEATS = 200
SYNC_S_MAX = 2.0


class Machine(Struct, frozen=True):
    """The machine, and how busy it was before the first benchmark."""

    cores: int
    cpu: str
    memory_gb: float
    system: str
    python: str
    load_1m: float
    fdatasync_ms_p50: float
    """One 4 KiB append made durable, on the disk that nodes under test write to."""


def look_at_machine(directory: Path) -> Machine:
    """Takes up to two seconds. `directory` is on the disk that is to be measured."""
    return Machine(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        cpu=_cpu_model(),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        load_1m=round(os.getloadavg()[0], 2),
        fdatasync_ms_p50=round(_fdatasync_ms(directory), 3),
    )


def commit() -> str:
    """Short hash of what is measured, with `+changes` where tracked files differ from it; `unknown` outside of git."""
    try:
        revision = _git("rev-parse", "--short=12", "HEAD")
        return revision + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _fdatasync_ms(directory: Path) -> float:
    sync = os.fsync if sys.platform == "darwin" else os.fdatasync
    block = b"\0" * SYNC_BLOCK_BYTES
    taken: list[float] = []
    path = directory / "fdatasync"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        begun = time.perf_counter()
        while len(taken) < SYNC_REPEATS and time.perf_counter() - begun < SYNC_S_MAX:
            os.write(descriptor, block)
            before = time.perf_counter()
            sync(descriptor)
            taken.append(time.perf_counter() - before)
    finally:
        os.close(descriptor)
        path.unlink()
    return statistics.median(taken) * 1000
