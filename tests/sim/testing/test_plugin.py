"""The pytest plugin as a user meets it: in processes of its own, in empty folders, with the installed package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sim import ScenarioError
from sim.sweep.local import usable_cores
from sim.testing.options import SEEDS
from sim.testing.plugin import asked_for

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "test_partition.py"

FAILING = """
import pytest
from sim import sim_test, all_agree

@pytest.mark.parametrize("cut", [2])
@sim_test(nodes=5, seeds=20)
async def test_nobody_is_missed(sim, cut):
    async with sim.net.partition(sim.some(cut), sim.rest):
        await sim.sleep(sim.random.uniform(1, 12))
        dead = [m.name for m in sim.rest[0].members().values() if m.state.name == "DEAD"]
        assert dead == [], "somebody is missed"
    await sim.eventually(all_agree, within=60)

class TestClass:
    @sim_test(nodes=3, seeds=3, settle=False)
    async def test_always(self, sim):
        sim.always("all are alive", lambda s: all(m.alive for n in s.nodes for m in n.members().values()))
        async with sim.net.isolate("n2"):
            await sim.sleep(60)

@sim_test(seeds=5)
async def test_passes(sim):
    await sim.sleep(1)

@sim_test(seeds=5)
async def test_skips(sim):
    await sim.sleep(1)
    pytest.skip("from within")

@sim_test
async def test_pigs(sim):
    sim.sometimes("pigs fly", lambda s: False)
"""


def inner(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """pytest in a process of its own, in `folder`."""
    clean = {name: value for name, value in os.environ.items() if name not in ("GITHUB_ACTIONS", "PYTEST_ADDOPTS")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**clean, "COLUMNS": "120", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_the_example_runs_from_an_empty_folder_and_a_seed_of_it_is_replayed(tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path)
    whole = inner(tmp_path, "-q", "--sim-seeds=0..60")
    assert whole.returncode == 0, whole.stdout
    assert "3 passed" in whole.stdout
    one = inner(tmp_path, "-q", "test_partition.py::test_a_split_mesh_heals", "--sim-seed=4242")
    assert "1 passed" in one.stdout


def test_a_failure_says_what_where_and_how_to_see_it_again(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "test_mesh.py").write_text(FAILING)
    (tmp_path / "pytest.ini").write_text("[pytest]\nsim_seeds = 7\n")
    done = inner(tmp_path, "-rs", "--junitxml=junit.xml")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "3 failed, 1 passed, 1 skipped" in done.stdout
    text = done.stdout
    # The test's own assertion, rewritten, at its own line, with no frame of ours.
    assert '>           assert dead == [], "somebody is missed"' in text
    assert re.search(r"^E +AssertionError: somebody is missed\nE +assert \['n\d'", text, re.MULTILINE)
    assert "sim/testing" not in text
    # What to run, in words and in the machine's report.
    test = re.escape("'inner/test_mesh.py::test_nobody_is_missed[2]'")
    repro = re.search(rf"^  (pytest {test} --sim-seed=(\d+))$", text, re.MULTILINE)
    assert repro is not None
    for part in ("trace hash  ", "and the same when run again", "Last 20 events before", "cut: n", "sim.some    n"):
        assert part in text
    assert f'name="sim_repro" value="{repro[1]}"' in (tmp_path / "junit.xml").read_text()
    # A property of the test's own, at the line where the test waited.
    assert ">           await sim.sleep(60)" in text
    assert "sim.PropertyViolated: all are alive, at " in text
    assert "VIOLATED all are alive" in text
    # All seeds together, as many as the ini file says.
    assert "All 7 seeds passed, but 'pigs fly' held in none of them" in text

    one = ("inner/test_mesh.py::test_nobody_is_missed[2]", f"--sim-seed={repro[2]}")
    again = inner(tmp_path, *one, GITHUB_ACTIONS="true").stdout
    assert re.findall(r"trace hash  ([0-9a-f]{32})", text)[0] in again
    annotation = rf"^::error file=inner/test_mesh\.py,title=AssertionError with seed {repro[2]}"
    assert re.search(annotation, again, re.MULTILINE)
    alone = inner(tmp_path, "inner/test_mesh.py::test_pigs", "--sim-seed=0")
    assert "1 passed" in alone.stdout


TRIO_MODE = """
from sim import sim_test

@sim_test(nodes=2, seeds=4)
async def test_here(sim):
    await sim.sleep(1)

async def test_trio():
    import trio
    await trio.sleep(0)
"""


def test_other_plugins_leave_simulated_tests_alone_and_keep_their_own(tmp_path: Path) -> None:
    (tmp_path / "test_both.py").write_text(TRIO_MODE)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\nfilterwarnings = error\n")
    done = inner(tmp_path, "-q", "-n", "2", "--sim-jobs=2")
    assert "2 passed" in done.stdout, done.stdout


COUNTED = """
import pytest
from sim import sim_test

@pytest.mark.parametrize("number", [1, 2])
@sim_test(nodes=1, seeds=4)
async def test_passes(sim, number):
    await sim.sleep(1)

@sim_test(nodes=1, seeds=9)
async def test_fails(sim):
    assert sim.seed < 2

def test_plain():
    pass
"""


def test_the_summary_says_how_many_seeds_were_run(tmp_path: Path) -> None:
    (tmp_path / "test_counted.py").write_text(COUNTED)
    assert "\nmeshsim: 3 tests, 11 seeds\n" in inner(tmp_path).stdout
    assert "\nmeshsim: 3 tests, 11 seeds\n" in inner(tmp_path, "-n", "2").stdout
    assert "\nmeshsim: 1 test, 1 seed\n" in inner(tmp_path, "-k", "fails", "--sim-seed=1").stdout
    assert "meshsim:" not in inner(tmp_path, "-k", "plain").stdout


def test_an_option_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    done = inner(tmp_path, "--sim-seeds=5")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: --sim-seeds=5: seeds are written A..B, as in --sim-seeds=0..500." in done.stderr


def test_the_plugin_costs_little_where_nothing_is_simulated() -> None:
    code = "import sys, sim.testing.plugin; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"protocols", "sim.scenario", "sim.kernel", "trio", "rich", "typer"}
    assert not heavy & set(done.stdout.split())


def test_options_are_read() -> None:
    assert asked_for(None, None, "1", str(SEEDS)).seeds_usually == SEEDS
    assert asked_for("17", None, "1", "50").seed == 17
    assert asked_for(None, "3..9", "4", "50").seeds == range(3, 9)
    assert asked_for(None, None, "0", "50").jobs == usable_cores()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("x", None, "1", "50"), "--sim-seed 'x'"),
        (("-1", None, "1", "50"), "--sim-seed '-1'"),
        (("1", "0..5", "1", "50"), "give one of them"),
        ((None, None, "many", "50"), "--sim-jobs 'many'"),
        ((None, None, "1", "0"), "sim_seeds '0'"),
        ((None, None, "1", "9" * 5000), "sim_seeds '999"),
    ],
)
def test_options_that_cannot_be_are_refused(given: tuple[str | None, str | None, str, str], words: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        asked_for(*given)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["5", "5..", "..5", "a..b", "5..5", "9..5", "0..99999999", "-1..5", "0..99999999999999999999", "0.." + "9" * 5000],
)
def test_seeds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match="--sim-seeds="):
        asked_for(None, text, "1", "50")
