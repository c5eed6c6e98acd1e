"""Sweeps over a real Dask cluster in processes of its own: workers die, differ, and are not there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from sim.errors import ScenarioError
from sim.scenario import Report, Scenario
from sim.sweep import dask, sweep
from sim.sweep.dask import dask_sweep
from tests.sim.test_sweep import SHORT, deadly, hashes

ROOT = Path(__file__).resolve().parent.parent.parent
CLUSTER = [sys.executable, "-m", "tests.sim.dask_cluster"]
WITHOUT_THE_PACKAGE = "import sys; sys.modules['sim'] = None; sys.argv = ['', 'join', {address!r}]\n"
JOIN = "import runpy; runpy.run_module('tests.sim.dask_cluster', run_name='__main__')"


class Cluster:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.address = process.stdout.readline().strip()

    def workers(self) -> list[psutil.Process]:
        """The worker processes that its nannies keep."""
        found: list[psutil.Process] = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                if any("spawn_main" in word for word in child.cmdline()):
                    found.append(child)
        return found


@contextmanager
def started(command: list[str], cwd: Path = ROOT) -> Iterator[subprocess.Popen[str]]:
    """A program in a process group of its own, which is ended with it."""
    with subprocess.Popen(
        command,
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def cluster_of(workers: int) -> Iterator[Cluster]:
    with started([*CLUSTER, str(workers)]) as process:
        yield Cluster(process)


@contextmanager
def joined(code: str, address: str, cwd: Path = ROOT) -> Iterator[None]:
    """One more worker, which runs `code` before it joins."""
    with started([sys.executable, "-c", code.format(address=address) + JOIN], cwd) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "joined\n"
        yield


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that a test has killed take their time to come back where the machine has much to do."""
    for limit in ("WORKERS_S", "WORKERLESS_MAX_S", "ANSWER_S"):
        monkeypatch.setattr(dask, limit, 300)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with cluster_of(2) as cluster:
        yield cluster


@pytest.fixture
def other_code(tmp_path: Path) -> Path:
    """A copy of the code with one more line in it."""
    for package in ("sim", "protocols", "tests"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    with open(tmp_path / "sim" / "kernel.py", "a", encoding="utf-8") as file:
        file.write("# changed\n")
    return tmp_path


def test_a_lost_worker_loses_no_seed(cluster: Cluster) -> None:
    alone = list(sweep(SHORT, range(60), 1))
    reports: list[Report] = []
    for report in dask_sweep(SHORT, range(60), cluster.address):
        reports.append(report)
        if len(reports) == 10:
            cluster.workers()[0].kill()
    assert [report.seed for report in reports] == list(range(60))
    assert hashes(reports) == hashes(alone)


def test_a_seed_that_kills_its_workers_is_named_and_the_others_finish(cluster: Cluster) -> None:
    reports = list(dask_sweep(SHORT, range(6), cluster.address, deadly))
    assert [report.seed for report in reports] == list(range(6))
    dead = reports.pop(3)
    assert [violation.property for violation in dead.violations] == ["worker_survives"]
    assert all(report.held for report in reports)


def test_a_scenario_that_cannot_be_run_is_refused_before_anything_is() -> None:
    with pytest.raises(ScenarioError, match="0 nodes"):
        next(dask_sweep(Scenario(nodes=0), range(3), "tcp://127.0.0.1:1"))


def test_without_the_extra_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ScenarioError, match=r"pip install 'meshnode\[dask\]'"):
        next(dask_sweep(SHORT, range(3), "tcp://127.0.0.1:1"))


@pytest.mark.parametrize("address", ["localhost:8786", "tcp://", "8786"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ScenarioError, match="no address of a Dask scheduler"):
        next(dask_sweep(SHORT, range(3), address))


def test_where_nobody_answers_it_says_so_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask, "CONNECT_S", 1)
    with pytest.raises(ScenarioError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:1 within 1 s"):
        next(dask_sweep(SHORT, range(3), "tcp://127.0.0.1:1"))


def test_workers_that_are_missing_or_run_other_code_are_told_of(
    monkeypatch: pytest.MonkeyPatch, other_code: Path
) -> None:
    monkeypatch.setattr(dask, "WORKERS_S", 0.5)
    with cluster_of(0) as cluster:
        with pytest.raises(ScenarioError, match=f"has no workers. Start some .* dask worker {cluster.address}"):
            next(dask_sweep(SHORT, range(3), cluster.address))
        monkeypatch.setattr(dask, "WORKERS_S", 300)
        with (
            joined(WITHOUT_THE_PACKAGE, cluster.address),
            pytest.raises(ScenarioError, match="cannot import this package"),
        ):
            next(dask_sweep(SHORT, range(3), cluster.address))
        with (
            joined("import sys; sys.argv = ['', 'join', {address!r}]\n", cluster.address, other_code),
            pytest.raises(ScenarioError, match="runs other code"),
        ):
            next(dask_sweep(SHORT, range(3), cluster.address))


def test_a_worker_with_other_code_that_joins_later_is_found_out(cluster: Cluster, other_code: Path) -> None:
    reports = dask_sweep(SHORT, range(100_000), cluster.address)
    next(reports)
    with (
        joined("import sys; sys.argv = ['', 'join', {address!r}]\n", cluster.address, other_code),
        pytest.raises(ScenarioError, match="A Dask worker that has joined runs other code"),
    ):
        list(reports)


@pytest.mark.parametrize("poll_s", [dask.POLL_S, 0.001], ids=["", "and is asked for its workers right then"])
def test_a_cluster_that_goes_away_ends_the_sweep(monkeypatch: pytest.MonkeyPatch, poll_s: float) -> None:
    monkeypatch.setattr(dask, "POLL_S", poll_s)
    with cluster_of(1) as cluster:
        reports = dask_sweep(SHORT, range(100_000), cluster.address)
        next(reports)
        os.killpg(cluster.process.pid, signal.SIGKILL)
        with pytest.raises(ScenarioError, match=r"went away; \d+ of 100000 seeds were done"):
            list(reports)


def test_the_fingerprint_is_of_the_code(other_code: Path) -> None:
    command = [sys.executable, "-c", "from sim.sweep.fingerprint import code_here; print(code_here().source)"]
    told = [
        subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True, timeout=300).stdout.strip()
        for cwd in (ROOT, other_code)
    ]
    assert told[0] == dask.LOADED.source
    assert told[1] != told[0]


def test_the_sweep_imports_no_dask_by_itself() -> None:
    script = "import sys, sim.sweep; sys.exit('distributed' in sys.modules or 'sim.sweep.dask' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False, timeout=300).returncode == 0
    assert isinstance(dask, ModuleType)
