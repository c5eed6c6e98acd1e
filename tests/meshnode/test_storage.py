"""The store against real files, real processes that are killed, and real disks that are full."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.errors import MeshError
from meshnode.storage import SCHEMA_VERSION, WAL_BYTES_KEPT, Storage, StorageError
from protocols.core import Delete, Put
from protocols.tasks.task import TaskProgress, TaskSpec, TaskState

ROOT = Path(__file__).parents[2]


def put(name: str, attempt: int = 1, text: str = "") -> Put:
    spec = TaskSpec(
        task_id=name, handler="h", payload=text, key="", idempotency_key="", timeout_ms=attempt, submitted_unix_ms=0
    )
    return Put(f"task/{name}", spec)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.db"


@pytest.fixture
def storage(path: Path) -> Iterator[Storage]:
    storage = Storage.open(path)
    yield storage
    storage.close()


def reopened(path: Path) -> list[Put]:
    storage = Storage.open(path)
    try:
        return storage.load()
    finally:
        storage.close()


def refusal(path: Path) -> MeshError:
    with pytest.raises(MeshError) as caught:
        Storage.open(path).load()
    return caught.value


def test_what_was_committed_is_there_after_reopening(path: Path, storage: Storage) -> None:
    assert storage.load() == []
    progress = TaskProgress(
        task_id="é", state=TaskState.QUEUED, attempt=3, worker="w" * 26, worker_generation=1, worker_deaths=0
    )
    mark = Put("zz/ü", progress)
    storage.commit([mark, put("a"), put("b")])
    storage.commit([put("a", 2), Delete("task/b"), Delete("task/never-there")])
    expected = [put("a", 2), mark]
    assert storage.load() == expected
    storage.close()
    assert reopened(path) == expected
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_records_of_one_commit_apply_in_order(storage: Storage) -> None:
    storage.commit([put("a", 1), put("a", 2), Delete("task/b"), put("b"), put("c"), Delete("task/c")])
    assert storage.load() == [put("a", 2), put("b")]


def test_an_empty_commit_is_a_barrier(storage: Storage) -> None:
    storage.commit([])
    assert storage.load() == []


def test_commits_from_another_thread(storage: Storage) -> None:
    threads = [threading.Thread(target=storage.commit, args=([put(str(i))],)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(storage.load()) == 8


def test_a_locked_database_fails_the_commit_whole_and_then_recovers(path: Path, storage: Storage) -> None:
    storage.commit([put("a")])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="another program holds the database locked"):
        storage.commit([put("b")])
    other.execute("ROLLBACK")
    other.close()
    assert storage.load() == [put("a")]
    storage.commit([put("c")])
    assert storage.load() == [put("a"), put("c")]


def test_a_reader_elsewhere_does_not_stop_commits(path: Path, storage: Storage) -> None:
    storage.commit([put("a")])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN")
    assert other.execute("SELECT count(*) FROM records").fetchone() == (1,)
    storage.commit([put("b")])
    other.close()
    assert len(storage.load()) == 2


def test_a_closed_store_refuses(storage: Storage) -> None:
    storage.close()
    storage.close()
    with pytest.raises(StorageError, match="closed"):
        storage.commit([put("a")])


def test_the_wal_stays_bounded(path: Path, storage: Storage) -> None:
    wal = path.with_name("node.db-wal")
    for round_ in range(40):
        storage.commit([put(str(i), round_, "x" * 20_000) for i in range(20)])
    assert wal.stat().st_size <= WAL_BYTES_KEPT + (1 << 20)
    storage.close()
    assert not wal.exists()


COMMIT_UNTIL_KILLED = """
import sys
from pathlib import Path
from meshnode.storage import Storage
from tests.meshnode.test_storage import put
storage = Storage.open(Path(sys.argv[1]))
number = len(storage.load()) // 2
while True:
    storage.commit([put(f"{number:06}a"), put(f"{number:06}b", text="x" * 5000)])
    print(number, flush=True)
    number += 1
"""


@pytest.mark.parametrize("acknowledged_before_kill", [1, 60])
def test_kill_9_loses_nothing_acknowledged_and_halves_nothing(path: Path, acknowledged_before_kill: int) -> None:
    for _ in range(2):
        command = [sys.executable, "-c", COMMIT_UNTIL_KILLED, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
            assert child.stdout is not None
            acknowledged = [int(child.stdout.readline()) for _ in range(acknowledged_before_kill)]
            child.kill()
            acknowledged += [int(line) for line in child.stdout.read().split("\n")[:-1] if line]
        keys = {record.key for record in reopened(path)}
        for number in acknowledged:
            assert f"task/{number:06}a" in keys
        numbers_a = {key[5:11] for key in keys if key.endswith("a")}
        numbers_b = {key[5:11] for key in keys if key.endswith("b")}
        assert numbers_a == numbers_b


FILL_A_DISK = """
import subprocess, sys
from pathlib import Path
from meshnode.storage import Storage, StorageError
from tests.meshnode.test_storage import put
directory = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "small", directory], check=True)
ballast = directory / "ballast"
ballast.write_bytes(bytes(700_000))
storage = Storage.open(directory / "node.db")
kept = 0
try:
    while kept < 10_000:
        storage.commit([put(f"{kept:05}a", text="x" * 20_000), put(f"{kept:05}b")])
        kept += 1
