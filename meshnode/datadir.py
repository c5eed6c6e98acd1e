"""The data directory of one node: where everything lies, who may read it, and that only one daemon serves it.

    DIR/                 0700
      meshnode.toml      configuration, written by people
      identity/          keys and certificates
      node.db            what the node must remember (SQLite)
      lock               flock of the daemon that serves DIR, with its pid in it
      control.sock       unix socket of the daemon; elsewhere, and named by `control.path`, where its path is too long
      listen             address of the last start
      address            address that peers were told at the last start
      mcp.token          bearer token of MCP over HTTP, 0600

Decides names, modes and the single-instance rule. Never reads what the files mean. The lock belongs to the open file
and goes with the process, however it ends, so there is no stale lock to remove.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from meshnode.errors import ExitCode, MeshError

CONFIG_NAME = "meshnode.toml"
SOCKET_PATH_BYTES_MAX = 100
"""`sun_path` holds 108 bytes on Linux, 104 on the BSDs and macOS, the closing NUL included."""
NOTE_BYTES_MAX = 4096
TOKEN_BYTES = 32
LOCK_TRIES = 5
LOCK_RETRY_S = 0.02


def default_directory() -> Path:
    """Where a node keeps its data unless told otherwise."""
    import platformdirs

    return platformdirs.user_data_path("meshnode", appauthor=False)


@dataclass(frozen=True)
class DataDir:
    """Paths below `root`, which is absolute. Building one touches nothing."""

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", self.root.absolute())

    @property
    def config(self) -> Path:
        return self.root / CONFIG_NAME

    @property
    def identity(self) -> Path:
        return self.root / "identity"

    @property
    def database(self) -> Path:
        return self.root / "node.db"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def mcp_token(self) -> Path:
        return self.root / "mcp.token"

    @property
    def address_note(self) -> Path:
        return self.root / "address"

    @property
    def control_note(self) -> Path:
        return self.root / "control.path"

    def create(self) -> None:
        """Make the directory (0700) and its parents, or check that the one that is there can be used.

        Raises `MeshError("unwritable")`.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(self.root, error.strerror or str(error)) from error
        self.check()

    def check(self) -> None:
        """Raise `MeshError`: "no_directory" where there is none, "unwritable" where this user may not write in it."""
        if not self.root.exists():
            raise MeshError(
                "no_directory",
                f"There is no data directory {self.root}.",
                f"Make one with `meshnode init --dir {self.root}`, or by `meshnode up --dir {self.root}`.",
                ExitCode.USAGE,
            )
        if not self.root.is_dir():
            raise _unwritable(self.root, "it is not a directory")
        try:
            with tempfile.TemporaryFile(dir=self.root) as probe:
                probe.write(b"x")
                probe.flush()
        except OSError as error:
            raise _unwritable(self.root, error.strerror or str(error)) from error

    def acquire(self) -> DirLock:
        """Become the one daemon of this directory until the lock is released or the process ends.

        Raises `MeshError("already_running")` with the holder's pid, or "unwritable".
        """
        try:
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unwritable(self.root, error.strerror or str(error)) from error
        try:
            _lock_patiently(descriptor)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        except BlockingIOError:
            holder = _pid_in(descriptor)
            os.close(descriptor)
            raise MeshError(
                "already_running",
                f"Another meshnode ({f'pid {holder}' if holder else 'pid unknown'}) serves {self.root}.",
                "Use it, stop it with `meshnode leave`, or give this node a directory of its own with --dir.",
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise _unwritable(self.root, error.strerror or str(error)) from error
        return DirLock(descriptor)

    def holder(self) -> int | None:
        """Process id of the daemon that serves this directory now; None if none does, 0 if it cannot be told."""
        try:
            descriptor = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _pid_in(descriptor)
        except OSError:
            return 0
        else:
            return None
        finally:
            os.close(descriptor)

    def control_socket(self, *, serving: bool = False) -> Path:
        """Where the control socket is. With `serving`, the place is made ready: fallback directory, note, old socket.

        A path longer than SOCKET_PATH_BYTES_MAX cannot be bound, so the socket then lies in a private (0700) directory
        below the user's runtime directory, and `control.path` says where. Raises `MeshError("unwritable")`, and with
        `serving`, "unsafe_directory" where that place belongs to someone else.
        """
        plain = self.root / "control.sock"
        if len(os.fsencode(plain)) <= SOCKET_PATH_BYTES_MAX:
            if serving:
                self.control_note.unlink(missing_ok=True)
                plain.unlink(missing_ok=True)
            return plain
        if not serving:
            note = read_note(self.control_note)
            return Path(note) if note else plain
        path = self._short_socket_path()
        path.unlink(missing_ok=True)
        write_note(self.control_note, str(path))
        return path

    def _short_socket_path(self) -> Path:
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16] + ".sock"
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        bases = [Path(runtime) / "meshnode"] if os.path.isdir(runtime) else []
        bases += [Path(base) / f"meshnode-{os.getuid()}" for base in (tempfile.gettempdir(), "/tmp")]
        base = next((base for base in bases if len(os.fsencode(base / name)) <= SOCKET_PATH_BYTES_MAX), bases[-1])
        try:
            base.mkdir(mode=0o700, exist_ok=True)
            status = base.lstat()
        except OSError as error:
            raise _unwritable(base, error.strerror or str(error)) from error
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise MeshError(
                "unsafe_directory",
                f"{base} is not a private directory of this user, so the control socket cannot lie there.",
                "Remove it, set XDG_RUNTIME_DIR, or use a data directory with a shorter path.",
            )
        return base / name

    def read_or_create_mcp_token(self) -> str:
        """The bearer token of MCP over HTTP: 256 random bits, made once. Raises `MeshError`."""
        token = read_note(self.mcp_token)
        if not token:
            token = secrets.token_urlsafe(TOKEN_BYTES)
            write_note(self.mcp_token, token)
        return token


class DirLock:
    """The daemon's hold on its directory. Release it last; the end of the process releases it too."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let go. A second call does nothing."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> DirLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def read_note(path: Path) -> str | None:
    """What `write_note` wrote, stripped; None where there is no such file. Raises `MeshError("unreadable")`."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(NOTE_BYTES_MAX).strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MeshError(
            "unreadable", f"{path} cannot be read: {error.strerror}.", "Make it readable to this user."
        ) from error


def write_note(path: Path, text: str) -> None:
    """Replace a short text file (0600) atomically and durably. Raises `MeshError("unwritable")`."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        sync_directory(path.parent)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error


def sync_directory(directory: Path) -> None:
    """Make names that were created or replaced in `directory` durable. Raises `OSError`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot, and say so
            raise
    finally:
        os.close(descriptor)


def _lock_patiently(descriptor: int) -> None:
    """Take the lock; `holder` in another process may have it for an instant. Raises `BlockingIOError`, `OSError`."""
    for _ in range(LOCK_TRIES - 1):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_RETRY_S)
        else:
            return
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _pid_in(descriptor: int) -> int:
    """The pid that a lock file holds; 0 where it holds none (its owner is just writing it)."""
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else 0


def _unwritable(path: Path, why: str) -> MeshError:
    return MeshError(
        "unwritable",
        f"{path} cannot be used: {why}.",
        "Make it a writable directory of this user with room on its disk, or name another with --dir.",
    )
