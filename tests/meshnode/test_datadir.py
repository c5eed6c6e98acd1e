"""The data directory: modes, one daemon at a time (real processes), and sockets whose path would be too long."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from meshnode.datadir import SOCKET_PATH_BYTES_MAX, DataDir, default_directory, read_note, write_note
from meshnode.errors import ExitCode, MeshError

HOLD_THE_LOCK = """
import sys
from pathlib import Path
from meshnode.datadir import DataDir
lock = DataDir(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""

LOOK_AT_THE_HOLDER = """
import sys, time
from pathlib import Path
from meshnode.datadir import DataDir
data = DataDir(Path(sys.argv[1]))
print("looking", flush=True)
while True:
    data.holder()
    time.sleep(0.001)
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_creation_is_private_and_repeatable(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "deep" / "node")
    data.create()
    data.create()
    assert mode(data.root) == 0o700
    assert list(data.root.iterdir()) == []


def test_relative_directories_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert DataDir(Path("node")).database == tmp_path / "node" / "node.db"
    assert default_directory().is_absolute()


def test_a_missing_directory_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match="no data directory") as caught:
        DataDir(tmp_path / "none").check()
    assert caught.value.exit_code is ExitCode.USAGE
    assert "meshnode init" in caught.value.next_step


def test_a_file_in_its_place_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "node").write_text("")
    for attempt in (DataDir(tmp_path / "node").create, DataDir(tmp_path / "node").check):
        with pytest.raises(MeshError) as caught:
            attempt()
        assert caught.value.code == "unwritable"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a directory that even root cannot write in")
def test_an_unwritable_directory_is_a_clear_error() -> None:
    with pytest.raises(MeshError, match="cannot be used") as caught:
        DataDir(Path("/proc/self")).check()
    assert caught.value.code == "unwritable"
    with pytest.raises(MeshError) as caught:
        DataDir(Path("/proc/self/node")).create()
    assert caught.value.code == "unwritable"


def test_a_second_daemon_is_refused_until_the_first_dies(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    command = [sys.executable, "-c", HOLD_THE_LOCK, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        assert data.holder() == first.pid
        with pytest.raises(MeshError, match=f"pid {first.pid}") as caught:
            data.acquire()
        assert caught.value.code == "already_running"
        first.kill()
    assert data.holder() is None
    with data.acquire():
        assert data.holder() == os.getpid()
    assert data.holder() is None
    assert mode(data.lock) == 0o600


def test_a_look_at_the_holder_does_not_stop_a_start(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    with subprocess.Popen([sys.executable, "-c", LOOK_AT_THE_HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as looking:
        assert looking.stdout is not None
        looking.stdout.readline()
        for _ in range(50):
            data.acquire().release()
        looking.kill()


def test_the_control_socket_lies_in_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base = Path("/tmp") / f"meshnode-test-{os.getpid()}"
    data = DataDir(base)
    try:
        data.create()
        path = data.control_socket(serving=True)
        assert path == base / "control.sock" == data.control_socket()
        path.write_text("left behind by a crash")
        data.control_socket(serving=True)
        assert not path.exists()
    finally:
        base.rmdir()


def test_a_socket_path_that_is_too_long_moves_to_a_private_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Path("/tmp") / f"mn{os.getpid()}"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    data = DataDir(tmp_path / ("long" * 30))
    data.create()
    path = data.control_socket(serving=True)
    try:
        assert len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX
        assert mode(path.parent) == 0o700
        assert data.control_socket() == path
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
        assert data.control_socket(serving=True) == path
        assert not path.exists()
        path.parent.chmod(0o755)
        with pytest.raises(MeshError) as caught:
            data.control_socket(serving=True)
        assert caught.value.code == "unsafe_directory"
    finally:
        path.parent.rmdir()
        runtime.rmdir()


def test_the_token_is_made_once_and_private(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    token = data.read_or_create_mcp_token()
    assert len(token) >= 43
    assert mode(data.mcp_token) == 0o600
    assert data.read_or_create_mcp_token() == token
    assert DataDir(tmp_path / "x").root != data.root


def test_notes(tmp_path: Path) -> None:
    assert read_note(tmp_path / "note") is None
    write_note(tmp_path / "note", "one")
    write_note(tmp_path / "note", "two")
    assert read_note(tmp_path / "note") == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["note"]
    with pytest.raises(MeshError) as caught:
        write_note(tmp_path / "none" / "note", "x")
    assert caught.value.code == "unwritable"
    with pytest.raises(MeshError) as caught:
        read_note(tmp_path)
    assert caught.value.code == "unreadable"
