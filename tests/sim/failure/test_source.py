"""Which code was run: a commit where git tracks the source, the package's version everywhere else."""

from __future__ import annotations

import os
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from sim.failure.source import commit_line

PACKAGED = f"meshnode {version('meshnode')}"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one committed file."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    (tmp_path / "node.py").write_text("x = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "node.py")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first", "--no-verify")
    return tmp_path


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), "-c", "core.hooksPath=/dev/null", "-c", "commit.gpgsign=false", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_commit_and_whether_anything_was_changed(repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")[:12]
    assert commit_line(repository / "node.py") == head
    assert commit_line(repository) == head
    (repository / "node.py").write_text("x = 2\n")
    assert commit_line(repository) == f"{head} (with changes that are not committed)"


def test_a_file_that_git_does_not_track_is_not_of_that_commit(repository: Path) -> None:
    installed = repository / ".venv" / "sim"
    installed.mkdir(parents=True)
    (installed / "world.py").write_text("")
    assert commit_line(installed) == PACKAGED
    assert commit_line(installed / "world.py") == PACKAGED


def test_without_a_repository_or_git_it_is_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert commit_line(tmp_path) == PACKAGED
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_line() == PACKAGED


def test_variables_of_a_hook_do_not_lead_astray(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = commit_line(repository)
    monkeypatch.setenv("GIT_DIR", str(repository / "elsewhere"))
    assert re.fullmatch("[0-9a-f]{12}", before)
    assert commit_line(repository) == before