except StorageError as error:
    print(error.why)
for _ in range(3):
    try:
        storage.commit([put("zz", text="x" * 60_000)])
        print("unexpected room")
    except StorageError as error:
        assert "full" in error.why, error.why
assert len(storage.load()) == 2 * kept, (len(storage.load()), kept)
ballast.unlink()
storage.commit([put("zz", text="x" * 60_000)])
storage.close()
again = Storage.open(directory / "node.db")
assert len(again.load()) == 2 * kept + 1
print("recovered after", kept > 10)
"""


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode != 0,
    reason="needs the right to mount a small tmpfs in a namespace of its own",
)
def test_a_full_disk_fails_whole_and_recovers_when_room_appears(tmp_path: Path) -> None:
    command = ["unshare", "-rm", sys.executable, "-c", FILL_A_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the disk is full (SQLITE_FULL)\nrecovered after True\n"


HIT_THE_FILE_SIZE_LIMIT = """
import resource, sys
from pathlib import Path
from meshnode.storage import Storage, StorageError
from tests.meshnode.test_storage import put
storage = Storage.open(Path(sys.argv[1]))
storage.commit([put("a")])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
try:
    storage.commit([put(f"b{i}", text="x" * 50_000) for i in range(10)])
except StorageError as error:
    print(error.why)
assert storage.load() == [put("a")]
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
storage.commit([put("c")])
assert storage.load() == [put("a"), put("c")]
"""


def test_an_io_error_in_mid_commit_fails_whole_and_recovers(path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    command = [sys.executable, "-c", HIT_THE_FILE_SIZE_LIMIT, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("I/O error (")
    assert reopened(path) == [put("a"), put("c")]


FAIL_ONE_SYNC = """
import os, sys
from pathlib import Path
from meshnode.storage import Storage, StorageError
from tests.meshnode.test_storage import put
storage = Storage.open(Path(sys.argv[1]))
storage.commit([put("a")])
Path(sys.argv[2]).touch()
try:
    storage.commit([put("lost")])
except StorageError as error:
    print(error.why, flush=True)
os.kill(os.getpid(), 9)
"""

FAILING_SYNC = r"""
#include <unistd.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
int fdatasync(int fd) {
    const char *flag = getenv("FAIL_SYNC_ONCE");
    if (flag && unlink(flag) == 0) { errno = EIO; return -1; }
    return syscall(SYS_fdatasync, fd);
}
int fsync(int fd) { return fdatasync(fd); }
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler to make one fsync fail")
def test_a_commit_whose_sync_fails_does_not_come_to_life_after_a_crash(tmp_path: Path, path: Path) -> None:
    source, library, flag = tmp_path / "sync.c", tmp_path / "sync.so", tmp_path / "flag"
    source.write_text(FAILING_SYNC)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    done = subprocess.run(
        [sys.executable, "-c", FAIL_ONE_SYNC, str(path), str(flag)],
        env={**os.environ, "LD_PRELOAD": str(library), "FAIL_SYNC_ONCE": str(flag)},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout == "I/O error (SQLITE_IOERR_FSYNC)\n"
    assert reopened(path) == [put("a")]


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    assert refusal(Path("/proc/self/node.db")).code == "unwritable"
    assert refusal(tmp_path / "missing" / "node.db").code == "unwritable"
    (tmp_path / "node.db").mkdir()
    assert refusal(tmp_path / "node.db").code == "unwritable"


def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_bytes(b"this is not SQLite at all, " * 100)
    error = refusal(path)
    assert error.code == "storage_damaged"
    assert "backup" in error.next_step


def test_a_damaged_page_is_found_on_opening(path: Path, storage: Storage) -> None:
    storage.commit([put(f"{i:05}", text="x" * 500) for i in range(200)])
    storage.close()
    raw = bytearray(path.read_bytes())
    raw[3 * 4096 : 3 * 4096 + 64] = b"\xff" * 64
    path.write_bytes(raw)
    assert refusal(path).code == "storage_damaged"
    assert path.read_bytes() == raw


def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE notes (text)")
    other.close()
    before = path.read_bytes()
    assert refusal(path).code == "storage_foreign"
    assert path.read_bytes() == before


def test_a_newer_schema_is_left_alone(path: Path, storage: Storage) -> None:
    storage.close()
    with sqlite3.connect(path) as newer:
        newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    newer.close()
    error = refusal(path)
    assert error.code == "storage_newer"
    assert f"schema {SCHEMA_VERSION + 1}" in error.message


@pytest.mark.parametrize("value", [b"", b"\xff\xff", b"\x92\xa4what\x01"])
def test_a_row_that_cannot_be_read_is_named(path: Path, storage: Storage, value: bytes) -> None:
    storage.commit([put("a")])
    storage.close()
    with sqlite3.connect(path) as other:
        other.execute("INSERT INTO records VALUES ('task/bad', ?)", (value,))
    other.close()
    error = refusal(path)
    assert error.code == "storage_damaged"
    assert "'task/bad'" in error.message
    assert "sqlite3" in error.next_step
