"""Which code was run: the commit of the repository around it, or the version of the package."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGE = "meshnode"
SOURCE = Path(__file__).resolve().parent.parent
GIT_TIMEOUT_S = 10


def commit_line(source: Path = SOURCE) -> str:
    """What `source` (a file or folder) was when it ran, in one line.

    `1f2e3d4c5b6a (with changes that are not committed)` where a git repository tracks it, else `meshnode 0.1.0`: an
    installed copy inside of somebody's repository is not of that repository. Never raises.
    """
    folder = source if source.is_dir() else source.parent
    tracked = _git(folder, "ls-files", "--", str(source))
    commit = _git(folder, "rev-parse", "--short=12", "HEAD") if tracked else ""
    if commit:
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
        return f"{commit} (with changes that are not committed)" if changed else commit
    try:
        return f"{PACKAGE} {version(PACKAGE)}"
    except PackageNotFoundError:
        return f"{PACKAGE}, version unknown"


def _git(folder: Path, *words: str) -> str:
    """What git prints; empty where there is no git, no repository, or no answer in time."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
