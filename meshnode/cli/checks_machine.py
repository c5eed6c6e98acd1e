"""What `meshnode doctor` looks at on the machine: Python, packages, the data directory, the clock. Changes nothing."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import sqlite3
import ssl
import stat
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from meshnode.cli.findings import Case, Finding, Status
from meshnode.datadir import DataDir
from meshnode.errors import MeshError

PYTHON_MIN = (3, 11)
SQLITE_MIN = (3, 37, 0)
"""STRICT tables."""
FREE_BYTES_FAIL = 64 << 20
FREE_BYTES_WARN = 512 << 20
CLOCK_MIN_UNIX_S = datetime(2025, 1, 1, tzinfo=UTC).timestamp()
CLOCK_SLACK_S = 300.0
"""How far in the future a file of ours may have been written before the clock is said to have gone back."""
LOCK_NAME = "requirements.lock"

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*([^;]*)")
_CONSTRAINT = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*([0-9.]+)")
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def check_python(case: Case) -> Iterator[Finding]:
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {ssl.OPENSSL_VERSION}"
    if sys.version_info < PYTHON_MIN:
        yield Finding("python", Status.FAIL, versions, "Install Python 3.11 or later, and meshnode with it.")
    elif sqlite3.sqlite_version_info < SQLITE_MIN or not ssl.HAS_TLSv1_3:
        yield Finding("python", Status.FAIL, versions, "Use a Python built with SQLite 3.37 and TLS 1.3, or later.")
    else:
        yield Finding("python", Status.OK, versions)


def check_packages(case: Case) -> Iterator[Finding]:
    """Every direct dependency: installed, importable, of a version that is allowed, and of the one that is locked."""
    try:
        requirements = importlib.metadata.requires("meshnode") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding("packages", Status.WARN, "meshnode is not installed as a package.", "Install it: pip install .")
        return
    locked = _locked_versions()
    good, other = 0, []
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match is None or "extra ==" in requirement:
            continue
        name, constraints = match.groups()
        problem = _package_problem(name, constraints)
        if problem:
            yield Finding("packages", Status.FAIL, problem, "Install the locked versions again (see README.md).")
            continue
        good += 1
        installed = importlib.metadata.version(name)
        if locked.get(_canonical(name), installed) != installed:
            other.append(f"{name} {installed} (locked: {locked[_canonical(name)]})")
    if other:
        detail = f"other versions than the locked ones: {', '.join(other)}"
        yield Finding("packages", Status.WARN, detail, "Install the locked versions if anything behaves oddly.")
    elif good:
        source = "as locked" if locked else "as allowed"
        yield Finding("packages", Status.OK, f"{good} packages, importable, versions {source}")


def _package_problem(name: str, constraints: str) -> str:
    """What is wrong with an installed package; empty where nothing is."""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return f"{name} is not installed."
    if not _allowed(version, constraints):
        return f"{name} is of version {version}, and {constraints.strip()} is needed."
    try:
        importlib.import_module(_canonical(name).replace("-", "_"))
    except Exception as error:  # whatever a broken package raises is the finding
        return f"{name} {version} cannot be imported: {error!r}."
    return ""


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _allowed(version: str, constraints: str) -> bool:
    """Whether the release numbers of `version` meet `>=1.2,<2` and the like (the operators that we use, PEP 440)."""
    have = _release(version)
    for operator, text in _CONSTRAINT.findall(constraints):
        want = _release(text)
        width = max(len(have), len(want))
        left, right = have + (0,) * (width - len(have)), want + (0,) * (width - len(want))
        met = {
            ">=": left >= right,
            "<=": left <= right,
            "==": left == right,
            "!=": left != right,
            ">": left > right,
            "<": left < right,
        }
        if not met[operator]:
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else (0,)


def _locked_versions() -> dict[str, str]:
    """Versions of the lock file beside the sources, by package; none where meshnode is installed without them."""
    try:
        text = (Path(__file__).resolve().parents[2] / LOCK_NAME).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return {_canonical(name): version for name, version in _LOCKED.findall(text)}


def check_directory(case: Case) -> Iterator[Finding]:
    directory = case.directory
    try:
        DataDir(directory).check()
        free = shutil.disk_usage(directory).free
        status = directory.stat()
    except MeshError as error:
        case.directory_usable = False
        yield Finding.of("data directory", error)
        return
    except OSError as error:
        case.directory_usable = False
        detail = f"{directory} cannot be looked at: {error.strerror or error}."
        yield Finding("data directory", Status.FAIL, detail, "Make it a directory of this user.")
        return
    room = f"{free / 1e6:.0f} MB free" if free < 10e9 else f"{free / 1e9:.0f} GB free"
    if free < FREE_BYTES_WARN:
        level = Status.FAIL if free < FREE_BYTES_FAIL else Status.WARN
        yield Finding("data directory", level, f"{directory}: only {room}", "Make room on that disk.")
    elif status.st_uid != os.geteuid():
        detail = f"{directory} belongs to user {status.st_uid}, and this is user {os.geteuid()}."
        yield Finding("data directory", Status.WARN, detail, "Run the node and its commands as the owner.")
    elif stat.S_IMODE(status.st_mode) & 0o077:
        detail = f"{directory} is open to other users (mode {stat.S_IMODE(status.st_mode):04o})."
        yield Finding("data directory", Status.WARN, detail, f"Close it: chmod 700 {directory}")
    else:
        yield Finding("data directory", Status.OK, f"{directory}: writable, private, {room}")


def check_clock(case: Case) -> Iterator[Finding]:
    """The clock, as far as one machine can tell: not before this program, its certificate, or its own files."""
    now = time.time()
    shown = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    repair = "Set the clock, best by NTP: certificates and tokens are checked against it."
    newest = max(_modified_unix_s(case), default=0.0)
    if now < CLOCK_MIN_UNIX_S:
        yield Finding("clock", Status.FAIL, f"{shown} is before this program was written.", repair)
    elif newest > now + CLOCK_SLACK_S:
        behind = newest - now
        yield Finding("clock", Status.FAIL, f"{shown}: files of this node are {behind:.0f} s in the future.", repair)
    else:
        yield Finding("clock", Status.OK, shown)


def _modified_unix_s(case: Case) -> Iterator[float]:
    if not case.directory_usable:
        return
    for path in case.directory.iterdir():
        try:
            yield path.lstat().st_mtime
        except OSError:
            continue  # it went away meanwhile
