"""Looks whether what a command is to write can be written, before anything is run: no long sweep may end in that."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sim.errors import ScenarioError

FAILURES = Path("meshsim-failures")
"""Where failing seeds are written when nobody says where; it is made when the first one fails."""


def check_file(option: str, path: Path | None) -> None:
    """Raise `ScenarioError` where no file `path` can be written. Its folder must be there."""
    if path is None:
        return
    if path.is_dir():
        raise ScenarioError(f"{option} {path} is a directory. Name a file in it, as in {path / 'results.xml'}.")
    if not path.parent.is_dir():
        raise ScenarioError(f"{option} {path}: there is no directory {path.parent}. Make it first, or name another.")
    _try(option, path, path.parent)


def check_folder(option: str, path: Path | None) -> None:
    """Raise `ScenarioError` where nothing can be written into the folder `path`; it is made if it is not there."""
    if path is None:
        return
    if path.exists() and not path.is_dir():
        raise ScenarioError(f"{option} {path} is a file. Name a directory; it is made if it is not there.")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ScenarioError(f"{option} {path} cannot be made: {error.strerror}. Name another directory.") from None
    _try(option, path, path)


def _try(option: str, path: Path, folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ScenarioError(f"{option} {path} cannot be written: {error.strerror}. Name another place.") from None
