"""`meshnode up` hands its process over to the daemon: what it was told arrives, what parsing it imported is gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from meshnode.cli.serve import PIPE_BYTES_MAX
from scripts.localmesh import LocalNode, form_mesh, stop_all
from tests.meshnode.cli_runner import TIMEOUT_S, Run, command, environment, meshnode

ROOT = Path(__file__).resolve().parents[2]


async def test_a_daemon_keeps_neither_the_parser_nor_the_token(tmp_path: Path) -> None:
    nodes = [LocalNode(tmp_path / name, name, ROOT) for name in ("desk", "shelf")]
    try:
        await form_mesh(nodes)
        for node in nodes:
            assert node.process is not None
            daemon = psutil.Process(node.process.pid)
            assert node.ready["name"] == node.name, "the options did not arrive"
            assert not [part for part in daemon.memory_maps() if "pydantic" in part.path]
            assert "--join" not in daemon.cmdline(), "a token is a secret"
            assert str(node.directory) in daemon.cmdline(), "nobody could tell the nodes of a machine apart"
    finally:
        await stop_all(nodes)


@pytest.mark.parametrize("count", [65, 65 * 100])
def test_a_refusal_reads_the_same_however_long_the_options(tmp_path: Path, count: int) -> None:
    seeds = [part for _ in range(count) for part in ("--seed", "192.0.2.1:7400")]
    assert (count * len(seeds[1]) > PIPE_BYTES_MAX) is (count > 65)
    run = meshnode("up", "--dir", tmp_path / "node", *seeds, home=tmp_path)
    assert run.status == 2
    run.assert_told("more than 64 addresses")


def test_the_installed_command_imports_nothing_from_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "trio.py").write_text("raise SystemExit('this is not trio')")
    done = subprocess.run(
        [Path(sys.executable).with_name("meshnode"), "up", "--dir", tmp_path / "node", "--listen", "nowhere"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "'nowhere' is not host:port" in done.stderr


def test_a_start_in_a_directory_that_is_gone_says_so(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    up = command("up", "--dir", tmp_path / "node")
    done = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", *up],
        cwd=tmp_path / "gone",
        env=environment(tmp_path, {"PYTHONPATH": str(ROOT)}),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    run = Run(done.returncode, done.stdout, done.stderr)
    assert run.status == 2
    run.assert_told("present directory", "workdir")
