"""What a node must remember, in one SQLite file: a table of keys and encoded values (DESIGN 11).

- `commit` is one transaction in WAL mode with synchronous=FULL: when it returns, all of its records are on the disk;
  when it raises, none of them is, now or after a crash, and the next commit may succeed (a full disk that gets room).
- A commit that fails at its last step may leave a complete transaction in the WAL that nobody was told of (SQLite
  writes the commit frame before it syncs it), and a crash would bring it to life. So the WAL is emptied before
  anything else is taken in.
- Nothing is skipped: a file, a row or a schema that is not understood is an error that names it. A row carries a
  checksum of its key and value: SQLite checks how its pages hang together, but not what stands in them.

Blocking: called from a worker thread, one call at a time (a lock sees to it). Knows nothing of what the records mean.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from meshnode.datadir import sync_directory
from meshnode.errors import MeshError
from protocols.core import Delete, Put, Record
from protocols.wire import BadMessage, decode_stored, encode_stored

APPLICATION_ID = 0x6D657368
"""The letters "mesh" in the file's header: `file` and we can tell it from other databases."""
SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 1.0
"""How long a commit waits for someone who looks into the file with another program."""
WAL_PAGES = 1000
"""Pages (4 KiB) in the WAL at which SQLite writes them back into the file."""
WAL_BYTES_KEPT = 8 << 20
"""What the WAL file is cut to after that, where a burst made it larger."""
CHECKSUM_BYTES = 4
PUT_ROW = "INSERT INTO records VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
DELETE_ROW = "DELETE FROM records WHERE key = ?"

