"""`scripts/sweep`, with a `meshsim` in its place that only notes how it is called."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETUP = 'set -euo pipefail; cd "$(dirname "${BASH_SOURCE[0]}")/.."; fail() { echo "error: $1" >&2; exit 2; }\n'
MESHSIM = '#!/bin/sh\necho "$2 $4" >>calls\nexit "$(cat "statuses/$(basename "$2" .toml)" 2>/dev/null || echo 0)"\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for folder in ("scripts", "examples/scenarios", ".venv/bin", "statuses"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "sweep", tmp_path / "scripts")
    (tmp_path / "scripts" / "setup.sh").write_text(SETUP)
    meshsim = tmp_path / ".venv" / "bin" / "meshsim"
    meshsim.write_text(MESHSIM)
    meshsim.chmod(0o755)
    for name in ("a", "b", "random-mix"):
        (tmp_path / "examples" / "scenarios" / f"{name}.toml").touch()
    return tmp_path


def swept(checkout: Path, *arguments: str) -> tuple[int, list[str]]:
    """The exit status, and which scenario was run with which seeds."""
    command = ["bash", "scripts/sweep", *arguments]
    status = subprocess.run(command, cwd=checkout, check=False, capture_output=True).returncode
    calls = checkout / "calls"
    told = calls.read_text().splitlines() if calls.exists() else []
    return status, [line.removeprefix("examples/scenarios/") for line in told]


def test_one_that_fails_keeps_none_from_being_run(checkout: Path) -> None:
    (checkout / "statuses" / "a").write_text("1")
    assert swept(checkout, "5", "10") == (1, ["a.toml 5..15", "b.toml 5..15", "random-mix.toml 5..25"])


def test_ctrl_c_ends_all_of_them(checkout: Path) -> None:
    (checkout / "statuses" / "b").write_text("130")
    assert swept(checkout) == (130, ["a.toml 0..30", "b.toml 0..30"])


@pytest.mark.parametrize("arguments", [["x"], ["08"], ["1", "0"], ["-1"], ["1", "2", "3"], ["9" * 30]])
def test_what_is_no_number_of_seeds_runs_nothing(checkout: Path, arguments: list[str]) -> None:
    assert swept(checkout, *arguments) == (2, [])
