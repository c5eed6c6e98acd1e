"""Records a run in a fresh process: under another hash seed, or with the code of another checkout.

A run depends on its scenario and the code alone. Where two runs that should be one are not, the fresh process shows it:
nothing of this process is left in it, and the order of its sets of strings is another. `python -m` this module reads a
scenario from stdin (JSON) and writes the recording to stdout (MessagePack).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from sim.errors import ScenarioError
from sim.record.happening import Recording
from sim.record.recorder import record
from sim.scenario import Scenario

HASH_SEEDS = ("1", "2")
"""Two that differ; a process of ours may run under either."""
STDERR_LINES = 5


class Wanted(Struct, frozen=True):
    """What to record."""

    scenario: Scenario
    limit: int
    until_s: float | None


def another_hash_seed() -> str:
    """A PYTHONHASHSEED that is not this process's."""
    return HASH_SEEDS[0] if os.environ.get("PYTHONHASHSEED") != HASH_SEEDS[0] else HASH_SEEDS[1]


def record_elsewhere(
    scenario: Scenario,
    *,
    limit: int,
    until_s: float | None = None,
    source: Path | None = None,
    hash_seed: str | None = None,
) -> Recording:
    """The recording of `scenario`, made by a fresh process with the code at `source` (None: this process's own).

    Raises `ScenarioError` where that process cannot run it.
    """
    here = Path(__file__).resolve().parents[2]
    root = here if source is None else source.resolve()
    if not (root / "sim" / "failure" / "elsewhere.py").is_file():
        raise ScenarioError(f"{root} has no code that can be compared: it must be a checkout with sim/failure in it.")
    paths = [str(root), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONHASHSEED": another_hash_seed() if hash_seed is None else hash_seed,
    }
    done = subprocess.run(
        [sys.executable, "-P", "-m", "sim.failure.elsewhere"],
        input=msgspec.json.encode(Wanted(scenario, limit, until_s)),
        capture_output=True,
        env=environment,
        cwd=root,
        check=False,
    )
    if done.returncode:
        said = "\n  ".join(done.stderr.decode(errors="replace").strip().splitlines()[-STDERR_LINES:])
        raise ScenarioError(f"The run in a fresh process, with the code in {root}, failed:\n  {said}")
    try:
        return msgspec.msgpack.decode(done.stdout, type=Recording)
    except msgspec.DecodeError as error:
        raise ScenarioError(f"The code in {root} records runs in another form than this one: {error}.") from None


def main() -> None:
    """Record what stdin wants; the recording goes to stdout."""
    wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=Wanted)
    _, recording = record(wanted.scenario, limit=wanted.limit, until_s=wanted.until_s)
    sys.stdout.buffer.write(msgspec.msgpack.encode(recording))


if __name__ == "__main__":
    main()