_WHY = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "I/O error",
    sqlite3.SQLITE_READONLY: "the file or its directory is read-only",
    sqlite3.SQLITE_BUSY: "another program holds the database locked",
    sqlite3.SQLITE_LOCKED: "another program holds the database locked",
    sqlite3.SQLITE_CORRUPT: "the database is damaged",
    sqlite3.SQLITE_NOTADB: "the file is damaged, or not a database",
    sqlite3.SQLITE_CANTOPEN: "the database cannot be opened",
    sqlite3.SQLITE_PERM: "permission denied",
    sqlite3.SQLITE_NOMEM: "out of memory",
    sqlite3.SQLITE_TOOBIG: "a record is too large",
}
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class StorageError(Exception):
    """A commit that did not happen. `why` is for people, e.g. "the disk is full"."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Storage:
    """An open store; make one with `Storage.open`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection: sqlite3.Connection | None = connection
        self._path = path
        self._lock = threading.Lock()
        self._wal_suspect = False
        """A commit failed at its last step, and the WAL has not been emptied since."""

    @classmethod
    def open(cls, path: Path) -> Storage:
        """Open or create the store at `path` and check it. Blocking, in time proportional to the file's size.

        Raises `MeshError`: "unwritable", "storage_damaged", "storage_newer", "storage_foreign" or "storage_locked".
        """
        try:
            _create_private(path)
            connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=16
            )
        except OSError as error:
            raise _cannot_open(path, error.strerror or str(error)) from error
        except sqlite3.Error as error:
            raise _cannot_use(path, error) from error
        try:
            _prepare(connection, path)
        except sqlite3.Error as error:
            connection.close()
            raise _cannot_use(path, error) from error
        except BaseException:
            connection.close()
            raise
        return cls(connection, path)

    def load(self) -> list[Put]:
        """Everything that is stored, in key order. Raises `MeshError` that names the row that cannot be read."""
        with self._lock:
            assert self._connection is not None, "load after close"
            try:
                rows = self._connection.execute("SELECT key, value FROM records ORDER BY key")
                return [self._decoded(key, value) for key, value in rows]
            except sqlite3.Error as error:
                raise _cannot_use(self._path, error) from error

    def commit(self, records: Sequence[Record]) -> None:
        """Make `records` durable together, applied in order. Raises `StorageError` with none of them applied."""
        batches = list(self._batches(records))
        with self._lock:
            if self._connection is None:
                raise StorageError("the store is closed")
            try:
                self._roll_back(self._connection)
                if self._wal_suspect:
                    self._empty_wal(self._connection)
                if batches:
                    self._transact(self._connection, batches)
            except sqlite3.Error as error:
                raise StorageError(_why(error)) from error

    def close(self) -> None:
        """Write the WAL back and close. A second call does nothing."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _transact(self, connection: sqlite3.Connection, batches: list[tuple[str, list[tuple[object, ...]]]]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            for statement, rows in batches:
                connection.executemany(statement, rows)
        except BaseException:
            self._roll_back(connection)
            raise
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back(connection)
            # Full: the last frame, which is the commit's, was not written. Emptying the WAL would need room, too.
            self._wal_suspect = _primary(error) != sqlite3.SQLITE_FULL
            if self._wal_suspect:
                self._try_to_empty_wal(connection)
            raise

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        """Undo what SQLite has left of a failed transaction. Never raises: the next commit begins here again."""
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _try_to_empty_wal(self, connection: sqlite3.Connection) -> None:
        try:
            self._empty_wal(connection)
        except (sqlite3.Error, StorageError):
            return  # stays suspect: the next commit begins here again

    def _empty_wal(self, connection: sqlite3.Connection) -> None:
        """Write back what was acknowledged and cut the WAL to nothing. Raises `sqlite3.Error`."""
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StorageError("another program holds the database locked")
        self._wal_suspect = False

    def _batches(self, records: Sequence[Record]) -> Iterator[tuple[str, list[tuple[object, ...]]]]:
        """Statements with their rows, in the order of `records`: later ones win over earlier ones of the same key."""
        for kind, group in groupby(records, type):
            if kind is Put:
                yield PUT_ROW, [_row(record) for record in group if isinstance(record, Put)]
            else:
                assert kind is Delete, f"a record is a Put or a Delete, not {kind}"
                yield DELETE_ROW, [(record.key,) for record in group]

    def _decoded(self, key: object, value: object) -> Put:
        try:
            if not isinstance(key, str) or not isinstance(value, bytes):
                raise BadMessage(
                    "corrupt", f"{type(key).__name__} and {type(value).__name__} instead of text and bytes"
                )
            if value[:CHECKSUM_BYTES] != _checksum(key, value[CHECKSUM_BYTES:]):
                raise BadMessage("corrupt", "its checksum does not fit")
            return Put(key, decode_stored(value[CHECKSUM_BYTES:]))
        except BadMessage as error:
            raise MeshError(
                "storage_damaged",
                f"The record {key!r} in {self._path} cannot be read: {error}.",
                "If a newer meshnode wrote it, start that one. Otherwise restore the file from a backup, or, if that "
                'record may be lost, remove it with sqlite3 ("DELETE FROM records WHERE key = …").',
            ) from error


def _row(put: Put) -> tuple[object, ...]:
    value = encode_stored(put.value)
    return put.key, _checksum(put.key, value) + value


def _checksum(key: str, value: bytes) -> bytes:
    return zlib.crc32(value, zlib.crc32(key.encode())).to_bytes(CHECKSUM_BYTES)


def _create_private(path: Path) -> None:
    """An empty file with mode 0600 where there is none (SQLite gives WAL and index the same), its name durable."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    os.close(descriptor)
    sync_directory(path.parent)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Settings, the schema, and the checks that come before trust. Raises `MeshError`, `sqlite3.Error`."""
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if application_id != APPLICATION_ID and not (empty and application_id == 0):
        raise MeshError(
            "storage_foreign",
            f"{path} is a database of another program.",
            "Move it away, or name another data directory with --dir.",
        )
    if version > SCHEMA_VERSION:
        raise MeshError(
            "storage_newer",
            f"{path} was written by a newer meshnode (schema {version}; this one knows {SCHEMA_VERSION}).",
            "Start the newer version. The file was left as it is.",
        )
    connection.execute("PRAGMA cell_size_check=ON")
    findings = [row[0] for row in connection.execute("PRAGMA quick_check(5)")]
    if findings != ["ok"]:
        raise _damaged(path, "; ".join(str(finding) for finding in findings)[:500])
    mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        raise _cannot_open(path, f"its file system cannot keep a write-ahead log (journal mode {mode})")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES_KEPT}")
    if empty:
        connection.executescript(
            f"""
            BEGIN IMMEDIATE;
            CREATE TABLE records (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
            PRAGMA application_id = {APPLICATION_ID};
            PRAGMA user_version = {SCHEMA_VERSION};
            COMMIT;
            """
        )


def _primary(error: sqlite3.Error) -> int | None:
    """SQLite's primary result code; None for an error that Python itself raised."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _why(error: sqlite3.Error) -> str:
    primary = _primary(error)
    if primary is None:
        return str(error)
    return f"{_WHY.get(primary, str(error))} ({error.sqlite_errorname})"


def _cannot_use(path: Path, error: sqlite3.Error) -> MeshError:
    primary = _primary(error)
    if primary in _DAMAGED:
        return _damaged(path, _why(error))
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return MeshError(
            "storage_locked", f"{path} cannot be used: {_why(error)}.", "Close what else has it open, then start again."
        )
    return _cannot_open(path, _why(error))


def _cannot_open(path: Path, why: str) -> MeshError:
    return MeshError(
        "unwritable",
        f"{path} cannot be used: {why}.",
        "Make its directory writable and see that its disk has room, or name another directory with --dir.",
    )


def _damaged(path: Path, why: str) -> MeshError:
    return MeshError(
        "storage_damaged",
        f"{path} is damaged: {why}. Nothing was changed.",
        f"Restore it from a backup, or save what is left with `sqlite3 {path.name} .recover`. "
        "Without it the node forgets the tasks it took in.",
    )
