"""The example scenarios: each loads, is explained, is written and read back, and holds on a few seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.cli import Exit, main
from sim.files import dumps, load, loads
from sim.scenario import expand
from sim.sweep import Coverage, run_seed

DIRECTORY = Path(__file__).resolve().parents[3] / "examples" / "scenarios"
EXAMPLES = sorted(DIRECTORY.glob("*.toml"))
SEEDS = range(3)

pytestmark = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)


def test_it_says_what_it_shows_and_what_would_be_a_bug(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    head = text.partition("\n\n")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert "# A bug would be: " in head
    assert max(map(len, text.splitlines())) <= 120
    scenario = load(path)
    assert scenario.name == path.stem
    assert scenario.sometimes, "a sweep of it must prove that it does what it is named for"


def test_the_readme_says_what_goes_wrong_in_it(path: Path) -> None:
    assert f"| `{path.name}` | " in (DIRECTORY.parent / "README.md").read_text(encoding="utf-8")


def test_it_is_explained(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(path), "--seed", "1"]) == Exit.HELD
    assert path.stem in capsys.readouterr().out


def test_it_is_written_and_read_back(path: Path) -> None:
    scenario = load(path)
    assert loads(dumps(scenario)) == scenario
    assert loads(dumps(expand(scenario))) == expand(scenario)


def test_it_holds(path: Path) -> None:
    coverage = Coverage()
    for seed in SEEDS:
        report = run_seed(load(path), seed)
        assert report.violations == ()
        coverage.add(report)
    assert any(coverage.faults.values())
    assert any(coverage.sometimes.values())
