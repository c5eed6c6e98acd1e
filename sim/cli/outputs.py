"""What a command writes: whether it can be is found out before anything is run, for no long sweep may end in that."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sim.errors import ScenarioError

FAILURES = Path("meshsim-failures")
"""Where failing seeds are written when nobody says where; it is made when the first one fails."""


def check_file(option: str, path: Path | None, scenario: Path | None = None) -> None:
    """Raise `ScenarioError` where no file `path` can be written, or none should be. Its folder must be there.

    What is read as `scenario` is not written over, nor is what is no file, such as `/dev/null`, replaced by one.
    """
    if path is None:
        return
    try:
        if path.is_dir():
            raise ScenarioError(f"{option} {path} is a directory. Name a file in it.")
        if not path.parent.is_dir():
            raise ScenarioError(
                f"{option} {path}: there is no directory {path.parent}. Make it first, or name another."
            )
        if path.exists() and scenario is not None and scenario.exists() and path.samefile(scenario):
            raise ScenarioError(f"{option} {path} is the scenario itself, which would be lost. Name another file.")
        if path.exists() and not path.is_file():
            raise ScenarioError(f"{option} {path} is no regular file, and would be replaced by one. Name another.")
    except OSError as error:
        raise not_written(option, path, error) from None
    _try(option, path, path.parent)


def check_folder(option: str, path: Path | None) -> None:
    """Raise `ScenarioError` where nothing can be written into the folder `path`; it is made if it is not there."""
    if path is None:
        return
    try:
        if path.exists() and not path.is_dir():
            raise ScenarioError(f"{option} {path} is a file. Name a directory; it is made if it is not there.")
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ScenarioError(f"{option} {path} cannot be made: {error.strerror}. Name another directory.") from None
    _try(option, path, path)


def write_file(option: str, path: Path, text: str) -> None:
    """Write `path`, whole. Raises `ScenarioError` where that cannot be done any more."""
    from sim.files.whole import write_whole

    try:
        write_whole(path, text)
    except OSError as error:
        raise not_written(option, path, error) from None


def not_written(option: str, path: Path, error: OSError | str) -> ScenarioError:
    """What a command says of an output that cannot be written."""
    why = error if isinstance(error, str) else error.strerror or str(error)
    return ScenarioError(f"{option} {path} cannot be written: {why}. Name another place.")


def _try(option: str, path: Path, folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise not_written(option, path, error) from None
