"""Software that we compare with, in an environment of its own: never a dependency of the project.

A virtual environment in the user's cache directory, into which packages are installed by name through pip, each at its
first use and within a time limit. Where that fails (offline, no such package), the comparison is left out and says so.
Peer programs live in `peer_programs/`; each prints one JSON object of figures as the last line of its output. A peer
that is no Python package is looked for on PATH, or where the user says that it is.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path

PROGRAMS = Path(__file__).with_name("peer_programs")
VENV_S_MAX = 60.0
MARK_SUFFIX = ".installed"


class PeerMissing(Exception):
    """The peer cannot be measured here. The text says why."""


def cache_directory() -> Path:
    """Where peers, and the data of nodes under test, are put: a disk rather than a memory file system."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return root / "meshnode-bench"


class Peers:
    """The environment. `allowed` False: no peer is installed or run. `programs`: where some are, by name."""

    def __init__(
        self, root: Path, *, install_s_max: float, allowed: bool = True, programs: Mapping[str, str] | None = None
    ) -> None:
        self._root = root / f"peers-py{sys.version_info.major}.{sys.version_info.minor}"
        self._install_s_max = install_s_max
        self._allowed = allowed
        self._programs = programs or {}

    def run(self, package: str, program: str, arguments: Sequence[str], *, timeout_s: float) -> dict[str, float]:
        """What `peer_programs/PROGRAM` printed. Raises `PeerMissing`."""
        self._require(package)
        what = f"{package} was not measured"
        command = [str(self._python), str(PROGRAMS / program), *arguments]
        done = _run(command, timeout_s, what)
        try:
            figures: dict[str, float] = json.loads(done.splitlines()[-1])
        except (IndexError, ValueError):
            raise PeerMissing(f"{what}: its program printed no figures") from None
        return figures

    def program(self, name: str, to_get: str) -> Path:
        """Where a program is that comes in no Python package. Raises `PeerMissing`, with `to_get` as what to do."""
        if not self._allowed:
            raise PeerMissing(f"{name} was left out (--no-peers)")
        wanted = self._programs.get(name) or name
        found = shutil.which(wanted)
        if found is None:
            raise PeerMissing(f"{wanted} was not found, so {name} was not measured; {to_get}")
        return Path(found).resolve()

    def label(self, package: str) -> str:
        """Name and version of an installed package."""
        for found in distributions(path=[str(path) for path in self._root.glob("lib*/python*/site-packages")]):
            if found.metadata["Name"].lower() == package:
                return f"{package} {found.version}"
        return package

    @property
    def _python(self) -> Path:
        return self._root / "bin" / "python"

    def _require(self, package: str) -> None:
        """Have `package` installed. Raises `PeerMissing`."""
        if not self._allowed:
            raise PeerMissing("peers were left out (--no-peers)")
        mark = self._root / (package + MARK_SUFFIX)
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with _locked(self._root / "lock"):
                if mark.exists():
                    return
                what = f"{package} could not be installed"
                if not self._python.exists():
                    _run([sys.executable, "-m", "venv", str(self._root)], VENV_S_MAX, what)
                pip = [str(self._python), "-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "10"]
                _run([*pip, "--disable-pip-version-check", package], self._install_s_max, what)
                mark.touch()
        except OSError as error:
            raise PeerMissing(f"{self._root} cannot be used: {error.strerror}") from None


def _run(command: Sequence[str], timeout_s: float, what: str) -> str:
    """Output of a command that has to succeed in time. Raises `PeerMissing` that begins with `what`."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise PeerMissing(f"{what} within {timeout_s:.0f} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise PeerMissing(f"{what}: {lines[-1][:200] if lines else f'exit status {done.returncode}'}")
    return done.stdout


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time, across processes."""
    with open(path, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
